"""MetaCloth (Ge et al., "MetaCloth: learning unseen tasks of dense fashion landmark detection from
a few samples"): Algorithms 1 to 3 of section 3, and the ablations of section 4.5.

    omega  = PPNet(F^cloth(S; theta0) x L^point; phi)                 flow-1
    theta' <- theta - beta1 grad_theta loss_S(f_{theta, omega})       flow-2, eq. 1
    omega' = PPNet(F^cloth(S; theta') x L^point; phi)                 flow-3
    theta  <- theta - beta2 grad_theta loss_Q(f_{theta', omega'})     flow-4, eq. 2

Differs from the paper in: what the presets scale down (the network, the number of tasks, the
inner steps and rates). What the paper leaves open (the outer optimiser, the shots of a training
task, FENet's output norm) is in docs/decisions.md.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from fewshot_landmarks.heatmaps import (
    detect,
    labelmaps,
    landmark_features,
    query_loss,
    support_loss,
)
from fewshot_landmarks.inner_loop import Adapted, inner_loop
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.training import Training


class PPNet(nn.Module):
    """The parameter prediction network phi (section 3.4.3): F^point (N, C) to omega (N, C).

    Two fully connected layers that start as a multiple of the identity: a landmark's first detector
    is its feature, a prototype, as long as the base model's detectors are. So tasks need only teach
    what makes a detector better than a prototype.
    """

    def __init__(self, channels: int, scale: float):
        super().__init__()
        first, last = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
        both_signs = torch.cat([torch.eye(channels), -torch.eye(channels)])  # x = relu(x)-relu(-x)
        with torch.no_grad():
            first.weight.copy_(both_signs)
            last.weight.copy_(scale * both_signs.T)
        nn.init.zeros_(first.bias)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(first, nn.ReLU(), last)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features)


class BaseFEN(Learner):
    """Table 4's Base-FEN: PPNet trained by Algorithm 3, meta-test by Algorithm 2 from theta0."""

    name = "Base-FEN"
    version = 1
    update_detectors = True  # Algorithm 2 lines 6 to 8; False keeps omega

    @dataclass(frozen=True)
    class Settings(Learner.Settings):
        ppnet_tasks: int = 500  # tasks of Algorithm 3
        predicted_labelmaps: bool = True  # L^point in training: the base model's (section 3.4.1)

    def __init__(self, base, settings):
        super().__init__(base, settings)
        scale = base.detector_length.item() / math.sqrt(base.channels)  # features are sqrt(C) long
        self.ppnet = PPNet(base.channels, scale)  # phi
        self.fenet = self.new_fenet()  # theta, started at theta0

    def fit(self, training: Training) -> None:
        """Algorithm 3."""
        rate = (self.ppnet, self.settings.head_rate)
        training.minimise(  # line 2: for each task
            self.ppnet_loss, rate, count=self.settings.ppnet_tasks, decay=(0.5,)
        )

    def ppnet_loss(self, task: Task) -> torch.Tensor:
        """The query loss of PPNet's detectors: lines 3 to 6."""
        cloth = self.base_features(task.support.images)  # line 3
        maps = self.labelmaps_in_training(task, cloth)
        point = landmark_features(cloth, maps, task.support.labelled)  # line 4
        omega = self.ppnet(point)  # line 5
        query = self.base_features(task.query.images)
        return query_loss(detect(query, omega), task)  # line 6

    def adapt(self, support: Samples) -> Detector:
        """Algorithm 2."""
        cloth = self.base_features(support.images)  # line 2
        maps = labelmaps(support.landmarks, support.size, cloth.shape[-2:])  # L^point: the truth
        point = landmark_features(cloth, maps, support.labelled)  # line 3
        omega = self.ppnet(point)  # line 4
        tuned = self.tune(support, omega.detach(), second_order=False)  # line 5: theta'
        with torch.no_grad():
            omega_prime = (
                self.predict_again(tuned, support, maps) if self.update_detectors else omega
            )
        return lambda images: detect(tuned(images), omega_prime)  # line 9

    def tune(self, support: Samples, omega: torch.Tensor, second_order: bool) -> Adapted:
        """theta' by gradient steps on the support loss, omega constant (flow-2, eq. 1)."""
        return inner_loop(
            self.fenet,
            lambda fenet: support_loss(detect(fenet(support.images), omega), support),
            steps=self.settings.inner_steps,
            rates=self.settings.inner_rate,
            second_order=second_order,
            flat=self.settings.flat,
        )

    def predict_again(self, tuned: Adapted, support: Samples, maps: torch.Tensor) -> torch.Tensor:
        """omega' (N, C) of theta' (flow-3; Algorithm 1 lines 7 to 9, Algorithm 2 lines 6 to 8)."""
        cloth_prime = tuned(support.images)  # line 7 of Algorithm 1, 6 of Algorithm 2
        point_prime = landmark_features(cloth_prime, maps, support.labelled)  # line 8 (7)
        return self.ppnet(point_prime)  # line 9 (8)

    def labelmaps_in_training(self, task: Task, cloth: torch.Tensor) -> torch.Tensor:
        """L^point (K, N, h, w) of a seen task's support, whose base features are `cloth`.

        In training it is what the base model predicts, not the ground truth (section 3.4.1); a
        labelmap is a one-hot mask (section 3.3.1), so a predicted one is at the heatmap's peak.
        """
        if self.settings.predicted_labelmaps:
            heatmaps = self.base.heatmaps(cloth, task.category)
            peaks = heatmaps.flatten(2).argmax(-1)
            cells = heatmaps[0, 0].numel()
            return F.one_hot(peaks, cells).to(cloth.dtype).view_as(heatmaps)
        return labelmaps(task.support.landmarks, task.support.size, cloth.shape[-2:])


class MetaCloth(BaseFEN):
    """PPNet by Algorithm 3, then the meta FENet by Algorithm 1; meta-test by Algorithm 2."""

    name = "MetaCloth"
    version = 1
    starts_from = BaseFEN  # Algorithm 1's inputs phi and theta0
    search_space = {
        "inner_rate": (0.002, 0.1),
        "head_rate": (3e-4, 1e-2),
    }
    update_detectors_in_training = True  # Algorithm 1 lines 7 to 9; False uses omega

    def fit(self, training: Training) -> None:
        """Algorithm 1."""
        self.ppnet.requires_grad_(False)
        settings = self.settings
        rate = (self.fenet, settings.outer_rate)  # line 1: theta starts at theta0
        training.minimise(  # lines 2 and 10
            self.meta_loss, rate, count=settings.tasks, decay=settings.outer_falls
        )

    def meta_loss(self, task: Task) -> torch.Tensor:
        """The query loss of (theta', omega') as a function of theta: lines 3 to 10."""
        cloth = self.base_features(task.support.images)  # line 3
        maps = self.labelmaps_in_training(task, cloth)
        point = landmark_features(cloth, maps, task.support.labelled)  # line 4
        omega = self.ppnet(point).detach()  # line 5
        tuned = self.tune(task.support, omega, second_order=True)  # line 6: theta'
        omega_prime = omega
        if self.update_detectors_in_training:
            omega_prime = self.predict_again(tuned, task.support, maps)  # lines 7 to 9
        return query_loss(detect(tuned(task.query.images), omega_prime), task)


class LDKeep(MetaCloth):
    """Table 4's LD-Keep: omega in place of omega' in Algorithm 1; meta-test as MetaCloth."""

    name = "LD-Keep"
    version = 1
    update_detectors_in_training = False


class BaseFENM(BaseFEN):
    """Table 4's Base-FEN_M: trained as Base-FEN; at meta-test omega is kept."""

    name = "Base-FEN_M"
    version = 1
    starts_from = BaseFEN
    fit = Learner.fit  # is not trained: its parameters are those of `starts_from`
    update_detectors = False


class LDKeepM(LDKeep):
    """Table 4's LD-Keep_M: trained as LD-Keep; at meta-test omega is kept."""

    name = "LD-Keep_M"
    version = 1
    starts_from = LDKeep
    fit = Learner.fit  # is not trained: its parameters are those of `starts_from`
    update_detectors = False
