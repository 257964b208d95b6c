"""What the paper claims, each claim as rows with a verdict on a run's records.

What rests on the paper's numbers, its categories, or one of its benchmarks against the rest has
rows on its benchmarks alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import pandas as pd

from benchmarks.claims.judging import (
    NOT_MEASURED,
    apart,
    judged,
    number,
    order_agreement,
    paired,
    relative_fall,
)
from benchmarks.claims.page import FIGURE5, MARGIN, TROUSERS
from benchmarks.claims.records import Records, averaged
from benchmarks.results.reading import SIMILARITIES
from benchmarks.tables.build import LEARNERS, episodes_needed
from benchmarks.tables.formats import MEAN
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.protocol import (
    BENCHMARKS,
    SHOTS,
    TABLE3_SHOTS,
    TABLE4_BENCHMARK,
    TABLE4_SHOTS,
    ablated,
)

METACLOTH = "MetaCloth"
RIVALS = tuple(learner for learner in LEARNERS if learner != METACLOTH)
LEAST = f"{METACLOTH} has the least error of the nine learners"
META_TRAINED = {"MAML": "FT", "PROTO-MA": "PROTO", "PAML": "MRN"}  # each beside its plain form
FALLS = {"Base-FEN": 0.139, "Base-FEN_M": 0.177, "LD-Keep": 0.097, "LD-Keep_M": 0.218}
HARDEST = {"B-2": ("WG", "WG-ATT", "MRN", "PROTO", "PROTO-MA", "PAML"), "B-3": ("FT", "MAML")}
SCENARIOS = ("B-1", "B-2", "B-3")  # those that Table 3 and section 4.4.2 are about
AMONG = {"B-2": SCENARIOS, "B-3": tuple(BENCHMARKS)}  # which the paper compares
FIGURE6 = TABLE4_BENCHMARK
HARDER = {  # where baselines have larger errors, section 4.4.3
    "B-1": ("trousers", ("trousers",)),
    "B-2": ("lower-body garments", ("trousers", "shorts", "skirt")),
    "B-3": ("long sleeve top and outwear", ("long sleeve top", "long sleeve outwear")),
}
SIMILARITY_MODELS = (METACLOTH, "Base-FEN", "LD-Keep")


def judged_claims(records: Records) -> list[dict]:
    """Every claim that applies, in one order whatever the records."""
    groups = [_first_place, _pairs, _weights, _table4, _shots]
    if records.paper:
        groups += [_benchmarks, _categories, _harder_categories, _figure5, _figure6, _order]
    return [row for group in groups for row in group(records)]


def _row(group: str, claim: str, source: str, where: str, paper: str, **judgement) -> dict:
    """A row of the frame; without numbers where the judgement is that it was not measured."""
    row = {"group": group, "claim": claim, "source": source, "where": where, "paper": paper}
    if judgement["verdict"] == NOT_MEASURED:
        judgement |= {"ours": "", "difference": math.nan, "ci95": math.nan, "episodes": 0}
    return row | {"by_seed": ""} | judgement


def _first_place(records: Records) -> Iterator[dict]:
    for shots in (SHOTS, *((shot,) for shot in SHOTS)):
        for benchmark in records.benchmarks:
            key = _column(shots)
            paper = {name: records.paper.get((benchmark, name, key), math.nan) for name in LEARNERS}
            if paper[METACLOTH] > min(paper.values()):
                continue
            rival = min(RIVALS, key=paper.get)
            against = {name: records.paired(benchmark, METACLOTH, name, shots) for name in RIVALS}
            yield _row(
                "first place",
                LEAST,
                "Table 2, section 4.4.1",
                _where(benchmark, shots),
                _beside(records.paper, benchmark, METACLOTH, rival, shots),
                **judged(METACLOTH, against),
            )


def _pairs(records: Records) -> Iterator[dict]:
    for first, second in META_TRAINED.items():
        for benchmark in records.benchmarks:
            claim = f"{first}'s error is below {second}'s"
            yield _table2_row(records, "pairs", claim, benchmark, first, second)


def _weights(records: Records) -> Iterator[dict]:
    for benchmark in records.benchmarks:
        claim = "WG-ATT is no worse than WG"
        yield _table2_row(records, "weights", claim, benchmark, "WG-ATT", "WG", MARGIN)
    for second in ("WG", "WG-ATT"):
        for benchmark in records.benchmarks:
            claim = f"{second} lags behind MetaCloth"
            yield _table2_row(records, "weights", claim, benchmark, METACLOTH, second)
    for learner in ("WG", "WG-ATT") if records.paper else ():
        gaps = {
            b: records.error(b, learner, SHOTS) - records.error(b, METACLOTH, SHOTS)
            for b in BENCHMARKS
        }
        paper = {
            b: records.paper[b, learner, MEAN] - records.paper[b, METACLOTH, MEAN]
            for b in BENCHMARKS
        }
        claim = f"{learner} lags furthest behind MetaCloth on B-2"
        yield _extreme("weights", claim, "Table 2, section 4.4.1", "B-2", gaps, paper)


def _table2_row(
    records: Records,
    group: str,
    claim: str,
    benchmark: str,
    first: str,
    second: str,
    margin: float = 0.0,
) -> dict:
    """The row of one learner below another by the mean over the shots."""
    comparison = records.paired(benchmark, first, second)
    return _row(
        group,
        claim,
        "Table 2, section 4.4.1",
        _where(benchmark, SHOTS),
        _beside(records.paper, benchmark, first, second, SHOTS),
        **judged(first, {second: comparison}, margin),
    )


def _extreme(
    group: str,
    claim: str,
    source: str,
    benchmark: str,
    ours: Mapping[str, pd.Series],
    paper: Mapping[str, float],
    greatest: bool = True,
) -> dict:
    """The row of one benchmark's mean above (or below) that of every other in `ours`."""
    others = [name for name in ours if name != benchmark]
    second = (max if greatest else min)(others, key=paper.get)
    against = {name: apart(ours[benchmark], ours[name]) for name in others}
    return _row(
        group,
        claim,
        source,
        _where(benchmark, SHOTS),
        _two(benchmark, paper[benchmark], second, paper[second]),
        **judged(benchmark, against, greater=greatest),
    )


def _table4(records: Records) -> Iterator[dict]:
    benchmark, source = ablated(records.benchmarks), "Table 4, section 4.5.2"
    pairs = {
        ("Base-FEN", "Base-FEN_M"): "tuning the detectors helps",
        ("LD-Keep", "LD-Keep_M"): "tuning the detectors helps",
        (METACLOTH, "Base-FEN"): "the meta-trained initialisation helps",
        (METACLOTH, "LD-Keep"): "updated detectors help meta-training",
    }
    for (first, second), why in pairs.items():
        for shots in (TABLE4_SHOTS, *((shot,) for shot in TABLE4_SHOTS)):
            comparison = records.paired(benchmark, first, second, shots)
            yield _row(
                "table 4",
                f"{first}'s error is below {second}'s: {why}",
                source,
                _where(benchmark, shots),
                _beside(records.ablation, benchmark, first, second, shots),
                **judged(first, {second: comparison}),
            )
    for model, fall in FALLS.items() if records.paper else ():
        yield _row(
            "table 4",
            f"MetaCloth's error is less than {model}'s by {fall:.1%}",
            "Table 4",
            _where(benchmark, TABLE4_SHOTS),
            f"{fall:.1%}",
            **relative_fall(
                records.error(benchmark, METACLOTH, TABLE4_SHOTS),
                records.error(benchmark, model, TABLE4_SHOTS),
                fall,
            ),
        )


def _shots(records: Records) -> Iterator[dict]:
    for learner in LEARNERS:
        for benchmark in records.benchmarks:
            errors = records.errors[benchmark][learner]
            steps = {
                f"{fewer} to {more} shots": paired(errors[more], errors[fewer])
                for fewer, more in pairwise(SHOTS)
            }
            row = judged("", steps)
            row["ours"] = _ends(learner, errors[SHOTS[0]].mean(), errors[SHOTS[-1]].mean())
            measured = row["verdict"] != NOT_MEASURED
            yield _row(
                "shots",
                f"{learner}'s error falls with every step in shots",
                "Table 2",
                f"{benchmark}, {row['rival'] if measured else f'{SHOTS[0]} to {SHOTS[-1]} shots'}",
                _papers_ends(records, benchmark, learner),
                **row,
            )


def _papers_ends(records: Records, benchmark: str, learner: str) -> str:
    """The paper's errors with the fewest and the most shots, and its steps without a fall."""
    if not records.paper:
        return ""
    paper = [records.paper[benchmark, learner, str(shot)] for shot in SHOTS]
    steps = zip(pairwise(SHOTS), pairwise(paper), strict=True)
    level = [f", level {fewer} to {more}" for (fewer, more), (a, b) in steps if b >= a]
    return _ends(learner, paper[0], paper[-1]) + "".join(level)


def _ends(learner: str, fewest: float, most: float) -> str:
    return f"{learner} {number(fewest)} at {SHOTS[0]} shot, {number(most)} at {SHOTS[-1]}"


def _benchmarks(records: Records) -> Iterator[dict]:
    said = [("B-1", "easiest", SCENARIOS, LEARNERS)]
    said += [(name, "hardest", AMONG[name], learners) for name, learners in HARDEST.items()]
    for benchmark, place, among, learners in said:
        for learner in learners:
            paper = {name: records.paper[name, learner, MEAN] for name in among}
            hardest = place == "hardest"
            if (max if hardest else min)(among, key=paper.get) != benchmark:
                continue  # MRN: .226 on B-1, .225 on B-3
            yield _extreme(
                "benchmarks",
                f"{benchmark} is the {place} of {among[0]} to {among[-1]} for {learner}",
                "Table 2, section 4.4.2",
                benchmark,
                {name: records.error(name, learner, SHOTS) for name in among},
                paper,
                hardest,
            )


def _categories(records: Records) -> Iterator[dict]:
    for benchmark in SCENARIOS:
        paper = records.by_category[benchmark]  # error by category and learner
        errors = {one: records.error(benchmark, one, (TABLE3_SHOTS,)) for one in LEARNERS}
        for name in paper.index[paper[METACLOTH] <= paper.min(axis=1)]:
            own = {one: _of(errors[one], [name]) for one in LEARNERS}
            rival = paper.loc[name, list(RIVALS)].idxmin()
            yield _row(
                "categories",
                LEAST,
                "Table 3, section 4.4.3",
                f"{benchmark}, {name}, {TABLE3_SHOTS} shots",
                _two(METACLOTH, paper.loc[name, METACLOTH], rival, paper.loc[name, rival]),
                **judged(METACLOTH, {one: paired(own[METACLOTH], own[one]) for one in RIVALS}),
            )


def _harder_categories(records: Records) -> Iterator[dict]:
    for benchmark, (told, harder) in HARDER.items():
        paper = records.by_category[benchmark]
        rest = [name for name in paper.index if name not in harder]
        for learner in RIVALS:
            errors = records.error(benchmark, learner, (TABLE3_SHOTS,))
            sides = apart(_of(errors, harder), _of(errors, rest))
            means = [paper.loc[list(names), learner].mean() for names in (harder, rest)]
            yield _row(
                "categories",
                f"{learner}'s error on {told} is above that on the other unseen categories",
                "Table 3, section 4.4.3",
                f"{benchmark}, {TABLE3_SHOTS} shots",
                _two(told, means[0], "others", means[1]),
                **judged(told, {"others": sides}, greater=True),
            )


def _of(errors: pd.Series, categories: Sequence[str]) -> pd.Series:
    return errors[errors.index.isin(categories, level="category")]


def _figure5(records: Records) -> Iterator[dict]:
    rows = records.episodes[records.episodes["benchmark"] == FIGURE5]
    seeds = rows.groupby("learner")["seed"].nunique()
    rows = rows[(rows["category"] == TROUSERS) & (rows["shots"] == TABLE3_SHOTS)]
    needed = episodes_needed(records.run, rows)
    for group in category(TROUSERS).groups:
        parts = rows.assign(part=[group_error(text, group) for text in rows["landmarks"]])
        errors = averaged(parts, ["learner"], "part", needed, seeds).reindex(columns=LEARNERS)
        against = {name: paired(errors[METACLOTH], errors[name]) for name in RIVALS}
        names = " and ".join(str(i + 1) for i in group)
        yield _row(
            "figure 5",
            f"{LEAST} on landmark{'s' * (len(group) > 1)} {names} of {TROUSERS}",
            "Figure 5, section 4.4.3",
            f"{FIGURE5}, {TROUSERS}, {TABLE3_SHOTS} shots",
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


def _figure6(records: Records) -> Iterator[dict]:
    told = {
        ("before_after", "Base-FEN"): "Tuning changes MetaCloth's features more than Base-FEN's",
        ("between", "LD-Keep"): "Tuned, MetaCloth's landmarks are further apart than LD-Keep's",
        ("between", "Base-FEN"): "Tuned, MetaCloth's landmarks are further apart than Base-FEN's",
    }
    rows = records.similarities
    if rows is None:
        rows = pd.DataFrame(columns=list(SIMILARITIES))
    rows = rows[
        (rows["benchmark"] == FIGURE6)
        & (rows["shots"] == TABLE3_SHOTS)
        & rows["model"].isin(SIMILARITY_MODELS)
    ]
    seeds = rows.groupby("model")["seed"].nunique()
    unseen = records.unseen(FIGURE6)
    episodes = rows.groupby("category")["episode"].nunique().max()
    places = {"": (rows, len(unseen) * episodes)} | {
        f"{name}, ": (rows[rows["category"] == name], episodes) for name in unseen
    }
    for (column, other), claim in told.items():
        for place, (part, needed) in places.items():
            means = averaged(part, ["model"], column, needed, seeds)
            means = means.reindex(columns=SIMILARITY_MODELS)
            against = {other: paired(means[METACLOTH], means[other])}
            yield _row(
                "figure 6",
                claim,
                f"Figure 6 ({'a' if column == 'before_after' else 'b'}), section 4.5.2",
                f"{FIGURE6}, {place}{TABLE3_SHOTS} shots",
                f"MetaCloth below {other}",
                **judged(METACLOTH, against),
            )


def _order(records: Records) -> Iterator[dict]:
    for benchmark in BENCHMARKS:
        errors = pd.concat([records.error(benchmark, name, SHOTS) for name in LEARNERS], axis=1)
        paper = [records.paper[benchmark, name, MEAN] for name in LEARNERS]
        yield _row(
            "order",
            "The nine learners stand in the paper's order",
            "Table 2",
            _where(benchmark, SHOTS),
            "1",
            **order_agreement(errors.dropna(), paper),
        )


# --------------------------------------------------------------------------------- texts


def _two(first: str, a: float, second: str, b: float) -> str:
    return f"{first} {number(a)}, {second} {number(b)}"


def _beside(numbers: Mapping, benchmark: str, first: str, second: str, shots: Sequence[int]) -> str:
    """The paper's numbers of two learners; empty where it has none."""
    pair = [numbers.get((benchmark, name, _column(shots))) for name in (first, second)]
    return "" if None in pair else _two(first, pair[0], second, pair[1])


def _column(shots: Sequence[int]) -> str:
    return MEAN if len(shots) > 1 else str(shots[0])


def _where(benchmark: str, shots: Sequence[int]) -> str:
    count = _column(shots)
    return f"{benchmark}, {count if count == MEAN else f'{count} shot' + 's' * (count != '1')}"
