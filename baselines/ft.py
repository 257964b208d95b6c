"""FT: fine-tuning (section 4.3.1; the practice of reference [62] there).

    (theta, omega) <- (theta, omega) - rate * grad loss_S(f_{theta, omega})

from theta0 and N new detectors, on the support set alone. Nothing is meta-trained.

Differs from the paper in: the number of steps and the rates, which it does not give.
"""

from dataclasses import dataclass

import torch

from fewshot_landmarks.heatmaps import support_loss
from fewshot_landmarks.inner_loop import inner_loop
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.networks.heads import LandmarkModel
from fewshot_landmarks.samples import Samples


class FT(Learner):
    """Tunes the base model's feature extractor and N new detectors together."""

    name = "FT"
    version = 1
    search_space = {
        "inner_rate": (0.002, 0.1),
        "detector_rate": (0.3, 10.0),
        "tuning_steps": (3, 8),
    }

    @dataclass(frozen=True)
    class Settings(Learner.Settings):
        tuning_steps: int = 12  # gradient steps on the support set, FT's own number
        random_start: bool = False  # start detectors as torch does a new layer's, not at zero

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.fenet = self.new_fenet()

    def adapt(self, support: Samples) -> Detector:
        return inner_loop(
            LandmarkModel(self.fenet, self.new_detectors(support)),
            lambda model: support_loss(model(support.images), support),
            steps=self.settings.tuning_steps,
            rates={"fenet": self.settings.inner_rate, "omega": self.settings.detector_rate},
            second_order=False,
        )

    def new_detectors(self, support: Samples) -> torch.Tensor:
        """omega (N, C): zero, or uniform within 1 / sqrt(C)."""
        channels = self.base.channels
        detectors = support.images.new_zeros(support.landmarks.shape[1], channels)
        if self.settings.random_start:
            detectors.uniform_(-(channels**-0.5), channels**-0.5)
        return detectors
