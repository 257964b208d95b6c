"""The report: one self-contained HTML page of what a results directory holds, without torch.

    python -m benchmarks.report --preset full

reads the records (`episodes.csv.gz`, `run.json`) and, where they are, the files that other commands
left beside them, and writes `report.html` there: a pure function of those files, so the same files
give the same bytes. What is absent is named, with the command that makes it. `report.html.jinja`
is the page; here and in `sheets.py` is what it shows.
"""

import base64
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks.claims.page import OTHERS, about
from benchmarks.claims.records import papers
from benchmarks.report import sheets
from benchmarks.report.sheets import DASH, Sheet, as_number, either, fixed, interval, per_episode
from benchmarks.results import tried, trust
from benchmarks.results.reading import (
    asked,
    read_episodes,
    read_run,
    read_table,
    results_command,
    run_field,
    titles,
)
from benchmarks.tables.build import ABLATIONS, table2, table3, table4
from benchmarks.tables.formats import MEAN, Block, Cell, Table
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.support.files import write_text

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
    return read_table(path, dict.fromkeys(FILES[name].split(), str), by=module)


def absent(name: str, run: Mapping) -> str:
    """The command that makes an optional file."""
    command = SOURCES[name].format(preset=run["preset"])
    works = "--preset" in command  # and needs the data
    command += "".join(f" {shlex.quote(word)}" for word in asked(run) * works)
    real = run_field(run, "data", "difficulty") == "real"
    return command + " --data DATA" * (works and real)


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
                "difference": interval(
                    as_number(row["difference"]), as_number(row["ci95"]), True, 4
                ),
                "by_seed": ", ".join(either(one, True, 4) for one in row["by_seed"].split()),
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


# ------------------------------------------------------------------------------ the page


def report(directory: str | Path) -> str:
    """The page of a results directory. Raises `UserError` for records or files it cannot read."""
    episodes, run = read_episodes(directory), read_run(directory)
    found = {name: read_optional(directory, name) for name in FILES}
    tables = [make(episodes, run) for make in (table2, table3, table4)]
    costs = sheets.work(found["costs.csv"], run)
    judged, trials, data, longer = (
        found[f"{name}.csv"] for name in ("claims", "trials", "adequacy", "horizon")
    )
    scores, places = found[trust.FILE], titles(run)
    beside = papers(places)
    pictures = figures(directory, beside)
    drawn = {picture["name"]: picture for picture in pictures}
    wanted = set(CAPTIONS) - {TRUST} - (set() if beside else set(OF_THE_PAPER))
    environment = Environment(
        loader=PackageLoader("benchmarks.report", ""),
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
        calibration_errors=None if scores is None else sheets.calibration_errors(scores),
        spread=sheets.spread(episodes),
        agreement=sheets.agreement(episodes),
        adequacy=None if data is None else sheets.adequacy(data),
        tuning=None if trials is None else sheets.tuning(trials),
        horizon=None if longer is None else sheets.horizon(longer),
        learner_costs=sheets.learner_costs(costs, episodes) if len(costs) else None,
        other_costs=sheets.other_costs(costs) if len(costs) else None,
        costs_there=found["costs.csv"] is not None,
        made_by=sheets.made_by(run),
        settings=sheets.settings(run),
        absent=lambda name: absent(name, run),
    )


FILE = "report.html"


def write_report(directory: str | Path) -> Path:
    """Writes the page into a results directory; returns where it is."""
    path = Path(directory) / FILE
    write_text(path, report(directory))
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page and prints where it is; 2 for a mistake that a user can mend."""
    return results_command(
        lambda directory: print(write_report(directory)),
        [FILE],
        "One HTML page of a results directory.",
        "full",
        arguments,
    )
