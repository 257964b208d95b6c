"""The base model M: what all learners start from (section 3.4.1)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from fewshot_landmarks.heatmaps import cosine_detect, detect, heatmap_loss
from fewshot_landmarks.networks.fenet import FENet
from fewshot_landmarks.samples import Samples
from fewshot_landmarks.training import Training


class BaseModel(nn.Module):
    """FENet theta0 and one detector for each landmark of the seen categories.

    Args:
        fenet: a feature extractor with `channels`.
        seen: how many landmarks each seen category has, by its id.
        kind: "linear" detectors, or "cosine" ones with a learnt scale (for WG and WG-ATT).
        most_landmarks: of any category, unseen ones included; of the seen ones, if not given.
    """

    def __init__(
        self,
        fenet: FENet,
        seen: Mapping[int, int],
        kind: str = "linear",
        most_landmarks: int | None = None,
    ):
        super().__init__()
        self.fenet = fenet
        self.seen = dict(seen)
        self.kind = kind
        self.most_landmarks = most_landmarks or max(seen.values(), default=0)
        self.first: dict[int, int] = {}  # a seen category's first detector
        total = 0
        for seen_category, landmarks in self.seen.items():
            self.first[seen_category] = total
            total += landmarks
        omega = torch.empty(total, fenet.channels)
        if not omega.is_meta:  # has a shape alone; to compute it would import torch's compiler
            omega.normal_().mul_(0.05)
        self.omega = nn.Parameter(omega)
        self.scale = nn.Parameter(torch.tensor(10.0), requires_grad=kind == "cosine")

    @property
    def channels(self) -> int:
        return self.fenet.channels

    @property
    def detector_length(self) -> torch.Tensor:
        """Mean length of the detectors omega0, a constant."""
        return self.omega.detach().norm(dim=1).mean()

    def slots(self, wanted: int) -> slice:
        """Which detectors are the category's."""
        first = self.first[wanted]
        return slice(first, first + self.seen[wanted])

    def detectors(self, wanted: int) -> torch.Tensor:
        """omega0 of a seen category: (N, C)."""
        return self.omega[self.slots(wanted)]

    def heatmaps(self, features: torch.Tensor, wanted: int) -> torch.Tensor:
        """Features (B, C, h, w) to a seen category's logits (B, N, h, w)."""
        if self.kind == "cosine":
            return cosine_detect(features, self.detectors(wanted), self.scale)
        return detect(features, self.detectors(wanted))

    def loss(self, samples: Samples) -> torch.Tensor:
        """Loss on garments of mixed seen categories: each meets its own category's detectors."""
        features = self.fenet(samples.images)
        n = samples.landmarks.shape[1]
        starts = torch.tensor([self.first[int(c)] for c in samples.categories])
        rows = (starts.unsqueeze(1) + torch.arange(n)).clamp(max=len(self.omega) - 1)
        omega = self.omega[rows.to(self.omega.device)]
        if self.kind == "cosine":
            features, omega = F.normalize(features, dim=1), self.scale * F.normalize(omega, dim=-1)
        logits = torch.einsum("bchw,bnc->bnhw", features, omega)
        return heatmap_loss(logits, samples.landmarks, samples.size, samples.labelled)

    def fit(
        self,
        training: Training,
        *,
        epochs: int,
        batch: int,
        rate: float,
        optimiser: str = "adam",
        micro_batch: int = 0,
    ) -> None:
        """Supervised training on all seen garments; the rate falls by 10 at 1/2 and 3/4."""
        options: dict = {
            "epochs": epochs, "batch": batch, "optimiser": optimiser, "micro_batch": micro_batch,
        }  # fmt: skip
        for samples in training.batches((self, rate), decay=(0.5, 0.75), **options):
            training.add(self.loss(samples), weight=int(samples.labelled.sum()))
