"""The drawings of `benchmarks.figures`: each makes a figure of what was read."""

import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.results import trust
from benchmarks.results.reading import Maps
from benchmarks.tables.build import ABLATIONS, LEARNERS, table2
from fewshot_landmarks.data.categories import CATEGORIES, Category, category
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.protocol import BENCHMARKS, SHOTS, TABLE3_SHOTS, TABLE4_BENCHMARK
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.markup import PLAIN_TEXT

"""By "benchmark/category": the arrays of `probes.landmark_heatmaps`."""

FIGURE5_CATEGORY = "trousers"
PAPER_GROUPS = 9  # landmarks of trousers in the paper's figure 5
TROUSERS = (  # where a drawing has the landmarks of trousers: x to the right, y down
    (-0.5, 0), (0, 0.05), (0.5, 0), (-0.66, 1), (-0.68, 2), (-0.72, 3), (-0.3, 3),
    (-0.18, 2), (0, 1), (0.18, 2), (0.3, 3), (0.72, 3), (0.68, 2), (0.66, 1),
)  # fmt: skip
COLOURS = {  # the muted scheme of Paul Tol, for any eye; black is the paper's own learner
    "FT": "#88CCEE",
    "MAML": "#332288",
    "WG": "#DDCC77",
    "WG-ATT": "#999933",
    "PROTO": "#CC6677",
    "PROTO-MA": "#882255",
    "MRN": "#44AA99",
    "PAML": "#117733",
    "MetaCloth": "#000000",
    "Base-FEN": "#EE9955",
    "Base-FEN_M": "#CC7711",
    "LD-Keep": "#77AADD",
    "LD-Keep_M": "#4477AA",
}
MARKERS = dict(zip(LEARNERS, "ovs^D<>po"))
OTHER = "#888888"  # a learner that is not the paper's
PLACES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Of benchmarks, B-1 to B-4 having the first four: Okabe and Ito."""
CELL, GAP, TITLE = 1.5, 0.06, 0.3  # of figure 4, inches
TRUE, PREDICTED = "#00D060", "#00E5FF"
HEAT = LinearSegmentedColormap.from_list(
    "heat", [(1, 0.2, 0, 0), (1, 0.2, 0, 0.75), (1, 0.85, 0, 0.95), (1, 1, 0.85, 1)]
)
STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "figure.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.2,
    "errorbar.capsize": 1.5,
    "image.interpolation": "bicubic",
    "pdf.fonttype": 42,  # letters stay letters
    "savefig.dpi": 150,
    **PLAIN_TEXT,
}
BAR = {"linewidth": 0.8, "ecolor": "#666666", "error_kw": {"elinewidth": 0.8}}
styled = style.context(STYLE, after_reset=True)


class Absent(UserError):
    """There is nothing to draw a figure of."""


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
        (episodes["benchmark"] == TABLE4_BENCHMARK)
        & (episodes["category"] == shown.name)
        & (episodes["shots"] == TABLE3_SHOTS)
        & episodes["learner"].isin(LEARNERS)
    ]
    if rows.empty:
        raise Absent(f"no episodes of {shown.name} on {TABLE4_BENCHMARK}, {TABLE3_SHOTS} shots")
    errors = group_errors(rows, shown)
    groups = [" & ".join(str(i + 1) for i in group) for group in shown.groups]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    ax, drawing = figure.subplots(1, 2, width_ratios=(8, 1.1))
    for learner, place, width in _slots([n for n in LEARNERS if n in errors.index]):
        failed = bool(np.isinf(errors.loc[learner].to_numpy()).any())
        found = [
            (np.nan, np.nan) if failed else mean_interval(values.dropna())
            for _, values in errors.loc[learner].items()
        ]
        _bars(ax, np.arange(len(groups)) + place, width, found, learner, " (failed)" * failed)
    ax.set_xticks(range(len(groups)), groups)
    ax.tick_params("x", length=0)
    ax.set(xlabel="landmark of trousers (numbers at the right)", ylabel="NE", ylim=(0, None))
    ax.margins(x=0.01)
    _legend_line(ax, 9)
    _draw_numbers(drawing, shown)
    counts = errors.groupby(level="learner").size()
    figure.suptitle(
        f"Error of each landmark of {shown.name}, {TABLE4_BENCHMARK}, {TABLE3_SHOTS} shots: mean "
        f"of {_span(counts)} episodes, 95% interval\nMirror images are averaged, which makes "
        f"{len(groups)} by the data set's definitions; the paper says {PAPER_GROUPS}"
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
    rows = similarities[similarities["benchmark"] == TABLE4_BENCHMARK]
    if rows.empty:
        raise Absent(f"no similarities on {TABLE4_BENCHMARK}")
    keys = ["model", "category", "episode"]
    each = rows.groupby(keys)[["before_after", "between"]].mean()
    known = ("LD-Keep", "Base-FEN", "MetaCloth")
    found = set(rows["model"])
    models = [name for name in known if name in found] + sorted(found - set(known))
    names = [c.name for c in CATEGORIES if c.name in set(rows["category"])]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = {
        "before_after": "(a) the same landmark before and after tuning",
        "between": "(b) different landmarks after tuning",
    }
    for ax, (column, title) in zip(figure.subplots(1, 2), panels.items()):
        for model, place, width in _slots(models):
            intervals = [
                mean_interval(each[column].get((model, name), pd.Series(dtype=float)).dropna())
                for name in names
            ]
            _bars(ax, np.arange(len(names)) + place, width, intervals, model)
        ax.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
        ax.tick_params("x", length=0)
        ax.set_title(title)
        _cut(ax)
    _legend_line(figure, len(models), *ax.get_legend_handles_labels())
    figure.suptitle(
        f"Cosine similarity of landmark features, {TABLE4_BENCHMARK}, "
        f"{_span(rows['shots'])} shots: mean of "
        f"{_span(each.groupby(level=keys[:2]).size())} episodes a category, 95% interval"
    )
    return figure


def _cut(ax: Axes) -> None:
    """Start the axis of similarities above zero where that alone shows differences, and say so."""
    heights = [float(bar.get_height()) for bar in ax.patches]
    low = min((h for h in heights if np.isfinite(h)), default=0.0)
    start = np.floor(20 * (low - 0.1 * (1 - low)) - 1e-9) / 20 if low > 0.5 else min(low * 1.15, 0)
    ax.set_ylim(start, None)
    ax.set_ylabel("similarity" + f" (axis starts at {start:.2f})" * (low > 0.5))


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
    _legend_line(figure, min(9, int(width)), list(lines.values()), list(lines))
    figure.suptitle("Normalised error against shots, with 95% intervals over episodes")
    return figure


def _curves(ax: Axes, rows: Mapping, linestyle: str, thin: float = 1) -> None:
    """A line a learner; learners stand a little apart, so that their intervals can be told."""
    for i, (learner, cells) in enumerate(rows.items()):
        points = [(cell.ne, cell.ci95) for cell in cells[: len(SHOTS)]]
        if np.isfinite(points).any():
            means, halves = np.array(points).T
            stands_out = learner == "MetaCloth"
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
    _legend_line(figure, len(shown), [lines[name] for name in shown], shown)
    figure.suptitle("Training losses (each learner's own loss)")
    return figure


def place_colours(benchmarks: Iterable[str]) -> dict[str, str]:
    """A colour for each benchmark, the paper's first, which have their own, others as they come."""
    found = dict.fromkeys(benchmarks)
    known = dict(zip(BENCHMARKS, PLACES))
    others = [name for name in found if name not in known]
    own = {name: colour for name, colour in known.items() if name in found}
    return own | dict(zip(others, itertools.cycle(PLACES)))


# ------------------------------------------------------------------------ figure of trust


@styled
def figure_trust(calibration: pd.DataFrame) -> Figure:
    """Share of landmarks found against their score, a panel a learner and a line a benchmark.

    Of all landmarks of unseen categories, those that are not there included; a marker's area is
    the share of the landmarks that have such a score.
    """
    rows = calibration[calibration["landmarks"] == trust.UNSEEN]
    if not rows["count"].sum():
        raise Absent("no landmark has a score")
    errors = trust.errors(rows)[trust.UNSEEN]
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
    _legend_line(figure, min(2 * wide, len(shown)), [lines[name] for name in shown], shown)
    figure.suptitle(
        "Share of landmarks found against their score, unseen categories\nA marker's area: how "
        "many have such a score. ECE: expected calibration error"
    )
    return figure


# ------------------------------------------------------------------------------- drawing


def _slots(names: Sequence[str]) -> list[tuple[str, float, float]]:
    """Where the bars of a group stand: name, centre beside the group's, width."""
    width = 0.84 / len(names)
    return [(name, (i - (len(names) - 1) / 2) * width, width) for i, name in enumerate(names)]


def _bars(ax: Axes, places, width: float, found: Sequence[tuple], name: str, note="") -> None:
    heights, halves = zip(*found)
    ax.bar(
        places, heights, width, yerr=halves, label=name + note, color=COLOURS.get(name, OTHER),
        edgecolor="white", **BAR,
    )  # fmt: skip


def _legend_line(of: Axes | Figure, columns: int, *entries) -> None:
    """A legend in one line, over the axes or at the foot of the figure."""
    places = {"loc": "outside lower center"}
    if isinstance(of, Axes):
        places = {"loc": "lower center", "bbox_to_anchor": (0.5, 1)}
    of.legend(*entries, ncols=columns, frameon=False, columnspacing=1.4, handlelength=1.6, **places)


def _span(numbers: pd.Series) -> str:
    return " to ".join(map(str, sorted({numbers.min(), numbers.max()})))
