"""Errors of predicted landmarks: the normalised error (section 4.1), PCK and its area.

Errors are distances over the object's size, NaN where a landmark is not scored.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # what measures stored errors needs no torch
    from torch import Tensor


def normalised_error(
    predicted: "Tensor", true: "Tensor", scored: "Tensor", area: "Tensor"
) -> "Tensor":
    """Distance over the square root of the garment's area: (B, N), NaN where not scored.

    predicted, true: (B, N, 2) in original pixels; scored: (B, N) bool; area: (B,) in original
    pixels squared.
    """
    distance = (predicted - true).norm(dim=-1)
    return (distance / area.sqrt().unsqueeze(-1)).masked_fill(~scored, math.nan)


def pck(errors: np.ndarray, threshold: float) -> float:
    """Share of the scored landmarks whose error is below the threshold; NaN where none is."""
    return _mean(_scored(errors) < threshold)


def mean_pck(errors: np.ndarray, thresholds: Sequence[float]) -> float:
    """The mean of `pck` over thresholds."""
    return float(np.mean([pck(errors, threshold) for threshold in thresholds]))


def auc(errors: np.ndarray, limit: float) -> float:
    """Area under `pck` as a function of its threshold, from 0 to the limit, over the limit."""
    return _mean(np.clip(1 - _scored(errors) / limit, 0, None))


def _scored(errors: np.ndarray) -> np.ndarray:
    errors = np.asarray(errors, np.float64)
    return errors[~np.isnan(errors)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan
