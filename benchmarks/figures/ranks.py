"""A figure of our own: who is better at a glance, by average ranks.

J. Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006: learners
are ranked on each data set; Friedman's test asks whether they differ at all, and two are told apart
where their average ranks differ by Nemenyi's critical difference q sqrt(k (k + 1) / 6 N), of k
learners on N data sets. Both tests take data sets as independent. So a data set is a benchmark, with
means over all numbers of shots, which share its episodes; benchmarks share categories.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from benchmarks.figures.style import COLOURS, OTHER, Absent, styled
from benchmarks.results.episodes import controls_needed, episodes_needed, met_by_all
from benchmarks.results.reading import titles
from fewshot_landmarks.protocol import ABLATIONS, UNTRAINED

LEVEL = 0.05


def mean_errors(episodes: pd.DataFrame, run: dict) -> pd.DataFrame:
    """Errors of all learners but ablations: a row a benchmark, a column a learner.

    Means over numbers of shots and the episodes that all met, NaN where a learner lacks any.
    """
    found = {}
    for benchmark in titles(run):
        shots = episodes.loc[episodes["benchmark"] == benchmark, "shots"].unique()
        if len(shots):
            errors = met_by_all(episodes, run, benchmark).mean().unstack("shots")
            found[benchmark] = errors.reindex(columns=shots).mean(axis=1, skipna=False)
    learners = sorted(set(episodes["learner"]) - set(ABLATIONS))
    return pd.DataFrame(found).T.reindex(columns=learners)


def average_ranks(errors: pd.DataFrame) -> pd.Series:
    """Mean rank of each column over the rows, 1 the least; of equal ones the mean of theirs."""
    ranks = rankdata(np.round(errors.to_numpy(np.float64), 12), axis=1)
    return pd.Series(ranks.mean(0), errors.columns).sort_values(kind="stable")


def critical_difference(learners: int, sets: int) -> float:
    """Nemenyi's, of average ranks."""
    q = studentized_range.ppf(1 - LEVEL, learners, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(learners * (learners + 1) / (6 * sets)))


def alike(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """Longest stretches (first, last) of sorted ranks that lie within a critical difference."""
    ends = [max(j for j in range(len(ranks)) if ranks[j] - rank < difference) for rank in ranks]
    return [
        (first, last)
        for first, last in enumerate(ends)
        if last > first and (first == 0 or ends[first - 1] < last)
    ]


@styled
def figure_ranks(episodes: pd.DataFrame, run: dict) -> Figure:
    """Average ranks with bars over learners that are not told apart."""
    errors = mean_errors(episodes, run)
    lacking = [name for name in errors if errors[name].isna().any()]
    errors = errors.drop(columns=lacking)
    sets, learners = errors.shape
    if learners < 3 or sets < 2:
        raise Absent("fewer than three learners have every cell of two benchmarks")
    with np.errstate(invalid="ignore"):  # where all have the same errors there is no statistic
        p = float(np.nan_to_num(friedmanchisquare(*errors.to_numpy().T).pvalue, nan=1.0))
    ranks, difference = average_ranks(errors), critical_difference(learners, sets)
    figure = Figure(figsize=(8, 1.4 + 0.21 * learners), layout="constrained")
    _draw(figure.subplots(), ranks, difference if p < LEVEL else math.inf)
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    verdict = f"critical difference {difference:.2f}" if p < LEVEL else "none is told from another"
    without = f"\nLeft out, for they lack some: {', '.join(lacking)}" if lacking else ""
    figure.suptitle(
        f"Average rank over {sets} benchmarks, by means over all shots{_met(episodes, run)}, 1 is "
        f"best\nFriedman's test: {chance}; Nemenyi's test at 5%: {verdict}"
        f"\nBoth take benchmarks as independent, which those that share categories are not{without}"
    )
    return figure


def _met(episodes: pd.DataFrame, run: dict) -> str:
    """Which episodes learners are ranked on, where those are not all that they met."""
    of_controls = episodes["learner"].isin(UNTRAINED)
    if of_controls.all() or not of_controls.any():
        return ""
    few, many = controls_needed(run, episodes[of_controls]), episodes_needed(run, episodes)
    return f", {few} of {many} episodes a category" * (few < many)


def _draw(ax: Axes, ranks: pd.Series, difference: float) -> None:
    """Ranks on an axis at the top; names at both sides, the best at the left."""
    count, left = len(ranks), -(-len(ranks) // 2)
    bars = alike(list(ranks), difference)
    top = 1 + 0.2 * len(bars)  # of the names, below the axis
    for i, (name, rank) in enumerate(ranks.items()):
        on_left = i < left
        height = i if on_left else count - 1 - i
        side, colour = (0.4 if on_left else count + 0.6), COLOURS.get(name, OTHER)
        y = top + height
        ax.plot((rank, rank, side), (0, y, y), color=colour, linewidth=1)
        ax.plot(rank, 0, "o", color=colour, markersize=3.5, clip_on=False, zorder=3)
        text = f"{name}  {rank:.2f}" if on_left else f"{rank:.2f}  {name}"
        ax.text(
            side + (-0.1 if on_left else 0.1),
            y,
            text,
            va="center",
            ha="right" if on_left else "left",
        )
    for level, (first, last) in enumerate(bars):
        ends = ranks.iloc[first] - 0.06, ranks.iloc[last] + 0.06
        ax.plot(ends, (0.3 + 0.2 * level,) * 2, color="black", linewidth=2.5, zorder=4)
    if math.isfinite(difference):
        ax.plot((1, 1 + difference), (-1.1, -1.1), "k|-", linewidth=1, clip_on=False)
        ax.text(1 + difference / 2, -1.3, "critical difference", ha="center", va="bottom")
    ax.set(xlim=(0.4, count + 0.6), ylim=(top + left, -0.01), yticks=[], xticks=range(1, count + 1))
    ax.xaxis.tick_top()
    ax.grid(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.spines["top"].set_visible(True)
