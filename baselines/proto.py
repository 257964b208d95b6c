"""PROTO: prototypical networks (Snell, Swersky and Zemel, "Prototypical networks for few-shot
learning", NeurIPS 2017; section 4.3.5).

    p_n = mean over support of landmark n's feature
    logits = -||F(x) - p_n||^2

The feature extractor is meta-trained on tasks; the nearest cell is the landmark. No adaptation at
test.

Differs from the paper in: features of C channels are equally long (networks.ChannelNorm), so a
squared distance is 2 C (1 - cosine), without a temperature of its own.
"""

import torch

from fewshot_landmarks.heatmaps import detect, labelmaps, landmark_features, query_loss
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.tasks import Samples, Task
from fewshot_landmarks.training import Training


class PROTO(Learner):
    """The nearest cell to a landmark's prototype, in a meta-trained feature space."""

    name = "PROTO"
    search_space = {"outer_rate": (1e-4, 1e-3)}

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.fenet = self.new_fenet()

    def fit(self, training: Training) -> None:
        settings = self.settings
        rate = (self.fenet, settings.outer_rate)
        for task in training.tasks(rate, count=settings.tasks, decay=settings.outer_falls):
            training.step(self.meta_loss(task))

    def meta_loss(self, task: Task) -> torch.Tensor:
        """The query loss of distances to the support's prototypes."""
        points = prototypes(self.fenet(task.support.images), task.support)
        return query_loss(nearness(self.fenet(task.query.images), points), task)

    def adapt(self, support: Samples) -> Detector:
        fenet = self.frozen(self.fenet)
        points = prototypes(fenet(support.images), support)
        return lambda images: nearness(fenet(images), points)


def prototypes(features: torch.Tensor, support: Samples) -> torch.Tensor:
    """Mean landmark features p_n (N, C) of the support's features (K, C, h, w)."""
    maps = labelmaps(support.landmarks, support.size, features.shape[-2:])
    return landmark_features(features, maps, support.labelled)


def nearness(features: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """-||F(x) - p_n||^2: features (B, C, h, w), prototypes (N, C) to logits (B, N, h, w)."""
    cells = features.square().sum(1, keepdim=True)
    return 2 * detect(features, points) - cells - points.square().sum(1).view(1, -1, 1, 1)
