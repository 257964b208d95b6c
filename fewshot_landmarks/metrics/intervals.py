"""Means and their 95% intervals.

Where one row is one object, intervals are over objects, whose landmarks are not independent of
each other.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Z95 = 1.96  # standard errors either side of the mean, as few-shot papers report
RESAMPLES = 1000


class Estimate(NamedTuple):
    """A value and the ends of its 95% interval, NaN where it has none."""

    value: float
    low: float = math.nan
    high: float = math.nan


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of independent values and the half-width of its 95% interval, in their unit.

    The half-width is 1.96 sample standard errors (ddof = 1): NaN for a single value. Both are
    NaN for no value, and NaN values are the caller's to drop.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return math.nan, math.nan
    if array.size == 1:
        return float(array[0]), math.nan
    return float(array.mean()), float(Z95 * array.std(ddof=1) / math.sqrt(array.size))


def mean_error(errors: np.ndarray) -> Estimate:
    """The mean of all scored landmarks of objects, errors (M, N), and its interval over objects.

    Objects have different numbers of scored landmarks, so the mean is a ratio of two sums; its
    standard error is that of the objects' residuals, which is that of a mean for equal numbers.
    """
    errors = np.asarray(errors, np.float64)
    counts = np.sum(~np.isnan(errors), 1)
    errors, counts = errors[counts > 0], counts[counts > 0]
    if not len(counts):
        return Estimate(math.nan)
    sums = np.nansum(errors, 1)
    mean = float(sums.sum() / counts.sum())
    _, half = mean_interval((sums - mean * counts) / counts.mean())
    return Estimate(mean, mean - half, mean + half)


def resampled(
    statistic: Callable[[np.ndarray], Sequence[float] | np.ndarray], count: int, seed: int = 0
) -> np.ndarray:
    """Ends of the 95% percentile intervals of statistics of `count` objects: (2, K).

    `statistic` gets the positions of resampled objects and gives K numbers. Ends are NaN for a
    single object; a resample whose number is NaN does not count.
    """
    random = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN alone, whose ends are NaN too
        values: list = [statistic(random.integers(count, size=count)) for _ in range(RESAMPLES)]
        ends = np.nanpercentile(values, (2.5, 97.5), axis=0)
    return ends if count > 1 else np.full_like(ends, math.nan)
