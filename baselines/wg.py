"""WG (Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018,
without its attention; section 4.3.3).

    omega_n = phi_avg * w_avg,n     w_avg,n: mean over support of the normalised landmark feature
    logits  = scale * cos(F, omega_n)

on a base model trained with the same cosine detectors, frozen. No adaptation at test.

Differs from the paper in: nothing known.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from fewshot_landmarks.heatmaps import cosine_detect, labelmaps, landmark_features, query_loss
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.training import Training


class WG(Learner):
    """Detectors are the landmarks' mean normalised features, weighted by learnt factors."""

    name = "WG"
    version = 1
    base_kind = "cosine"
    search_space = {"head_rate": (3e-4, 3e-2)}

    @dataclass(frozen=True)
    class Settings(Learner.Settings):
        generator_tasks: int = 500  # tasks on which the weight generator is trained

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.phi_avg = nn.Parameter(torch.ones(base.channels))
        self.scale = nn.Parameter(base.scale.detach().clone())

    def fit(self, training: Training) -> None:
        rate = (self, self.settings.head_rate)
        count = self.settings.generator_tasks
        training.minimise(self.generator_loss, rate, count=count, decay=(0.5,))

    def generator_loss(self, task: Task) -> torch.Tensor:
        """The query loss of generated detectors."""
        omega = self.generate(task.support, novel=task.category)
        query = self.base_features(task.query.images)
        return query_loss(cosine_detect(query, omega, self.scale), task)

    def adapt(self, support: Samples) -> Detector:
        with torch.no_grad():
            omega = self.generate(support)
        return lambda images: cosine_detect(self.base_features(images), omega, self.scale)

    def generate(self, support: Samples, novel: int | None = None) -> torch.Tensor:
        """Detectors (N, C); `novel` is the seen category that plays the unseen one in training."""
        return self.phi_avg * self.mean_features(support)

    def mean_features(self, support: Samples) -> torch.Tensor:
        """w_avg: normalised landmark features, mean over the support images (N, C)."""
        cloth = F.normalize(self.base_features(support.images), dim=1)
        maps = labelmaps(support.landmarks, support.size, cloth.shape[-2:])
        return landmark_features(cloth, maps, support.labelled)
