"""The report: one self-contained HTML page of what a results directory holds, without torch.

    python -m benchmarks.report --preset full

reads the records (`episodes.csv.gz`, `run.json`) and, where they are, the files that other commands
left beside them, and writes `report.html` there: a pure function of those files, so the same files
give the same bytes. What is absent is named, with the command that makes it. `report.html.jinja`
is the page; here and in `sections.py` is what it shows.
"""

import base64
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks.claims.page import OTHERS
from benchmarks.figures.captions import BESIDE, CAPTIONS, OF_THE_PAPER
from benchmarks.paper.facts import MEAN, are_the_papers
from benchmarks.report import sections
from benchmarks.report.claims import groups_of_claims, verdicts
from benchmarks.report.text_table import TextTable, fixed
from benchmarks.results.reading import (
    asked,
    read_episodes,
    read_optional,
    read_run,
    results_command,
    run_field,
    titles,
)
from benchmarks.results.schemas import ADEQUACY, CALIBRATION, CLAIMS, COSTS, HORIZON, TRIALS
from benchmarks.tables.build import table2, table3, table4
from benchmarks.tables.controls import caption, table5
from benchmarks.tables.formats import Block, Cell, Table, printed
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.protocol import ABLATIONS, UNTRAINED
from fewshot_landmarks.support.files import write_text

FEW = "5"  # photos of the engineer who asks which learner to use
TRUST = "figure_trust"  # has a section of its own
RANKS = "figure_ranks"  # stands in the answer in short
OPTIONAL = (CLAIMS, TRIALS, COSTS, ADEQUACY, HORIZON, CALIBRATION)


@dataclass(frozen=True)
class Grid:
    """A benchmark's block of one of the paper's tables."""

    name: str
    columns: tuple[str, ...]
    rows: list[tuple[str, list]]  # of a learner, by column: ours, and the paper's if any
    rank: str  # Spearman's correlation of the learners' order with the paper's, if it has one
    learners: int  # that it is over


# ------------------------------------------------------------------------------- reading


def absent(name: str, run: Mapping) -> str:
    """The command that makes what is not there: a file, "figure", or another training "seed".

    DIR in it is the folder of the page, which no record names.
    """
    by = {schema.name: schema.by for schema in OPTIONAL} | {"figure": "benchmarks.figures"}
    module = by.get(name, "benchmarks.run")
    if module in ("benchmarks.claims", "benchmarks.figures"):
        return f"python -m {module} --results DIR"
    words = ["--all"] * (module == "benchmarks.run") + ["--preset", str(run["preset"])]
    words += ["--seed", "1"] * (name == "seed") + ["--out", "DIR", *asked(run)]
    words += ["--data", "DATA"] * (run_field(run, "data", "difficulty") == "real")
    return f"python -m {module} {shlex.join(words)}"


# --------------------------------------------------------------------------- the tables


def grid(block: Block) -> Grid:
    """A block with the paper's numbers in the same cells, the best as printed marked in each."""
    learners = dict.fromkeys([*block.rows, *block.paper])
    nothing = (Cell(),) * len(block.columns)
    ours, paper = (
        printed({name: side.get(name, nothing) for name in learners})
        for side in (block.rows, block.paper)
    )
    if not block.paper:
        paper = dict.fromkeys(learners, [None] * len(block.columns))
    rows = [(name, list(zip(ours[name], paper[name], strict=True))) for name in learners]
    rank, count = block.rank_correlation()
    heads = tuple("Mean" if column == MEAN else column for column in block.columns)
    return Grid(block.benchmark, heads, rows, fixed(rank, 2) if block.paper else "", count)


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


def few_photos(table: Table, episodes: pd.DataFrame, costs: pd.DataFrame) -> TextTable:
    """Every learner with five photos, best mean first, and which of them a benchmark's best beats.

    ≈ is the lowest of a column, and those whose paired difference from it has an interval that
    reaches zero.
    """
    measured = {block.benchmark: _column(block, FEW) for block in table.blocks}
    measured = {name: cells for name, cells in measured.items() if cells}
    ties = {name: _ties(cells, episodes, name) for name, cells in measured.items()}
    speed = sections.per_episode(costs, episodes)
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
    return TextTable(heads, [line for _, line in sorted(lines)])


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


# -------------------------------------------------------------------------- the figures


def figures(directory: str | Path, beside: bool) -> list[dict[str, str]]:
    """The figures that are there, the known ones first, as data URIs.

    beside: whether the paper's numbers stand beside ours.
    """
    paths = {path.stem: path for path in Path(directory).glob("figure*.png")}
    names = [name for name in CAPTIONS if name in paths] + sorted(set(paths) - set(CAPTIONS))
    found = []
    for name in names:
        title, caption = CAPTIONS.get(name, (name, ""))
        content = base64.b64encode(paths[name].read_bytes()).decode("ascii")
        found.append(
            {
                "name": f"{name}.png",
                "title": title,
                "caption": caption.replace(BESIDE, BESIDE * beside),
                "data": f"data:image/png;base64,{content}",
            }
        )
    return found


# ------------------------------------------------------------------------------ the page


def report(directory: str | Path) -> str:
    """The page of a results directory. Raises `UserError` for records or files it cannot read."""
    episodes, run = read_episodes(directory), read_run(directory)
    judged, trials, costs, data, longer, scores = (read_optional(directory, s) for s in OPTIONAL)
    tables = [make(episodes, run) for make in (table2, table3, table4)]
    beside_controls, trained = table5(episodes, run), ~episodes["learner"].isin(UNTRAINED)
    if costs is None:
        costs = pd.DataFrame(columns=list(COSTS.columns))
    places = titles(run)
    beside = are_the_papers(places)
    pictures = figures(directory, beside)
    drawn = {Path(picture["name"]).stem: picture for picture in pictures}
    wanted = set(CAPTIONS) - {TRUST, RANKS} - (set() if beside else set(OF_THE_PAPER))
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
        seeds=sorted(map(int, episodes[trained]["seed"].unique())),
        compared=len(set(episodes[trained]["learner"]) - set(ABLATIONS)),
        ablations=len(set(episodes["learner"]) & set(ABLATIONS)),
        control_count=len(set(episodes[~trained]["learner"])),
        controls=sections.beside_controls(beside_controls),
        controls_caption=caption(beside_controls, run),
        records=len(episodes),
        hours=fixed(costs["seconds"].sum() / 3600, 1) if len(costs) else "",
        papers=beside,
        titles={name: f"{name}: {title}".removesuffix(": ") for name, title in places.items()},
        tables=[(table, [grid(block) for block in table.blocks]) for table in tables],
        overall=overall(tables[0]),
        few=few_photos(tables[0], episodes, costs),
        few_shots=FEW,
        claims=None if judged is None else groups_of_claims(judged, list(places)),
        verdicts=None if judged is None else verdicts(judged),
        others=OTHERS,
        figures=[picture for name, picture in drawn.items() if name not in (TRUST, RANKS)],
        no_figures=[f"{name}.png" for name in CAPTIONS if name in wanted - set(drawn)],
        trust_figure=drawn.get(TRUST),
        ranks_figure=drawn.get(RANKS),
        calibration_errors=None if scores is None else sections.calibration_table(scores),
        spread=sections.spread(episodes),
        agreement=sections.agreement(episodes),
        adequacy=None if data is None else sections.adequacy(data),
        tuning=None if trials is None else sections.tuning(trials),
        horizon=None if longer is None else sections.horizon(longer),
        learner_costs=sections.learner_costs(costs, episodes) if len(costs) else None,
        other_costs=sections.other_costs(costs) if len(costs) else None,
        made_by=sections.made_by(run),
        settings=sections.settings(run),
        absent=lambda name: absent(name, run),
    )


FILE = "report.html"


def write_report(directory: str | Path) -> Path:
    """Writes the page into a results directory; returns where it is."""
    path = Path(directory) / FILE
    write_text(path, report(directory))
    return path


def _write(directory: Path) -> None:
    print(write_report(directory))


main = partial(
    results_command, "report", _write, [FILE], "One HTML page of a results directory.", "full"
)
"""The command."""
