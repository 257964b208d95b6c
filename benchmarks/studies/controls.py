"""Predictors that say where the data stand, not who wins: they look at the base model alone."""

import torch

from baselines.proto import nearness, prototypes
from fewshot_landmarks.heatmaps import detect, support_loss
from fewshot_landmarks.inner_loop import inner_loop
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.samples import Samples


class Position(Learner):
    """Ignores the image: each landmark where it is on average in the support's crops."""

    name = "position"
    CELLS = 48  # a side

    def adapt(self, support: Samples) -> Detector:
        weight = support.labelled.unsqueeze(-1)
        mean = (support.landmarks * weight).sum(0) / weight.sum(0).clamp(min=1)
        centre = (torch.arange(self.CELLS) + 0.5) * support.size / self.CELLS
        x, y = (centre - mean[:, axis, None] for axis in (0, 1))  # (N, cells) each
        scores = -(y.square().unsqueeze(2) + x.square().unsqueeze(1))
        return lambda images: scores.expand(len(images), -1, -1, -1)


class FixedFeatures(Learner):
    """The nearest cell to a landmark's prototype, in the base model's features."""

    name = "fixed-features"

    def adapt(self, support: Samples) -> Detector:
        features = self.frozen(self.base.fenet)
        points = prototypes(features(support.images), support)
        return lambda images: nearness(features(images), points)


class TunedFeatures(Learner):
    """`FixedFeatures` after the inner loop on the support set: what tuning the base model gives.

    The detectors are the prototypes, as long as the base model's detectors, and stay; the
    prototypes are taken anew from the tuned features.
    """

    name = "tuned-features"
    share = 1.0  # of the setting `inner_rate`

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.fenet = self.new_fenet()

    def adapt(self, support: Samples) -> Detector:
        points = prototypes(self.frozen(self.base.fenet)(support.images), support)
        omega = points * self.base.omega.norm(dim=1).mean() / self.base.channels**0.5
        tuned = inner_loop(
            self.fenet,
            lambda fenet: support_loss(detect(fenet(support.images), omega), support),
            steps=self.settings.inner_steps,
            rates=self.share * self.settings.inner_rate,
            second_order=False,
        )
        with torch.no_grad():
            points = prototypes(tuned(support.images), support)
        return lambda images: nearness(tuned(images), points)


class GentlyTunedFeatures(TunedFeatures):
    """`TunedFeatures` at a tenth of the rate: where the whole of it does harm, this may not."""

    name = "gently-tuned"
    share = 0.1


CONTROLS = (Position, FixedFeatures, TunedFeatures, GentlyTunedFeatures)
