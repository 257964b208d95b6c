"""COCO's object keypoint similarity, and average precision by it."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout

import numpy as np

from fewshot_landmarks.metrics.intervals import Estimate, resampled
from fewshot_landmarks.support.errors import UserError

PRECISIONS = {"AP": None, "AP50": 0.5, "AP75": 0.75}  # at what similarity; None: 0.50 to 0.95


class NoCoco(UserError):
    """pycocotools is not installed."""


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

        def precisions(photos: Iterable[int]) -> np.ndarray:
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


def _precisions(evaluator, by_photo: list, photos: Iterable[int]) -> np.ndarray:
    """The mean over recall of the precision, for `PRECISIONS`, of the photos at these positions."""
    evaluator.evalImgs = [by_photo[photo] for photo in photos]
    evaluator.accumulate()
    precision = evaluator.eval["precision"][:, :, 0, 0, 0]  # (similarity, recall), -1: no object
    by_similarity = np.where(precision < 0, math.nan, precision).mean(1)
    steps = evaluator.params.iouThrs
    return np.array(
        [by_similarity[np.isclose(steps, at or steps)].mean() for at in PRECISIONS.values()]
    )
