"""Figures 4, 5 and 6: heatmaps, errors and features of landmarks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.figures.style import Absent, bars, legend_line, slots, span, styled
from benchmarks.paper.facts import (
    FIGURE5_BENCHMARK,
    FIGURE5_CATEGORY,
    FIGURE5_LANDMARKS,
    FIGURE6_BENCHMARK,
    FIGURE6_LEARNERS,
    TABLE3_SHOTS,
)
from benchmarks.results.reading import Maps
from fewshot_landmarks.data.categories import CATEGORIES, Category, category
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.protocol import BENCHMARKS, LEARNERS

TROUSERS = (  # where a drawing has the landmarks of trousers: x to the right, y down
    (-0.5, 0), (0, 0.05), (0.5, 0), (-0.66, 1), (-0.68, 2), (-0.72, 3), (-0.3, 3),
    (-0.18, 2), (0, 1), (0.18, 2), (0.3, 3), (0.72, 3), (0.68, 2), (0.66, 1),
)  # fmt: skip
CELL, GAP, TITLE = 1.5, 0.06, 0.3  # of figure 4, inches
TRUE, PREDICTED = "#00D060", "#00E5FF"
HEAT = LinearSegmentedColormap.from_list(
    "heat", [(1, 0.2, 0, 0), (1, 0.2, 0, 0.75), (1, 0.85, 0, 0.95), (1, 1, 0.85, 1)]
)


# ------------------------------------------------------------------------------ figure 4


@styled
def figure4(maps: Maps) -> Figure:
    """Heatmaps of one garment of a category, by MetaCloth of each benchmark that tests it."""
    if not maps:
        raise Absent("no heatmaps")
    places = {tuple(key.split("/", 1)): arrays for key, arrays in maps.items()}
    names = sorted({name for _, name in places}, key=lambda name: category(name).id)
    columns = sorted({benchmark for benchmark, _ in places})
    width, height = CELL * (len(columns) + 1), (2 * CELL + TITLE) * len(names) + TITLE
    figure = Figure(figsize=(width, height))

    def panel(i: int, j: int, below: bool) -> Axes:
        top = (i + 1) * TITLE + (2 * i + below) * CELL + TITLE
        side = CELL - GAP
        ax = figure.add_axes(
            ((CELL * j + GAP / 2) / width, 1 - (top + side) / height, side / width, side / height)
        )
        ax.set_axis_off()
        return ax

    for i, name in enumerate(names):
        photo = panel(i, 0, below=False)
        _photo(photo, next(arrays for (_, n), arrays in places.items() if n == name))
        photo.set_title(name)
        if i == 0:
            _legend4(panel(i, 0, below=True))
        for j, benchmark in enumerate(columns, start=1):
            above = panel(i, j, below=False)
            if (benchmark, name) in places:
                above.set_title(benchmark)
                _heat(above, places[benchmark, name])
                _predictions(panel(i, j, below=True), places[benchmark, name])
            else:
                seen = category(name).id in BENCHMARKS[benchmark].seen
                why = f"seen in\n{benchmark}'s training" if seen else f"{benchmark}:\nnot measured"
                above.text(
                    0.5, 0, why, ha="center", va="center", color="#888888",
                    transform=above.transAxes,
                )  # fmt: skip
    figure.suptitle(
        f"MetaCloth's heatmaps of one garment after {TABLE3_SHOTS} shots, by benchmark",
        y=1 - 0.3 * TITLE / height, va="top",
    )  # fmt: skip
    return figure


def _photo(ax: Axes, arrays: Mapping[str, np.ndarray]) -> None:
    """The photo with its true landmarks."""
    _show(ax, arrays["image"])
    _dots(ax, arrays["landmarks"][arrays["labelled"]], TRUE, 3)


def _heat(ax: Axes, arrays: Mapping[str, np.ndarray]) -> None:
    """The grey photo under the heat of all scored landmarks, each scaled to its greatest cell."""
    maps = arrays["heatmaps"][_scored(arrays)].astype(float)
    maps /= maps.max((1, 2), keepdims=True)
    grey = arrays["image"].mean(-1, keepdims=True).repeat(3, -1)
    _show(ax, (60 + 0.5 * grey).astype(np.uint8))
    size = arrays["image"].shape[0]
    heat = maps.max(0, initial=0)
    ax.imshow(heat, HEAT, Normalize(0, 1), extent=(0, size, size, 0), interpolation="bilinear")


def _predictions(ax: Axes, arrays: Mapping[str, np.ndarray]) -> None:
    """The photo with predicted landmarks, each tied to its true place."""
    scored = _scored(arrays)
    _show(ax, (25 + 0.55 * arrays["image"]).astype(np.uint8))
    true, predicted = arrays["landmarks"][scored], arrays["predicted"][scored]
    for ends in zip(true, predicted):
        ax.plot(*zip(*ends), color=PREDICTED, linewidth=0.7, zorder=2)
    _dots(ax, true, TRUE, 2.4)
    ax.scatter(
        *predicted.T, marker="x", s=9, linewidths=0.9, color=PREDICTED, zorder=4, clip_on=False
    )


def _scored(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return arrays["labelled"] & arrays["learnable"]


def _show(ax: Axes, image: np.ndarray) -> None:
    size = image.shape[0]
    ax.imshow(image, extent=(0, size, size, 0))
    ax.set(xlim=(0, size), ylim=(size, 0))


def _dots(ax: Axes, landmarks: np.ndarray, colour: str, size: float) -> None:
    ax.scatter(
        *landmarks.T, s=size**2, color=colour, edgecolors="black", linewidths=0.3, zorder=3,
        clip_on=False,
    )  # fmt: skip


def _legend4(ax: Axes) -> None:
    true = Line2D([], [], marker="o", color=TRUE, markeredgecolor="black", linestyle="none")
    predicted = Line2D([], [], marker="x", color=PREDICTED, markeredgewidth=1.5)
    ax.legend(
        [true, predicted], ["true landmark", "predicted"], loc="upper left", frameon=False,
        borderpad=0, handlelength=1.2,
    )  # fmt: skip
    bar = ax.inset_axes((0.05, 0.45, 0.8, 0.06))
    bar.figure.colorbar(
        ScalarMappable(Normalize(0, 1), HEAT), cax=bar, orientation="horizontal", ticks=[0, 1],
        label="probability, as a\nshare of each land-\nmark's greatest",
    )  # fmt: skip


# ------------------------------------------------------------------------------ figure 5


@styled
def figure5(episodes: pd.DataFrame) -> Figure:
    """Errors of each landmark of trousers, mirror images merged, B-2, 8 shots."""
    shown = category(FIGURE5_CATEGORY)
    rows = episodes[
        (episodes["benchmark"] == FIGURE5_BENCHMARK)
        & (episodes["category"] == shown.name)
        & (episodes["shots"] == TABLE3_SHOTS)
        & episodes["learner"].isin(LEARNERS)
    ]
    if rows.empty:
        raise Absent(f"no episodes of {shown.name} on {FIGURE5_BENCHMARK}, {TABLE3_SHOTS} shots")
    errors = group_errors(rows, shown)
    groups = [" & ".join(str(i + 1) for i in group) for group in shown.groups]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    ax, drawing = figure.subplots(1, 2, width_ratios=(8, 1.1))
    for learner, place, width in slots([n for n in LEARNERS if n in errors.index]):
        failed = bool(np.isinf(errors.loc[learner].to_numpy()).any())
        found = [
            (np.nan, np.nan) if failed else mean_interval(values.dropna())
            for _, values in errors.loc[learner].items()
        ]
        bars(ax, np.arange(len(groups)) + place, width, found, learner, " (failed)" * failed)
    ax.set_xticks(range(len(groups)), groups)
    ax.tick_params("x", length=0)
    ax.set(xlabel="landmark of trousers (numbers at the right)", ylabel="NE", ylim=(0, None))
    ax.margins(x=0.01)
    legend_line(ax, 9)
    _draw_numbers(drawing, shown)
    counts = errors.groupby(level="learner").size()
    figure.suptitle(
        f"Error of each landmark of {shown.name}, {FIGURE5_BENCHMARK}, {TABLE3_SHOTS} shots: mean "
        f"of {span(counts)} episodes, 95% interval\nMirror images are averaged, which makes "
        f"{len(groups)} by the data set's definitions; the paper says {FIGURE5_LANDMARKS}"
    )
    return figure


def group_errors(rows: pd.DataFrame, shown: Category) -> pd.DataFrame:
    """Errors by (learner, episode) of each group of a category's landmarks, a column a group.

    The mean over training seeds, then over the landmarks of the group that queries label; NaN
    where they label none. Infinite where a learner failed: it has no finite error although there
    was something to score.
    """
    texts = rows["landmarks"].str.split()
    landmarks = pd.DataFrame([list(map(float, text)) for text in texts], index=rows.index)
    landmarks[(rows["scored"] > 0) & ~np.isfinite(rows["ne"])] = np.inf  # a failure, not a gap
    each = landmarks.groupby([rows["learner"], rows["episode"]]).mean()
    return pd.DataFrame({i: each[list(group)].mean(axis=1) for i, group in enumerate(shown.groups)})


def _draw_numbers(ax: Axes, shown: Category) -> None:
    """Trousers with their landmarks' numbers."""
    ax.set_axis_off()
    for edge in shown.edges:
        ax.plot(*zip(*(TROUSERS[i] for i in edge)), color="#AAAAAA", linewidth=1)
    for number, (x, y) in enumerate(TROUSERS, start=1):
        ax.scatter(x, y, s=90, color="white", edgecolors="#555555", linewidths=0.7, zorder=3)
        ax.text(x, y + 0.01, str(number), ha="center", va="center", fontsize=6.5, zorder=4)
    ax.set(xlim=(-0.9, 0.9), ylim=(3.3, -0.3))


# ------------------------------------------------------------------------------ figure 6


@styled
def figure6(similarities: pd.DataFrame) -> Figure:
    """How tuning changes landmark features, and how it parts them, by unseen category of B-2."""
    rows = similarities[similarities["benchmark"] == FIGURE6_BENCHMARK]
    if rows.empty:
        raise Absent(f"no similarities on {FIGURE6_BENCHMARK}")
    keys = ["model", "category", "episode"]
    each = rows.groupby(keys)[["before_after", "between"]].mean()
    found = set(rows["model"])
    models = [name for name in FIGURE6_LEARNERS if name in found] + sorted(
        found - set(FIGURE6_LEARNERS)
    )
    names = [c.name for c in CATEGORIES if c.name in set(rows["category"])]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = {
        "before_after": "(a) the same landmark before and after tuning",
        "between": "(b) different landmarks after tuning",
    }
    for ax, (column, title) in zip(figure.subplots(1, 2), panels.items()):
        for model, place, width in slots(models):
            intervals = [
                mean_interval(each[column].get((model, name), pd.Series(dtype=float)).dropna())
                for name in names
            ]
            bars(ax, np.arange(len(names)) + place, width, intervals, model)
        ax.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
        ax.tick_params("x", length=0)
        ax.set_title(title)
        _cut(ax)
    legend_line(figure, len(models), *ax.get_legend_handles_labels())
    figure.suptitle(
        f"Cosine similarity of landmark features, {FIGURE6_BENCHMARK}, "
        f"{span(rows['shots'])} shots: mean of "
        f"{span(each.groupby(level=keys[:2]).size())} episodes a category, 95% interval"
    )
    return figure


def _cut(ax: Axes) -> None:
    """Start the axis of similarities above zero where that alone shows differences, and say so."""
    heights = [float(bar.get_height()) for bar in ax.patches]
    low = min((h for h in heights if np.isfinite(h)), default=0.0)
    start = np.floor(20 * (low - 0.1 * (1 - low)) - 1e-9) / 20 if low > 0.5 else min(low * 1.15, 0)
    ax.set_ylim(start, None)
    ax.set_ylabel("similarity" + f" (axis starts at {start:.2f})" * (low > 0.5))
