"""Copies of the support, turned, scaled, shifted and re-lit: few photos show a thing in few ways."""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F

from fewshot_landmarks.samples import Samples

MOST = 60  # crops with their copies, however many the support has
EACH = 5  # copies of a crop, if these are not too many
TURN = math.radians(25)
SCALE = 0.2  # of the logarithm
SHIFT = 0.08  # of the crop's side


def with_copies(support: Samples, number: int, seed: int) -> Samples:
    """A crop of the support, the one of that number, and its copies: (1 + R) samples.

    The same for the same crop, number and seed, whatever other crops a support of that many holds.
    """
    one = support[number : number + 1]
    count = min(EACH, MOST // len(support) - 1)
    if count < 1:
        return one
    draw = torch.Generator().manual_seed(1000 * seed + number)
    matrices = _matrices(count, one.size, draw).to(one.images)
    images, landmarks = _moved(one, matrices)
    every = one[torch.zeros(1 + count, dtype=torch.long)]
    landmarks = torch.cat([one.landmarks, landmarks])
    inside = ((landmarks >= 0) & (landmarks < one.size)).all(-1)
    return replace(
        every,
        images=torch.cat([one.images, _relit(images, draw)]),
        landmarks=landmarks,
        labelled=every.labelled & inside,
    )


def _uniform(draw: torch.Generator, *shape: int) -> torch.Tensor:
    """Numbers from -1 to 1."""
    return torch.rand(shape, generator=draw) * 2 - 1


def _matrices(count: int, size: int, draw: torch.Generator) -> torch.Tensor:
    """Similarities (R, 2, 3) of crop pixels; the turns are spread evenly."""
    angles = ((torch.arange(count) + 0.5 + 0.5 * _uniform(draw, count)) / count * 2 - 1) * TURN
    scales = torch.exp(SCALE * _uniform(draw, count))
    cos, sin = scales * torch.cos(angles), scales * torch.sin(angles)
    turns = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    centre = torch.full((2,), size / 2)
    shifts = centre - turns @ centre + SHIFT * size * _uniform(draw, count, 2)
    return torch.cat([turns, shifts.unsqueeze(-1)], -1)


def _moved(one: Samples, matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (R, 3, S, S) and landmarks (R, N, 2) of a crop, moved; beyond its edge it is mirrored."""
    turns, shifts = matrices[..., :2], matrices[..., 2]
    count, half = len(matrices), one.size / 2
    landmarks = one.landmarks @ turns.transpose(1, 2) + shifts.unsqueeze(1)
    back = torch.linalg.inv(turns)  # from the copy to the crop, in half sides from the centre
    offset = (back @ (half - shifts).unsqueeze(-1)) / half - 1
    grid = F.affine_grid(torch.cat([back, offset], -1), [count, 3, one.size, one.size], False)
    images = one.images.expand(count, -1, -1, -1)
    return F.grid_sample(images, grid, "bilinear", "reflection", False), landmarks


def _relit(images: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Images with another gamma, brightness, colour and black."""
    count = len(images)

    def by(amount: float, channels: int = 1) -> torch.Tensor:
        return amount * _uniform(draw, count, channels, 1, 1).to(images)

    lit = images.clamp(min=1e-4) ** by(0.3).exp() * (by(0.2) + by(0.08, 3)).exp()
    return (lit + by(0.08)).clamp(0, 1)
