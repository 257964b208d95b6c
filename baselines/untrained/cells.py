"""What closed forms need of the support's cells: their features, fewer of them, and their sums."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from baselines.untrained.copies import with_copies
from fewshot_landmarks.samples import Samples

Features = Callable[[torch.Tensor], torch.Tensor]
"""Images (B, 3, S, S) to features (B, C, h, w)."""

DIMENSIONS = 256  # of features: their principal components in the support
LEARNT_FROM = 10  # crops whose cells tell the components
SIGMA = 1.5  # cells, of a target's Gaussian
WEIGHED = 3.0  # cells, of the Gaussian around landmarks in which cells weigh more
HEAVIER = 20.0  # times, at a landmark
THINNED = 2  # of the other cells, one of so many in each direction is used, and weighs for all


@dataclass(frozen=True)
class Components:
    """The principal components of features: x to V^T (x - mean)."""

    mean: torch.Tensor  # (C,)
    vectors: torch.Tensor  # (C, D)

    @classmethod
    def of(cls, features: torch.Tensor) -> "Components":
        """Of the cells of features (B, C, h, w)."""
        cells = features[..., ::3, ::3].movedim(1, -1).flatten(0, 2)
        mean = cells.mean(0)
        spread = (cells - mean).double()
        vectors = torch.linalg.eigh(spread.T @ spread).eigenvectors
        return cls(mean, vectors[:, -min(DIMENSIONS, cells.shape[1]) :].to(mean))

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, C, h, w) to their components (B, D, h, w)."""
        return self.of_rows(features.movedim(1, -1)).movedim(-1, 1)

    def of_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Features (..., C) to their components (..., D)."""
        return (rows - self.mean) @ self.vectors


@dataclass(frozen=True)
class Cells:
    """The cells of one crop and its copies: sums of which a ridge regression is made, features.

    A cell's row is its D features and a one.
    """

    gram: torch.Tensor  # (D + 1, D + 1) float64: weighted sum of x x^T
    products: torch.Tensor  # (D + 1, N) float64: weighted sum of x y^T, y the N targets
    points: torch.Tensor  # (1 + R, N, D): features at the landmarks of the crop and of its copies
    labelled: torch.Tensor  # (1 + R, N) bool
    features: torch.Tensor  # (D, h, w) of the crop itself

    @classmethod
    def of(cls, samples: Samples, features: torch.Tensor, components: Components) -> "Cells":
        """Of a crop and its copies, with their features (1 + R, C, h, w)."""
        h, w = features.shape[-2:]
        cell = samples.size / w
        gram: torch.Tensor | int = 0
        products: torch.Tensor | int = 0
        for i in range(len(samples)):
            labelled = samples.labelled[i]
            squares = squared_distances(samples.landmarks[i], samples.size, (h, w))
            near = torch.exp(-squares / (2 * (WEIGHED * cell) ** 2))[labelled]
            weight = 1 + HEAVIER * near.amax(0) if len(near) else torch.ones_like(squares[0])
            thin = torch.zeros(h, w, device=weight.device)
            thin[i % THINNED :: THINNED, i // THINNED % THINNED :: THINNED] = THINNED**2
            weight = torch.where(weight > 2, weight, weight * thin.flatten())
            used = weight > 0
            rows = components.of_rows(features[i].flatten(1).T[used])
            rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
            targets = torch.exp(-squares / (2 * (SIGMA * cell) ** 2)) * labelled.unsqueeze(1)
            weighted = rows.T * weight[used]
            gram = gram + (weighted @ rows).double()
            products = products + (weighted @ targets[:, used].T).double()
        points = components.of_rows(at(features, samples.landmarks, samples.size))
        own = components(features[:1])[0]
        return cls(gram, products, points, samples.labelled, own)  # type: ignore[arg-type]


def encode(support: Samples, features: Features, seed: int = 0) -> tuple[Components, list[Cells]]:
    """The components of a support's features, and the cells of each of its K crops."""
    components = Components.of(features(support.images[:LEARNT_FROM]))
    crops = (with_copies(support, number, seed) for number in range(len(support)))
    return components, [Cells.of(crop, features(crop.images), components) for crop in crops]


def usable(cells: Sequence[Cells]) -> dict[tuple[int, ...], list[int]]:
    """Landmarks by the crops that label them; without those that none does."""
    labelled = torch.stack([each.labelled[0] for each in cells]).T.tolist()
    found: dict[tuple[int, ...], list[int]] = {}
    for landmark, by in enumerate(labelled):
        if any(by):
            found.setdefault(tuple(i for i, one in enumerate(by) if one), []).append(landmark)
    return found


def centres(size: int, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """The centres x, y (h * w, 2) of cells, crop pixels."""
    h, w = shape
    y = (torch.arange(h, device=like.device) + 0.5) * size / h
    x = (torch.arange(w, device=like.device) + 0.5) * size / w
    return torch.stack([x.expand(h, w), y.unsqueeze(1).expand(h, w)], -1).flatten(0, 1).to(like)


def squared_distances(points: torch.Tensor, size: int, shape: Sequence[int]) -> torch.Tensor:
    """From points (..., 2) to cells' centres, crop pixels squared: (..., h * w)."""
    return (centres(size, shape, points) - points.unsqueeze(-2)).square().sum(-1)


def at(features: torch.Tensor, points: torch.Tensor, size: int) -> torch.Tensor:
    """Features (B, D, h, w) at points (B, N, 2), between cells bilinearly: (B, N, D)."""
    grid = (points / size * 2 - 1).unsqueeze(1)
    found = F.grid_sample(features, grid, padding_mode="border", align_corners=False)
    return found.squeeze(2).transpose(1, 2)


def standardised(heatmaps: torch.Tensor) -> torch.Tensor:
    """Heatmaps (B, N, h, w) with mean 0 and deviation 1."""
    flat = heatmaps.flatten(2)
    flat = flat - flat.mean(-1, keepdim=True)
    return (flat / flat.std(-1, keepdim=True).clamp(min=1e-6)).view_as(heatmaps)
