"""PROTO: prototypical networks (Snell, Swersky and Zemel, "Prototypical networks for few-shot
learning", NeurIPS 2017; section 4.3.5).

    p_n = mean over support of landmark n's feature
    logits = -s ||F(x) - p_n||^2

The feature extractor is meta-trained on tasks; the nearest cell is the landmark. No adaptation at
test.

Differs from the paper in: the distance has a learnt scale s. Snell's features find theirs by being
longer or shorter; ours are equally long for every learner (networks.fenet.ChannelNorm), so that a
squared distance is 2 C (1 - cosine).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from fewshot_landmarks.heatmaps import detect, labelmaps, landmark_features, query_loss
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.training import Training


class PROTO(Learner):
    """The nearest cell to a landmark's prototype, in a meta-trained feature space."""

    name = "PROTO"
    version = 1
    search_space = {"start_length": (0.2, 2.0)}

    @dataclass(frozen=True)
    class Settings(Learner.Settings):
        start_length: float = 1.0  # of detectors 2 s p at first, in mean lengths of base detectors

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.fenet = self.new_fenet()
        self.log_scale = distance_scale(base, settings.start_length)

    @property
    def scale(self) -> torch.Tensor:
        """s."""
        return self.log_scale.exp()

    def fit(self, training: Training) -> None:
        settings = self.settings
        rates = (self.fenet, settings.outer_rate), ([self.log_scale], settings.head_rate)
        training.minimise(self.meta_loss, *rates, count=settings.tasks, decay=settings.outer_falls)

    def meta_loss(self, task: Task) -> torch.Tensor:
        """The query loss of distances to the support's prototypes."""
        points = prototypes(self.fenet(task.support.images), task.support)
        return query_loss(self.scale * nearness(self.fenet(task.query.images), points), task)

    def adapt(self, support: Samples) -> Detector:
        fenet = self.frozen(self.fenet)
        points = prototypes(fenet(support.images), support)
        return lambda images: nearness(fenet(images), points)


def distance_scale(base: BaseModel, length: float = 1.0) -> nn.Parameter:
    """log s, started where the detectors 2 s p are `length` times as long as the base model's.

    Positive, and steps of it are in equal ratios.
    """
    wanted = length * base.detector_length
    return nn.Parameter((wanted / (2 * math.sqrt(base.channels))).log())


def prototypes(features: torch.Tensor, support: Samples) -> torch.Tensor:
    """Mean landmark features p_n (N, C) of the support's features (K, C, h, w)."""
    maps = labelmaps(support.landmarks, support.size, features.shape[-2:])
    return landmark_features(features, maps, support.labelled)


def nearness(features: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """-||F(x) - p_n||^2: features (B, C, h, w), prototypes (N, C) to logits (B, N, h, w)."""
    cells = features.square().sum(1, keepdim=True)
    return 2 * detect(features, points) - cells - points.square().sum(1).view(1, -1, 1, 1)
