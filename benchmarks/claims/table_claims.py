"""What the paper claims of its Tables 2, 3 and 4, each claim as rows with a verdict."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import pandas as pd

from benchmarks.claims.records import Records
from benchmarks.claims.rows import LEAST, beside, column, row, two, where
from benchmarks.claims.statistics import (
    MARGIN,
    NOT_MEASURED,
    apart,
    judged,
    number,
    order_agreement,
    paired,
    relative_fall,
)
from benchmarks.paper.facts import (
    AMONG,
    EASIEST,
    FALLS,
    HARDER,
    HARDEST,
    MEAN,
    META_TRAINED,
    METACLOTH,
    RIVALS,
    SCENARIOS,
    TABLE3_SHOTS,
    TABLE4_SHOTS,
    ablated,
)
from fewshot_landmarks.protocol import BENCHMARKS, LEARNERS, SHOTS


def first_place(records: Records) -> Iterator[dict]:
    for shots in (SHOTS, *((shot,) for shot in SHOTS)):
        for benchmark in records.benchmarks:
            key = column(shots)
            paper = {name: records.paper.get((benchmark, name, key), math.nan) for name in LEARNERS}
            if paper[METACLOTH] > min(paper.values()):
                continue
            rival = min(RIVALS, key=paper.__getitem__)
            against = {name: records.paired(benchmark, METACLOTH, name, shots) for name in RIVALS}
            yield row(
                "first place",
                LEAST,
                "Table 2, section 4.4.1",
                where(benchmark, shots),
                beside(records.paper, benchmark, METACLOTH, rival, shots),
                **judged(METACLOTH, against),
            )


def pairs(records: Records) -> Iterator[dict]:
    for first, second in META_TRAINED.items():
        for benchmark in records.benchmarks:
            claim = f"{first}'s error is below {second}'s"
            yield _table2_row(records, "pairs", claim, benchmark, first, second)


def weights(records: Records) -> Iterator[dict]:
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
    return row(
        group,
        claim,
        "Table 2, section 4.4.1",
        where(benchmark, SHOTS),
        beside(records.paper, benchmark, first, second, SHOTS),
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
    second = (max if greatest else min)(others, key=paper.__getitem__)
    against = {name: apart(ours[benchmark], ours[name]) for name in others}
    return row(
        group,
        claim,
        source,
        where(benchmark, SHOTS),
        two(benchmark, paper[benchmark], second, paper[second]),
        **judged(benchmark, against, greater=greatest),
    )


def table4(records: Records) -> Iterator[dict]:
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
            yield row(
                "table 4",
                f"{first}'s error is below {second}'s: {why}",
                source,
                where(benchmark, shots),
                beside(records.ablation, benchmark, first, second, shots),
                **judged(first, {second: comparison}),
            )
    for model, fall in FALLS.items() if records.paper else ():
        yield row(
            "table 4",
            f"MetaCloth's error is less than {model}'s by {fall:.1%}",
            "Table 4",
            where(benchmark, TABLE4_SHOTS),
            f"{fall:.1%}",
            **relative_fall(
                records.error(benchmark, METACLOTH, TABLE4_SHOTS),
                records.error(benchmark, model, TABLE4_SHOTS),
                fall,
            ),
        )


def shots(records: Records) -> Iterator[dict]:
    for learner in LEARNERS:
        for benchmark in records.benchmarks:
            errors = records.errors[benchmark][learner]
            steps = {
                f"{fewer} to {more} shots": paired(errors[more], errors[fewer])
                for fewer, more in pairwise(SHOTS)
            }
            weakest = judged("", steps)
            weakest["ours"] = _ends(learner, errors[SHOTS[0]].mean(), errors[SHOTS[-1]].mean())
            step = f"{SHOTS[0]} to {SHOTS[-1]} shots"
            if weakest["verdict"] != NOT_MEASURED:
                step = weakest["rival"]
            yield row(
                "shots",
                f"{learner}'s error falls with every step in shots",
                "Table 2",
                f"{benchmark}, {step}",
                _papers_ends(records, benchmark, learner),
                **weakest,
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


def benchmarks(records: Records) -> Iterator[dict]:
    said: list[tuple] = [(EASIEST, "easiest", SCENARIOS, LEARNERS)]
    said += [(name, "hardest", AMONG[name], learners) for name, learners in HARDEST.items()]
    for benchmark, place, among, learners in said:
        for learner in learners:
            paper = {name: records.paper[name, learner, MEAN] for name in among}
            hardest = place == "hardest"
            if (max if hardest else min)(among, key=paper.__getitem__) != benchmark:
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


def categories(records: Records) -> Iterator[dict]:
    for benchmark in SCENARIOS:
        paper = records.by_category[benchmark]  # error by category and learner
        errors = {one: records.error(benchmark, one, (TABLE3_SHOTS,)) for one in LEARNERS}
        for name in paper.index[paper[METACLOTH] <= paper.min(axis=1)]:
            own = {one: _of(errors[one], [name]) for one in LEARNERS}
            rival = paper.loc[name, list(RIVALS)].idxmin()
            yield row(
                "categories",
                LEAST,
                "Table 3, section 4.4.3",
                f"{benchmark}, {name}, {TABLE3_SHOTS} shots",
                two(METACLOTH, paper.loc[name, METACLOTH], rival, paper.loc[name, rival]),
                **judged(METACLOTH, {one: paired(own[METACLOTH], own[one]) for one in RIVALS}),
            )


def harder_categories(records: Records) -> Iterator[dict]:
    for benchmark, (told, harder) in HARDER.items():
        paper = records.by_category[benchmark]
        rest = [name for name in paper.index if name not in harder]
        for learner in RIVALS:
            errors = records.error(benchmark, learner, (TABLE3_SHOTS,))
            sides = apart(_of(errors, harder), _of(errors, rest))
            means = [paper.loc[list(names), learner].mean() for names in (harder, rest)]
            yield row(
                "categories",
                f"{learner}'s error on {told} is above that on the other unseen categories",
                "Table 3, section 4.4.3",
                f"{benchmark}, {TABLE3_SHOTS} shots",
                two(told, means[0], "others", means[1]),
                **judged(told, {"others": sides}, greater=True),
            )


def _of(errors: pd.Series, categories: Sequence[str]) -> pd.Series:
    return errors[errors.index.isin(categories, level="category")]


def order(records: Records) -> Iterator[dict]:
    for benchmark in BENCHMARKS:
        errors = pd.concat([records.error(benchmark, name, SHOTS) for name in LEARNERS], axis=1)
        paper = [records.paper[benchmark, name, MEAN] for name in LEARNERS]
        yield row(
            "order",
            "The nine learners stand in the paper's order",
            "Table 2",
            where(benchmark, SHOTS),
            "1",
            **order_agreement(errors.dropna(), paper),
        )
