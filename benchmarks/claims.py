"""The paper's claims, each with a verdict from stored per-episode errors: no training, no torch.

    python -m benchmarks.claims --results results/full

reads `episodes.csv.gz` and `run.json` there (and `similarities.csv`, if it is there) and writes
claims.csv and claims.md beside them: a pure function of the files, so the same records give the
same bytes.

An episode's error is first averaged over its learner's training seeds (and over the shots, for a
mean); then two learners are compared as `benchmarks.judging` says. What is said of one benchmark
against another is not paired, for they test other categories. Where there are several training
seeds, everything is also judged on each seed's records alone: "by_seed" has those differences,
seed by seed, and a verdict that any of them does not bear out is undecided. A cell that lacks any
episode, as a dash of the tables, is "not measured". No verdict is corrected for the number of
claims.

The benchmarks are those of the run. On others than the paper's, claims that rest on its numbers,
its categories, or one of its benchmarks against the rest do not apply and have no row.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.claims_page import COLUMNS, FIGURE5, MARGIN, TROUSERS, to_csv, to_markdown
from benchmarks.judging import (
    NOT_MEASURED,
    Estimate,
    borne_out,
    judged,
    number,
    order_agreement,
    paired,
    relative_fall,
    unpaired,
)
from benchmarks.reading import (
    SIMILARITIES,
    read_episodes,
    read_run,
    read_similarities,
    results_command,
    run_field,
)
from benchmarks.records import Records, averaged
from benchmarks.rendering import MEAN
from benchmarks.tables import LEARNERS, episodes_needed, seeds_said
from fewshot_landmarks.categories import category
from fewshot_landmarks.files import write_text
from fewshot_landmarks.protocol import (
    BENCHMARKS,
    SHOTS,
    TABLE3_SHOTS,
    TABLE4_BENCHMARK,
    TABLE4_SHOTS,
    ablated,
)
from fewshot_landmarks.scores import mean_interval

METACLOTH = "MetaCloth"
RIVALS = tuple(learner for learner in LEARNERS if learner != METACLOTH)
META_TRAINED = {"MAML": "FT", "PROTO-MA": "PROTO", "PAML": "MRN"}  # each beside its plain form
FALLS = {"Base-FEN": 0.139, "Base-FEN_M": 0.177, "LD-Keep": 0.097, "LD-Keep_M": 0.218}
HARDEST = {"B-2": ("WG", "WG-ATT", "MRN", "PROTO", "PROTO-MA", "PAML"), "B-3": ("FT", "MAML")}
AMONG = {"B-2": ("B-1", "B-2", "B-3"), "B-3": tuple(BENCHMARKS)}  # which the paper compares
FIGURE6 = TABLE4_BENCHMARK
SIMILARITY_MODELS = (METACLOTH, "Base-FEN", "LD-Keep")


# -------------------------------------------------------------------------------- claims


def claims(episodes: pd.DataFrame, run: dict, similarities: pd.DataFrame | None) -> pd.DataFrame:
    """The claims with their verdicts, a row each; `attrs` say what made them."""
    records = Records.of(episodes, similarities, run)
    rows = _judged(records)
    seeds = sorted(records.episodes["seed"].unique())
    if len(seeds) > 1:
        alone = [_judged(Records.of(*_of(seed, episodes, similarities), run)) for seed in seeds]
        rows = [_by_seed(*row) for row in zip(rows, *alone, strict=True)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame.attrs = {
        "benchmarks": records.benchmarks,
        "made": _made(records),
        "failed": _failed(records.episodes),
    }
    return frame


def _judged(records: Records) -> list[dict]:
    """Every claim that applies, in one order whatever the records."""
    groups = [_first_place, _pairs, _weights, _table4, _shots]
    if records.paper:
        groups += [_hardest, _figure5, _figure6, _order]
    return [row for group in groups for row in group(records)]


def _of(
    seed: int, episodes: pd.DataFrame, similarities: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The records of one training seed."""
    own = None if similarities is None else similarities[similarities["seed"] == seed]
    return episodes[episodes["seed"] == seed], own


def _by_seed(row: dict, *alone: dict) -> dict:
    """A row with each seed's own difference, and the verdict that every one of them bears out."""
    if row["verdict"] == NOT_MEASURED:
        return row
    return row | {
        "by_seed": " ".join(f"{round(one['difference'], 5) + 0.0:.5f}" for one in alone),
        "verdict": borne_out(row["verdict"], [one["verdict"] for one in alone]),
    }


def _row(group: str, claim: str, source: str, where: str, paper: str, **judgement) -> dict:
    """A row of the frame; without numbers where the judgement is that it was not measured."""
    row = {"group": group, "claim": claim, "source": source, "where": where, "paper": paper}
    if judgement["verdict"] == NOT_MEASURED:
        judgement |= {"ours": "", "difference": math.nan, "ci95": math.nan, "episodes": 0}
    return row | {"by_seed": ""} | judgement


def _first_place(records: Records) -> Iterator[dict]:
    claim = "MetaCloth has the least error of the nine learners"
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
                claim,
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
        gaps = {b: _gap(records, b, learner) for b in BENCHMARKS}
        paper = {
            b: records.paper[b, learner, MEAN] - records.paper[b, METACLOTH, MEAN]
            for b in BENCHMARKS
        }
        claim = f"{learner} lags furthest behind MetaCloth on B-2"
        yield _greatest("weights", claim, "Table 2, section 4.4.1", "B-2", gaps, paper)


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


def _gap(records: Records, benchmark: str, learner: str) -> Estimate:
    gap = records.paired(benchmark, learner, METACLOTH)
    return Estimate(gap.difference, gap.ci95, gap.episodes)


def _greatest(
    group: str,
    claim: str,
    source: str,
    benchmark: str,
    ours: Mapping[str, Estimate],
    paper: Mapping[str, float],
    among: Sequence[str] = tuple(BENCHMARKS),
) -> dict:
    """The row of one benchmark's value above every other's, of those in `among`."""
    others = [name for name in among if name != benchmark]
    second = max(others, key=paper.get)
    against = {name: unpaired(ours[benchmark], ours[name]) for name in others}
    return _row(
        group,
        claim,
        source,
        _where(benchmark, SHOTS),
        _two(benchmark, paper[benchmark], second, paper[second]),
        **judged(benchmark, against, greater=True),
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
            weakest = max(steps, key=lambda step: steps[step].difference)
            row["ours"] = _ends(learner, errors[SHOTS[0]].mean(), errors[SHOTS[-1]].mean())
            measured = row["verdict"] != NOT_MEASURED
            yield _row(
                "shots",
                f"{learner}'s error falls with every step in shots",
                "Table 2",
                f"{benchmark}, {weakest if measured else f'{SHOTS[0]} to {SHOTS[-1]} shots'}",
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


def _hardest(records: Records) -> Iterator[dict]:
    for benchmark, learners in HARDEST.items():
        for learner in learners:
            ours = {}
            for name in BENCHMARKS:
                errors = records.error(name, learner, SHOTS).dropna()
                ours[name] = Estimate(*mean_interval(errors), len(errors))
            paper = {name: records.paper[name, learner, MEAN] for name in BENCHMARKS}
            among = AMONG[benchmark]
            claim = f"{benchmark} is the hardest of {among[0]} to {among[-1]} for {learner}"
            source = "Table 2, section 4.4.2"
            yield _greatest("hardest", claim, source, benchmark, ours, paper, among)


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
            f"MetaCloth has the least error of the nine learners on "
            f"landmark{'s' * (len(group) > 1)} {names} of {TROUSERS}",
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
            **order_agreement(errors.dropna().to_numpy(dtype=np.float64), paper),
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


def _made(records: Records) -> str:
    """What made the records, as the tables' captions say it."""
    run = records.run
    return (
        f"Data: {run_field(run, 'data', 'name', default='unknown')}, difficulty "
        f"{run_field(run, 'data', 'difficulty', default='unknown')}, fingerprint "
        f"{str(run_field(run, 'data', 'fingerprint', default='unknown'))[:12]}; preset "
        f"{run['preset']}; {run_field(run, 'plan', 'episodes', default='an unknown number of')} "
        f"episodes a category; training seeds {seeds_said(records.episodes)}; version "
        f"{run_field(run, 'version', default='unknown')}."
    )


def _failed(episodes: pd.DataFrame) -> str:
    """Which learners failed in some episodes; empty where none did."""
    failed = episodes[(episodes["scored"] > 0) & episodes["ne"].isna()]
    counts = failed.groupby(["benchmark", "learner"]).size()
    if counts.empty:
        return ""
    listed = ", ".join(f"{name} on {benchmark} ({n})" for (benchmark, name), n in counts.items())
    return (
        "Dropped from the pairs, which flatters the learner: records without a finite error "
        f"although there was something to score, of {listed}."
    )


# --------------------------------------------------------------------------------- files

RENDERERS: dict[str, Callable[[pd.DataFrame], str]] = {"csv": to_csv, "md": to_markdown}


def write_claims(directory: str | Path) -> pd.DataFrame:
    """Writes claims.csv and claims.md into a results directory; returns the claims."""
    frame = claims(read_episodes(directory), read_run(directory), read_similarities(directory))
    texts = {ending: render(frame) for ending, render in RENDERERS.items()}
    for ending, text in texts.items():
        write_text(Path(directory) / f"claims.{ending}", text)
    return frame


def _show(directory: Path) -> None:
    print(to_markdown(write_claims(directory)), end="")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the claims and prints them; 2 for a mistake that a user can mend."""
    return results_command(_show, "The paper's claims, judged by stored errors.", "full", arguments)


if __name__ == "__main__":
    sys.exit(main())
