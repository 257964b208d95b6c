"""How far to trust a landmark: signs in its heatmap and the support, turned into a probability.

Where heatmaps are log densities, they tell the probability themselves.

Heatmaps are any scores, on a scale of each learner's own that changes with its training, so no sign
depends on their scale: a heatmap is first made to have mean 0 and deviation 1. Which weight a sign
has is fitted on categories that a learner was not trained on (`benchmarks.export`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from fewshot_landmarks.evaluation import answers
from fewshot_landmarks.heatmaps import decode
from fewshot_landmarks.learner import Detector, SamplesDetector, heatmaps_of
from fewshot_landmarks.samples import Samples

THRESHOLD = 0.1  # a landmark is found if its error is below this, in units of the object's size
BELIEVED = (0.01, 0.999)  # scores beyond tell no smaller or greater error
SHIFT = 3  # pixels that an image is moved by, to see whether what is found moves with it
NEAR_PEAK = "softmax within 3 cells of it"
SIGNS = (
    "height of the peak",
    "softmax within 1 cell of the peak",
    NEAR_PEAK,
    "height above all that is 3 cells off",
    "height above all that is 4 cells off",
    "distance from the mean place in the support",
    "deviation of its places in the support",
    "log of the support images that label it",
    "log of the support images",
    "cells from the edge",
    "log of the move when the image is moved",
)


@dataclass(frozen=True)
class Findings:
    """What was found in B crops."""

    places: torch.Tensor  # (B, N, 2) crop pixels; NaN where heatmaps are
    scores: torch.Tensor  # (B, N): 0 to 1
    expected: torch.Tensor  # (B, N): errors to expect, in units of the object's size


def find(
    detector: Detector | SamplesDetector,
    query: Samples,
    support: Samples,
    calibration: "Calibration | None",
) -> Findings:
    """Landmarks in crops, how probable each is, and how far off it can be expected to be.

    Scores of log densities are the probability within `THRESHOLD` of what was found; of other
    heatmaps what a calibration makes of their signs, and without one the softmax near the peak,
    which says little. 0 where heatmaps hold infinities or no support photo labels a landmark.
    """
    if isinstance(detector, SamplesDetector):
        return find_in(detector.of(query), detector, query, support)
    found, shown = search(detector, query, support)
    scores = calibration(shown) if calibration else shown[..., SIGNS.index(NEAR_PEAK)]
    scores = _known(found, scores, support)
    return Findings(found, scores, error_of(scores))


def find_in(
    densities: torch.Tensor, detector: SamplesDetector, query: Samples, support: Samples
) -> Findings:
    """What a detector's log densities (B, N, h, w), up to constants, tell of B crops."""
    found = answers(detector.answers(densities, query), query.size)
    off = distances(found, densities.shape[-2:], query)
    shares = densities.flatten(2).softmax(-1)
    near = off <= THRESHOLD * query.area.sqrt()[:, None, None]
    expected = (shares * off).sum(-1) / query.area.sqrt()[:, None]
    return Findings(found, _known(found, (shares * near).sum(-1), support), expected)


def _known(found: torch.Tensor, scores: torch.Tensor, support: Samples) -> torch.Tensor:
    known = support.labelled.any(0) & found.isfinite().all(-1) & scores.isfinite()
    return torch.where(known, scores, 0.0)


def distances(found: torch.Tensor, shape: Sequence[int], query: Samples) -> torch.Tensor:
    """From landmarks (B, N, 2) to the cells of a heatmap of a shape h, w: (B, N, h * w), in pixels
    of photos."""
    h, w = shape
    steps = (torch.arange(n, device=found.device) + 0.5 for n in (w, h))
    x, y = (
        (cells * (query.size / n) - found[..., i, None]) * query.scale[:, i, None, None]
        for i, (cells, n) in enumerate(zip(steps, (w, h)))
    )  # (B, N, w) and (B, N, h)
    return torch.hypot(y.unsqueeze(-1), x.unsqueeze(-2)).flatten(2)


def error_of(scores: torch.Tensor) -> torch.Tensor:
    """The error to expect where it is below `THRESHOLD` with a probability, in the same units.

    That of a Gaussian around the landmark: P(error < t) = 1 - exp(-t^2 / 2 s^2), whose mean error is
    s (pi / 2)^(1/2).
    """
    sure = scores.clamp(*BELIEVED)
    return THRESHOLD * (math.pi / (-4 * torch.log1p(-sure))).sqrt()


def search(
    detector: Detector | SamplesDetector, query: Samples, support: Samples
) -> tuple[torch.Tensor, torch.Tensor]:
    """Landmarks (B, N, 2) in crop pixels, NaN where heatmaps are, and their signs (B, N, 11)."""
    images, size = query.images, query.size
    heatmaps = heatmaps_of(detector, query)
    found = again = answers(heatmaps, size)
    if not isinstance(detector, SamplesDetector):  # those hardly move, and take their time
        moved = F.pad(images, (SHIFT, 0, SHIFT, 0), mode="replicate")[..., :size, :size]
        again = decode(detector(moved.contiguous()), size) - SHIFT
    return found, signs(heatmaps, found, again, support)


def signs(
    heatmaps: torch.Tensor, found: torch.Tensor, again: torch.Tensor, support: Samples
) -> torch.Tensor:
    """`SIGNS` (B, N, 11) of landmarks (B, N, 2) in heatmaps (B, N, h, w).

    again: where the same landmarks are found when the image is moved, moved back.
    """
    h, w = heatmaps.shape[-2:]
    flat = heatmaps.flatten(2)
    flat = (flat - flat.mean(-1, keepdim=True)) / flat.std(-1, keepdim=True).clamp(min=1e-9)
    height, best = flat.max(-1)
    row, column = best // w, best % w
    rows = torch.arange(h, device=flat.device).view(h, 1).expand(h, w).flatten()
    columns = torch.arange(w, device=flat.device).expand(h, w).flatten()
    off = torch.maximum((rows - row[..., None]).abs(), (columns - column[..., None]).abs())
    shares = (2 * flat).softmax(-1)

    def share(radius: int) -> torch.Tensor:
        return (shares * (off <= radius)).sum(-1)

    def above(radius: int) -> torch.Tensor:
        return height - torch.where(off <= radius, flat.amin(-1, keepdim=True), flat).amax(-1)

    labelled = support.labelled.to(found.dtype)
    times = labelled.sum(0)
    weight = labelled.unsqueeze(-1) / times.clamp(min=1).unsqueeze(-1)
    mean = (support.landmarks * weight).sum(0)
    spread = ((support.landmarks - mean).square() * weight).sum((0, 2)).sqrt()
    edge = torch.stack([row, h - 1 - row, column, w - 1 - column]).amin(0)
    columns_of_signs = (
        height,
        share(1),
        share(3),
        above(2),
        above(3),
        (found - mean).norm(dim=-1) / support.size,
        spread / support.size,
        times.clamp(min=1).log(),
        torch.tensor(float(len(support)), device=found.device).log(),
        edge,
        ((again - found).norm(dim=-1) / support.size + 0.01).log(),
    )
    return torch.stack([sign.to(found.dtype).expand_as(height) for sign in columns_of_signs], -1)


@dataclass(frozen=True)
class Calibration:
    """Logistic regression on signs of trust: how probable it is that a landmark is found."""

    weights: tuple[float, ...]  # of `SIGNS`
    bias: float

    def __call__(self, signs: torch.Tensor) -> torch.Tensor:
        """Signs (B, N, F) to probabilities (B, N)."""
        return (signs @ signs.new_tensor(self.weights) + self.bias).sigmoid()
