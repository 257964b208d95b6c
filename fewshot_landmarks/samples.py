"""Garments as tensors, and a few-shot task of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True)
class Samples:
    """Some garments as a batch: B garments of N landmarks (padded where categories are mixed)."""

    images: torch.Tensor  # (B, 3, S, S), 0 to 1
    landmarks: torch.Tensor  # (B, N, 2) x, y in crop pixels
    labelled: torch.Tensor  # (B, N) bool: labelled and inside the crop; what may be trained on
    scored: torch.Tensor  # (B, N) bool: labelled in the photo; what is scored
    origin: torch.Tensor  # (B, 2): original pixel = origin + scale * crop pixel
    scale: torch.Tensor  # (B, 2)
    box: torch.Tensor  # (B, 4) x1, y1, x2, y2 of the annotated box, crop pixels
    area: torch.Tensor  # (B,) garment's area, original pixels squared
    categories: torch.Tensor  # (B,) ids
    indices: torch.Tensor  # (B,) positions in the data set

    @property
    def size(self) -> int:
        """Side S of the crops in pixels."""
        return self.images.shape[-1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which) -> "Samples":
        return Samples(*(getattr(self, field.name)[which] for field in fields(self)))

    def to(self, device) -> "Samples":
        return Samples(*(getattr(self, field.name).to(device) for field in fields(self)))

    def to_original(self, crop_landmarks: torch.Tensor) -> torch.Tensor:
        """Crop pixels (B, N, 2) to original pixels (B, N, 2)."""
        return self.origin.unsqueeze(1) + self.scale.unsqueeze(1) * crop_landmarks


@dataclass(frozen=True)
class Task:
    """A few-shot task: what a learner adapts to and what it is then asked."""

    category: int
    support: Samples
    query: Samples

    @property
    def landmarks(self) -> int:
        """How many landmarks its category has."""
        return self.support.landmarks.shape[1]

    def learnable(self, shots: int | None = None) -> torch.Tensor:
        """(N,) bool: landmarks that at least one of the first `shots` support images labels."""
        return self.support.labelled[:shots].any(0)

    def to(self, device) -> "Task":
        return Task(self.category, self.support.to(device), self.query.to(device))


def collate(garments: Sequence) -> Samples:
    """A batch of garments; categories may be mixed: landmarks are padded, never labelled."""
    n = max(len(g.landmarks) for g in garments)

    def pad(tensor: torch.Tensor) -> torch.Tensor:
        missing = tensor.new_zeros((n - len(tensor), *tensor.shape[1:]))
        return torch.cat([tensor, missing])

    return Samples(
        images=torch.stack([g.image for g in garments]),
        landmarks=torch.stack([pad(g.landmarks) for g in garments]),
        labelled=torch.stack([pad(g.inside) for g in garments]),
        scored=torch.stack([pad(g.labelled) for g in garments]),
        origin=torch.stack([g.origin for g in garments]),
        scale=torch.stack([g.scale for g in garments]),
        box=torch.stack([g.box for g in garments]),
        area=torch.stack([g.area for g in garments]),
        categories=torch.tensor([g.category for g in garments]),
        indices=torch.tensor([g.index for g in garments]),
    )
