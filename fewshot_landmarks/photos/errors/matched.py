"""Predictions beside the annotated objects that they are of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fewshot_landmarks.data.categories import Category
from fewshot_landmarks.data.formats.annotations import Annotations
from fewshot_landmarks.data.formats.predictions import Prediction
from fewshot_landmarks.metrics.oks import oks
from fewshot_landmarks.photos.boxes import mean_position

CLOSE = 0.1  # of the square root of the object's area: what a landmark's score is about


@dataclass(frozen=True, eq=False)
class Matched:
    """The M matched objects; landmarks are padded to the most that a category has."""

    categories: tuple[Category, ...]  # of each object
    error: np.ndarray  # (M, N) in units of the object's size, NaN where not scored
    control: np.ndarray  # (M, N) the same of the mean position; NaN too where it is not said
    scores: np.ndarray  # (M, N) as predicted, NaN where the category has no such landmark
    close: np.ndarray  # (M, N) bool: there, and within `CLOSE` of the square root of the area
    within: np.ndarray  # (M, N) 1 where the error is within the radius, else 0; NaN without one
    levels: np.ndarray  # (M,) what radii promise; NaN where none is said
    similarity: np.ndarray  # (M,) OKS, NaN where the category has no sigmas

    @property
    def uncontrolled(self) -> int:
        """How many objects have a scored landmark whose mean position is not said."""
        return int((np.isnan(self.control) & ~np.isnan(self.error)).any(1).sum())

    @property
    def calibration(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The scores and the hits of all landmarks; None where scores are no probabilities."""
        there = ~np.isnan(self.scores)
        scores = self.scores[there]
        return (scores, self.close[there]) if 0 <= scores.min() <= scores.max() <= 1 else None


def answered(predictions: Sequence[Prediction]) -> dict[int, np.ndarray]:
    """By category, which landmarks (N,) any prediction has; others are 0, 0 with a score of 0."""
    known: dict[int, np.ndarray] = {}
    for one in predictions:
        known[one.category] = known.get(one.category, False) | one.there
    return known


def compare(
    predictions: Sequence[Prediction],
    objects: np.ndarray,
    annotations: Annotations,
    by: str,
    learnt: Mapping[int, np.ndarray],
) -> Matched:
    """Errors of the predictions that have an object, in the order of predictions."""
    index, pairs = annotations.index, [(k, i) for k, i in enumerate(objects) if i >= 0]
    categories = tuple(annotations.categories[int(index.category[i])] for _, i in pairs)
    shape = len(pairs), max(category.landmarks for category in categories)
    error, control, scores, within = (np.full(shape, np.nan) for _ in range(4))
    close = np.zeros(shape, bool)
    similarity = np.full(len(pairs), np.nan)
    for row, ((k, i), category) in enumerate(zip(pairs, categories, strict=True)):
        predicted, (true, visible) = predictions[k], index.landmarks(i)
        visible = visible * learnt[category.id]
        own, area, box = slice(category.landmarks), float(index.area[i]), index.box[i]
        (mean,) = mean_position(predicted.position, box[None])
        distance, apart = (np.linalg.norm(each - true, axis=1) for each in (predicted.points, mean))
        size = math.sqrt(area) if by == "area" else float(max(box[2:] - box[:2]))
        error[row, own] = np.where(visible > 0, distance / size, np.nan)
        control[row, own] = np.where(visible > 0, apart / size, np.nan)
        scores[row, own] = np.where(learnt[category.id], predicted.scores, np.nan)
        close[row, own] = (visible > 0) & (distance < CLOSE * math.sqrt(area))
        told = (visible > 0) & np.isfinite(predicted.radii)
        within[row, own] = np.where(told, distance <= predicted.radii, np.nan)
        if category.oks_sigmas:
            one = predicted.points[None], true[None], visible[None] > 0, np.array([area])
            similarity[row] = oks(*one, category.oks_sigmas)[0]
    levels = np.array([predictions[k].level for k, _ in pairs])
    return Matched(categories, error, control, scores, close, within, levels, similarity)
