"""How far to trust a landmark: signs in its heatmap and the support, turned into a probability.

Where heatmaps are log densities, they tell the probability themselves.

Heatmaps are any scores, on a scale of each learner's own that changes with its training, so no sign
depends on their scale: a heatmap is first made to have mean 0 and deviation 1. Which weight a sign
has is fitted on categories that a learner was not trained on (`benchmarks.export`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from fewshot_landmarks.evaluation import answers
from fewshot_landmarks.heatmaps import decode
from fewshot_landmarks.learner import Detector, SamplesDetector, heatmaps_of
from fewshot_landmarks.samples import Samples

THRESHOLD = 0.1  # a landmark is found if its error is below this, in units of the object's size
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


def find(
    detector: Detector | SamplesDetector,
    query: Samples,
    support: Samples,
    calibration: "Calibration | None",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Landmarks (B, N, 2) in crop pixels, and their scores (B, N): 0 to 1.

    Of heatmaps that are log densities, the probability within `THRESHOLD` of what was found; of
    others what a calibration makes of their signs, and without one the softmax near the peak, which
    says little. 0 where heatmaps hold infinities or no support photo labels a landmark.
    """
    if isinstance(detector, SamplesDetector):
        densities = detector.of(query)
        found = answers(detector.answers(densities, query), query.size)
        scores = probability_near(densities, found, query)
    else:
        found, shown = search(detector, query, support)
        scores = calibration(shown) if calibration else shown[..., SIGNS.index(NEAR_PEAK)]
    known = support.labelled.any(0) & found.isfinite().all(-1) & scores.isfinite()
    return found, torch.where(known, scores, 0.0)


def probability_near(heatmaps: torch.Tensor, found: torch.Tensor, query: Samples) -> torch.Tensor:
    """What log densities (B, N, h, w), up to constants, have within `THRESHOLD` of landmarks
    (B, N, 2), in units of the object's size: (B, N)."""
    h, w = heatmaps.shape[-2:]
    steps = (torch.arange(n, device=found.device) + 0.5 for n in (w, h))
    scale = query.scale[:, :, None, None]  # (B, 2, 1, 1)
    x, y = (
        (cells * (query.size / n) - found[..., i, None]) * scale[:, i]
        for i, (cells, n) in enumerate(zip(steps, (w, h)))
    )  # (B, N, w) and (B, N, h), in pixels of photos
    squares = y.unsqueeze(-1).square() + x.unsqueeze(-2).square()
    near = squares <= THRESHOLD**2 * query.area[:, None, None, None]
    return (heatmaps.flatten(2).softmax(-1) * near.flatten(2)).sum(-1)


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
