"""PLACE: where a landmark lies in the box, whatever the image shows; and densities of places."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from baselines.untrained.cells import centres
from fewshot_landmarks.learner import Learner, SamplesDetector
from fewshot_landmarks.samples import Samples

OBJECTS = 3.0  # of the prior: as many objects say that landmarks vary as all do in the mean
ALONE = 0.1  # deviation in the box where one object is all that is known
LEAST = 0.03  # deviation in the box


class PLACE(Learner):
    """The mean position of the support's landmarks in their boxes: it looks at no image."""

    name = "PLACE"
    version = 1
    base_kind = "untrained"
    says_densities = True
    square = True

    def adapt(self, support: Samples) -> "PlaceDetector":
        return PlaceDetector(Place.of(support), self.base.fenet.stride)


@dataclass(frozen=True)
class Place:
    """Where each of N landmarks lies in a box: a Student's t around its mean place.

    That is what is predicted of a Gaussian whose variance is known from a few objects alone.
    """

    mean: torch.Tensor  # (N, 2), 0 to 1 across the box
    deviation: torch.Tensor  # (N,)
    freedom: float

    @classmethod
    def of(cls, support: Samples) -> "Place":
        """Of the support's K objects; a landmark that none labels is in the middle."""
        low, sides = _box(support)
        places = (support.landmarks - low) / sides
        weight = support.labelled.to(places)
        count = weight.sum(0)
        mean = (places * weight.unsqueeze(-1)).sum(0) / count.clamp(min=1).unsqueeze(-1)
        mean = torch.where(count.unsqueeze(-1) > 0, mean, 0.5)
        squares = ((places - mean).square().sum(-1) * weight).sum(0) / 2  # a coordinate
        variance = shrunk(squares, count, ALONE**2)
        deviation = (variance * (1 + 1 / count.clamp(min=1)) + LEAST**2).sqrt()
        return cls(mean, deviation, OBJECTS + len(support) - 1)

    def __call__(self, query: Samples, shape: Sequence[int]) -> torch.Tensor:
        """Log density, 0 at its peak, in the cells of B crops: (B, N, h, w)."""
        low, sides = _box(query)
        cells = (centres(query.size, shape, query.landmarks) - low) / sides  # (B, h * w, 2)
        squares = (cells.unsqueeze(1) - self.mean.unsqueeze(1)).square().sum(-1)
        return student(squares, self.deviation, self.freedom).unflatten(-1, shape)


@dataclass(frozen=True)
class PlaceDetector(SamplesDetector):
    """A place, as heatmaps of a network's stride."""

    place: Place
    stride: int

    def of(self, query: Samples) -> torch.Tensor:
        cells = -(-query.size // self.stride)
        return self.place(query, (cells, cells))

    def answers(self, densities: torch.Tensor, query: Samples) -> torch.Tensor:
        """The mean place itself: what is expected within the crop alone would be further inside."""
        return densities


def _box(samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    """The first corners (B, 1, 2) and the sides (B, 1, 2) of boxes, crop pixels."""
    low, high = samples.box[:, None, :2], samples.box[:, None, 2:]
    return low, (high - low).clamp(min=1e-3)


def shrunk(squares: torch.Tensor, count: torch.Tensor, alone: float) -> torch.Tensor:
    """Variances (N,) from sums of squares (N,) of `count` objects less one, towards their mean."""
    free = (count - 1).clamp(min=0)
    pooled = squares.sum() / free.sum() if free.sum() > 0 else squares.new_tensor(alone)
    return (squares + OBJECTS * pooled) / (free + OBJECTS)


def student(squares: torch.Tensor, deviation: torch.Tensor, freedom: float) -> torch.Tensor:
    """Log of Student's t, 0 at its peak: squared distances (..., N, cells), deviations (N,)."""
    scaled = squares / (freedom * deviation.square().unsqueeze(-1))
    return -(freedom + 1) / 2 * torch.log1p(scaled)
