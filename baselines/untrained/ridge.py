"""RIDGE: detectors solved in closed form on frozen features.

    W = argmin sum over cells of w_i ||W^T x_i - y_i||^2 + lambda ||W||^2

(Bertinetto, Henriques, Torr and Vedaldi, "Meta-learning with differentiable closed-form solvers",
ICLR 2019: R2-D2's ridge regression, here from a cell's features to a Gaussian around the landmark.)
The support has copies, turned, scaled, shifted and re-lit; cells near a landmark weigh more.
Nothing is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from baselines.untrained.cells import Cells, encode, usable
from fewshot_landmarks.heatmaps import detect
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.samples import Samples


class RIDGE(Learner):
    """Ridge regression from frozen features to heatmaps."""

    name = "RIDGE"
    version = 1
    base_kind = "untrained"
    square = True

    @dataclass(frozen=True)
    class Settings(Learner.Settings):
        ridge: float = 0.1  # lambda, in units of the mean of the Gram matrix's diagonal

    def adapt(self, support: Samples) -> Detector:
        components, cells = encode(support, self.base_features)
        detectors = ridge(cells, self.settings.ridge)
        return lambda images: regress(components(self.base_features(images)), detectors)


def ridge(cells: Sequence[Cells], strength: float) -> torch.Tensor:
    """W^T (N, D + 1), the last column the bias; zero for a landmark that no crop labels."""
    solved = torch.zeros_like(cells[0].products)
    for crops, landmarks in usable(cells).items():
        gram = torch.stack([cells[k].gram for k in crops]).sum(0)
        products = torch.stack([cells[k].products[:, landmarks] for k in crops]).sum(0)
        gram = gram + strength * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
        solved = solved.index_copy(
            1, torch.tensor(landmarks, device=gram.device), torch.linalg.solve(gram, products)
        )
    return solved.T.to(cells[0].points)


def regress(features: torch.Tensor, detectors: torch.Tensor) -> torch.Tensor:
    """Heatmaps (B, N, h, w) of features (B, D, h, w)."""
    return detect(features, detectors[:, :-1]) + detectors[:, -1].view(-1, 1, 1)
