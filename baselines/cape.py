"""CAPE: category-agnostic pose estimation by keypoint tokens (Xu et al., "Pose for everything:
towards category-agnostic pose estimation", ECCV 2022: POMNet; Shi et al., "Matching is not enough: a
two-stage framework for category-agnostic pose estimation", CVPR 2023: CapeFormer). Not a learner of
the MetaCloth paper.

    p_n, m_n     = mean over support of landmark n's feature, and of its place in the crop
    (c, t)       = Encoder([cells of F(x), their places], [p, m])    all attend to each other
    a_n          = 2 s (p_n + V t_n) . (F(x) + U c)                  first stage: similarity
    q_n          = mean place under the softmax of a_n               a proposal, without gradient
    r_n          = q_n + W Decoder([t_n, q_n, F(x) at q_n], c)       second stage: refined place
    logits       = a_n - b |place of a cell - r_n|^2
    loss         = loss_Q(a) + loss_Q(logits) + weight * |r - true place|, summed over x and y

Support and query meet in the head alone, so there is no inner loop, and no gradient step at test.
V, U and W start at zero: before the first task the similarity is PROTO's. A landmark that no support
photo labels has no token, and its heatmap is zero.

Differs from the papers in: a token is told from others by where its landmark lies in the support's
crops (CapeFormer's carry the landmark's number in its category's list, which says nothing of another
category); one refinement (three), two encoder layers (three), 64 wide (256), without dropout; the
encoder sees F(x) pooled to 8 x 8 cells, as many as CapeFormer's, while similarities and heatmaps keep
all cells; tokens meet cells in a plain product (CapeFormer modulates it by the token, POMNet
convolves both); heatmaps have the cross-entropy of every learner here (squared errors); the refined
place becomes a part of the heatmap, whose largest cell is the answer (the place itself); a landmark
that some photos lack has the mean of those that label it (POMNet leaves it out).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from baselines.proto import distance_scale, prototypes
from baselines.untrained.cells import at, centres
from fewshot_landmarks.heatmaps import query_loss, spatial_softmax
from fewshot_landmarks.learner import Detector, Learner
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.training import Training

WIDTH, HEADS, LAYERS = 64, 4, 2  # of tokens; of attention; of the encoder
GRID = 8  # cells a side that the encoder sees
WAVES = 4  # of a place's encoding along each axis: 1/2, 1, 2 and 4 periods across the crop


class Landmarks(NamedTuple):
    """What a support of N landmarks says of the M that it labels."""

    points: torch.Tensor  # (M, C): p_n
    places: torch.Tensor  # (M, 2): m_n, 0 to 1 across the crop
    labelled: torch.Tensor  # (N,) bool


class CAPE(Learner):
    """Tokens of landmarks that attend to each other and to the query, then meet its features."""

    name = "CAPE"
    version = 1
    search_space = {
        "head_rate": (3e-4, 3e-2),
        "start_length": (0.2, 2.0),
        "place_weight": (1.0, 100.0),
    }

    @dataclass(frozen=True)
    class Settings(Learner.Settings):
        start_length: float = 1.0  # of detectors 2 s p at first, in mean lengths of base detectors
        place_weight: float = 10.0  # of the distance from refined to true places, in crop sides

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.fenet = self.new_fenet()
        self.log_scale = distance_scale(base, settings.start_length)  # log s
        self.head = TwoStages(base.channels)

    def fit(self, training: Training) -> None:
        settings = self.settings
        new = [self.log_scale, *self.head.parameters()]
        rates = (self.fenet, settings.outer_rate), (new, settings.head_rate)
        training.minimise(self.meta_loss, *rates, count=settings.tasks, decay=settings.outer_falls)

    def meta_loss(self, task: Task) -> torch.Tensor:
        """The query losses of the first stage and of both, and the distance of refined places."""
        query, landmarks = task.query, landmarks_of(self.fenet(task.support.images), task.support)
        first, both, places = self.stages(self.fenet(query.images), landmarks)
        learnt = query.labelled & landmarks.labelled
        distances = (places - query.landmarks / query.size).abs().sum(-1)
        distance = (distances * learnt).sum() / learnt.sum().clamp(min=1)
        matching = query_loss(first, task) + query_loss(both, task)
        return matching + self.settings.place_weight * distance

    def stages(self, features: torch.Tensor, landmarks: Landmarks) -> tuple[torch.Tensor, ...]:
        """Of features (B, C, h, w): logits (B, N, h, w) of the first stage and of both, and refined
        places (B, N, 2), 0 to 1 across the crop. All are zero where no support labels a landmark."""
        n, labelled = len(landmarks.labelled), landmarks.labelled.nonzero().squeeze(1)

        def whole(found: torch.Tensor) -> torch.Tensor:
            nothing = found.new_zeros(len(found), n, *found.shape[2:])
            return nothing.index_copy(1, labelled, found)

        return tuple(map(whole, self.head(features, landmarks, 2 * self.log_scale.exp())))

    def adapt(self, support: Samples) -> Detector:
        fenet = self.frozen(self.fenet)
        landmarks = landmarks_of(fenet(support.images), support)
        return lambda images: self.stages(fenet(images), landmarks)[1]


def landmarks_of(features: torch.Tensor, support: Samples) -> Landmarks:
    """The labelled landmarks of a support with features (K, C, h, w)."""
    labelled = support.labelled.any(0)
    weight = support.labelled.to(features).unsqueeze(-1)
    places = (support.landmarks / support.size * weight).sum(0) / weight.sum(0).clamp(min=1)
    return Landmarks(prototypes(features, support)[labelled], places[labelled], labelled)


class TwoStages(nn.Module):
    """CapeFormer's head: tokens find places by similarity, and refine them."""

    def __init__(self, channels: int):
        super().__init__()
        sizes = WIDTH, HEADS, 2 * WIDTH
        options: dict = {"dropout": 0.0, "batch_first": True, "norm_first": True}
        encoder = nn.TransformerEncoderLayer(*sizes, **options)
        decoder = nn.TransformerDecoderLayer(*sizes, **options)
        ends = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.encoder = nn.TransformerEncoder(encoder, LAYERS, ends[0], enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, 1, ends[1])
        self.feature = nn.Linear(channels, WIDTH)
        self.place = nn.Linear(4 * WAVES, WIDTH)
        self.of_tokens = nn.Linear(WIDTH, channels)  # V
        self.of_cells = nn.Linear(WIDTH, channels)  # U
        self.offset = nn.Linear(WIDTH, 2)  # W
        # b, at first that of a deviation of .16, which leaves PROTO's heatmaps nearly as they are.
        self.log_sharpness = nn.Parameter(torch.tensor(3.0))
        for layer in (self.of_tokens, self.of_cells, self.offset):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: torch.Tensor, landmarks: Landmarks, scale: torch.Tensor):
        """`CAPE.stages` of the M landmarks that the support labels; scale: 2 s."""
        b, _, h, w = features.shape
        where = centres(1, (h, w), features)  # (h w, 2)
        coarse = F.adaptive_avg_pool2d(features, GRID)
        cells = self.tokens(coarse.flatten(2).mT, centres(1, (GRID, GRID), features))
        tokens = self.tokens(landmarks.points, landmarks.places).expand(b, -1, -1)
        both = self.encoder(torch.cat([cells, tokens], 1))
        cells, tokens = both[:, : GRID**2], both[:, GRID**2 :]

        more = self.of_cells(cells).mT.unflatten(2, (GRID, GRID))
        refined = features + F.interpolate(more, (h, w), mode="bilinear")
        first = scale * torch.einsum(
            "bchw,bnc->bnhw", refined, landmarks.points + self.of_tokens(tokens)
        )

        proposals = (spatial_softmax(first).flatten(2) @ where).detach()
        tokens = tokens + self.tokens(at(features, proposals, 1), proposals)
        places = proposals + self.offset(self.decoder(tokens, cells))
        # -|x - r|^2 but for |r|^2, which is the same in all cells.
        near = 2 * places @ where.T - where.square().sum(1)
        return first, first + self.log_sharpness.exp() * near.unflatten(2, (h, w)), places

    def tokens(self, features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Features (..., C) at places (..., 2), 0 to 1 across the crop, as tokens (..., WIDTH)."""
        frequencies = math.pi * 2.0 ** torch.arange(WAVES, device=places.device)
        angles = places.unsqueeze(-1) * frequencies
        waves = torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)
        return self.feature(features) + self.place(waves)
