"""RIDGE+: trained features, ImageNet's and a place, each with its weight. Beyond the paper.

    omega  = argmin ||X omega - Y||^2 + lambda ||omega||^2      in closed form, on trained features
    omega' = the same on ImageNet's features, which stay
    log p(x) = w1 omega . F(x) + w2 omega' . G(x) + w3 log t(x; mean place, its deviation) + const
    w = argmin  sum over k of loss(log p without photo k; photo k) + 2 ||log w - log w(K)||^2
    answer = argmin over x of the expected distance from x under p

X are the support's cells, Y Gaussians around its landmarks (R2-D2's closed form: see `ridge` in
baselines/untrained). Tasks teach F, lambda and the w(K) to start from; then a task's own photos, each
(of more than ten, each tenth) left out in turn, say how far to trust the look and how far the place.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from baselines.untrained.cells import squared_distances
from baselines.untrained.place import Place
from fewshot_landmarks.heatmaps import detect, heatmap_loss, query_loss
from fewshot_landmarks.learner import Learner, SamplesDetector
from fewshot_landmarks.networks.pyramid import PyramidFENet
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.training import Training

SIGMA, COARSE = 1.5, 2  # cells of trained features: of a target's Gaussian, in one of ImageNet's
RIDGE = 1.0  # lambda on ImageNet's features
FOLDS, STEPS = 10, 12  # parts left out in turn, at most; steps of the descent on the weights
PRIOR = 4.0  # landmarks that the weights from tasks count for
Learnt = tuple[Callable, Callable, Place]  # detectors on trained and on ImageNet's maps; a place
Maps = tuple[torch.Tensor, torch.Tensor]  # trained (B, C, h, w); ImageNet's, of fewer cells


class RIDGEPlus(Learner):
    """Closed-form detectors on trained and on ImageNet's features, and a place."""

    name = "RIDGE+"
    version = 1
    says_densities = True
    search_space = {"outer_rate": (1e-5, 1e-3), "head_rate": (3e-4, 3e-2)}

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.fenet = self.new_fenet()
        self.log_ridge = nn.Parameter(torch.tensor(0.1).log())  # lambda, in mean squared features
        self.log_weights = nn.Parameter(torch.tensor([12.0, 12.0, 0.7]).log())  # with one photo
        self.slopes = nn.Parameter(torch.zeros(3))  # of log w, by log K

    def fit(self, training: Training) -> None:
        settings, own = self.settings, [self.log_ridge, self.log_weights, self.slopes]
        rates = (self.fenet, settings.outer_rate), (own, settings.head_rate)
        training.minimise(self.meta_loss, *rates, count=settings.tasks, decay=settings.outer_falls)

    def meta_loss(self, task: Task) -> torch.Tensor:
        """The query loss with the weights to start from."""
        learnt = self.learnt(task.support, self.maps(task.support, self.fenet))
        parts = say(learnt, task.query, self.maps(task.query, self.fenet))
        return query_loss(weighed(parts, self.start(len(task.support))), task)

    def adapt(self, support: Samples) -> "RidgeDetector":
        maps = self.maps(support, self.frozen(self.fenet))
        return RidgeDetector(self, self.learnt(support, maps), self.choose(support, maps))

    def choose(self, support: Samples, maps: Maps) -> torch.Tensor:
        """log w (3,), by leaving parts of the support out in turn."""
        left_out, start = [], self.start(len(support)).detach()
        for fold in range(min(FOLDS, len(support)) if len(support) > 1 else 0):
            out = torch.arange(len(support)) % FOLDS == fold
            rest, one = support[~out], support[out]
            kept, asked = ((maps[0][which], maps[1][which]) for which in (~out, out))
            parts = say(self.learnt(rest, kept), one, asked).detach()
            left_out.append((parts, one, one.labelled & rest.labelled.any(0)))
        total = sum(int(known.sum()) for *_, known in left_out)

        def loss(weights: torch.Tensor) -> torch.Tensor:
            each = [
                heatmap_loss(weighed(parts, weights), one.landmarks, one.size, known) * known.sum()
                for parts, one, known in left_out
            ]
            return (sum(each) + PRIOR * (weights - start).square().sum() / 2) / total

        weights, rate = start, 1.0
        for _ in range(STEPS if total else 0):
            gradient, now = torch.func.grad_and_value(loss)(weights)
            tried = weights - rate * gradient.clamp(-1, 1)
            weights, rate = (tried, rate) if loss(tried) < now else (weights, rate / 2)
        return weights

    def start(self, shots: int) -> torch.Tensor:
        """log w(K) (3,)."""
        return self.log_weights + self.slopes * math.log(shots)

    def maps(self, samples: Samples, fenet: Callable[[torch.Tensor], torch.Tensor]) -> Maps:
        """Trained features, and ImageNet's: of no channels, where the network has none."""
        trained, own = fenet(samples.images), self.base.fenet
        h, w = (max(1, n // COARSE) for n in trained.shape[-2:])
        frozen = own.frozen_maps(samples.images) if isinstance(own, PyramidFENet) else []
        scaled = [F.interpolate(F.normalize(each, dim=1), (h, w), mode="area") for each in frozen]
        return trained, torch.cat([trained.new_zeros(len(trained), 0, h, w), *scaled], 1)

    def learnt(self, support: Samples, maps: Maps) -> Learnt:
        """What a support teaches: detectors on its maps, and a place."""
        look = ridge(maps[0], support, self.log_ridge.exp(), SIGMA)
        return look, ridge(maps[1], support, RIDGE, SIGMA / COARSE), Place.of(support)


@dataclass(frozen=True)
class RidgeDetector(SamplesDetector):
    """A learner's densities with chosen weights."""

    learner: RIDGEPlus
    learnt: Learnt
    log_weights: torch.Tensor

    @torch.no_grad()
    def of(self, query: Samples) -> torch.Tensor:
        asked = self.learner.maps(query, self.learner.frozen(self.learner.fenet))
        return weighed(say(self.learnt, query, asked), self.log_weights)


def say(learnt: Learnt, query: Samples, asked: Maps) -> torch.Tensor:
    """What each of look, ImageNet's features and place says of a query: (3, B, N, h, w)."""
    look, known, place = learnt
    shape = asked[0].shape[-2:]
    coarse = F.interpolate(known(asked[1]), shape, mode="bilinear")
    return torch.stack([look(asked[0]), coarse, place(query, shape)])


def ridge(features: torch.Tensor, support: Samples, strength: torch.Tensor | float, sigma: float):
    """Of features (K, C, h, w), a function of others to (B, N, h, w); unlabelled counts as absent."""
    k, channels, *shape = features.shape
    cells = features.movedim(1, -1).flatten(0, 2)
    mean = cells.mean(0)
    squares = squared_distances(support.landmarks, support.size, shape)
    near = torch.exp(-squares / (2 * (sigma * support.size / shape[-1]) ** 2))
    share = support.labelled.to(near).mean(0).clamp(min=1 / k)  # of photos that label a landmark
    targets = (near * support.labelled.unsqueeze(-1)).movedim(1, -1).flatten(0, 1) / share
    gram = (cells - mean).T @ (cells - mean)
    gram = gram + strength * gram.diagonal().mean() * torch.eye(channels).to(gram)
    omega = torch.linalg.solve(gram, (cells - mean).T @ (targets - targets.mean(0))).T
    return lambda asked: detect(asked - mean.view(-1, 1, 1), omega)


def weighed(parts: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """The weighted sum (B, N, h, w) of parts (3, B, N, h, w)."""
    return torch.einsum("p,pbnhw->bnhw", log_weights.exp(), parts)
