"""Names of work and its files, made of what decides it: settings, data, seed, and what computes.

What computes is told by the versions of the packages that do, by `ALGORITHMS` for what all learners
share, and by the `version` that a learner's class states. These two are raised by hand when results
change, so that other words in a message, or a file that is moved, train nothing anew. A learner
that states none, such as one that a user is at work on, is told by its code.
"""

import ast
import hashlib
import inspect
import json
import sys
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.engine.experiment import Experiment
from benchmarks.presets import Preset
from fewshot_landmarks.learner import Learner, fits
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.networks.pretrained import TimmFENet
from fewshot_landmarks.networks.pyramid import PyramidFENet
from fewshot_landmarks.protocol import UNTRAINED, Benchmark
from fewshot_landmarks.support.errors import UserError

SPLITS = "train", "validation"
FEATURES = 4096  # garments a file of what frozen layers make of them
ALGORITHMS = 1  # of crops, tasks, networks, losses, the inner loop, training and evaluation


def key(**decides) -> str:
    """16 hex digits of whatever JSON can hold."""
    text = json.dumps(decides, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def base_path(experiment: Experiment, benchmark: Benchmark, kind: str) -> Path:
    """The weights of a base model."""
    name = f"base-{kind}-{base_key(experiment, benchmark, kind)}.safetensors"
    return experiment.work / "weights" / name


def base_key(experiment: Experiment, benchmark: Benchmark, kind: str) -> str:
    """The key of the base model of a benchmark's seen categories."""
    return key(
        work="base",
        kind=kind,
        seen=benchmark.seen,
        seed=experiment.seed,
        data=experiment.data.train.fingerprint,
        computing=computing(),
        **_frozen(experiment.preset),
        **_numbers(experiment.preset, "size", "network", "network_options"),
        **_numbers(experiment.preset, "base_epochs", "base_batch", "base_rate", "base_optimiser"),
    )


def feature_paths(experiment: Experiment, split: str) -> list[Path]:
    """What the network's frozen layers make of the crops of "train" or "validation".

    None where its layers are all trained: then nothing of it can be computed once for all.
    """
    preset, garments = experiment.preset, getattr(experiment.data, split)
    if not (frozen := _frozen(preset)):
        return []
    name = key(
        work="features",
        data=garments.fingerprint,
        size=preset.size,
        computing=computing(),
        **frozen,
    )
    parts = range(0, len(garments), FEATURES)
    return [experiment.work / "features" / f"{name}-{split}-{first:06}.npy" for first in parts]


def _frozen(preset: Preset) -> dict[str, str]:
    """What tells the network's frozen layers apart, if it has any."""
    if not issubclass(FENETS[preset.network], PyramidFENet):
        return {}
    chosen = {n: v for n, v in preset.network_options.items() if n in ("name", "weights")}
    return {"frozen": _fingerprint(**chosen)}


@cache
def _fingerprint(**options: Any) -> str:
    return TimmFENet(**options).fingerprint


def fit_path(experiment: Experiment, benchmark: Benchmark, learner: type[Learner]) -> Path:
    """The weights of a learner that has a stage of its own."""
    name = f"{learner.name}-{fit_key(experiment, benchmark, learner)}.safetensors"
    return experiment.work / "weights" / name


def fit_key(experiment: Experiment, benchmark: Benchmark, learner: type[Learner]) -> str:
    """The key of the parameters that a learner is tested with."""
    untrained, seen = learner.base_kind == "untrained", {}
    if learner.starts_from:
        start = fit_key(experiment, benchmark, learner.starts_from)
    elif untrained:
        start = untrained_key()
    else:
        start = base_key(experiment, benchmark, learner.base_kind)
    if not fits(learner):
        return start
    if untrained:  # of other base models the key says what they have seen
        data = experiment.data.train.fingerprint
        seen = {"seen": benchmark.seen, "data": data, **_numbers(experiment.preset, "size")}
    return key(
        work="fit",
        start=start,
        seed=experiment.seed,
        **seen,
        **_learner(experiment, benchmark, learner),
        **_numbers(experiment.preset, "train_queries", "meta_batch"),
    )


def untrained_key() -> str:
    """The key of the base model that nothing trains, the same for every benchmark."""
    return key(work="base", kind="untrained", network=_fingerprint())


def episodes_path(
    experiment: Experiment, benchmark: Benchmark, learner: type[Learner], tested: int, shots: int
) -> Path:
    """The errors of a learner on a category, a row an episode."""
    name = episodes_key(experiment, benchmark, learner, tested, shots)
    place = "any" if is_shared(learner) else benchmark.name
    return experiment.work / "episodes" / place / learner.name / f"{name}.csv"


def is_shared(learner: type[Learner]) -> bool:
    """Whether a category's errors are the same on all benchmarks and for all training seeds.

    So they are for controls, which neither learn nor draw anything.
    """
    return learner.name in UNTRAINED


def predictions_path(episodes: Path) -> Path:
    """The errors of single landmarks, beside an episodes file."""
    return episodes.with_suffix(".npz")


def episodes_key(
    experiment: Experiment, benchmark: Benchmark, learner: type[Learner], tested: int, shots: int
) -> str:
    """The key of a learner's errors on a category."""
    own = {} if is_shared(learner) else {"seed": experiment.seed, "benchmark": benchmark.name}
    return key(
        work="episodes",
        fitted=fit_key(experiment, benchmark, learner),
        data=experiment.data.validation.fingerprint,
        category=tested,
        shots=shots,
        episodes=experiment.preset.episodes_of(learner),
        **own,
        **_learner(experiment, benchmark, learner),
        **_numbers(experiment.preset, "queries", "size"),
    )


def _learner(experiment: Experiment, benchmark: Benchmark, learner: type[Learner]) -> dict:
    return {
        "learner": learner.__qualname__,
        "settings": asdict(experiment.preset.settings_on(benchmark, learner)),
        "computing": computing(),
        "versions": versions(learner),
    }


def _numbers(preset: Preset, *names: str) -> dict:
    return {name: getattr(preset, name) for name in names}


_version = cache(metadata.version)  # it is read from a file, and asked for with every name


def computing() -> dict[str, object]:
    """What computes, whichever learner asks."""
    versions = {"torch": torch.__version__, "numpy": np.__version__, "OpenCV": cv2.__version__}
    return {**versions, "higher": _version("higher"), "algorithms": ALGORITHMS}


def versions(learner: type[Learner]) -> list[tuple[str, object]]:
    """Of a learner and of those that it is derived from: what each states, or else its code."""
    own = [kind for kind in learner.__mro__ if issubclass(kind, Learner) and kind is not Learner]
    return [(kind.__qualname__, vars(kind).get("version") or code(kind.__module__)) for kind in own]


@cache
def code(module: str) -> str:
    """Digest of a module, and of those of its own package that it imports, as Python reads them:
    without the imports themselves, docstrings, and what is raised.

    Raises `UserError` for a module without source.
    """
    waiting, seen, found = [module], set(), []
    while waiting:
        name = waiting.pop()
        if name in seen or name.split(".")[0] != module.split(".")[0] or name not in sys.modules:
            continue
        seen.add(name)
        tree = _parsed(name)
        waiting += [imported for node in ast.walk(tree) for imported in _imported(node)]
        found.append(ast.dump(_bare(tree)))
    return key(code=sorted(found))


def _parsed(module: str) -> ast.Module:
    try:
        return ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        raise UserError(f"{module} has no source: let its learners state a version") from None


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _bare(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            node.exc = node.cause = None
        if isinstance(body := getattr(node, "body", None), list):
            setattr(node, "body", [part for part in body if not _says_nothing(part)])
    return tree


def _says_nothing(node: ast.AST) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, (ast.Import, ast.ImportFrom))
