"""How often predictions of a score are right."""

import math
from typing import NamedTuple

import numpy as np


class Bins(NamedTuple):
    """Predictions by their score, in bins of equal width from 0 to 1; an empty one has NaN."""

    count: np.ndarray  # type: ignore[assignment]  # (bins,) int
    score: np.ndarray  # (bins,) mean score
    hits: np.ndarray  # (bins,) share of hits


def reliability(scores: np.ndarray, hits: np.ndarray, bins: int = 10) -> Bins:
    """How often predictions of a score are right: both (M,), scores from 0 to 1, hits bool."""
    scores = np.asarray(scores, np.float64)
    which = np.minimum((scores * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    some = np.where(count > 0, count, math.nan)
    sums = (np.bincount(which, weights=of, minlength=bins) for of in (scores, np.asarray(hits)))
    return Bins(count, *(total / some for total in sums))


def calibration_error(scores: np.ndarray, hits: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of predictions, as of `reliability`."""
    return binned_error(reliability(scores, hits, bins))


def binned_error(found: Bins) -> float:
    """Expected calibration error: gaps between score and share of hits, weighted by counts."""
    if not found.count.sum():
        return math.nan
    gaps = np.nan_to_num(np.abs(found.score - found.hits))
    return float((found.count * gaps).sum() / found.count.sum())
