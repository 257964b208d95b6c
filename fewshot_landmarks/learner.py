"""The interface of a learner, what it is handed, and the registry of names."""

import copy
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.heads import FrozenFeatures
from fewshot_landmarks.protocol import REGISTRY
from fewshot_landmarks.samples import Samples
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.training import Training

Detector = Callable[[torch.Tensor], torch.Tensor]
"""Images (B, 3, S, S) to heatmaps (B, N, h, w): any scores of which the largest is the answer."""


class SamplesDetector(ABC):
    """A detector that looks at more than images: at where the box of an object lies in its crop.

    What it says are log densities of a landmark's place, up to a constant.
    """

    @abstractmethod
    def of(self, query: Samples) -> torch.Tensor:
        """Log densities (B, N, h, w) in B crops."""

    def answers(self, densities: torch.Tensor, query: Samples) -> torch.Tensor:
        """Log densities to heatmaps (B, N, h, w) whose largest cell is the answer: the place whose
        expected error is the least."""
        return least_expected(densities, query)


def heatmaps_of(detector: Detector | SamplesDetector, query: Samples) -> torch.Tensor:
    """A detector's heatmaps (B, N, h, w) of B crops, of which the largest cell is the answer."""
    if isinstance(detector, SamplesDetector):
        return detector.answers(detector.of(query), query)
    return detector(query.images)


def least_expected(densities: torch.Tensor, query: Samples) -> torch.Tensor:
    """Log densities (B, N, h, w) to minus the expected distance from each cell to the landmark.

    In pixels of photos: what an error is measured in.
    """
    h, w = densities.shape[-2:]
    shares = densities.float().flatten(2).softmax(-1).view_as(densities)
    steps = (torch.arange(-n, n).to(shares) * (query.size / n) for n in (w, h))
    x, y = (each * query.scale[:, i, None].to(shares) for i, each in enumerate(steps))  # (B, 2 n)
    distances = torch.hypot(x.unsqueeze(1), y.unsqueeze(2)).unsqueeze(1)
    sides = [2 * h, 2 * w]  # of a convolution that goes round, of which a quarter is kept
    both = torch.fft.rfft2(shares, sides) * torch.fft.rfft2(distances, sides)
    return -torch.fft.irfft2(both, sides)[..., h:, w:].to(densities)


class Learner(nn.Module):
    """A way to learn the landmarks of a new category from a few garments.

    A learner is built from the base model of its benchmark, learns from tasks of seen categories
    in `fit`, and then adapts to any number of new tasks: `adapt` leaves the learner as it was.
    """

    name: str
    """How tables call it."""
    version: int | None = None
    """To be raised when what it computes changes; work of another version is made anew. None: any
    change of its code is one."""
    base_kind = "linear"
    """The base model it starts from: "linear", or "cosine" (detectors by cosine similarity), both
    trained on the seen categories; or "untrained", EfficientNet-Lite0 with ImageNet's weights."""
    starts_from: type["Learner"] | None = None
    """A learner whose fitted parameters it starts from; that learner is then fitted once."""
    says_densities = False
    """Whether `adapt` returns a `SamplesDetector`, whose densities tell scores themselves."""
    square = False
    """Whether crops of photos are squares around the box, rather than the box made square."""
    search_space: Mapping[str, tuple[float, float]] = {}
    """What tuning may choose: least and greatest value of a setting, tried in equal ratios."""

    @dataclass(frozen=True)
    class Settings:
        """Hyperparameters; those with another value at another scale are set in the presets."""

        tasks: int = 200  # tasks of meta-training
        outer_rate: float = 2e-4  # beta2: Adam's rate for the feature extractor (section 4.2)
        outer_falls: tuple[float, ...] = ()  # shares of the tasks after which beta2 falls by 10
        head_rate: float = (
            2e-3  # Adam's rate for what stands on features (PPNet's gamma, Algorithm 3)
        )
        inner_steps: int = 5  # gradient steps on the support set
        inner_rate: float = 0.03  # beta1: the inner loop's rate for the feature extractor
        detector_rate: float = 1.0  # the inner loop's rate for detectors, where they adapt
        flat: bool = False  # recompute inner steps in the backward sweep: memory of one step
        feature_cache: int = 2**30  # bytes of frozen features kept

    def __init__(self, base: BaseModel, settings: "Learner.Settings"):
        super().__init__()
        self.base = base.requires_grad_(False)  # theta0 and omega0 are everybody's
        self.settings: Any = settings  # of the class's own Settings

    def fit(self, training: Training) -> None:
        """Learn from tasks of seen categories. A learner without this stage leaves it out."""

    def adapt(self, support: Samples) -> Detector | SamplesDetector:
        """A detector for the category of K annotated garments; the learner is left unchanged."""
        raise NotImplementedError(f"{type(self).__name__} has to define adapt(support)")

    @property
    def most_landmarks(self) -> int | None:
        """How many landmarks a category may have; None where it may have any number."""
        return None

    def check(self, landmarks: int) -> None:
        """Raise `UserError` where a category of so many landmarks cannot be learnt."""
        if self.most_landmarks is not None and landmarks > self.most_landmarks:
            raise UserError(
                f"{self.name} was trained with {self.most_landmarks} detectors and cannot learn "
                f"{landmarks} landmarks: choose another learner, or leave some landmarks out"
            )

    def frozen(self, fenet: nn.Module) -> FrozenFeatures:
        """`fenet` without gradient, features of an image computed once."""
        memo = self.__dict__.setdefault("_frozen", {})
        if id(fenet) not in memo:
            memo[id(fenet)] = FrozenFeatures(fenet, self.settings.feature_cache)
        return memo[id(fenet)]

    def base_features(self, images: torch.Tensor) -> torch.Tensor:
        """F^cloth of the base model's FENet, theta0, which no learner trains: (B, C, h, w)."""
        return self.frozen(self.base.fenet)(images)

    def new_fenet(self) -> nn.Module:
        """A feature extractor of the learner's own, started at the base model's theta0."""
        return copy.deepcopy(self.base.fenet).requires_grad_(True)


def fits(learner: type[Learner]) -> bool:
    """Whether a learner has a stage of meta-training of its own."""
    return learner.fit is not Learner.fit


def find_learner(name: str) -> type[Learner]:
    """The class of a registered name or of `module:Class`.

    Raises `UserError` for an unknown name, a module that cannot be imported, or a class that is
    no learner.
    """
    if name not in REGISTRY and ":" not in name:
        raise UserError(
            f"unknown learner {name!r}: choose one of {', '.join(REGISTRY)}, or module:Class"
        )
    module, _, attribute = REGISTRY.get(name, name).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(
            f"cannot load learner {name!r}: {error}; give module:Class, with the module on the "
            "Python path or in this folder"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Learner)):
        raise UserError(f"{name!r} is no Learner: derive it from fewshot_landmarks.learner.Learner")
    if found.adapt is Learner.adapt:
        raise UserError(f"{name!r} has no adapt(self, support): define it")
    if "name" not in vars(found):
        found.name = found.__name__
    taken = found.name in REGISTRY and REGISTRY[found.name] != f"{module}:{attribute}"
    if taken or not re.fullmatch(r"\w[\w.+-]*", found.name):
        raise UserError(
            f"learner {name!r} cannot be called {found.name!r} in tables: set `name` to one of its "
            "own, of letters, digits, dots, dashes and underscores"
        )
    return found


def trusted_learner(said: str, asked: str | type[Learner] | None) -> type[Learner]:
    """The class of the learner that a model's file names.

    Only this project's learners are found by what a file says; another's is imported where the user
    asked for that very one, as `module:Class` or by the class itself. Raises `UserError` for any
    other, and for one that is not the one asked for.
    """
    known = {place: name for name, place in REGISTRY.items()}
    source = REGISTRY.get(said, said)
    own = f"{asked.__module__}:{asked.__qualname__}" if isinstance(asked, type) else asked
    if source not in known and own != source:
        raise UserError(
            f"its learner is {source[:200]!r}, none of this project's, and its code would be run: "
            "if you trust it, name it, with --learner module:Class"
        )
    if own is not None and REGISTRY.get(own, own) != source:
        name = known.get(source, source)
        raise UserError(f"it is a model of {name}, not {own}: ask for that one, or leave it out")
    return asked if isinstance(asked, type) else find_learner(source)
