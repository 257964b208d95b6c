"""How figures look: colours, fonts, bars and legends."""

import itertools
from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewshot_landmarks.protocol import ABLATIONS, BENCHMARKS, LEARNERS
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.markup import PLAIN_TEXT

# The muted scheme of Paul Tol, for any eye; black is the paper's own learner.
TONES = "#88CCEE #332288 #DDCC77 #999933 #CC6677 #882255 #44AA99 #117733 #000000".split()
ABLATION_TONES = "#EE9955 #CC7711 #77AADD #4477AA".split()
COLOURS = dict(zip(LEARNERS + ABLATIONS, TONES + ABLATION_TONES, strict=True))
MARKERS = dict(zip(LEARNERS, "ovs^D<>po", strict=True))
OTHER = "#888888"  # a learner that is not the paper's
PLACES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Of benchmarks, B-1 to B-4 having the first four: Okabe and Ito."""
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


def place_colours(benchmarks: Iterable[str]) -> dict[str, str]:
    """A colour for each benchmark, the paper's first, which have their own, others as they come."""
    found = dict.fromkeys(benchmarks)
    known = dict(zip(BENCHMARKS, PLACES))
    others = [name for name in found if name not in known]
    own = {name: colour for name, colour in known.items() if name in found}
    return own | dict(zip(others, itertools.cycle(PLACES)))


def slots(names: Sequence[str]) -> list[tuple[str, float, float]]:
    """Where the bars of a group stand: name, centre beside the group's, width."""
    width = 0.84 / len(names)
    return [(name, (i - (len(names) - 1) / 2) * width, width) for i, name in enumerate(names)]


def bars(ax: Axes, places, width: float, found: Sequence[tuple], name: str, note="") -> None:
    heights, halves = zip(*found)
    ax.bar(
        places, heights, width, yerr=halves, label=name + note, color=COLOURS.get(name, OTHER),
        edgecolor="white", **BAR,
    )  # fmt: skip


def legend_line(of: Axes | Figure, columns: int, *entries) -> None:
    """A legend in one line, over the axes or at the foot of the figure."""
    places = {"loc": "outside lower center"}
    if isinstance(of, Axes):
        places = {"loc": "lower center", "bbox_to_anchor": (0.5, 1)}
    of.legend(*entries, ncols=columns, frameon=False, columnspacing=1.4, handlelength=1.6, **places)


def span(numbers: pd.Series) -> str:
    return " to ".join(map(str, sorted({numbers.min(), numbers.max()})))
