"""Errors by the number of shots, over resamples of draws and query objects together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fewshot_landmarks.metrics.intervals import RESAMPLES, Estimate
from fewshot_landmarks.photos.comparison import Adaptation, PhotoEpisodes


def resamples(draws: int, objects: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each draw and each query object counts: (1 + RESAMPLES, D) and (1 + .., Q).

    Once each in the first row; in the others as drawn with replacement, both at once.
    """
    random = np.random.default_rng(seed)
    counts = (random.multinomial(n, np.full(n, 1 / n), RESAMPLES) for n in (draws, objects))
    drawn, chosen = (np.vstack([np.ones(each.shape[1]), each]) for each in counts)
    return drawn, chosen


def means(
    sums: np.ndarray, counts: np.ndarray, drawn: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """For each resample the mean over draws of the mean over scored landmarks: (1 + RESAMPLES,).

    sums, counts: (D, Q), of the scored landmarks of an object in a draw. A single draw is there in
    every resample. NaN where nothing is scored.
    """
    total, count = chosen @ sums.T, chosen @ counts.T
    weight = (drawn if len(sums) > 1 else 1) * (count > 0)
    with np.errstate(invalid="ignore"):
        return (weight * total / np.maximum(count, 1)).sum(1) / weight.sum(1)


def falls(errors: np.ndarray, shots: Sequence[int]) -> np.ndarray:
    """For each resample the fall of the error with each doubling of the shots: (R,).

    errors: (R, K). It is that of the straight line through the mean errors, by least squares on
    log2 of the shots. NaN for less than two numbers of shots.
    """
    known = np.isfinite(errors[0])
    x = np.log2(np.array(shots, np.float64)[known])
    if len(x) < 2:
        return np.full(len(errors), math.nan)
    x -= x.mean()
    return -(errors[:, known] @ x) / (x @ x)


def estimate(values: np.ndarray) -> Estimate:
    """The first of values (1 + RESAMPLES,), with the 95% percentile interval of the others."""
    if np.isnan(values[0]) or np.isnan(values[1:]).all():
        return Estimate(float(values[0]))
    return Estimate(float(values[0]), *np.nanpercentile(values[1:], (2.5, 97.5)).tolist())


@dataclass(frozen=True, eq=False)
class Errors:
    """Those of a learner, or of the control, for the same resamples as all others'."""

    by_shots: np.ndarray  # (1 + RESAMPLES, K), see `means`
    close: np.ndarray  # PCK, (1 + RESAMPLES,) with the most shots

    @property
    def scores(self) -> list[Estimate]:
        """Errors with each number of shots, and PCK with the most."""
        return [estimate(column) for column in (*self.by_shots.T, self.close)]

    @property
    def answered(self) -> bool:
        """Whether there is an error with the most shots."""
        return bool(np.isfinite(self.by_shots[0, -1]))

    def less(self, other: "Errors") -> Estimate:
        """The error less another's, with the most shots, on the same resamples."""
        return estimate(self.by_shots[:, -1] - other.by_shots[:, -1])


@dataclass(frozen=True, eq=False)
class ErrorsByShots:
    """Errors of the learners that can learn the category, and of the control beside them."""

    shots: tuple[int, ...]
    learners: Mapping[str, Errors]
    control: Errors  # of the mean position

    @classmethod
    def of(
        cls,
        results: Mapping[str, list[Adaptation] | str],
        control: list[Adaptation],
        episodes: PhotoEpisodes,
        seed: int,
    ) -> "ErrorsByShots":
        draws, objects = episodes.asked.shape
        weights = resamples(draws, objects, seed)
        counts = {shots: episodes.counts(shots) for shots in episodes.shots}

        def errors(adaptations: list[Adaptation]) -> Errors:
            by = {k: [each for each in adaptations if each.shots == k] for k in episodes.shots}
            sums = {k: np.stack([each.sums for each in own]) for k, own in by.items()}
            most = episodes.shots[-1]
            hits = np.stack([each.hits for each in by[most]])
            found = Errors(
                np.stack([means(sums[k], counts[k], *weights) for k in episodes.shots], 1),
                means(hits, counts[most], *weights),
            )
            if objects == 1:  # no interval over one object
                found.by_shots[1:] = found.close[1:] = math.nan
            return found

        there = {name: each for name, each in results.items() if not isinstance(each, str)}
        learners = {name: errors(each) for name, each in there.items()}
        return cls(episodes.shots, learners, errors(control))

    @property
    def best(self) -> str | None:
        """The learner with the least error with the most shots; None if there is none."""
        known = {n: each.by_shots[0, -1] for n, each in self.learners.items() if each.answered}
        return min(known, key=known.__getitem__, default=None)
