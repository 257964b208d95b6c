"""Labelmaps, the loss on heatmaps, landmark-level features, and decoding.

Shapes: B images, N landmarks, C channels, maps of h x w cells over a crop of `size` pixels a side.
Landmarks are (x, y) in crop pixels, where pixel i covers [i, i + 1).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from fewshot_landmarks.samples import Samples, Task


def labelmaps(landmarks: torch.Tensor, size: int, shape: Sequence[int]) -> torch.Tensor:
    """One-hot maps (B, N, h, w) of the cells that hold landmarks (B, N, 2): L^point, section 3.3.1.

    A landmark outside the crop is put in the nearest cell; masks say which landmarks count.
    """
    cells = _cells(landmarks, size, shape)
    return F.one_hot(cells, shape[0] * shape[1]).to(landmarks.dtype).unflatten(-1, shape)


def _cells(landmarks: torch.Tensor, size: int, shape: Sequence[int]) -> torch.Tensor:
    """Numbers (B, N), row by row, of the cells that hold landmarks (B, N, 2)."""
    h, w = shape
    column = (landmarks[..., 0] * w / size).floor().long().clamp(0, w - 1)
    row = (landmarks[..., 1] * h / size).floor().long().clamp(0, h - 1)
    return row * w + column


def spatial_softmax(heatmaps: torch.Tensor) -> torch.Tensor:
    """Softmax over the h * w cells of each landmark: (B, N, h, w) to (B, N, h, w)."""
    return heatmaps.flatten(2).softmax(-1).view_as(heatmaps)


def heatmap_loss(
    heatmaps: torch.Tensor, landmarks: torch.Tensor, size: int, labelled: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy with the labelmaps, softmax over cells, mean over labelled landmarks: a scalar.

    heatmaps: (B, N, h, w) logits; landmarks: (B, N, 2), in crops of `size` pixels; labelled: (B, N)
    bool. Zero (with a zero gradient) where nothing is labelled.
    """
    cells = _cells(landmarks, size, heatmaps.shape[-2:]).unsqueeze(-1)
    losses = -heatmaps.flatten(2).log_softmax(-1).gather(-1, cells).squeeze(-1)
    return (losses * labelled).sum() / labelled.sum().clamp(min=1)


def support_loss(heatmaps: torch.Tensor, support: Samples) -> torch.Tensor:
    """Loss of the heatmaps (K, N, h, w) of annotated garments: a scalar."""
    return heatmap_loss(heatmaps, support.landmarks, support.size, support.labelled)


def query_loss(heatmaps: torch.Tensor, task: Task) -> torch.Tensor:
    """Loss of a task's query heatmaps (Q, N, h, w), on landmarks that the support labels."""
    query = task.query
    return heatmap_loss(heatmaps, query.landmarks, query.size, query.labelled & task.learnable())


def landmark_features(
    features: torch.Tensor, maps: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    """F^point = F^cloth x L^point, averaged over the images that label a landmark: (N, C).

    features: (B, C, h, w); maps: (B, N, h, w), each summing to one; labelled: (B, N) bool.
    A landmark that no image labels gets zeros (section 3.3.1, Algorithm 1 line 4).
    """
    each = torch.einsum("bnhw,bchw->bnc", maps, features)
    weight = labelled.unsqueeze(-1).to(each.dtype)
    return (each * weight).sum(0) / weight.sum(0).clamp(min=1)


def detect(features: torch.Tensor, detectors: torch.Tensor) -> torch.Tensor:
    """1 x 1 detectors (N, C), the rows of omega, on features (B, C, h, w): logits (B, N, h, w)."""
    return torch.einsum("bchw,nc->bnhw", features, detectors)


def cosine_detect(
    features: torch.Tensor, detectors: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """`detect` by cosine similarity times a learnt scale (Gidaris and Komodakis, 2018, eq. 2)."""
    return scale * detect(F.normalize(features, dim=1), F.normalize(detectors, dim=1))


def decode(heatmaps: torch.Tensor, size: int) -> torch.Tensor:
    """Predicted landmarks (B, N, 2), crop pixels, of heatmaps (B, N, h, w).

    The centre of the largest cell, moved a quarter of a cell towards its larger neighbour along
    each axis (Newell et al., 2016). Only the order of the cells matters, so logits, distances and
    probabilities are decoded alike.
    """
    h, w = heatmaps.shape[-2:]
    best = heatmaps.flatten(2).argmax(-1)
    row, column = best // w, best % w
    padded = F.pad(heatmaps, (1, 1, 1, 1), value=float("-inf")).flatten(2)
    centre = (row + 1) * (w + 2) + column + 1

    def value(offset: int) -> torch.Tensor:
        return padded.gather(2, (centre + offset).unsqueeze(-1)).squeeze(-1)

    def shift(step: int, position: torch.Tensor, cells: int) -> torch.Tensor:
        inner = (position > 0) & (position < cells - 1)
        return 0.25 * torch.sign(value(step) - value(-step)).nan_to_num() * inner

    x = (column + 0.5 + shift(1, column, w)) * size / w
    y = (row + 0.5 + shift(w + 2, row, h)) * size / h
    return torch.stack([x, y], -1)
