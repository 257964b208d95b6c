"""What the paper claims of its figures 5 and 6, each claim as rows with a verdict."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from benchmarks.claims.records import Records
from benchmarks.claims.rows import LEAST, row
from benchmarks.claims.statistics import judged, paired
from benchmarks.paper.facts import (
    FIGURE5_BENCHMARK,
    FIGURE5_CATEGORY,
    FIGURE6_BENCHMARK,
    FIGURE6_LEARNERS,
    METACLOTH,
    RIVALS,
    TABLE3_SHOTS,
)
from benchmarks.results.episodes import averaged, episodes_needed
from benchmarks.results.schemas import SIMILARITIES
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.protocol import LEARNERS


def figure5(records: Records) -> Iterator[dict]:
    rows = records.episodes[records.episodes["benchmark"] == FIGURE5_BENCHMARK]
    seeds = rows.groupby("learner")["seed"].nunique()
    rows = rows[(rows["category"] == FIGURE5_CATEGORY) & (rows["shots"] == TABLE3_SHOTS)]
    needed = episodes_needed(records.run, rows)
    for group in category(FIGURE5_CATEGORY).groups:
        parts = rows.assign(part=[group_error(text, group) for text in rows["landmarks"]])
        errors = averaged(parts, ["learner"], "part", needed, seeds).reindex(columns=LEARNERS)
        against = {name: paired(errors[METACLOTH], errors[name]) for name in RIVALS}
        names = " and ".join(str(i + 1) for i in group)
        yield row(
            "figure 5",
            f"{LEAST} on landmark{'s' * (len(group) > 1)} {names} of {FIGURE5_CATEGORY}",
            "Figure 5, section 4.4.3",
            f"{FIGURE5_BENCHMARK}, {FIGURE5_CATEGORY}, {TABLE3_SHOTS} shots",
            "MetaCloth least",
            **judged(METACLOTH, against),
        )


def group_error(landmarks: str, group: Sequence[int]) -> float:
    """The mean of a record's errors over a group of landmarks: those that were scored."""
    errors = landmarks.split()
    scored = [float(errors[i]) for i in group if i < len(errors)]
    scored = [error for error in scored if not math.isnan(error)]
    mean = sum(scored) / len(scored) if scored else math.nan
    return mean if math.isfinite(mean) else math.nan


def figure6(records: Records) -> Iterator[dict]:
    told = {
        ("before_after", "Base-FEN"): "Tuning changes MetaCloth's features more than Base-FEN's",
        ("between", "LD-Keep"): "Tuned, MetaCloth's landmarks are further apart than LD-Keep's",
        ("between", "Base-FEN"): "Tuned, MetaCloth's landmarks are further apart than Base-FEN's",
    }
    rows = records.similarities
    if rows is None:
        rows = pd.DataFrame(columns=list(SIMILARITIES.columns))
    rows = rows[
        (rows["benchmark"] == FIGURE6_BENCHMARK)
        & (rows["shots"] == TABLE3_SHOTS)
        & rows["model"].isin(FIGURE6_LEARNERS)
    ]
    seeds = rows.groupby("model")["seed"].nunique()
    unseen = records.unseen(FIGURE6_BENCHMARK)
    episodes = rows.groupby("category")["episode"].nunique().max()
    places = {"": (rows, len(unseen) * episodes)} | {
        f"{name}, ": (rows[rows["category"] == name], episodes) for name in unseen
    }
    for (column, other), claim in told.items():
        for place, (part, needed) in places.items():
            means = averaged(part, ["model"], column, needed, seeds)
            means = means.reindex(columns=FIGURE6_LEARNERS)
            against = {other: paired(means[METACLOTH], means[other])}
            yield row(
                "figure 6",
                claim,
                f"Figure 6 ({'a' if column == 'before_after' else 'b'}), section 4.5.2",
                f"{FIGURE6_BENCHMARK}, {place}{TABLE3_SHOTS} shots",
                f"MetaCloth below {other}",
                **judged(METACLOTH, against),
            )
