"""Figures of our own: errors against shots, losses in training, what scores are worth."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.style import (
    COLOURS,
    MARKERS,
    OTHER,
    Absent,
    legend_line,
    place_colours,
    styled,
)
from benchmarks.paper.facts import METACLOTH
from benchmarks.results.reading import calibration_errors
from benchmarks.results.schemas import UNSEEN
from benchmarks.tables.build import table2
from fewshot_landmarks.protocol import ABLATIONS, LEARNERS, SHOTS

# ------------------------------------------------------------------------ figure of shots


@styled
def figure_shots(episodes: pd.DataFrame, run: dict | None = None) -> Figure:
    """Error against shots by learner, a column of panels a benchmark: ours above, the paper's."""
    blocks = table2(episodes, run or {"preset": "unknown"}).blocks
    measured = {cell.episodes for b in blocks for cells in b.rows.values() for cell in cells}
    if not any(measured):
        raise Absent("no cell of Table 2 is whole")
    paper = any(block.paper for block in blocks)
    width = 10 if paper else max(5, 3 * len(blocks))
    figure = Figure(figsize=(width, 5.4 if paper else 3.6), layout="constrained")
    axes = figure.subplots(1 + paper, len(blocks), sharex=True, sharey="row", squeeze=False)
    for column, block in zip(axes.T, blocks):
        _curves(column[0], block.rows, linestyle="solid")
        title = f"{block.benchmark}: {block.title}".removesuffix(": ")
        column[0].set_title(textwrap.fill(title, 40))
        if paper:
            _curves(column[1], block.paper, linestyle="dashed", thin=0.6)
        column[-1].set_xlabel("shots")
        column[-1].set_xticks(SHOTS)
    axes[0, 0].set(ylabel="NE, ours" if paper else "NE", ylim=(0, None))
    if paper:
        axes[1, 0].set(ylabel="NE, the paper's", ylim=(0, None))
    lines = {line.get_label(): line for ax in axes[0] for line in ax.containers}
    legend_line(figure, min(9, int(width)), list(lines.values()), list(lines))
    figure.suptitle("Normalised error against shots, with 95% intervals over episodes")
    return figure


def _curves(ax: Axes, rows: Mapping, linestyle: str, thin: float = 1) -> None:
    """A line a learner; learners stand a little apart, so that their intervals can be told."""
    for i, (learner, cells) in enumerate(rows.items()):
        points = [(cell.ne, cell.ci95) for cell in cells[: len(SHOTS)]]
        if np.isfinite(points).any():
            means, halves = np.array(points).T
            stands_out = learner == METACLOTH
            ax.errorbar(
                np.array(SHOTS) + 0.05 * (i - 4), means, halves, label=learner, markersize=3,
                color=COLOURS.get(learner, OTHER), marker=MARKERS.get(learner, "x"),
                elinewidth=0.7, linestyle=linestyle, linewidth=thin * (2 if stands_out else 1.2),
                zorder=4 if stands_out else 2,
            )  # fmt: skip


# ----------------------------------------------------------------------- figure of curves


@styled
def figure_curves(curves: pd.DataFrame) -> Figure:
    """Losses in training, a panel a learner's own stage, a line a benchmark.

    A mean over training seeds, then a running mean of five points; the faint line is without it.
    """
    if curves.empty:
        raise Absent("no training losses")
    found = list(curves["learner"].unique())
    known = [*(name for name in found if name.startswith("base ")), *LEARNERS, *ABLATIONS]
    names = [n for n in known if n in found] + sorted(set(found) - set(known))
    wide = min(4, len(names))
    tall = -(-len(names) // wide)
    figure = Figure(figsize=(2.5 * wide, 1.9 * tall + 0.7), layout="constrained")
    axes = figure.subplots(tall, wide, squeeze=False)
    colours = place_colours(curves["benchmark"])
    for ax, name in zip(axes.flat, names):
        own = curves[curves["learner"] == name]
        for benchmark, rows in own.groupby("benchmark"):
            losses = rows.groupby("step")["loss"].mean()
            colour = colours[benchmark]
            smooth = losses.rolling(5, center=True, min_periods=1).mean()
            ax.plot(losses.index, losses, color=colour, alpha=0.25, linewidth=0.8)
            ax.plot(smooth.index, smooth, color=colour, label=benchmark)
        ax.set_title(name.replace("base ", "base model, "))
        ax.margins(x=0.02)
        ax.set_xlabel("step")
    for ax in axes[:, 0]:
        ax.set_ylabel("loss")
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    lines = {line.get_label(): line for ax in axes.flat for line in ax.lines}
    shown = [name for name in colours if name in lines]
    legend_line(figure, len(shown), [lines[name] for name in shown], shown)
    figure.suptitle("Training losses (each learner's own loss)")
    return figure


# ------------------------------------------------------------------------ figure of trust


@styled
def figure_trust(calibration: pd.DataFrame) -> Figure:
    """Share of landmarks found against their score, a panel a learner and a line a benchmark.

    Of all landmarks of unseen categories, those that are not there included; a marker's area is
    the share of the landmarks that have such a score.
    """
    rows = calibration[calibration["landmarks"] == UNSEEN]
    if not rows["count"].sum():
        raise Absent("no landmark has a score")
    errors = calibration_errors(rows)[UNSEEN]
    found = set(rows["learner"])
    names = [name for name in LEARNERS if name in found] + sorted(found - set(LEARNERS))
    colours = place_colours(rows["benchmark"])
    wide = min(5, len(names))
    tall = -(-len(names) // wide)
    figure = Figure(figsize=(2 * max(wide, 2), 2.2 * tall + 1), layout="constrained")
    axes = figure.subplots(tall, wide, sharex=True, sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names):
        ax.plot((0, 1), (0, 1), color="#AAAAAA", linewidth=0.8, linestyle="dotted", zorder=1)
        told = []
        for benchmark, colour in colours.items():
            one = rows[(rows["learner"] == name) & (rows["benchmark"] == benchmark)]
            filled = one[one["count"] > 0].sort_values("bin")
            if filled.empty:
                continue
            share = filled["count"] / filled["count"].sum()
            places = filled["score"], filled["hits"]
            ax.plot(*places, color=colour, alpha=0.5, linewidth=1, label=benchmark)
            ax.scatter(*places, s=300 * share, color=colour, alpha=0.6)
            told.append(f"{benchmark}: {errors[benchmark, name]:.3f}")
        ax.text(0.98, 0.03, "\n".join(["ECE", *told]), ha="right", transform=ax.transAxes)
        ax.set(title=name, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    for number, ax in enumerate(axes.flat):
        if number >= len(names):
            ax.set_axis_off()
        elif number + wide >= len(names):
            ax.set_xlabel("score")
            ax.tick_params("x", labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("share found")
    lines = {line.get_label(): line for ax in axes.flat for line in ax.lines}
    shown = [name for name in colours if name in lines]
    legend_line(figure, min(2 * wide, len(shown)), [lines[name] for name in shown], shown)
    figure.suptitle(
        "Share of landmarks found against their score, unseen categories\nA marker's area: how "
        "many have such a score. ECE: expected calibration error"
    )
    return figure
