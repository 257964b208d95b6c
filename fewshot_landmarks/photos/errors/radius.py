"""Radii within which landmarks lie with a chosen probability, whatever the densities' scale.

Annotated photos are left out one by one and found by the others. What their errors are, in units of
what was expected of each, is what errors of other photos will be, if these are like the annotated
ones: cross-conformal prediction (Vovk, 2015) of normalised errors. An error is expected to be

    expected = the mean of the distance under the landmark's density, and half its usual value

where the usual value is the mean over photos left out; half of it is added because densities, too,
are sometimes too sure. The radius is `ratio` times that.
"""

from dataclasses import dataclass

import numpy as np
import torch

from fewshot_landmarks.learner import Detector, Learner, SamplesDetector
from fewshot_landmarks.metrics.landmarks import normalised_error
from fewshot_landmarks.photos.confidence import Calibration, Findings, find, find_in
from fewshot_landmarks.photos.stored import adapted
from fewshot_landmarks.samples import Samples

LEVEL = 0.9
USUAL = 0.5  # of the usual value, that is added
SINGLY = 20  # photos that are left out, at most


@dataclass(frozen=True)
class Promise:
    """What errors in photos left out tell of errors in others."""

    level: float  # the probability with which a landmark lies within its radius
    ratio: float  # of radii to expected errors
    usual: float  # mean expected error of photos left out, in units of the object's size

    @classmethod
    def of(cls, errors: np.ndarray, expected: np.ndarray, level: float) -> "Promise | None":
        """Of K photos left out one by one: errors (K, N), NaN where not labelled, and expected
        errors (K, N), in units of the object's size; None where no level can be promised.

        K photos promise a probability of at most K / (K + 1): one more photo is as likely as any
        of them to be the worst. The level is the one that is asked, or that one.
        """
        told = np.isfinite(errors) & np.isfinite(expected)
        photos = int(told.any(1).sum())
        if photos < 2:
            return None
        level = min(level, photos / (photos + 1))
        usual = float(expected[told].mean())
        ratios = np.where(told, errors / (expected + USUAL * usual), np.nan)
        n = independent(ratios > np.nanquantile(ratios, level), told)
        return cls(level, float(np.nanquantile(ratios, min(level * (1 + 1 / n), 1.0))), usual)

    def radii(self, expected: np.ndarray) -> np.ndarray:
        """Of landmarks with expected errors, in units of the object's size, as radii are."""
        return self.ratio * (expected + USUAL * self.usual)


def independent(beyond: np.ndarray, told: np.ndarray) -> float:
    """As how many independent landmarks those (K, N) of K photos count, of which some errors are
    beyond what is promised: fewer where these are in the same photos.

    The number of landmarks by the design effect of samples in clusters (Kish, 1965): the variance
    of photos' shares by that of as many landmarks drawn alone.
    """
    counts = told.sum(1)
    counts, shares = counts[counts > 0], (beyond & told).sum(1)[counts > 0] / counts[counts > 0]
    total, photos = int(counts.sum()), len(counts)
    share = (beyond & told).sum() / total
    if share in (0, 1):
        return float(total)
    alone = share * (1 - share) * photos / total  # of a photo's share, were landmarks independent
    effect = ((shares - share) ** 2).sum() / (photos - 1) / alone
    return total / float(np.clip(effect, 1, total / photos))


def left_out_singly(
    learner: Learner,
    detector: Detector | SamplesDetector,
    support: Samples,
    calibration: Calibration | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors, expected errors and scores (T, N) of T photos of a detector's support, each found by
    all the others; errors are NaN where a landmark is not labelled there or in no other photo."""
    rows = []
    told = getattr(detector, "singly", ())  # of learners that leave photos out themselves
    step = -(-len(support) // SINGLY)
    for i, k in enumerate(range(0, len(support), step) if len(support) > 1 else ()):
        others, one = support[[j for j in range(len(support)) if j != k]], support[[k]]
        with torch.no_grad():
            if told and isinstance(detector, SamplesDetector):
                found = find_in(told[i][1], detector, one, others)
            else:
                found = find(adapted(learner, others), one, others, calibration)
        rows.append((errors_of(found, one, others), found.expected, found.scores))
    if not rows:
        return (np.zeros((0, support.labelled.shape[1])),) * 3
    errors, expected, scores = (torch.cat(each).double().cpu().numpy() for each in zip(*rows))
    return errors, expected, scores


def errors_of(found: Findings, photo: Samples, others: Samples) -> torch.Tensor:
    """Errors (B, N) of what others found in left-out photos, in units of the object's size; NaN
    where a landmark is not labelled there or in none of the others."""
    told = photo.labelled & others.labelled.any(0)
    places = photo.to_original(found.places), photo.to_original(photo.landmarks)
    return normalised_error(*places, told, photo.area)
