"""How far to trust a landmark: what its heatmap shows, turned into a probability."""

from dataclasses import dataclass

import torch

from fewshot_landmarks.tasks import Samples

THRESHOLD = 0.1  # a landmark is found if its error is below this, in units of the object's size


def signs(heatmaps: torch.Tensor, found: torch.Tensor, support: Samples) -> torch.Tensor:
    """Signs of trust (B, N, F) in landmarks (B, N, 2) found in heatmaps (B, N, h, w)."""
    flat = heatmaps.flatten(2)
    top = flat.softmax(-1).amax(-1).clamp(1e-6, 1 - 1e-6)
    return top.logit().unsqueeze(-1)


@dataclass(frozen=True)
class Calibration:
    """Logistic regression on signs of trust."""

    weights: tuple[float, ...]
    bias: float

    @classmethod
    def none(cls) -> "Calibration":
        """The height of the peak, which means what the learner's loss made of it."""
        return cls((1.0,), 0.0)

    def __call__(self, signs: torch.Tensor) -> torch.Tensor:
        """Signs (B, N, F) to probabilities (B, N)."""
        return (signs @ signs.new_tensor(self.weights) + self.bias).sigmoid()
