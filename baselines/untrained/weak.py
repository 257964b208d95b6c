"""Weak labels: landmarks of photos without labels, where two ways to find them agree.

What a landmark looks like, and look and place and shape together, find it apart from each other or
in one place; there it is taken for a label (self-training: Lee, "Pseudo-label", ICML workshop 2013).
It teaches the ridge regression alone: as exemplars and as shapes weak labels bring nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from baselines.untrained.cells import Cells, Components
from fewshot_landmarks.heatmaps import decode
from fewshot_landmarks.samples import Samples

if TYPE_CHECKING:
    from baselines.untrained.clm import ConstrainedDetector

NEAR = 3 / 56  # of the crop's side: the two places agree
ROUNDS = 5  # in which labelled photos are left out, to tell whether weak labels help


@dataclass(frozen=True)
class Taught:
    """Crops with weak labels, and the mean errors of labelled ones left out, in units of the
    object's size: NaN where no landmark is labelled in two."""

    weak: Samples
    without: float
    taught: float


def weak_labels(
    detector: "ConstrainedDetector", crops: Samples, features: Sequence[torch.Tensor]
) -> Samples:
    """Crops, of which the features (D, h, w) are given, labelled where a detector agrees."""
    landmarks, labelled = [], []
    for i, each in enumerate(features):
        parts, _ = detector.parts(each.unsqueeze(0), crops[[i]])
        look, found = (
            decode(maps, crops.size)[0] for maps in (parts.look, parts.combined(detector.weights))
        )
        agree = (look - found).norm(dim=-1) <= NEAR * crops.size
        labelled.append(agree & detector.exemplars.known)
        landmarks.append(torch.where(labelled[-1].unsqueeze(-1), found, 0.0))
    told = torch.stack(labelled)
    return replace(crops, landmarks=torch.stack(landmarks), labelled=told, scored=told)


def weak_cells(weak: Samples, features: Sequence[torch.Tensor]) -> list[Cells]:
    """Of the crops that have a weak label; their features are components already."""
    return [
        Cells.of(weak[[i]], each.unsqueeze(0), _unchanged(each))
        for i, each in enumerate(features)
        if weak.labelled[i].any()
    ]


def likeness(features: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean cosine of the cells of crops, from their features (D, h, w): (crops, others)."""
    one, other = (
        torch.stack([F.normalize(each, dim=0).flatten() for each in some])
        for some in (features, others)
    )
    return one @ other.T / features[0][0].numel()


def _unchanged(features: torch.Tensor) -> Components:
    """What leaves features (D, h, w) as they are."""
    size = len(features)
    return Components(features.new_zeros(size), torch.eye(size).to(features))
