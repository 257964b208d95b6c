"""Weak labels: landmarks of photos without labels, where ways to find them agree.

RIDGE, NEAREST and all parts of CLM together tell a place each. Where these are one place it is taken
for a label: self-training (Lee, "Pseudo-label", ICML workshop 2013), held to what two detectors find
(Blum and Mitchell, "Combining labeled and unlabeled data with co-training", COLT 1998). Crops in
which that is so of half of the landmarks or fewer show no object, or one that is not understood. Weak
labels teach the ridge regression alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from baselines.untrained.cells import Cells, Components
from baselines.untrained.ridge import regress
from fewshot_landmarks.heatmaps import decode
from fewshot_landmarks.samples import Samples

if TYPE_CHECKING:
    from baselines.untrained.clm import ConstrainedDetector

NEAR = 3 / 56  # of the crop's side: two places agree
ROUNDS = 5  # in which labelled photos are left out, to tell whether weak labels help


@dataclass(frozen=True)
class Taught:
    """Crops with weak labels, those alone that have any; and what they do to labelled crops."""

    weak: Samples
    without: torch.Tensor  # (K, N) errors of labelled crops left out, in units of the object's
    # size, at most `clm.WORST`; NaN where that cannot be told. K is 0 where none can be left out
    taught: torch.Tensor  # (K, N) the same of what learnt from weak labels, too


def weak_labels(
    detector: "ConstrainedDetector", crops: Samples, features: Sequence[torch.Tensor]
) -> Samples:
    """Crops, whose features (D, h, w) are given, labelled where all ways to find a landmark agree, if
    they do of most."""
    landmarks, labelled = [], []
    for i, each in enumerate(features):
        one = each.unsqueeze(0)
        combined = detector.parts(one, crops[[i]]).combined(detector.weights)
        maps = torch.cat([combined, regress(one, detector.looks), detector.exemplars(one)])
        found, *looks = decode(maps, crops.size)
        off = torch.stack([(look - found).norm(dim=-1) for look in looks]).amax(0)
        known = detector.exemplars.known
        agree = (off <= NEAR * crops.size) & known
        labelled.append(agree & (agree.sum() > known.sum() / 2))
        landmarks.append(torch.where(labelled[-1].unsqueeze(-1), found, 0.0))
    told = torch.stack(labelled)
    return replace(crops, landmarks=torch.stack(landmarks), labelled=told, scored=told)


def weak_cells(weak: Samples, features: Sequence[torch.Tensor]) -> list[Cells]:
    """Of the crops that have a weak label, whose features are components already.

    They share the memory of the features.
    """
    return [
        replace(Cells.of(weak[[i]], each.unsqueeze(0), _unchanged(each)), features=each)
        for i, each in enumerate(features)
        if weak.labelled[i].any()
    ]


def likeness(features: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean cosine of the cells of crops, from their features (D, h, w): (crops, others)."""
    rows = torch.stack([F.normalize(each, dim=0).flatten() for each in features])
    cosines = [rows @ F.normalize(each, dim=0).flatten() for each in others]
    return torch.stack(cosines, 1) / features[0][0].numel()


def _unchanged(features: torch.Tensor) -> Components:
    """What leaves features (D, h, w) as they are."""
    size = len(features)
    return Components(features.new_zeros(size), torch.eye(size).to(features))
