"""How two sets of errors are compared and a claim about them is judged: no files, no torch.

- The two sides are compared on the same episodes (`paired`): the difference is the mean over
  episodes of the first minus the second, with 1.96 standard errors. An episode where either side
  is NaN is dropped from the pair. Sides that have other episodes (`apart`: another benchmark's,
  other categories') are compared by their means; an episode that is in both is still one draw.
- Where episodes are few, as those that controls met, the interval is Student's t (`paired_few`).
  Some categories vary more than others, so its degrees of freedom are Satterthwaite's (B. L. Welch, "The
  generalization of Student's problem when several different population variances are involved",
  Biometrika 34, 1947), at most the number of episodes less that of categories.
- Categories are what a benchmark is made of, not a sample: episodes vary within their category, and
  standard errors and bootstraps are of that alone.
- "Below" holds if the whole interval is below 0, doesn't if the whole of it is above 0, and is
  undecided else. "No worse" is the same with a margin in the place of 0.
- A claim against several others (the least of nine, the greatest of four) holds if it does against
  every one, doesn't if it fails significantly against any; the row shows the strongest of them.
  So choosing a rival by the errors at hand cannot make a claim hold.
- A relative fall is that of the means, its interval a percentile bootstrap over episodes. It holds
  if the interval is above 0 and reaches the paper's figure or more, and doesn't if the whole of it
  is below that figure.
- An interval over episodes knows nothing of other trainings. So a verdict over several training
  seeds must also be that of each seed alone, and is undecided else (`borne_out`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr, t

from fewshot_landmarks.metrics.intervals import Z95

HOLDS, FAILS, UNDECIDED, NOT_MEASURED = "holds", "doesn't", "undecided", "not measured"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_MEASURED)
RANK_BAR = 0.8  # of Spearman's correlation with the paper's order
MARGIN = 0.002  # of non-inferiority: how much more error is still "no worse"
RESAMPLES, BOOTSTRAP_SEED = 2000, 2021


@dataclass(frozen=True)
class Comparison:
    """Two means and the first minus the second; without episodes it was not measured."""

    first: float
    second: float
    difference: float
    ci95: float
    episodes: int


def paired(first: pd.Series, second: pd.Series) -> Comparison:
    """The comparison of two learners' errors over the episodes that both have.

    Errors, here and below, are indexed by category and episode.
    """
    return _compared(pd.concat([first, second], axis=1, join="inner").dropna())


def paired_few(first: pd.Series, second: pd.Series) -> Comparison:
    """`paired`, with the interval of Student's t, which holds where episodes are few."""
    return _compared(pd.concat([first, second], axis=1, join="inner").dropna(), few=True)


def apart(first: pd.Series, second: pd.Series) -> Comparison:
    """The comparison of two means, each over its own episodes, of which some may be shared."""
    return _compared(pd.concat([first.dropna(), second.dropna()], axis=1))


def student(freedom: float) -> float:
    """Half of a 95% interval of Student's t in standard errors; NaN without degrees of freedom."""
    return float(t.ppf(0.975, freedom))


def _compared(sides: pd.DataFrame, few: bool = False) -> Comparison:
    """Of two columns of errors, NaN where a side lacks the episode."""
    errors = sides.to_numpy(np.float64)
    there = ~np.isnan(errors)
    if not there.any(0).all():
        return Comparison(math.nan, math.nan, math.nan, math.nan, 0)
    category = pd.factorize(sides.index.get_level_values("category"))[0]
    with np.errstate(
        invalid="ignore"
    ):  # a side without a category; one episode, which says nothing
        means = _by_category(np.where(there, errors, 0), category) / _by_category(there, category)
        within = np.where(there, errors - means[category], 0) / there.sum(0)
        part = within[:, :1] - within[:, 1:]  # of an episode in the difference of the means
        size = _by_category(np.ones_like(part), category)
        away = part - (_by_category(part, category) / size)[category]
        parts = _by_category(away**2, category) / (size - 1) * size
        variance = parts.sum()
        freedom = variance**2 / (parts**2 / (size - 1)).sum()
    # Where all episodes have one difference there are no degrees of freedom, and no width.
    wide = student(freedom) if few and variance else Z95
    mine, other = (float(errors[there[:, side], side].mean()) for side in (0, 1))
    return Comparison(mine, other, mine - other, wide * math.sqrt(variance), len(part))


def _by_category(values: np.ndarray, category: np.ndarray) -> np.ndarray:
    """Sums of the rows of each category: (rows, columns) to (categories, columns)."""
    return np.stack([np.bincount(category, weights=column) for column in values.T], 1)


def verdict(comparisons: Sequence[Comparison], margin: float = 0.0, greater: bool = False) -> str:
    """Of "the first is below the second" in every comparison (`greater`: above it)."""
    if not all(c.episodes for c in comparisons):
        return NOT_MEASURED
    sign = -1 if greater else 1
    if all(sign * c.difference + c.ci95 < margin for c in comparisons):
        return HOLDS
    return FAILS if any(sign * c.difference - c.ci95 > margin for c in comparisons) else UNDECIDED


def bootstrap_means(errors: pd.DataFrame) -> np.ndarray:
    """Means (resamples, columns) of episodes drawn again, jointly for all columns."""
    random = np.random.Generator(np.random.PCG64(BOOTSTRAP_SEED))
    sums = np.zeros((RESAMPLES, errors.shape[1]))
    for _, own in errors.groupby(level="category"):
        n = len(own)
        sums += random.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) @ own.to_numpy()
    return sums / len(errors)


def _percentiles(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, np.nanpercentile(values, (2.5, 97.5))))


def rank_correlations(rows: np.ndarray, order: Sequence[float]) -> np.ndarray:
    """Spearman's correlation of each row with `order`; NaN for a constant row."""
    ranks = rankdata(np.round(rows, 12), axis=1)  # what ties must not part by rounding errors
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    wanted = rankdata(order) - (len(order) + 1) / 2
    with np.errstate(invalid="ignore"):
        return ranks @ wanted / np.sqrt((ranks**2).sum(axis=1) * (wanted**2).sum())


def borne_out(whole: str, alone: Sequence[str]) -> str:
    """The verdict over all training seeds; undecided where that of a seed alone is another.

    `alone` has each seed's verdict; one that was not measured says nothing.
    """
    certain = whole in (HOLDS, FAILS)
    return UNDECIDED if certain and set(alone) - {whole, NOT_MEASURED} else whole


def judged(
    first: str, against: Mapping[str, Comparison], margin: float = 0.0, greater: bool = False
) -> dict:
    """The verdict on the first against each of the others, with the strongest one's numbers.

    `rival` names that one, and `differences` has each one's.
    """
    sign = -1 if greater else 1
    strongest = max(against, key=lambda name: sign * against[name].difference)
    shown = against[strongest]
    return {
        "rival": strongest,
        "differences": {name: comparison.difference for name, comparison in against.items()},
        "ours": f"{first} {number(shown.first)}, {strongest} {number(shown.second)}",
        "difference": shown.difference,
        "ci95": shown.ci95,
        "episodes": shown.episodes,
        "verdict": verdict(list(against.values()), margin, greater),
    }


def relative_fall(first: pd.Series, second: pd.Series, claimed: float) -> dict:
    """The fall of the first's mean from the second's, and the verdict on the claimed fall."""
    both = pd.concat([first, second], axis=1, join="inner").dropna()
    if both.empty:
        return {"verdict": NOT_MEASURED}
    mine, other = both.mean()
    means = bootstrap_means(both)
    low, high = _percentiles(1 - means[:, 0] / means[:, 1])
    fall, half = float(1 - mine / other), (high - low) / 2
    sure = FAILS if high < claimed else HOLDS if low > 0 else UNDECIDED
    return {
        "ours": f"{fall:.1%} ± {100 * half:.1f}",
        "difference": -fall,
        "ci95": half if len(both) > 1 else math.nan,
        "episodes": len(both),
        "verdict": sure if len(both) > 1 else UNDECIDED,
    }


def order_agreement(errors: pd.DataFrame, paper: Sequence[float]) -> dict:
    """Spearman's correlation of errors (episodes, learners) with the paper's, and the verdict."""
    means = np.round(errors.mean().to_numpy(), 12) if len(errors) else np.zeros(len(paper))
    if len(set(means)) == 1:
        return {"verdict": NOT_MEASURED}
    rho = round(float(spearmanr(means, paper).statistic), 9)
    low, high = _percentiles(rank_correlations(bootstrap_means(errors), paper))
    return {
        "ours": f"{number(rho, 2)} ({number(low, 2)} to {number(high, 2)})",
        "difference": rho,
        "ci95": (high - low) / 2 if len(errors) > 1 else math.nan,
        "episodes": len(errors),
        "verdict": HOLDS if rho >= RANK_BAR else FAILS,
    }


def number(value: float, decimals: int = 3) -> str:
    """A number as the paper's text has it, without a leading zero; a dash for NaN."""
    if math.isnan(value):
        return "—"
    text = f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: no minus before zero
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
