"""What more labels would bring: the error to expect now, and with some more labelled photos.

Errors fall with labels as a power law, e(n) = c n^-s (Hestness et al., 2017). Labelled photos tell c
and s: each is left out alone, and found by all others; and halves of them are found by the other
halves. A few photos tell s badly, so it is shrunk towards what it is elsewhere.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student

from fewshot_landmarks.metrics.intervals import Estimate
from fewshot_landmarks.metrics.landmarks import normalised_error
from fewshot_landmarks.photos.confidence import find
from fewshot_landmarks.photos.finder import Finder
from fewshot_landmarks.photos.stored import adapted
from fewshot_landmarks.support.rng import permutation

HALVES = 4  # draws of them
FEWEST = 4  # photos of which halves are taken
USUAL, SPREAD = 0.25, 0.2  # of s: mean and deviation over supports of garments and jointed shapes
RESAMPLES = 1000


@dataclass(frozen=True)
class Outlook:
    """Errors to expect, in units of the object's size, with 95% intervals."""

    now: Estimate
    then: Estimate  # with more labelled photos

    @classmethod
    def of(cls, single: np.ndarray, halves: np.ndarray, more: int) -> "Outlook | None":
        """Of K photos: errors (K, N) of each left out alone, and (D, K, N) of those left out in D
        draws of a half, NaN where that cannot be told; with so many more."""
        photos = np.isfinite(single).any(1)
        count = int(photos.sum())
        if count < 2:
            return None
        ends = _means(single, halves, np.ones(len(single)))
        random = np.random.default_rng(0)
        draws = random.multinomial(len(single), np.full(len(single), 1 / len(single)), RESAMPLES)
        error, half = ends
        slope, spread = USUAL, SPREAD
        if np.isfinite(half) and half > 0 and error > 0:
            step = math.log((count - 1) / (count // 2))
            drawn = np.array([_means(single, halves, weights) for weights in draws])
            with np.errstate(divide="ignore", invalid="ignore"):
                slopes = np.log(drawn[:, 1] / drawn[:, 0]) / step
            noise = float(np.nanstd(slopes[np.isfinite(slopes)]))
            trust = SPREAD**2 / (SPREAD**2 + noise**2)
            slope = USUAL + trust * (math.log(half / error) / step - USUAL)
            spread = SPREAD * math.sqrt(1 - trust)
        each = np.nanmean(single[photos], 1)
        noise = float(each.std(ddof=1)) / math.sqrt(count) / max(error, 1e-9)
        wide = float(student.ppf(0.975, count - 1))

        def at(n: int) -> Estimate:
            fall = math.log((count - 1) / n)
            value = error * math.exp(slope * fall)
            off = math.exp(wide * math.hypot(noise, spread * fall))
            return Estimate(value, value / off, value * off)

        return cls(at(count), at(count + more))


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


def outlook(finder: Finder, more: int) -> list[str]:
    """A sentence on the error to expect now, and with so many more labelled photos."""
    support = finder.support.boxed.to(finder.model.device)
    single, _ = finder.singly
    found = Outlook.of(single, left_out_by_halves(finder), more)
    if found is None:
        return ["What more labels bring cannot be told from fewer than two annotated photos."]
    now, then = (f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})" for e in (found.now, found.then))
    return [
        f"error to expect now {now} of the object's size, with {more} more labelled photos {then}: "
        f"of photos like the {len(support)} labelled ones"
    ]


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
            told = one.labelled & half.labelled.any(0)
            places = one.to_original(found.places), one.to_original(one.landmarks)
            errors[draw, k] = normalised_error(*places, told, one.area)[0].cpu().numpy()
    return errors
