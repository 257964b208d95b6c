"""What more labels would bring: the error to expect now, and with some more labelled photos.

Errors now. Scores tell the error of each photo without labels, on a scale that labelled photos left
out one by one correct: the mean over photos without labels, times what errors are by what scores
tell of them (a ratio estimate). So photos unlike the labelled ones, whose scores are low, count.

Errors with more labels fall as a power of their number, e(n) = c n^-s (Hestness et al., 2017). Halves
of the labelled photos, found by the other halves, tell s; badly, so it is shrunk towards what it is
elsewhere.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student

from fewshot_landmarks.metrics.intervals import Estimate
from fewshot_landmarks.photos.confidence import error_of, find
from fewshot_landmarks.photos.errors.radius import errors_of
from fewshot_landmarks.photos.finder import Finder
from fewshot_landmarks.photos.stored import adapted
from fewshot_landmarks.support.rng import permutation

HALVES = 4  # draws of them
FEWEST = 4  # photos of which halves are taken
USUAL, SPREAD = 0.25, 0.2  # of s: mean and deviation over supports
VARIES, PHOTOS = (
    1.0,
    10,
)  # photos' errors vary by so much of their mean, which counts as so many photos
RESAMPLES = 1000


@dataclass(frozen=True)
class Outlook:
    """Errors to expect, in units of the object's size, with 95% intervals."""

    now: Estimate
    then: Estimate  # with more labelled photos

    @classmethod
    def of(
        cls,
        single: np.ndarray,
        told: np.ndarray,
        halves: np.ndarray,
        doubts: np.ndarray,
        more: int,
    ) -> "Outlook | None":
        """Of K labelled photos: errors (K, N) of each left out alone, what scores tell of them
        (K, N), and errors (D, K, N) of those left out in D draws of a half; errors are NaN where
        they cannot be told. doubts: (P,) what scores tell of photos without labels. more: labels."""
        known = np.isfinite(single)
        photos = known.any(1)
        count = int(photos.sum())
        if count < 2 or not np.nansum(single) > 0:
            return None
        told = np.where(known, told, np.nan)
        ratio = float(np.nansum(single) / np.nansum(told))
        off = np.nanmean((single - ratio * told)[photos], 1) / np.nanmean(single[photos])
        freedom = count - 1 + PHOTOS
        noise = math.sqrt(((off**2).sum() + PHOTOS * VARIES**2) / freedom / count)
        wide = float(student.ppf(0.975, freedom))
        slope, spread = fall(single, halves, count)
        now = ratio * float(doubts.mean())

        def at(n: int) -> Estimate:
            steps = math.log(n / count)
            value = now * math.exp(-slope * steps)
            off = math.exp(wide * math.hypot(noise, spread * steps))
            return Estimate(value, value / off, value * off)

        return cls(at(count), at(count + more))


def fall(single: np.ndarray, halves: np.ndarray, count: int) -> tuple[float, float]:
    """The power s by which errors fall, and its deviation."""
    error, half = _means(single, halves, np.ones(len(single)))
    if not (half > 0 and error > 0):
        return USUAL, SPREAD
    step = math.log((count - 1) / (count // 2))
    random = np.random.default_rng(0)
    draws = random.multinomial(len(single), np.full(len(single), 1 / len(single)), RESAMPLES)
    drawn = np.array([_means(single, halves, weights) for weights in draws])
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.log(drawn[:, 1] / drawn[:, 0]) / step
    noise = float(slopes[np.isfinite(slopes)].std())
    trust = SPREAD**2 / (SPREAD**2 + noise**2)
    return USUAL + trust * (math.log(half / error) / step - USUAL), SPREAD * math.sqrt(1 - trust)


def _means(single: np.ndarray, halves: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The mean errors of photos left out alone, and by halves, each counted so often."""
    found = []
    for errors in (single[None], halves):
        told = np.isfinite(errors)
        counts = weights[:, None] * told
        total = counts.sum()
        found.append(
            float((counts * np.where(told, errors, 0)).sum() / total) if total else math.nan
        )
    return found[0], found[1]


def outlook(finder: Finder, doubts: np.ndarray, more: int) -> list[str]:
    """A sentence on the error to expect now, and with so many more labelled photos; doubts: (P,)
    what scores tell of the errors in photos without labels."""
    found = outlook_of(finder, doubts, more)
    if found is None:
        return ["What more labels bring cannot be told from fewer than two annotated photos."]
    now, then = (f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})" for e in (found.now, found.then))
    return [
        f"error to expect now {now} of the object's size, with {more} more labelled "
        f"{'photo' if more == 1 else 'photos'} {then}"
    ]


def outlook_of(finder: Finder, doubts: np.ndarray, more: int) -> Outlook | None:
    """See `outlook`."""
    errors, _, scores = finder.singly
    told = error_of(torch.from_numpy(scores)).numpy()
    return Outlook.of(errors, told, left_out_by_halves(finder), doubts, more)


def left_out_by_halves(finder: Finder) -> np.ndarray:
    """Errors (D, K, N) of K support photos left out by halves, NaN of those that were kept, and
    where a landmark is not labelled there or in no photo that was kept."""
    model, support = finder.model, finder.support.boxed.to(finder.model.device)
    count = len(support)
    errors = np.full((HALVES, count, len(finder.names)), np.nan)
    for draw in range(HALVES if count >= FEWEST else 0):
        order = permutation(count, draw).tolist()
        kept, out = sorted(order[: count // 2]), sorted(order[count // 2 :])
        half = support[kept]
        detector = adapted(model.learner, half)
        for k in out:
            one = support[[k]]
            with torch.no_grad():
                found = find(detector, one, half, model.calibration)
            errors[draw, k] = errors_of(found, one, half)[0].cpu().numpy()
    return errors
