"""Scores of predicted landmarks, and their 95% intervals: NumPy alone, without torch.

Errors are distances over the object's size (see `metrics.normalised_error`), NaN where a landmark
is not scored. Where one row is one object, intervals are over objects, whose landmarks are not
independent of each other.
"""

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import NamedTuple

import numpy as np

from fewshot_landmarks.support.errors import UserError

Z95 = 1.96  # standard errors either side of the mean, as few-shot papers report
RESAMPLES = 1000
PRECISIONS = {"AP": None, "AP50": 0.5, "AP75": 0.75}  # at what similarity; None: 0.50 to 0.95


class Estimate(NamedTuple):
    """A value and the ends of its 95% interval, NaN where it has none."""

    value: float
    low: float = math.nan
    high: float = math.nan


class Bins(NamedTuple):
    """Predictions by their score, in bins of equal width from 0 to 1; an empty one has NaN."""

    count: np.ndarray  # (bins,) int
    score: np.ndarray  # (bins,) mean score
    hits: np.ndarray  # (bins,) share of hits


class NoCoco(UserError):
    """pycocotools is not installed."""


# ------------------------------------------------------------------------------- errors


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


# ---------------------------------------------------------------------------- similarity


def oks(
    predicted: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    area: np.ndarray,
    sigmas: Sequence[float],
) -> np.ndarray:
    """COCO's object keypoint similarity, 0 to 1, of each object: (B,), NaN where none is labelled.

    predicted, true: (B, N, 2) in pixels; labelled: (B, N) bool; area: (B,) in pixels squared;
    sigmas: (N,), of the category.
    """
    squares = ((np.asarray(predicted, np.float64) - true) ** 2).sum(-1)
    spread = 2 * np.asarray(area, np.float64)[:, None] * (2 * np.asarray(sigmas)) ** 2
    similar = np.where(labelled, np.exp(-squares / spread), 0).sum(-1)
    count = np.sum(labelled, -1)
    return np.where(count > 0, similar / np.maximum(count, 1), math.nan)


def oks_ap(
    truth: Mapping,
    results: Sequence[Mapping],
    sigmas: Mapping[int, Sequence[float]],
    intervals: bool = True,
) -> dict[str, Estimate]:
    """Average precision by object keypoint similarity, as pycocotools has it: AP, AP50, AP75.

    truth: as in a COCO keypoint file: "images" with ids, "annotations" with image_id, category_id,
        keypoints, area and bbox. Annotations without a labelled keypoint, and crowds, are neither
        found nor missed.
    results: as in a COCO results file, each with a score; at most 20 a photo count.
    sigmas: by category id, one for each keypoint. AP is the mean over these categories, of those
        that have an annotation; NaN where none has.
    intervals: percentiles of resampled photos, which take a thousand times as long.

    Raises `NoCoco`, a `UserError`, where pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise NoCoco(
            'average precision needs pycocotools: pip install "fewshot-landmarks[coco]"'
        ) from None

    with redirect_stdout(io.StringIO()):  # pycocotools prints each step
        evaluators = []
        for category, of_keypoints in sigmas.items():
            sides = []
            for objects in (truth["annotations"], results):
                side = COCO()
                side.dataset = _one_category(truth["images"], objects, category)
                side.createIndex()
                sides.append(side)
            if any(one["num_keypoints"] for one in sides[0].dataset["annotations"]):
                evaluator = COCOeval(*sides, "keypoints")
                evaluator.params.kpt_oks_sigmas = np.asarray(of_keypoints, np.float64)
                evaluator.params.areaRng = [[0, math.inf]]
                evaluator.params.areaRngLbl = ["all"]
                evaluator.evaluate()
                evaluators.append((evaluator, evaluator.evalImgs))
        if not evaluators:
            return {name: Estimate(math.nan) for name in PRECISIONS}

        def precisions(photos: Sequence[int]) -> np.ndarray:
            return np.nanmean([_precisions(*one, photos) for one in evaluators], axis=0)

        count = len(truth["images"])
        values = precisions(range(count))
        ends = resampled(precisions, count) if intervals else np.full((2, len(values)), math.nan)
    numbers = np.vstack([values, ends]).T.tolist()
    return {name: Estimate(*three) for name, three in zip(PRECISIONS, numbers, strict=True)}


def _one_category(images: Sequence[Mapping], objects: Sequence[Mapping], category: int) -> dict:
    """What pycocotools evaluates: copies, for it writes into them; an id of 0 would be none."""
    annotations = [
        {"area": 0.0, "iscrowd": 0, **one, "id": number}
        for number, one in enumerate(objects, 1)
        if one["category_id"] == category
    ]
    for one in annotations:
        one["num_keypoints"] = int(np.count_nonzero(one["keypoints"][2::3]))
    return {"images": images, "categories": [{"id": category}], "annotations": annotations}


def _precisions(evaluator, by_photo: list, photos: Sequence[int]) -> np.ndarray:
    """The mean over recall of the precision, for `PRECISIONS`, of the photos at these positions."""
    evaluator.evalImgs = [by_photo[photo] for photo in photos]
    evaluator.accumulate()
    precision = evaluator.eval["precision"][:, :, 0, 0, 0]  # (similarity, recall), -1: no object
    by_similarity = np.where(precision < 0, math.nan, precision).mean(1)
    steps = evaluator.params.iouThrs
    return np.array(
        [by_similarity[np.isclose(steps, at or steps)].mean() for at in PRECISIONS.values()]
    )


# --------------------------------------------------------------------------- calibration


def reliability(scores: np.ndarray, hits: np.ndarray, bins: int = 10) -> Bins:
    """How often predictions of a score are right: both (M,), scores from 0 to 1, hits bool."""
    scores = np.asarray(scores, np.float64)
    which = np.minimum((scores * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    some = np.where(count > 0, count, math.nan)
    sums = (np.bincount(which, weights=of, minlength=bins) for of in (scores, np.asarray(hits)))
    return Bins(count, *(total / some for total in sums))


def calibration_error(scores: np.ndarray, hits: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: gaps between score and share of hits, weighted by counts."""
    found = reliability(scores, hits, bins)
    if not found.count.sum():
        return math.nan
    gaps = np.nan_to_num(np.abs(found.score - found.hits))
    return float((found.count * gaps).sum() / found.count.sum())


# ----------------------------------------------------------------------------- intervals


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
    statistic: Callable[[np.ndarray], Sequence[float]], count: int, seed: int = 0
) -> np.ndarray:
    """Ends of the 95% percentile intervals of statistics of `count` objects: (2, K).

    `statistic` gets the positions of resampled objects and gives K numbers. Ends are NaN for a
    single object; a resample whose number is NaN does not count.
    """
    random = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN alone, whose ends are NaN too
        values = [statistic(random.integers(count, size=count)) for _ in range(RESAMPLES)]
        ends = np.nanpercentile(values, (2.5, 97.5), axis=0)
    return ends if count > 1 else np.full_like(ends, math.nan)
