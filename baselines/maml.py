"""MAML (Finn, Abbeel and Levine, "Model-agnostic meta-learning for fast adaptation of deep
networks", ICML 2017; section 4.3.2).

    (theta', omega') = (theta, omega) - beta1 grad loss_S(f_{theta, omega})     some steps
    (theta, omega)  <- (theta, omega) - beta2 grad loss_Q(f_{theta', omega'})   second order

There are M = 39 detectors, as many as any category has: a category's N landmarks are repeated in
order to fill M slots, so that each slot means something. A landmark's heatmap is the mean of its
slots' softmaxed heatmaps.

Differs from the paper in: detectors adapt at a rate of their own (one rate at the paper's scale).
"""

from dataclasses import replace

import torch

from fewshot_landmarks.heatmaps import query_loss, spatial_softmax, support_loss
from fewshot_landmarks.inner_loop import Adapted, inner_loop
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.networks.heads import LandmarkModel
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.training import Training


class MAML(Learner):
    """Meta-learnt initialisations of the feature extractor and of M detectors."""

    name = "MAML"
    version = 1
    search_space = {
        "inner_rate": (0.002, 0.1),
        "detector_rate": (0.3, 10.0),
    }

    def __init__(self, base, settings):
        super().__init__(base, settings)
        start = torch.zeros(base.most_landmarks, base.channels)  # where FT's start too
        self.model = LandmarkModel(self.new_fenet(), start)

    def fit(self, training: Training) -> None:
        settings = self.settings
        rate = (self.model, settings.outer_rate)  # theta and omega
        training.minimise(self.meta_loss, rate, count=settings.tasks, decay=settings.outer_falls)

    def meta_loss(self, task: Task) -> torch.Tensor:
        """The query loss of the adapted model, as a function of the initialisation."""
        task = Task(task.category, self.expand(task.support), self.expand(task.query))
        model = self.tune(task.support, second_order=True)
        return query_loss(model(task.query.images), task)

    def tune(self, support: Samples, second_order: bool) -> Adapted:
        """The inner loop on an expanded support set."""
        return inner_loop(
            self.model,
            lambda model: support_loss(model(support.images), support),
            steps=self.settings.inner_steps,
            rates={"fenet": self.settings.inner_rate, "omega": self.settings.detector_rate},
            second_order=second_order,
            flat=self.settings.flat,
        )

    def adapt(self, support: Samples) -> Detector:
        landmarks = support.landmarks.shape[1]
        model = self.tune(self.expand(support), second_order=False)
        return lambda images: mean_of_slots(model(images), landmarks)

    def slots(self, landmarks: int) -> torch.Tensor:
        """Which landmark each of the M slots stands for: 0, 1, ..., N - 1, 0, 1, ..."""
        self.check(landmarks)
        return torch.arange(self.most_landmarks) % landmarks

    @property
    def most_landmarks(self) -> int:
        """As many as it has slots."""
        return len(self.model.omega)

    def expand(self, samples: Samples) -> Samples:
        """The same garments with their landmarks repeated in order to fill the slots."""
        chosen = self.slots(samples.landmarks.shape[1])
        return replace(
            samples,
            landmarks=samples.landmarks[:, chosen],
            labelled=samples.labelled[:, chosen],
            scored=samples.scored[:, chosen],
        )


def mean_of_slots(heatmaps: torch.Tensor, landmarks: int) -> torch.Tensor:
    """Slots' logits (B, M, h, w) to the mean of each landmark's softmaxed slots (B, N, h, w)."""
    maps = spatial_softmax(heatmaps)
    chosen = torch.arange(maps.shape[1], device=maps.device) % landmarks  # of each slot
    total = maps.new_zeros((len(maps), landmarks, *maps.shape[2:])).index_add_(1, chosen, maps)
    return total / chosen.bincount(minlength=landmarks).view(1, -1, 1, 1)
