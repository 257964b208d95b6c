"""What learners share beside the feature extractor: a model to adapt, H, a memo of features."""

import torch
from torch import nn

from fewshot_landmarks.heatmaps import detect
from fewshot_landmarks.networks.memo import Memo


class LandmarkModel(nn.Module):
    """f_{theta, omega}: a feature extractor and N detectors as one module, to adapt together."""

    def __init__(self, fenet: nn.Module, omega: torch.Tensor):
        super().__init__()
        self.fenet = fenet
        self.omega = nn.Parameter(omega)

    def forward(self, images: torch.Tensor, omega: torch.Tensor | None = None) -> torch.Tensor:
        """Images (B, 3, S, S) to logits (B, N, h, w), of other detectors where they are given."""
        return detect(self.fenet(images), self.omega if omega is None else omega)


class WeightRegression(nn.Module):
    """H: few-shot detectors (N, C) to many-shot detectors (N, C), the same for every landmark.

    Fully connected layers with leaky ReLU (Wang and Hebert, 2016), added to their input and
    started at zero, so that H is the identity until tasks teach it otherwise.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden), nn.LeakyReLU(0.01),
            nn.Linear(hidden, hidden), nn.LeakyReLU(0.01),
            nn.Linear(hidden, channels),
        )  # fmt: skip
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, detectors: torch.Tensor) -> torch.Tensor:
        return detectors + self.layers(detectors)


class FrozenFeatures:
    """Features of a network that is not being trained, each image's computed once.

    A memo of at most `capacity` bytes (`Memo`), which forgets all after parameters were trained,
    loaded or moved; without any capacity images go through the network together.
    """

    def __init__(self, fenet: nn.Module, capacity: int):
        self.fenet = fenet
        self._memo = Memo(fenet, capacity) if capacity > 0 else None
        self._versions: tuple = ()

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, S, S) to features (B, C, h, w), without gradient."""
        if self._memo is None:
            return self.fenet(images)
        versions = tuple((p._version, p.data_ptr()) for p in self.fenet.parameters())
        if versions != self._versions:
            self._memo.forget()
            self._versions = versions
        return self._memo(images)
