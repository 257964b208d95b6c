"""WG-ATT (Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018;
section 4.3.4).

    omega_n = phi_avg * w_avg,n + phi_att * w_att,n                                  (elementwise)
    w_att,n = mean over support k of  sum_b softmax_b(gamma cos(Phi_q z_kn, key_b)) * w_b

z_kn: landmark n's feature in support image k; w_b: the base model's normalised detectors, of
landmarks of seen categories; keys, phi_avg, phi_att, the matrix Phi_q and the sharpness gamma are
learnt. In training the task's own category plays the unseen one: its keys are left out.

Differs from the paper in: keys start at the base detectors rather than at random.
"""

import torch
import torch.nn.functional as F
from torch import nn

from baselines.wg import WG
from fewshot_landmarks.heatmaps import labelmaps
from fewshot_landmarks.samples import Samples


class WGATT(WG):
    """WG plus attention over the detectors of seen landmarks."""

    name = "WG-ATT"
    version = 1

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.phi_att = nn.Parameter(torch.ones(base.channels))
        self.queries = nn.Linear(base.channels, base.channels, bias=False)  # Phi_q
        nn.init.eye_(self.queries.weight)
        self.keys = nn.Parameter(base.omega.detach().clone())
        self.sharpness = nn.Parameter(torch.tensor(10.0))  # gamma

    def generate(self, support: Samples, novel: int | None = None) -> torch.Tensor:
        attended = self.attend(support, novel)
        return super().generate(support) + self.phi_att * attended

    def attend(self, support: Samples, novel: int | None) -> torch.Tensor:
        """w_att (N, C), without the keys of the category that plays the novel one.

        Zero where one category is seen: in training there is no other to attend to.
        """
        if len(self.base.seen) == 1:
            return support.images.new_zeros(support.landmarks.shape[1], self.base.channels)
        cloth = F.normalize(self.base_features(support.images), dim=1)
        maps = labelmaps(support.landmarks, support.size, cloth.shape[-2:])
        features = torch.einsum("knhw,kchw->knc", maps, cloth)
        similarity = F.normalize(self.queries(features), dim=-1) @ F.normalize(self.keys, dim=-1).T
        logits = self.sharpness * similarity  # (K, N, seen landmarks)
        if novel is not None:
            own = torch.zeros_like(logits, dtype=torch.bool)
            own[..., self.base.slots(novel)] = True
            logits = logits.masked_fill(own, float("-inf"))
        attended = logits.softmax(-1) @ F.normalize(self.base.omega, dim=-1)
        weight = support.labelled.unsqueeze(-1).to(attended.dtype)
        return (attended * weight).sum(0) / weight.sum(0).clamp(min=1)
