"""MRN: model regression networks (Wang and Hebert, "Learning to learn: model regression networks
for easy small sample learning", ECCV 2016; section 4.3.7).

    omega_K: detectors trained on K samples over frozen features of theta0  (few-shot weights)
    H(omega_K) ~ omega0, the base model's detectors                         (many-shot weights)
    loss = ||H(omega_K) - omega0||^2 + weight * loss on other images of H(omega_K)

H is one network for all landmarks and categories. At test: train few-shot detectors, transform.

Differs from the paper in: H adds to its input (networks.heads.WeightRegression); the refit that the
transformed weights regularise at test is left out.
"""

from dataclasses import dataclass

import torch

from fewshot_landmarks.heatmaps import detect, query_loss, support_loss
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.networks.heads import WeightRegression
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.training import Training


class MRN(Learner):
    """Few-shot detectors, transformed into what many samples would have taught."""

    name = "MRN"
    version = 1
    search_space = {
        "few_shot_rate": (0.01, 3.0),
        "head_rate": (3e-4, 3e-2),
        "sample_weight": (1e-2, 10.0),
    }

    @dataclass(frozen=True)
    class Settings(Learner.Settings):
        regression_tasks: int = 500  # draws of K samples on which H is trained
        few_shot_steps: int = 20  # gradient steps of few-shot detectors
        few_shot_rate: float = 0.15  # their rate, each on its own loss
        hidden: int = 128  # H's hidden width
        sample_weight: float = 0.1  # weight of the loss on images

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.regression = WeightRegression(base.channels, settings.hidden)  # H

    def fit(self, training: Training) -> None:
        rate = (self.regression, self.settings.head_rate)
        count = self.settings.regression_tasks
        training.minimise(self.regression_loss, rate, count=count, decay=(0.5,))

    def regression_loss(self, task: Task) -> torch.Tensor:
        """How far regressed detectors are from the base model's, and their query loss."""
        regressed = self.regression(self.few_shot_detectors(task.support))
        learnt = task.learnable()
        distance = regressed[learnt] - self.base.detectors(task.category)[learnt]
        heatmaps = detect(self.base_features(task.query.images), regressed)
        distances = distance.square().sum() / learnt.sum().clamp(min=1)
        return distances + self.settings.sample_weight * query_loss(heatmaps, task)

    def few_shot_detectors(self, support: Samples) -> torch.Tensor:
        """omega_K (N, C): detectors trained on the support set alone, over frozen features."""
        features = self.base_features(support.images)
        labelled = support.labelled.sum(0).clamp(min=1).unsqueeze(-1)  # of each landmark
        share = labelled / support.labelled.sum().clamp(min=1)  # of it in the mean of the loss
        omega = features.new_zeros(len(labelled), features.shape[1], requires_grad=True)
        descent = torch.optim.SGD([omega], lr=self.settings.few_shot_rate)
        with torch.enable_grad():
            for _ in range(self.settings.few_shot_steps):
                descent.zero_grad()
                support_loss(detect(features, omega), support).backward()
                # A detector is a problem of its own, however many there are.
                omega.grad /= share  # type: ignore[arg-type, operator]
                descent.step()
        return omega.detach()

    def adapt(self, support: Samples) -> Detector:
        omega = self.few_shot_detectors(support)
        with torch.no_grad():
            omega = self.regression(omega)
        return lambda images: detect(self.base_features(images), omega)
