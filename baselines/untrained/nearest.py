"""NEAREST: correspondence. A landmark is where a cell is most like its like in a support photo.

    score(x) = max over support photos and copies k of cos(z(x), z(x_k))

with frozen features x; z whitens them by the support's covariance, shrunk (Hariharan, Malik and
Ramanan, "Discriminative decorrelation for clustering and classification", ECCV 2012). The greatest
likeness and not that to their mean, as of prototypes: what turns and bends looks like one photo or
like another, and seldom like their mean. Nothing is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from baselines.untrained.cells import Cells, encode
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.samples import Samples

ROWS = 400  # features that cells are compared with; more where landmarks are many
FEWEST = 4  # of a landmark


class NEAREST(Learner):
    """The cell that is most like a landmark in any support photo."""

    name = "NEAREST"
    version = 1
    base_kind = "untrained"
    square = True

    @dataclass(frozen=True)
    class Settings(Learner.Settings):
        shrinkage: float = 3.0  # of the covariance, in units of its mean eigenvalue

    def adapt(self, support: Samples) -> Detector:
        components, cells = encode(support, self.base_features)
        exemplars = Exemplars.of(cells, self.settings.shrinkage)
        return lambda images: exemplars(components(self.base_features(images)))


@dataclass(frozen=True)
class Exemplars:
    """Whitened features of the landmarks in the support."""

    mean: torch.Tensor  # (D,)
    whitening: torch.Tensor  # (D, D)
    features: torch.Tensor  # (R, D), of length one
    rows: torch.Tensor  # (N, M): which are a landmark's; some more than once
    known: torch.Tensor  # (N,) bool

    @classmethod
    def of(cls, cells: Sequence[Cells], shrinkage: float) -> "Exemplars":
        gram = torch.stack([each.gram for each in cells]).sum(0)
        mean = gram[-1, :-1] / gram[-1, -1]
        values, vectors = torch.linalg.eigh(gram[:-1, :-1] / gram[-1, -1] - torch.outer(mean, mean))
        scales = (values.clamp(min=0) + shrinkage * values.mean().clamp(min=1e-12)) ** -0.5
        like = cells[0].points
        mean, whitening = mean.to(like), (vectors * scales @ vectors.T).to(like)
        points = torch.stack([each.points for each in cells], 1)  # (1 + copies, K, N, D)
        labelled = torch.stack([each.labelled for each in cells], 1)
        n = labelled.shape[-1]
        most = max(min(len(cells), FEWEST), ROWS // n)
        lists = [points[:, :, i][labelled[:, :, i]][:most] for i in range(n)]  # crops, then copies
        counts = [len(each) for each in lists]
        longest = torch.arange(max(1, *counts), device=like.device)
        starts = [sum(counts[:i]) for i in range(n)]
        rows = [a + longest.clamp(max=max(c - 1, 0)) for a, c in zip(starts, counts)]
        features = F.normalize((torch.cat(lists) - mean) @ whitening, dim=-1)
        if not len(features):
            features = torch.zeros(1, len(mean)).to(like)
        bounded = torch.stack(rows).clamp(max=len(features) - 1)
        return cls(mean, whitening, features, bounded, torch.tensor(counts).to(rows[0]) > 0)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, D, h, w) to likenesses (B, N, h, w), -1 to 1."""
        white = torch.einsum("bdhw,de->behw", features - self.mean.view(-1, 1, 1), self.whitening)
        likeness = torch.einsum("bdhw,rd->brhw", F.normalize(white, dim=1), self.features)
        return likeness[:, self.rows].amax(2) * self.known.view(-1, 1, 1)
