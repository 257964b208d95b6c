"""What the tables and figures say of a set of episodes: its mean and 95% interval."""

import math
from collections.abc import Sequence

import numpy as np

Z95 = 1.96  # standard errors either side of the mean, as few-shot papers report


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
