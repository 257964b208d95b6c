"""PAML: proactive and adaptive meta-learning (Gui et al., "Few-shot human motion prediction via
meta-learning", ECCV 2018; section 4.3.8): MAML and MRN in one.

    (theta', omega') = (theta, omega) - beta1 grad loss_S(f_{theta, omega})     some steps
    loss = loss_Q(f_{theta', H(omega')}) + weight * ||H(omega') - omega0||^2

theta, omega and H are trained jointly, second order; omega0 are the base model's detectors. The
detectors are MAML's M = 39 slots.

Differs from the paper in: detectors adapt at a rate of their own (one rate at the paper's scale).
"""

from dataclasses import dataclass

import torch

from baselines.maml import MAML, mean_of_slots
from fewshot_landmarks.heatmaps import query_loss
from fewshot_landmarks.learner import Detector
from fewshot_landmarks.networks.heads import WeightRegression
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.training import Training


class PAML(MAML):
    """MAML whose adapted detectors are transformed into what many samples would have taught."""

    name = "PAML"
    version = 1
    search_space = {
        "inner_rate": (0.002, 0.1),
        "detector_rate": (0.3, 10.0),
    }

    @dataclass(frozen=True)
    class Settings(MAML.Settings):
        hidden: int = 128  # H's hidden width
        distance_weight: float = 0.01  # weight of the distance to many-shot detectors

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.regression = WeightRegression(base.channels, settings.hidden)  # H

    def fit(self, training: Training) -> None:
        settings = self.settings
        rates = (self.model, settings.outer_rate), (self.regression, settings.head_rate)
        training.minimise(self.meta_loss, *rates, count=settings.tasks, decay=settings.outer_falls)

    def meta_loss(self, task: Task) -> torch.Tensor:
        """Query loss of the transformed model plus the distance to many-shot detectors."""
        chosen = self.slots(task.landmarks)
        task = Task(task.category, self.expand(task.support), self.expand(task.query))
        model = self.tune(task.support, second_order=True)
        omega = self.regression(model.omega)
        heatmaps = model(task.query.images, omega)
        many_shot = self.base.detectors(task.category)[chosen]
        learnt = task.learnable()
        distance = (omega - many_shot)[learnt].square().sum() / learnt.sum().clamp(min=1)
        return query_loss(heatmaps, task) + self.settings.distance_weight * distance

    def adapt(self, support: Samples) -> Detector:
        landmarks = support.landmarks.shape[1]
        model = self.tune(self.expand(support), second_order=False)
        with torch.no_grad():
            omega = self.regression(model.omega)
        return lambda images: mean_of_slots(model(images, omega), landmarks)
