"""The report: one self-contained HTML page of what a results directory holds, without torch.

    python -m benchmarks.report --preset full

reads the records (`episodes.csv.gz`, `run.json`) and, where they are, the files that other commands
left beside them, and writes `report.html` there: a pure function of those files, so the same files
give the same bytes. What is absent is named, with the command that makes it. `report.html.jinja`
is the page; here is what it shows.
"""

import base64
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks import tried, trust
from benchmarks.claims import OTHERS, about, papers
from benchmarks.rendering import MEAN, Block, Cell, Table
from benchmarks.tables import (
    ABLATIONS,
    LEARNERS,
    read_episodes,
    read_run,
    results_command,
    run_field,
    table2,
    table3,
    table4,
    titles,
)
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.files import write_text
from fewshot_landmarks.scores import mean_interval

DASH = "—"
FEW = "5"  # photos of the engineer who asks which learner to use
TRUST = "figure_trust.png"  # has a section of its own
LONG = 12  # rows of a group of claims that is folded away
SOURCES = {  # what makes each optional file, in DIR, the page's folder, which no record names
    "claims.csv": "python -m benchmarks.claims --results DIR",
    tried.FILE: "python -m benchmarks.tune --preset {preset} --out DIR",
    "costs.csv": "python -m benchmarks.run --all --preset {preset} --out DIR",
    "adequacy.csv": "python -m benchmarks.adequacy --preset {preset} --out DIR",
    "horizon.csv": "python -m benchmarks.horizon --preset {preset} --out DIR",
    trust.FILE: "python -m benchmarks.export --preset {preset} --out DIR",
    "figure": "python -m benchmarks.figures --results DIR",
    "seed": "python -m benchmarks.run --all --preset {preset} --seed 1 --out DIR",
}
FILES = {  # the columns of each
    "claims.csv": "group claim where paper ours difference ci95 by_seed episodes verdict",
    tried.FILE: " ".join(tried.COLUMNS),
    "costs.csv": "stage benchmark name seed seconds peak_mib",
    "adequacy.csv": "measure benchmark categories shots value ci95 episodes",
    "horizon.csv": "benchmark learner tasks error",
    trust.FILE: " ".join(trust.COLUMNS),
}
TONES = {"holds": "good", "doesn't": "bad", "not measured": "none"}  # other verdicts are open
MARKS = {"good": "✓", "bad": "✗", "open": "?", "none": "–"}
CAPTIONS = {  # of each figure: its title, and what is plotted
    "figure4.png": (
        "The paper's figure 4: heatmaps",
        "MetaCloth's heatmaps of one garment of a category, by the model of each benchmark in "
        "which that category is unseen, 8 shots; below, predicted and true landmarks.",
    ),
    "figure5.png": (
        "The paper's figure 5: landmarks of trousers",
        "Mean NE (no unit) of each landmark of trousers on B-2 at 8 shots, mirror images averaged, "
        "by learner; bars are 95% intervals over episodes.",
    ),
    "figure6.png": (
        "The paper's figure 6: features before and after tuning",
        "Mean cosine similarity (no unit) of landmark features on B-2, by category: (a) of the "
        "same landmark before and after tuning, (b) of different landmarks after it; bars are 95% "
        "intervals over episodes.",
    ),
    "figure_shots.png": (
        "Error against shots",
        "Mean NE (no unit) over a benchmark's episodes against the number of annotated photos, a "
        "line a learner, ours above and the paper's below; bars are 95% intervals over episodes.",
    ),
    "figure_curves.png": (
        "Learning curves",
        "Training loss against the step of training, a panel a learner and a line a benchmark: "
        "means over training seeds, smoothed, without intervals. Each learner has its own loss, "
        "so heights do not compare across panels.",
    ),
    TRUST: (
        "Share of landmarks found against their score",
        "Landmarks of unseen categories in ten bins of equal width, a panel a learner and a line a "
        "benchmark: mean score across, share found upwards, a marker's area the share of landmarks "
        "in its bin, without intervals. On the dotted line a score is what it says; below it, it "
        "promises too much. A landmark that is not there counts as not found.",
    ),
}
OF_THE_PAPER = ("figure4.png", "figure5.png", "figure6.png")  # of its benchmarks alone
BESIDE = ", ours above and the paper's below"  # of a caption, where the paper has numbers


@dataclass(frozen=True)
class Sheet:
    """A table of ready texts; the first column heads the rows, those of `words` are no numbers."""

    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """A cell of the paper's tables: our number above the paper's, as printed."""

    ours: str
    ci95: str
    best: bool
    paper: str  # empty for a benchmark that is not the paper's
    paper_ci95: str
    paper_best: bool
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """A benchmark's block of one of the paper's tables."""

    name: str
    columns: tuple[str, ...]
    rows: list[tuple[str, list[Shown]]]
    rank: str  # Spearman's correlation of the learners' order with the paper's, if it has one
    learners: int  # that it is over


# ------------------------------------------------------------------------------- reading


def read_optional(directory: str | Path, name: str) -> pd.DataFrame | None:
    """A file that another command leaves in a results directory, as texts; None if absent."""
    path = Path(directory) / name
    if not path.is_file():
        return None
    module = " ".join(SOURCES[name].split()[:3])
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read, run {module} again: {why}") from error
    if lacking := [column for column in FILES[name].split() if column not in frame]:
        raise UserError(f"{path} lacks the columns {', '.join(lacking)}: run {module} again")
    return frame


def absent(name: str, run: Mapping) -> str:
    """The command that makes an optional file."""
    command = SOURCES[name].format(preset=run["preset"])
    works = "--preset" in command  # and needs the data
    real = run_field(run, "data", "difficulty") == "real"
    return command + " --data DATA" * (works and real)


def _number(text: object) -> float:
    """A text as a number, NaN where it is none."""
    try:
        return float(str(text))
    except ValueError:
        return math.nan


def _numbers(column: pd.Series) -> pd.Series:
    return column.map(_number).astype(float)


# ----------------------------------------------------------------------------- printing


def fixed(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number with that many decimals and a true minus; a dash where there is none."""
    if not math.isfinite(value):
        return DASH
    value = round(value, digits) + 0.0  # no negative zero
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def interval(value: float, ci95: float, sign: bool = False) -> str:
    """A number and the half-width of its interval, if it has one."""
    text = fixed(value, sign=sign)
    return text if DASH in (text, fixed(ci95)) else f"{text} ± {fixed(ci95)}"


def either(text: str, sign: bool = False) -> str:
    """A CSV field: three decimals if it is a number with a point, else as it stands."""
    number = _number(text)
    if not text or math.isnan(number):
        return DASH if text.lower() in ("", "nan") else text
    return text if text.lstrip("-").isdigit() else fixed(number, sign=sign)


def _ordered(learners: Iterable[str]) -> list[str]:
    """Learners as the tables order them: the nine, the ablations, others by name."""
    found, usual = set(learners), LEARNERS + ABLATIONS
    return [name for name in usual if name in found] + sorted(found - set(usual))


# --------------------------------------------------------------------------- the tables


def grid(block: Block) -> Grid:
    """A block with the paper's numbers in the same cells, the best as printed marked in each."""
    learners = [*block.rows, *(name for name in block.paper if name not in block.rows)]
    nothing = (Cell(),) * len(block.columns)
    ours = [block.rows.get(name, nothing) for name in learners]
    paper = [block.paper.get(name, nothing) for name in learners]
    lowest = [_lowest(column) for column in zip(*ours, strict=True)]
    paper_lowest = [_lowest(column) for column in zip(*paper, strict=True)]
    rows = [
        (name, list(map(_shown, mine, theirs, lowest, paper_lowest)))
        for name, mine, theirs in zip(learners, ours, paper, strict=True)
    ]
    rank, count = block.rank_correlation()
    heads = tuple("Mean" if column == MEAN else column for column in block.columns)
    if not block.paper:
        rows = [(name, [replace(cell, paper="") for cell in cells]) for name, cells in rows]
    return Grid(block.benchmark, heads, rows, fixed(rank, 2) if block.paper else "", count)


def _lowest(cells: Iterable[Cell]) -> str:
    return min((fixed(cell.ne) for cell in cells if cell.episodes), key=float, default="")


def _shown(mine: Cell, theirs: Cell, lowest: str, paper_lowest: str) -> Shown:
    ours, paper = fixed(mine.ne), fixed(theirs.ne)
    return Shown(
        ours,
        "" if math.isnan(mine.ci95) else fixed(mine.ci95),
        ours == lowest,
        paper,
        "" if math.isnan(theirs.ci95) else fixed(theirs.ci95),
        paper == paper_lowest,
        mine.note,
    )


def overall(table: Table) -> Grid:
    """The Mean column of every benchmark side by side: who is best where, here and there."""
    blocks = [grid(block) for block in table.blocks]
    names = list(dict.fromkeys(name for block in blocks for name, _ in block.rows))
    last = [{name: cells[-1] for name, cells in block.rows} for block in blocks]
    return Grid(
        "overall",
        tuple(block.name for block in blocks),
        [(name, [cells[name] for cells in last]) for name in names],
        "",
        0,
    )


def few_photos(table: Table, episodes: pd.DataFrame, costs: pd.DataFrame) -> Sheet:
    """Every learner with five photos, best mean first, and which of them a benchmark's best beats.

    ≈ is the lowest of a column, and those whose paired difference from it has an interval that
    reaches zero.
    """
    measured = {block.benchmark: _column(block, FEW) for block in table.blocks}
    measured = {name: cells for name, cells in measured.items() if cells}
    ties = {name: _ties(cells, episodes, name) for name, cells in measured.items()}
    speed = per_episode(costs, episodes)
    lines = []
    for learner in {name for cells in measured.values() for name in cells}:
        values = [cells.get(learner, math.nan) for cells in measured.values()]
        texts = [
            fixed(value) + " ≈" * (learner in ties[name])
            for name, value in zip(measured, values, strict=True)
        ]
        mean = float(np.mean(values))
        key = (math.inf if math.isnan(mean) else mean, learner)
        ms = fixed(speed.get(learner, math.nan), 0)
        lines.append((key, (learner, fixed(mean), *texts, ms)))
    heads = ("learner", "mean", *measured, "ms an episode")
    return Sheet(heads, [line for _, line in sorted(lines)])


def _column(block: Block, column: str) -> dict[str, float]:
    """A column's means by learner, of the learners that have it whole."""
    if column not in block.columns:
        return {}
    at = block.columns.index(column)
    return {name: cells[at].ne for name, cells in block.rows.items() if cells[at].episodes}


def _ties(cells: dict[str, float], episodes: pd.DataFrame, benchmark: str) -> set[str]:
    """The learner with the lowest mean, and those that their paired differences do not part."""
    best = min(cells, key=cells.__getitem__)
    here = (episodes["benchmark"] == benchmark) & (episodes["shots"] == int(FEW))
    errors = episodes[here].groupby(["category", "episode", "learner"])["ne"].mean().unstack()
    ties = {best}
    for learner in set(cells) - {best}:
        mean, ci95 = mean_interval((errors[learner] - errors[best]).dropna())
        if not mean - ci95 > 0:
            ties.add(learner)
    return ties


# --------------------------------------------------------------------------- the claims


def claims(frame: pd.DataFrame, benchmarks: Sequence[str]) -> list[dict]:
    """The groups of claims, each with its rows and how many have each verdict."""
    groups = []
    for name, rows in frame.groupby("group", sort=False):
        lines = [
            {
                "claim": row["claim"],
                "where": row["where"],
                "paper": either(row["paper"]),
                "ours": either(row["ours"]),
                "difference": interval(_number(row["difference"]), _number(row["ci95"]), True),
                "by_seed": ", ".join(either(one, sign=True) for one in row["by_seed"].split()),
                "episodes": row["episodes"] or DASH,
                "verdict": badge(row["verdict"]),
            }
            for _, row in rows.iterrows()
        ]
        counts = [(badge(verdict), n) for verdict, n in _counted(rows["verdict"])]
        groups.append(
            {
                "name": name,
                "about": about(name, benchmarks),
                "sources": "; ".join(dict.fromkeys(rows["source"])) if "source" in rows else "",
                "rows": lines,
                "paper": rows["paper"].any(),
                "by_seed": rows["by_seed"].any(),
                "counts": counts,
                "long": len(lines) > LONG,
            }
        )
    return groups


def badge(verdict: str) -> dict[str, str]:
    """A verdict with its tone and a mark, so that it does not rest on colour."""
    tone = TONES.get(verdict.strip().lower(), "open")
    return {"text": verdict, "tone": tone, "mark": MARKS[tone]}


def _counted(verdicts: Iterable[str]) -> list[tuple[str, int]]:
    """Each verdict and how often, the good before the bad before the open."""
    tones = list(MARKS)
    return sorted(
        Counter(verdicts).items(), key=lambda one: (tones.index(badge(one[0])["tone"]), one)
    )


def verdicts(frame: pd.DataFrame) -> dict:
    """How many claims of each group have each verdict."""
    heads = [verdict for verdict, _ in _counted(frame["verdict"])]
    rows = [
        (group, [int((own == verdict).sum()) for verdict in heads], len(own))
        for group, own in frame.groupby("group", sort=False)["verdict"]
    ]
    total = ("all", [int((frame["verdict"] == verdict).sum()) for verdict in heads], len(frame))
    return {"heads": list(map(badge, heads)), "rows": [*rows, total]}


# -------------------------------------------------------------------------- the figures


def figures(directory: str | Path, beside: bool) -> list[dict[str, str]]:
    """The figures that are there, the known ones first, as data URIs.

    beside: whether the paper's numbers stand beside ours.
    """
    paths = {path.name: path for path in Path(directory).glob("figure*.png")}
    names = [name for name in CAPTIONS if name in paths] + sorted(set(paths) - set(CAPTIONS))
    return [
        {
            "name": name,
            "title": CAPTIONS.get(name, (Path(name).stem, ""))[0],
            "caption": CAPTIONS.get(name, ("", ""))[1].replace(BESIDE, BESIDE * beside),
            "data": "data:image/png;base64,"
            + base64.b64encode(paths[name].read_bytes()).decode("ascii"),
        }
        for name in names
    ]


# ----------------------------------------------------------------------------- scores


def calibration_errors(frame: pd.DataFrame) -> Sheet:
    """Expected calibration errors by learner, two columns a benchmark."""
    numbers = {name: _numbers(frame[name]) for name in ("count", "score", "hits")}
    errors = trust.errors(frame.assign(**numbers))
    places = list(dict.fromkeys(frame["benchmark"]))
    kinds = {trust.UNSEEN: "all", trust.LABELLED: "labelled"}
    found = {(*key, kind): errors[kind].get(key) for key in errors.index for kind in errors}
    rows = [
        (
            learner,
            *(
                fixed(found.get((place, learner, kind), math.nan))
                for place in places
                for kind in kinds
            ),
        )
        for learner in _ordered(frame["learner"])
    ]
    heads = [f"{place}, {kind}" for place in places for kind in kinds.values()]
    return Sheet(("learner", *heads), rows)


# ---------------------------------------------------------------------- training seeds


def seed_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """One learner on one benchmark: each episode's mean over the shots, a column a seed.

    A seed that lacks an episode which another has, or that has no finite error for one that
    could be scored, is left out; so is an episode with nothing to score.
    """
    counts = rows.groupby("seed").size()
    failed = rows.loc[(rows["scored"] > 0) & ~np.isfinite(rows["ne"]), "seed"]
    whole = [seed for seed in counts.index[counts == counts.max()] if seed not in set(failed)]
    kept = rows[rows["seed"].isin(whole)]
    wide = kept.pivot(index=["category", "episode"], columns=["seed", "shots"], values="ne")
    means = {seed: wide[seed].mean(axis=1, skipna=False) for seed in whole}
    return pd.DataFrame(means).dropna()


def spread(episodes: pd.DataFrame) -> dict | None:
    """Training seeds compared, where a learner has more than one: on the same episodes.

    A difference is a seed's error less the first seed's, episode by episode.
    """
    tried = episodes.groupby("learner")["seed"].agg(lambda seeds: sorted(map(int, set(seeds))))
    tried = {name: seeds for name, seeds in tried.items() if len(seeds) > 1}
    if not tried:
        return None
    every = sorted({seed for seeds in tried.values() for seed in seeds})
    heads = ["learner and benchmark", *(f"seed {seed}" for seed in every)]
    heads += [f"{seed} less first" for seed in every[1:]] + ["seeds averaged", "episodes"]
    rows, parted, gaps, widths = [], 0, [], []
    for learner in _ordered(tried):
        for benchmark, own in episodes[episodes["learner"] == learner].groupby("benchmark"):
            if own["seed"].nunique() < 2:
                continue
            errors = seed_errors(own)
            differences = {
                seed: mean_interval(errors[seed] - errors[errors.columns[0]])
                for seed in errors.columns[1:]
            }
            mean, ci95 = mean_interval(errors.mean(axis=1))
            seeds = [fixed(errors[s].mean()) if s in errors else DASH for s in every]
            less = [_difference(differences.get(seed)) for seed in every[1:]]
            name = f"{learner}, {benchmark}"
            rows.append((name, *seeds, *less, interval(mean, ci95), str(len(errors))))
            parted += sum(abs(gap) > half for gap, half in differences.values())
            gaps += [abs(gap) for gap, _ in differences.values()]
            widths += [ci95] * len(differences)
    return {
        "sheet": Sheet(tuple(heads), rows),
        "pairs": len(gaps),
        "parted": parted,
        "gap": fixed(float(np.median(gaps)) if gaps else math.nan, 4),
        "largest": fixed(max(gaps, default=math.nan), 4),
        "width": fixed(float(np.median(widths)) if widths else math.nan, 4),
    }


def agreement(episodes: pd.DataFrame) -> Sheet | None:
    """Spearman's correlation of the nine learners' order between every two training seeds.

    Bounds what agreement with the paper's order to expect. None without two seeds of
    all nine on any benchmark.
    """
    errors = episodes[episodes["learner"].isin(LEARNERS)]
    means = errors.groupby(["benchmark", "learner", "seed"])["ne"].mean().unstack("seed")
    rows = []
    for benchmark, own in means.groupby(level="benchmark"):
        own = own.dropna(axis=1) if len(own) == len(LEARNERS) else own.iloc[:, :0]
        for one, other in combinations(own, 2):
            rho = own[one].corr(own[other], method="spearman")
            rows.append((benchmark, f"{one} and {other}", fixed(rho, 2)))
    return Sheet(("benchmark", "seeds", "Spearman"), rows) if rows else None


def _difference(pair: tuple[float, float] | None) -> str:
    """A paired difference, starred where its interval leaves zero out."""
    if pair is None:
        return DASH
    return interval(*pair, sign=True) + " *" * (abs(pair[0]) > pair[1])


# -------------------------------------------------------------- data, tuning and costs


def adequacy(frame: pd.DataFrame) -> Sheet:
    """The numbers on the data themselves, as they were measured."""
    rows = [
        (
            row["measure"],
            row["benchmark"] or DASH,
            row["categories"] or DASH,
            row["shots"] or DASH,
            interval(_number(row["value"]), _number(row["ci95"])),
            row["episodes"] or DASH,
        )
        for _, row in frame.iterrows()
    ]
    heads = ("measure", "benchmark", "categories", "shots", "value ± 95% interval", "episodes")
    return Sheet(heads, rows, heads[1:3])


def tuning(frame: pd.DataFrame) -> tuple[Sheet, Sheet]:
    """What tuning chose for each learner and benchmark, and all its trials."""
    frame = frame.assign(**{name: _numbers(frame[name]) for name in ("trial", *tried.SCORES)})
    frame = frame.assign(mean=frame[list(tried.SCORES)].mean(axis=1, skipna=False))
    frame = frame.assign(picked=frame["chosen"].str.lower().isin(("true", "1")))
    chosen, trials = [], []
    for learner in _ordered(frame["learner"]):
        for benchmark, own in frame[frame["learner"] == learner].groupby("benchmark"):
            own = own.sort_values("trial")
            name = f"{learner}, {benchmark}"
            first, best = own[own["trial"] == 0], own[own["picked"]]
            start = first["score"].iloc[0] if len(first) else math.nan
            score = best["score"].iloc[0] if len(best) else math.nan
            mean = best["mean"].iloc[0] if len(best) else math.nan
            words = _parameters(best["parameters"].iloc[0]) if len(best) else DASH
            gain = fixed(score - start, sign=True)
            numbers = (fixed(start), fixed(score), gain, fixed(mean))
            chosen.append((name, str(len(own)), *numbers, words))
            trials += [
                (
                    name,
                    fixed(row["trial"], 0),
                    *(fixed(row[rehearsal]) for rehearsal in tried.SCORES),
                    "chosen" if row["picked"] else "",
                    _parameters(row["parameters"]),
                    fixed(_number(row["seconds"]), 0),
                )
                for _, row in own.iterrows()
            ]
    what = "learner and benchmark"
    heads = (what, "trials", "default", "chosen", "change", "all three", "chosen parameters")
    every = (what, "trial", *tried.SCORES, "", "parameters", "seconds")
    return Sheet(heads, chosen, heads[-1:]), Sheet(every, trials, every[5:7])


def horizon(frame: pd.DataFrame) -> Sheet:
    """Errors on rehearsals against the number of training tasks."""
    frame = frame.assign(**{c: _numbers(frame[c]) for c in ("tasks", "error")})
    counts = sorted(frame["tasks"].unique())
    rows = []
    for learner in _ordered(frame["learner"]):
        for benchmark, own in frame[frame["learner"] == learner].groupby("benchmark"):
            errors = own.set_index("tasks")["error"].reindex(counts)
            change = fixed(errors.iloc[-1] - errors.iloc[0], sign=True)
            rows.append((f"{learner}, {benchmark}", *map(fixed, errors), change))
    return Sheet(("learner and benchmark", *(f"{n:.0f} tasks" for n in counts), "change"), rows)


def _parameters(text: str) -> str:
    """Hyperparameters from JSON, as "name = value"; "default" for none."""
    try:
        values = json.loads(text)
    except ValueError:
        return text
    if not isinstance(values, dict):
        return text
    return ", ".join(f"{name} = {_plain(value)}" for name, value in values.items()) or "default"


def _plain(value: object) -> str:
    """A setting as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, int | str) else json.dumps(value)


def work(frame: pd.DataFrame | None, run: Mapping) -> pd.DataFrame:
    """The seconds of every piece of work: `costs.csv`, else the sums by stage in `run.json`."""
    if frame is None:
        sums = run.get("seconds") or {}
        frame = pd.DataFrame(
            [(*label.partition(" ")[::2], seconds) for label, seconds in sums.items()],
            columns=["stage", "name", "seconds"],
        ).assign(benchmark="", seed="", peak_mib="")
    return frame.assign(**{c: _numbers(frame[c]) for c in ("seed", "seconds", "peak_mib")})


def per_episode(costs: pd.DataFrame, episodes: pd.DataFrame) -> dict[str, float]:
    """Milliseconds of an evaluated episode by learner: to adapt, and to answer its queries."""
    found = {}
    counts = episodes.groupby(["learner", "benchmark", "seed"]).size()
    for learner, own in costs[costs["stage"] == "evaluate"].groupby("name"):
        if learner not in counts:
            continue
        rows = counts[learner]
        if (own["benchmark"] != "").all():  # else sums over all that there is
            both = own.groupby(["benchmark", "seed"])["seconds"].sum().to_frame()
            both = both.join(rows.rename("rows"), how="inner")
            seconds, rows = both["seconds"], both["rows"]
        else:
            seconds = own["seconds"]
        if rows.sum():
            found[learner] = 1000 * float(seconds.sum()) / int(rows.sum())
    return found


def learner_costs(costs: pd.DataFrame, episodes: pd.DataFrame) -> Sheet:
    """What each learner took to train and to evaluate."""
    speed = per_episode(costs, episodes)
    rows = []
    for learner in _ordered(costs.loc[costs["stage"].isin(("fit", "evaluate")), "name"]):
        own = costs[(costs["name"] == learner) & costs["stage"].isin(("fit", "evaluate"))]
        seconds = own.groupby("stage")["seconds"].sum()
        rows.append(
            (
                learner,
                *(fixed(seconds.get(stage, math.nan), 0) for stage in ("fit", "evaluate")),
                fixed(speed.get(learner, math.nan), 1),
                fixed(own["peak_mib"].max(), 0),
            )
        )
    return Sheet(("learner", "fit, s", "evaluate, s", "ms an episode", "peak memory, MiB"), rows)


def other_costs(costs: pd.DataFrame) -> Sheet:
    """Every stage, the base models one by one, and the sum."""
    named = costs["stage"].where(costs["stage"] != "base", "base model, " + costs["name"])
    order = ["draw", *sorted(set(named[costs["stage"] == "base"])), "probe", "tune", "fit"]
    order += ["evaluate", *sorted(set(named) - {*order, "evaluate"})]
    groups = dict(list(costs.groupby(named)))
    parts = [(name, groups[name]) for name in order if name in groups] + [("all", costs)]
    rows = [
        (
            name,
            fixed(part["seconds"].sum(), 0),
            fixed(part["seconds"].sum() / 3600, 2),
            fixed(part["peak_mib"].max(), 0),
        )
        for name, part in parts
    ]
    return Sheet(("stage", "seconds", "hours", "peak memory, MiB"), rows)


# ---------------------------------------------------------------------- what made it


def settings(run: Mapping) -> list[tuple[str, Sheet]]:
    """The learners' settings, a column a learner; by benchmark where the run has them so."""
    given = run.get("settings") or {}
    split = bool(given) and set(given) <= set(titles(run))
    return [(name, _settings(own)) for name, own in (given if split else {"": given}).items()]


def _settings(given: Mapping[str, Mapping]) -> Sheet:
    names = list(dict.fromkeys(name for own in given.values() for name in own))
    rows = [
        (name, *(_plain(own[name]) if name in own else "" for own in given.values()))
        for name in names
    ]
    return Sheet(("setting", *given), rows)


def flat(values: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as dotted names and texts."""
    pairs = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            pairs += flat(value, f"{prefix}{name}.")
        else:
            pairs.append((prefix + name, _plain(value)))
    return pairs


def made_by(run: Mapping) -> dict[str, Sheet]:
    """The preset's numbers, the data, the benchmarks and the versions."""
    parts = {"Preset": "numbers", "Data": "data", "Versions": "versions"}
    sheets = {title: flat(run.get(key) or {}) for title, key in parts.items()}
    sheets["Benchmarks"] = [
        (f"{name}, {side}", ", ".join(benchmark.get(side) or ()))
        for name, benchmark in (run.get("benchmarks") or {}).items()
        for side in ("seen", "unseen")
    ]
    return {t: Sheet(("name", "value"), rows, ("value",)) for t, rows in sheets.items() if rows}


# ------------------------------------------------------------------------------ the page


def report(directory: str | Path) -> str:
    """The page of a results directory. Raises `UserError` for records or files it cannot read."""
    episodes, run = read_episodes(directory), read_run(directory)
    found = {name: read_optional(directory, name) for name in FILES}
    tables = [make(episodes, run) for make in (table2, table3, table4)]
    costs = work(found["costs.csv"], run)
    judged, trials, data, longer = (
        found[f"{name}.csv"] for name in ("claims", "trials", "adequacy", "horizon")
    )
    scores, places = found[trust.FILE], titles(run)
    beside = papers(places)
    pictures = figures(directory, beside)
    drawn = {picture["name"]: picture for picture in pictures}
    wanted = set(CAPTIONS) - {TRUST} - (set() if beside else set(OF_THE_PAPER))
    environment = Environment(
        loader=PackageLoader("benchmarks", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        run=run,
        data=run.get("data") or {},
        numbers=run.get("numbers") or {},
        plan=run.get("plan") or {},
        seeds=sorted(map(int, episodes["seed"].unique())),
        compared=len(set(episodes["learner"]) - set(ABLATIONS)),
        ablations=len(set(episodes["learner"]) & set(ABLATIONS)),
        records=len(episodes),
        hours=fixed(costs["seconds"].sum() / 3600, 1) if len(costs) else "",
        papers=beside,
        titles={name: f"{name}: {title}".removesuffix(": ") for name, title in places.items()},
        tables=[(table, [grid(block) for block in table.blocks]) for table in tables],
        overall=overall(tables[0]),
        few=few_photos(tables[0], episodes, costs),
        few_shots=FEW,
        claims=None if judged is None else claims(judged, list(places)),
        verdicts=None if judged is None else verdicts(judged),
        others=OTHERS,
        figures=[picture for name, picture in drawn.items() if name != TRUST],
        no_figures=[name for name in CAPTIONS if name in wanted - set(drawn)],
        trust_figure=drawn.get(TRUST),
        calibration_errors=None if scores is None else calibration_errors(scores),
        spread=spread(episodes),
        agreement=agreement(episodes),
        adequacy=None if data is None else adequacy(data),
        tuning=None if trials is None else tuning(trials),
        horizon=None if longer is None else horizon(longer),
        learner_costs=learner_costs(costs, episodes) if len(costs) else None,
        other_costs=other_costs(costs) if len(costs) else None,
        costs_there=found["costs.csv"] is not None,
        made_by=made_by(run),
        settings=settings(run),
        absent=lambda name: absent(name, run),
    )


def write_report(directory: str | Path) -> Path:
    """Writes `report.html` into a results directory; returns where it is."""
    path = Path(directory) / "report.html"
    write_text(path, report(directory))
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page and prints where it is; 2 for a mistake that a user can mend."""
    return results_command(
        lambda directory: print(write_report(directory)),
        "One HTML page of a results directory.",
        "full",
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
