"""The three stages of the benchmark: train a base model, fit a learner, evaluate it on a category.

Each piece of work has a file named by what decides it (`engine.keys`), and is not done when that
file is there. `report` is called with the share of a stage that is done, 0 to 1.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import (
    FEATURES,
    SPLITS,
    base_path,
    episodes_path,
    feature_paths,
    fit_path,
    predictions_path,
)
from benchmarks.results.schemas import EPISODES
from fewshot_landmarks.data.crops import Garments
from fewshot_landmarks.evaluation import EpisodeErrors, Predictions, predict_episode
from fewshot_landmarks.learner import Learner, fits
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.fenet import FENet
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.networks.pretrained import TimmFENet
from fewshot_landmarks.networks.pyramid import PyramidFENet
from fewshot_landmarks.protocol import EPISODE_SEED, SHOTS, Benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import is_whole, put_aside, remove, write_text, written_whole
from fewshot_landmarks.support.markup import csv_text
from fewshot_landmarks.support.rng import raw_stream
from fewshot_landmarks.tasks import Episodes, LandmarkTasks
from fewshot_landmarks.training import Training, save_tensors

Report = Callable[[float], None]
Kind = TypeVar("Kind", bound=Learner)


def make_features(
    experiment: Experiment, benchmark: Benchmark, name: str, split: str, part: int, report: Report
) -> None:
    """What the network's frozen layers make of some of the data's crops, the same for all."""
    garments, path = getattr(experiment.data, split), feature_paths(experiment, split)[part]
    those = np.flatnonzero(garments.usable)
    those = those[(those >= part * FEATURES) & (those < (part + 1) * FEATURES)]

    if experiment.ranks.first:
        fenet = PyramidFENet(**experiment.preset.network_options)
        fenet.store(path, _Images(garments, those, experiment.device, report))


class _Images(Sequence):
    """The crops of some garments, read when they are asked for."""

    def __init__(self, garments: Garments, those: np.ndarray, device: str, report: Report):
        self._garments, self._those = garments, those
        self._device, self._report = device, report

    def __len__(self) -> int:
        return len(self._those)

    def __getitem__(self, number):
        self._report((number + 1) / len(self._those))
        return self._garments[int(self._those[number])].image.to(self._device)


def train_base(experiment: Experiment, benchmark: Benchmark, kind: str, report: Report) -> None:
    """The base model M of a benchmark (section 3.4.1)."""
    preset, path = experiment.preset, base_path(experiment, benchmark, kind)
    model = _new_base(experiment, benchmark, kind).train()
    training = _training(experiment, benchmark, path, report)
    model.fit(
        training,
        epochs=preset.base_epochs,
        batch=preset.base_batch,
        rate=preset.base_rate,
        optimiser=preset.base_optimiser,
        micro_batch=preset.micro_batch,
    )
    _finish(experiment, path, model.state_dict(), training)


def fit(
    experiment: Experiment, benchmark: Benchmark, learner: type[Learner], report: Report
) -> None:
    """A learner's own stage of meta-training."""
    path = fit_path(experiment, benchmark, learner)
    model = _start(experiment, benchmark, learner).train()
    training = _training(experiment, benchmark, path, report)
    model.fit(training)
    _finish(experiment, path, _own(model), training)


def evaluate(
    experiment: Experiment,
    benchmark: Benchmark,
    learner: type[Learner],
    tested: int,
    shots: Sequence[int],
    report: Report,
) -> None:
    """A learner's errors on all episodes of one unseen category, two files for each shots."""
    model, episodes = fitted(experiment, benchmark, learner), episodes_of(experiment, tested)
    found: dict[int, list[Predictions]] = {k: [] for k in shots}
    count = experiment.preset.episodes_of(learner)
    for number in range(count):
        task = episodes[number].to(experiment.device)
        for k in shots:
            seed_episode(experiment, number, k)
            found[k].append(predict_episode(model, task, k))
        report((number + 1) / count)
    name = experiment.data.source.categories[tested].name
    for k, each in found.items():
        path = episodes_path(experiment, benchmark, learner, tested, k)
        with written_whole(predictions_path(path), summed=True) as file:
            np.savez_compressed(file, **_arrays(each))
        where = (benchmark.name, learner.name, experiment.seed, name)
        rows = [
            dict(zip(EPISODES.key, (*where, i, k))) | _row(p.mean()) for i, p in enumerate(each)
        ]
        write_text(path, csv_text(pd.DataFrame(rows, columns=list(EPISODES.columns))), summed=True)


def seed_episode(experiment: Experiment, number: int, shots: int) -> None:
    """Seed whatever a learner draws while it adapts to an episode."""
    torch.manual_seed(next(raw_stream(experiment.seed, number, shots)) % 2**63)


# -------------------------------------------------------------------------------- tasks


def tasks_of(experiment: Experiment, benchmark: Benchmark) -> LandmarkTasks:
    """Training tasks of the seen categories, the same for every learner."""
    return LandmarkTasks(
        experiment.data.train,
        benchmark.seen,
        shots=SHOTS,
        queries=experiment.preset.train_queries,
        seed=experiment.seed,
    )


def episodes_of(experiment: Experiment, tested: int) -> Episodes:
    """The episodes of an unseen category, the same for every learner."""
    return Episodes(
        experiment.data.validation,
        (tested,),
        episodes=experiment.preset.episodes,
        shots=SHOTS,
        queries=experiment.preset.queries,
        seed=EPISODE_SEED,
    )


# ------------------------------------------------------------------------------- models


def fitted(experiment: Experiment, benchmark: Benchmark, learner: type[Kind]) -> Kind:
    """A learner with its fitted parameters, ready to adapt."""
    model = _start(experiment, benchmark, learner)
    if fits(learner):
        _load_own(model, _weights(fit_path(experiment, benchmark, learner)))
    return model.eval()


def _start(experiment: Experiment, benchmark: Benchmark, learner: type[Kind]) -> Kind:
    """A learner as it begins its own stage."""
    base, kind = _new_base(experiment, benchmark, learner.base_kind), learner.base_kind
    if kind != "untrained":
        base.load_state_dict(_weights(base_path(experiment, benchmark, kind)))
    torch.manual_seed(experiment.seed)
    model = learner(base, experiment.preset.settings_on(benchmark, learner)).to(experiment.device)
    if learner.starts_from:
        _load_own(model, _own(fitted(experiment, benchmark, learner.starts_from)))
    return model


def _new_base(experiment: Experiment, benchmark: Benchmark, kind: str) -> BaseModel:
    torch.manual_seed(experiment.seed)
    categories = experiment.data.source.categories
    if kind == "untrained":
        fenet, kind = TimmFENet(), "linear"
    else:
        fenet = _new_fenet(experiment)
    seen, most = categories.landmarks(benchmark.seen), categories.most_landmarks
    return BaseModel(fenet, seen, kind, most).to(experiment.device)


def _new_fenet(experiment: Experiment) -> FENet:
    """A network as it begins, which looks up what its frozen layers have made of the data."""
    fenet = FENETS[experiment.preset.network](**experiment.preset.network_options)
    if isinstance(fenet, PyramidFENet):
        paths = [path for split in SPLITS for path in feature_paths(experiment, split)]
        if lost := [path for path in paths if not is_whole(path)]:
            raise UserError(f"the features {lost[0]} are lost: run the same command again")
        fenet.remember(paths)
    return fenet


def _training(experiment: Experiment, benchmark: Benchmark, path: Path, report: Report) -> Training:
    return Training(
        tasks_of(experiment, benchmark),
        seed=experiment.seed,
        device=experiment.device,
        together=experiment.preset.meta_batch,
        loaders=experiment.preset.loaders,
        ranks=experiment.ranks,
        checkpoint=_unfinished(path),
        report=report,
    )


def _finish(experiment: Experiment, path: Path, state: dict, training: Training) -> None:
    with experiment.ranks.in_turn():
        if experiment.ranks.first:
            losses = json.dumps([round(loss, 4) for loss in training.losses])
            save_tensors(path, state, True, losses=losses)
            remove(_unfinished(path))


def _unfinished(path: Path) -> Path:
    return path.with_suffix(".unfinished")


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """What a training wrote; raises `UserError` where it is lost, or damaged, since planning."""
    if is_whole(path):
        try:
            return load_file(str(path))
        except SafetensorError as error:  # of no digest
            put_aside(path, str(error))
    raise UserError(f"the weights {path} are lost: run the same command again")


def _own(model: Learner) -> dict[str, torch.Tensor]:
    """A learner's parameters without the base model's, which have a file of their own."""
    state = model.state_dict()
    return {name: value for name, value in state.items() if not name.startswith("base.")}


def _load_own(model: Learner, state: dict[str, torch.Tensor]) -> None:
    missing, unexpected = model.load_state_dict(state, strict=False)
    strange = [*unexpected, *(name for name in missing if not name.startswith("base."))]
    if strange:
        raise ValueError(f"{model.name}'s parameters do not fit: {', '.join(strange)}")


def _row(errors: EpisodeErrors) -> dict:
    return {
        "ne": f"{errors.ne:.6f}",
        "scored": errors.scored,
        "left_out": errors.left_out,
        "landmarks": " ".join(f"{error:.5f}" for error in errors.landmarks),
    }


def _arrays(found: Sequence[Predictions]) -> dict:
    """Of E episodes: errors (E, Q, N) and heights (E, Q), in half precision."""
    return {
        name: torch.stack([getattr(each, name) for each in found]).cpu().numpy().astype(np.float16)
        for name in ("errors", "heights")
    }
