"""What a table of the paper is, and its text as LaTeX, CSV and Markdown: pure functions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.paper.facts import MEAN, TABLE3_SHOTS
from benchmarks.paper.numbers import AXES
from fewshot_landmarks.support.markup import Markdown, csv_text, items, latex, markdown, pipes


@dataclass(frozen=True)
class Cell:
    """One number of a table, in units of normalised error; without episodes it is a dash."""

    ne: float = math.nan
    ci95: float = math.nan
    episodes: int = 0
    note: str = ""  # why it is a dash, or what was left out of it
    lacking: tuple[int, ...] = ()  # the training seeds whose run would fill the dash


@dataclass(frozen=True)
class Printed:
    """A cell as it is printed, with three decimals; a dash has no number."""

    ne: str = ""
    ci95: str = ""
    best: bool = False  # the lowest of its column, as is every cell that prints the same
    note: str = ""


Rows = dict[str, tuple[Cell, ...]]  # by learner


@dataclass(frozen=True)
class Block:
    """One benchmark's rows, as measured and as the paper reports them."""

    benchmark: str
    title: str
    columns: tuple[str, ...]
    rows: Rows
    paper: Rows  # empty for a benchmark that is not the paper's

    def rank_correlation(self) -> tuple[float, int]:
        """Spearman's between the learners' order here and the paper's, over how many learners.

        By the Mean column, or the mean of the columns where there is none, over the learners
        that both have whole; NaN for fewer than three, or where either side is constant.
        """
        pairs = [
            (self._overall(cells), self._overall(self.paper[learner]))
            for learner, cells in self.rows.items()
            if learner in self.paper
        ]
        pairs = [pair for pair in pairs if not any(map(math.isnan, pair))]
        if len(pairs) < 3 or any(len(set(side)) == 1 for side in zip(*pairs, strict=True)):
            return math.nan, len(pairs)
        return float(spearmanr(*zip(*pairs, strict=True)).statistic), len(pairs)

    def _overall(self, cells: Sequence[Cell]) -> float:
        if self.columns[-1] == MEAN:
            return cells[-1].ne
        return float(np.mean([cell.ne for cell in cells]))


@dataclass(frozen=True)
class Table:
    number: int  # the paper's: 2, 3 or 4
    caption: str
    differs: str  # from the paper; empty where nothing does
    blocks: tuple[Block, ...]

    def notes(self) -> list[str]:
        """What its dashes and incomplete means are; learners with the same note share a line."""
        learners_of: dict[str, list[str]] = {}
        for block in self.blocks:
            for learner, cells in block.rows.items():
                columns_of: dict[str, list[str]] = {}
                for column, cell in zip(block.columns, cells, strict=True):
                    if cell.note:
                        columns_of.setdefault(cell.note, []).append(column)
                for note, columns in columns_of.items():
                    line = f"{block.benchmark}, {AXES[self.number][1]} {', '.join(columns)}: {note}"
                    learners_of.setdefault(line, []).append(learner)
        return [f"{line} ({', '.join(learners)})" for line, learners in learners_of.items()]

    def lacking(self) -> list[tuple[str, str, int]]:
        """The (benchmark, learner, training seed) whose run would fill a dash."""
        return [
            (block.benchmark, learner, seed)
            for block in self.blocks
            for learner, cells in block.rows.items()
            for seed in sorted({seed for cell in cells for seed in cell.lacking})
        ]


def to_csv(table: Table) -> str:
    """Long form with the names of the paper's CSV files, five decimals; a dash has no row."""
    name, _ = AXES[table.number]
    keys = ["benchmark", "category", name] if table.number == 3 else ["benchmark", name]
    rows = []
    for block in table.blocks:
        for learner, cells in block.rows.items():
            for column, cell in zip(block.columns, cells, strict=True):
                key = (column, learner, TABLE3_SHOTS) if table.number == 3 else (learner, column)
                ci95 = "" if math.isnan(cell.ci95) else f"{cell.ci95:.5f}"
                if cell.episodes:
                    rows.append([block.benchmark, *key, f"{cell.ne:.5f}", ci95, cell.episodes])
    return csv_text(pd.DataFrame(rows, columns=[*keys, "shots", "ne", "ci95", "episodes"]))


def to_markdown(table: Table) -> str:
    """The table, with the rank correlation and the paper's own numbers by each block."""
    parts = [f"# Table {table.number}", markdown(table.caption)]
    if table.differs:
        parts.append(markdown(f"Differs from the paper: {table.differs}."))
    for block in table.blocks:
        rho, learners = block.rank_correlation()
        parts += [
            "## " + markdown(f"{block.benchmark}: {block.title}".removesuffix(": ")),
            _pipes(block.columns, block.rows),
        ]
        if not block.paper:
            continue
        said = f"{rho:.2f}" if math.isfinite(rho) else "not defined"
        parts += [
            "Spearman's rank correlation of the learners' order with the paper's: "
            f"{said} ({learners} learners).",
            "The paper's own numbers:",
            _pipes(block.columns, block.paper),
        ]
    if notes := table.notes():
        parts.append(items(notes))
    return "\n\n".join(parts) + "\n"


def _pipes(columns: Sequence[str], rows: Rows) -> str:
    grid = _grid(rows, "**{}**".format, " ± {}".format, "—")
    lines = [[name, *map(Markdown, cells)] for name, *cells in grid]
    return pipes([["", *map(_head, columns)], *lines])


def to_tex(table: Table) -> str:
    r"""A `table` environment to \input; needs booktabs alone.

    It fits the 345 pt of the article class with learners' names of up to a dozen letters.
    """
    width = max(len(block.columns) for block in table.blocks)
    narrow = width > 6  # Table 3

    def interval(ci95: str) -> str:
        return rf"{{\tiny$\pm${ci95.lstrip('0') if narrow else ci95}}}"

    lines = [
        r"\begin{table}[tp]",
        r"\centering",
        rf"\caption{{{latex(table.caption)}}}",
        rf"\label{{tab:table{table.number}}}",
        r"\vspace{4pt}",
        r"\scriptsize",
        rf"\setlength{{\tabcolsep}}{{{'1.5pt' if narrow else '3pt'}}}",
        rf"\begin{{tabular}}{{@{{}}l{'c' * width}@{{}}}}",
    ]
    for block in table.blocks:
        heads = [_tex_head(column) for column in block.columns]
        lines.append(r"\toprule" if block is table.blocks[0] else r"\midrule")
        lines += [" & ".join([latex(block.benchmark), *heads]) + r" \\", r"\midrule"]
        for name, *cells in _grid(block.rows, r"\textbf{{{}}}".format, interval, "--"):
            lines.append(" & ".join([latex(name), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip {latex(note)}" for note in table.notes()]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _head(column: str) -> str:
    return "Mean" if column == MEAN else column


def _tex_head(column: str) -> str:
    """A column's head, its words below each other."""
    words = [latex(word) for word in _head(column).split()]
    if len(words) < 2:
        return "".join(words)
    return r"\begin{tabular}[b]{@{}c@{}}" + r"\\".join(words) + r"\end{tabular}"


def _grid(
    rows: Rows, bold: Callable[[str], str], interval: Callable[[str], str], dash: str
) -> list[list[str]]:
    """Learners and their cells as texts."""

    def text(cell: Printed) -> str:
        if not cell.ne:
            return dash
        ne = bold(cell.ne) if cell.best else cell.ne
        return ne + interval(cell.ci95) if cell.ci95 else ne

    return [[name, *map(text, cells)] for name, cells in printed(rows).items()]


def printed(rows: Rows) -> dict[str, list[Printed]]:
    """Every cell as it is printed, by learner."""
    lowest = [
        min((f"{cell.ne:.3f}" for cell in column if cell.episodes), key=float, default="")
        for column in zip(*rows.values(), strict=True)
    ]

    def one(cell: Cell, best: str) -> Printed:
        if not cell.episodes:
            return Printed(note=cell.note)
        ne, ci95 = f"{cell.ne:.3f}", "" if math.isnan(cell.ci95) else f"{cell.ci95:.3f}"
        return Printed(ne, ci95, ne == best, cell.note)

    return {name: list(map(one, cells, lowest)) for name, cells in rows.items()}
