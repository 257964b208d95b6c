"""PROTO-MA: proto-MAML (Triantafillou et al., "Meta-Dataset: a dataset of datasets for learning to
learn from few examples", ICLR 2020; section 4.3.6).

    omega_n = 2 s p_n     the linear layer that equals a prototypical network under theta
    (theta', omega') = (theta, omega) - beta1 grad loss_S(f_{theta, omega})     some steps
    theta <- theta - beta2 grad loss_Q(f_{theta', omega'})      second order, through omega(theta)

Its bias -||p_n||^2 cancels in a softmax over cells, and so does PROTO's ||F(x)||^2, because all
features have the same length (`networks.fenet.ChannelNorm`): before the first inner step, PROTO-MA's
landmarks are PROTO's.

Differs from the paper in: the distance has a learnt scale s, started where the detectors are as
long as the base model's, or by a tuned factor longer (with s = 1 the inner steps on theta, which
grow with omega, overshoot); detectors adapt at a rate of their own (one rate at the paper's scale).
"""

from dataclasses import dataclass

import torch

from baselines.proto import distance_scale, prototypes
from fewshot_landmarks.heatmaps import query_loss, support_loss
from fewshot_landmarks.inner_loop import Adapted, inner_loop
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.networks.heads import LandmarkModel
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.training import Training


class PROTOMA(Learner):
    """MAML whose detectors start from the support's prototypes."""

    name = "PROTO-MA"
    version = 1
    search_space = {
        "inner_rate": (0.002, 0.1),
        "detector_rate": (0.3, 10.0),
        "start_length": (0.2, 2.0),
    }

    @dataclass(frozen=True)
    class Settings(Learner.Settings):
        start_length: float = 1.0  # of the first detectors, in mean lengths of base detectors

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
        """The query loss of the adapted model, as a function of theta."""
        model = self.tune(task.support, second_order=True)
        return query_loss(model(task.query.images), task)

    def tune(self, support: Samples, second_order: bool) -> Adapted:
        """The inner loop from the prototypes of the current theta."""
        with torch.set_grad_enabled(second_order):
            omega = 2 * self.scale * prototypes(self.fenet(support.images), support)
        return inner_loop(
            LandmarkModel(self.fenet, torch.zeros_like(omega)),
            lambda model: support_loss(model(support.images), support),
            start={"omega": omega},
            steps=self.settings.inner_steps,
            rates={"fenet": self.settings.inner_rate, "omega": self.settings.detector_rate},
            second_order=second_order,
            flat=self.settings.flat,
        )

    def adapt(self, support: Samples) -> Detector:
        return self.tune(support, second_order=False)
