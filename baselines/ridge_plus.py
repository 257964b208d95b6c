"""RIDGE+: trained features, ImageNet's and a place, each with its weight. Beyond the paper.

    omega  = argmin ||X omega - Y||^2 + lambda ||omega||^2      in closed form, on trained features
    omega' = the same on ImageNet's features, which stay
    log p(x) = w1 omega . F(x) + w2 omega' . G(x) + w3 log t(x; mean place, its deviation) + const
    w = argmin  sum over k of loss(log p without photo k; photo k) + ||log w - log w(K)||^2 / 2
    answer = argmin over x of the expected distance from x under p

X are the support's cells, Y Gaussians around its landmarks (Bertinetto et al., "Meta-learning with
differentiable closed-form solvers", ICLR 2019). Tasks teach the feature extractor, both lambdas and
the weights w(K) to start from, through the closed form. Then each task says for itself, by leaving its
photos out in turn, how far to trust what looks right and how far the place: far from what was seen
features hold less than tasks of seen categories say. One photo cannot be left out.
"""

import math
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

SIGMA = 1.5  # cells of the trained features, of a target's Gaussian
COARSE = 2  # cells of the trained features a cell of ImageNet's
FOLDS = 10  # parts that are left out in turn, at most
STEPS = 12  # of the descent on the weights
PRIOR = 4.0  # landmarks that the weights from tasks count for


class RIDGEPlus(Learner):
    """Closed-form detectors on trained and on ImageNet's features, and a place."""

    name = "RIDGE+"
    version = 1
    search_space = {"outer_rate": (1e-5, 1e-3), "head_rate": (3e-4, 3e-2)}

    def __init__(self, base, settings):
        super().__init__(base, settings)
        self.fenet = self.new_fenet()
        self.log_ridge = nn.Parameter(torch.tensor([0.1, 1.0]).log())  # in mean squared features
        self.log_weights = nn.Parameter(torch.tensor([12.0, 12.0, 0.7]).log())  # with one photo
        self.slopes = nn.Parameter(torch.zeros(3))  # of log w, by log K

    def fit(self, training: Training) -> None:
        settings, own = self.settings, [self.log_ridge, self.log_weights, self.slopes]
        rates = (self.fenet, settings.outer_rate), (own, settings.head_rate)
        training.minimise(self.meta_loss, *rates, count=settings.tasks, decay=settings.outer_falls)

    def meta_loss(self, task: Task) -> torch.Tensor:
        """The query loss with the weights to start from."""
        support, query = task.support, task.query
        parts = self.parts(
            support, self.maps(support, self.fenet), query, self.maps(query, self.fenet)
        )
        return query_loss(weighed(parts, self.start(len(support))), task)

    def adapt(self, support: Samples) -> "RidgeDetector":
        fenet = self.frozen(self.fenet)
        maps = self.maps(support, fenet)
        return RidgeDetector(self, fenet, support, maps, self.choose(support, maps))

    def choose(self, support: Samples, maps: "Maps") -> torch.Tensor:
        """log w (3,), by leaving parts of the support out in turn."""
        start = self.start(len(support)).detach()
        left_out = []
        for fold in range(min(FOLDS, len(support))):
            out = torch.arange(len(support)) % FOLDS == fold
            rest, one = support[~out], support[out]
            known = one.labelled & rest.labelled.any(0)
            if known.any():
                found = self.parts(rest, maps[~out], one, maps[out]).detach()
                left_out.append((found, one, known))
        total = sum(int(known.sum()) for *_, known in left_out)
        log_weights = start

        def loss() -> torch.Tensor:
            losses = [
                heatmap_loss(weighed(found, log_weights), one.landmarks, one.size, known)
                * known.sum()
                for found, one, known in left_out
            ]
            drift = (log_weights - start).square().sum() / 2
            return (torch.stack(losses).sum() + PRIOR * drift) / total

        for _ in range(STEPS if total else 0):
            with torch.enable_grad():
                log_weights = log_weights.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(loss(), log_weights)
            log_weights = log_weights.detach() - gradient.clamp(-1, 1)
        return log_weights

    def start(self, shots: int) -> torch.Tensor:
        """log w(K) (3,)."""
        return self.log_weights + self.slopes * math.log(shots)

    def maps(self, samples: Samples, fenet) -> "Maps":
        """Trained features of crops, and ImageNet's where the network stands on them."""
        trained, own = fenet(samples.images), self.base.fenet
        frozen = own.frozen_maps(samples.images) if isinstance(own, PyramidFENet) else []
        h, w = (max(1, n // COARSE) for n in trained.shape[-2:])
        scaled = [_to(F.normalize(each, dim=1), (h, w)) for each in frozen]
        return Maps(trained, torch.cat(scaled, 1) if scaled else None)

    def parts(
        self, support: Samples, learnt: "Maps", query: Samples, asked: "Maps"
    ) -> torch.Tensor:
        """What each says of the query: (3, B, N, h, w)."""
        shape = asked.trained.shape[-2:]
        look = ridge(learnt.trained, support, self.log_ridge[0].exp(), SIGMA)(asked.trained)
        place = Place.of(support)(query, shape)
        if learnt.frozen is None:
            return torch.stack([look, torch.zeros_like(look), place])
        with torch.no_grad():
            detector = ridge(learnt.frozen, support, self.log_ridge[1].exp(), SIGMA / COARSE)
            known = F.interpolate(detector(asked.frozen), shape, mode="bilinear")
        return torch.stack([look, known, place])


@dataclass(frozen=True)
class Maps:
    """Features of B crops."""

    trained: torch.Tensor  # (B, C, h, w)
    frozen: torch.Tensor | None  # (B, D, h / COARSE, w / COARSE)

    def __getitem__(self, which: torch.Tensor) -> "Maps":
        return Maps(self.trained[which], None if self.frozen is None else self.frozen[which])


@dataclass(frozen=True)
class RidgeDetector(SamplesDetector):
    """A learner's densities with chosen weights."""

    learner: RIDGEPlus
    fenet: object
    support: Samples
    maps: Maps
    log_weights: torch.Tensor

    def of(self, query: Samples) -> torch.Tensor:
        asked = self.learner.maps(query, self.fenet)
        with torch.no_grad():
            parts = self.learner.parts(self.support, self.maps, query, asked)
        return weighed(parts, self.log_weights)


def ridge(features: torch.Tensor, support: Samples, strength: torch.Tensor, sigma: float):
    """Detectors in closed form on features (K, C, h, w): a function of features to (B, N, h, w)."""
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


def _to(maps: torch.Tensor, cells: tuple[int, int]) -> torch.Tensor:
    """Maps of so many cells: means of finer ones, coarser ones between cells bilinearly."""
    if maps.shape[-1] >= cells[-1]:
        return F.adaptive_avg_pool2d(maps, cells)
    return F.interpolate(maps, cells, mode="bilinear")
