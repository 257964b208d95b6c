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

import csv
import io
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.judging import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    RANK_BAR,
    UNDECIDED,
    VERDICTS,
    Comparison,
    Estimate,
    borne_out,
    judged,
    number,
    order_agreement,
    paired,
    relative_fall,
    unpaired,
)
from benchmarks.rendering import MEAN, pipes
from benchmarks.tables import (
    ABLATIONS,
    LEARNERS,
    episodes_needed,
    read_episodes,
    read_run,
    results_command,
    run_field,
    seeds_said,
    titles,
    unseen_categories,
)
from fewshot_landmarks.categories import category
from fewshot_landmarks.errors import UserError
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

MARGIN = 0.002  # of non-inferiority: how much more error is still "no worse"

METACLOTH = "MetaCloth"
RIVALS = tuple(learner for learner in LEARNERS if learner != METACLOTH)
META_TRAINED = {"MAML": "FT", "PROTO-MA": "PROTO", "PAML": "MRN"}  # each beside its plain form
FALLS = {"Base-FEN": 0.139, "Base-FEN_M": 0.177, "LD-Keep": 0.097, "LD-Keep_M": 0.218}
HARDEST = {"B-2": ("WG", "WG-ATT", "MRN", "PROTO", "PROTO-MA", "PAML"), "B-3": ("FT", "MAML")}
AMONG = {"B-2": ("B-1", "B-2", "B-3"), "B-3": tuple(BENCHMARKS)}  # which the paper compares
FIGURE5 = FIGURE6 = TABLE4_BENCHMARK
TROUSERS = "trousers"
SIMILARITIES = ("benchmark", "model", "seed", "category", "episode", "shots")  # one row each
SIMILARITY_MODELS = (METACLOTH, "Base-FEN", "LD-Keep")
COLUMNS = (
    "group",
    "claim",
    "source",
    "where",
    "paper",
    "ours",
    "difference",
    "ci95",
    "by_seed",
    "episodes",
    "verdict",
)
GROUPS = {  # what is said of each: first what holds of any benchmarks, then of the paper's alone
    "first place": (
        "MetaCloth against the other eight learners; the row shows the strongest.",
        "By shots only where the paper's own table has MetaCloth least, ties included.",
    ),
    "pairs": (
        "Learners that train the initialisation on many tasks, against their plain forms.",
        "",
    ),
    "weights": ("Detectors generated from features.", "For a gap, above 0 is as claimed."),
    "table 4": (
        f"The ablation on {{ablated}}; a mean is over {TABLE4_SHOTS[0]} to {TABLE4_SHOTS[-1]} "
        "shots.",
        "A fall's difference is a fraction.",
    ),
    "shots": (
        "Each step from one number of shots to the next, more minus fewer; shown is the weakest "
        "step.",
        "",
    ),
    "hardest": (
        "",
        "Not paired. Above 0 is as claimed; the row shows the hardest other benchmark.",
    ),
    "figure 5": (
        "",
        f"{TROUSERS.capitalize()} of {FIGURE5}, {TABLE3_SHOTS} shots, a row a group of "
        "landmarks, numbered from 1; landmarks that mirror each other are averaged. The paper "
        "says that 14 landmarks become 9; by the data set's definitions they become 8.",
    ),
    "figure 6": (
        "",
        "Cosine similarity of landmark features, before and after tuning (a) and between "
        "different landmarks (b). The paper draws bars and gives no numbers.",
    ),
    "order": (
        "",
        "Spearman's correlation of nine learners' mean errors with the paper's, with a bootstrap "
        f"interval. The bar is {RANK_BAR:g}.",
    ),
}
OTHERS = (
    "The benchmarks are not the paper's: claims that rest on its numbers, its categories, or one "
    "of its benchmarks against the rest do not apply and are left out."
)


def papers(benchmarks: Sequence[str]) -> bool:
    """Whether these are the paper's benchmarks, to which its numbers apply."""
    return list(benchmarks) == list(BENCHMARKS)


def about(group: str, benchmarks: Sequence[str]) -> str:
    """What is said of a group of claims on these benchmarks; empty for an unknown group."""
    always, of_the_paper = GROUPS.get(group, ("", ""))
    said = [always.format(ablated=ablated(benchmarks)), of_the_paper * papers(benchmarks)]
    return " ".join(filter(None, said))


# ------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class Records:
    """What the claims are judged by."""

    episodes: pd.DataFrame
    run: dict
    similarities: pd.DataFrame | None
    benchmarks: tuple[str, ...]
    errors: Mapping[str, Mapping[str, pd.DataFrame]]  # of a benchmark, a learner: by shots
    paper: Mapping[tuple[str, str, str], float]  # by benchmark, learner, shots or "mean"; or empty
    ablation: Mapping[tuple[str, str, str], float]  # the same of Table 4

    def error(self, benchmark: str, learner: str, shots: Sequence[int]) -> pd.Series:
        """Each episode's mean over the shots: NaN where any of them is."""
        return self.errors[benchmark][learner][list(shots)].mean(axis=1, skipna=False)

    def paired(
        self, benchmark: str, first: str, second: str, shots: Sequence[int] = SHOTS
    ) -> Comparison:
        return paired(self.error(benchmark, first, shots), self.error(benchmark, second, shots))

    def unseen(self, benchmark: str) -> tuple[str, ...]:
        rows = self.episodes[self.episodes["benchmark"] == benchmark]
        return unseen_categories(self.run, benchmark, rows)


def _records(episodes: pd.DataFrame, similarities: pd.DataFrame | None, run: dict) -> Records:
    episodes = episodes[episodes["learner"].isin(LEARNERS + ABLATIONS)]
    episodes = episodes.assign(ne=episodes["ne"].where(np.isfinite(episodes["ne"])))
    cells = pd.MultiIndex.from_product([LEARNERS + ABLATIONS, SHOTS])
    benchmarks, errors = tuple(titles(run)), {}
    for benchmark in benchmarks:
        rows = episodes[episodes["benchmark"] == benchmark]
        needed = episodes_needed(run, rows) * len(unseen_categories(run, benchmark, rows))
        seeds = rows.groupby("learner")["seed"].nunique()
        found = averaged(rows, ["learner", "shots"], "ne", needed, seeds)
        found = found.reindex(columns=cells)
        errors[benchmark] = {learner: found[learner] for learner in LEARNERS + ABLATIONS}
    numbers = [_paper(table) if papers(benchmarks) else {} for table in (2, 4)]
    return Records(episodes, run, similarities, benchmarks, errors, *numbers)


def averaged(
    rows: pd.DataFrame, keys: Sequence[str], value: str, needed: int, seeds: pd.Series
) -> pd.DataFrame:
    """Each episode's value averaged over training seeds, a column for each value of the keys.

    A column that lacks any of the `needed` episodes in any of its learner's seeds (`seeds` is
    how many; the first key is the learner) is left out. NaN in one seed is NaN in the average.
    """
    grouped = rows.groupby([*keys, "category", "episode"])[value]
    means = grouped.mean().where(grouped.count() == grouped.size())
    columns = rows.groupby(list(keys)).size().to_frame("rows")
    columns["episodes"] = means.groupby(level=list(keys)).size()
    wanted = needed * columns.index.get_level_values(0).map(seeds)
    whole = columns.index[(columns["episodes"] == needed) & (columns["rows"] == wanted)]
    return means.unstack(list(keys)).reindex(columns=whole)


def _paper(number: int) -> dict[tuple[str, str, str], float]:
    path = Path(__file__).with_name("paper") / f"table{number}.csv"
    rows = pd.read_csv(path, dtype={"shots": str})
    learners = rows["learner" if number == 2 else "model"]
    columns = zip(rows["benchmark"], learners, rows["shots"], rows["ne"], strict=True)
    return {tuple(key): ne for *key, ne in columns}


# -------------------------------------------------------------------------------- claims


def claims(episodes: pd.DataFrame, run: dict, similarities: pd.DataFrame | None) -> pd.DataFrame:
    """The claims with their verdicts, a row each; `attrs` say what made them."""
    records = _records(episodes, similarities, run)
    rows = _judged(records)
    seeds = sorted(records.episodes["seed"].unique())
    if len(seeds) > 1:
        alone = [_judged(_records(*_of(seed, episodes, similarities), run)) for seed in seeds]
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
        rows = pd.DataFrame(columns=[*SIMILARITIES, "before_after", "between"])
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


def to_csv(frame: pd.DataFrame) -> str:
    """The frame with five decimals; empty where it has no number."""

    def text(value: float) -> str:
        return "" if math.isnan(value) else f"{round(value, 5) + 0.0:.5f}"

    rows = frame.assign(difference=frame["difference"].map(text), ci95=frame["ci95"].map(text))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows[list(COLUMNS)].itertuples(index=False))
    return lines.getvalue()


def to_markdown(frame: pd.DataFrame) -> str:
    """The counts of verdicts, how they are made, and a table a group."""
    benchmarks = frame.attrs["benchmarks"]
    fall = "A relative fall must be surely above 0 and its interval reach the paper's figure. "
    parts = [
        "# The paper's claims",
        f"{len(frame)} claims: {_counts(frame)}.",
        "" if papers(benchmarks) else OTHERS,
        frame.attrs.get("made", ""),
        frame.attrs.get("failed", ""),
        "How verdicts are made: two learners are compared on the same episodes, each episode "
        "averaged over its learner's training seeds. The difference is the first minus the "
        "second, ± 1.96 standard errors over episodes. A claim that the first is below the second "
        f"{HOLDS} if the whole interval is below 0 (no worse than the second: below "
        f"{number(MARGIN)}), {FAILS} if the whole of it is above that, and is {UNDECIDED} else; "
        "against several others it must hold against each, and one that is surely better refutes "
        f"it. {fall * papers(benchmarks)}"
        "Intervals are over episodes, not over trainings: where there are several training seeds, "
        f"a verdict that any of them does not bear out by itself is {UNDECIDED}. No verdict is "
        f"corrected for their number. {NOT_MEASURED.capitalize()}: missing, or not in full.",
        pipes(
            [
                ["group", *VERDICTS],
                *(
                    [group, *(str((rows["verdict"] == one).sum()) for one in VERDICTS)]
                    for group, rows in frame.groupby("group", sort=False)
                ),
            ]
        ),
    ]
    for group, rows in frame.groupby("group", sort=False):
        sources = "; ".join(dict.fromkeys(rows["source"]))
        text = _steps if group == "shots" else _table
        said = f"{about(group, benchmarks)} Source: {sources}."
        parts += [f"## {group.capitalize()}", said, text(rows)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _counts(frame: pd.DataFrame) -> str:
    texts = ("hold", "don't", "are undecided", "were not measured")
    counts = [(frame["verdict"] == one).sum() for one in VERDICTS]
    return ", ".join(f"{n} {text}" for n, text in zip(counts, texts, strict=True))


def _table(rows: pd.DataFrame) -> str:
    heads = ("claim", "where", "paper", "ours", "difference", "each seed", "episodes", "verdict")
    lines = [
        [r.claim, r.where, r.paper, r.ours or "—", _difference(r), each_seed(r.by_seed)]
        + [str(r.episodes), r.verdict]
        for r in rows.itertuples()
    ]
    table = pd.DataFrame(lines, columns=list(heads))
    table = table.drop(columns=[one for one in ("paper", "each seed") if not table[one].any()])
    return pipes([list(table), *table.to_numpy().tolist()])


def _steps(rows: pd.DataFrame) -> str:
    """A line a claim and a column a benchmark: the verdict and the weakest step."""
    cells: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        benchmark, _, step = row.where.rpartition(", ")
        shown = "" if row.verdict == NOT_MEASURED else f", {step} {_difference(row)}"
        cells.setdefault(row.claim, {})[benchmark] = row.verdict + shown
    names = list(next(iter(cells.values())))
    lines = [[claim, *(line[name] for name in names)] for claim, line in cells.items()]
    return pipes([["claim", *names], *lines])


def each_seed(by_seed: str) -> str:
    """The differences of each training seed, as text."""
    return ", ".join(number(float(difference)) for difference in by_seed.split())


def _difference(row) -> str:
    if math.isnan(row.difference):
        return "—"
    text = number(row.difference)
    return text if math.isnan(row.ci95) else f"{text} ± {number(row.ci95)}"


# --------------------------------------------------------------------------------- files

RENDERERS: dict[str, Callable[[pd.DataFrame], str]] = {"csv": to_csv, "md": to_markdown}


def read_similarities(directory: str | Path) -> pd.DataFrame | None:
    """The similarities of landmark features in a results directory; None where there are none."""
    path = Path(directory) / "similarities.csv"
    if not path.is_file():
        return None
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read, make it again: {why}") from error
    if absent := [c for c in (*SIMILARITIES, "before_after", "between") if c not in frame]:
        raise UserError(f"{path} lacks the columns {', '.join(absent)}")
    if (twice := frame.duplicated(list(SIMILARITIES))).any():
        row = ", ".join(map(str, frame.loc[twice, list(SIMILARITIES)].iloc[0]))
        raise UserError(f"{path} has more than one row for {row}")
    return frame


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
