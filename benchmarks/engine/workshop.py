"""What the grid's jobs do: train a base model, fit a learner, evaluate it on a category.

Each piece of work has a file named by a hash of what decides it, and is not done when that file is
there.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmarks.engine.keys import computing, key, versions
from benchmarks.presets import Preset
from fewshot_landmarks.base import BaseModel
from fewshot_landmarks.data.crops import Garments
from fewshot_landmarks.data.source import Source, find_source
from fewshot_landmarks.evaluation import EpisodeErrors, Predictions, predict_episode
from fewshot_landmarks.learner import Learner, fits
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.protocol import EPISODE_SEED, SHOTS, Benchmark, unfit
from fewshot_landmarks.support.distributed import ALONE, Ranks
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import is_whole, put_aside, remove, write_text, written_whole
from fewshot_landmarks.support.locks import alone
from fewshot_landmarks.support.markup import csv_text
from fewshot_landmarks.support.rng import raw_stream
from fewshot_landmarks.tasks import Episodes, LandmarkTasks
from fewshot_landmarks.training import Training, save_tensors

RECORD = ("benchmark", "learner", "seed", "category", "episode", "shots")
Report = Callable[[float], None]


@dataclass(frozen=True)
class Workshop:
    """One preset on one data set with one training seed; picklable, so that processes share it."""

    preset: Preset
    data: Path
    work: Path  # where finished and unfinished work is kept
    seed: int = 0
    device: str = "cpu"
    strict: bool = False
    workers: int = os.cpu_count() or 1  # processes that store crops
    ranks: Ranks = ALONE  # processes that train together

    @cached_property
    def source(self) -> Source:
        """The data set and its benchmarks."""
        return find_source(self.data)

    @cached_property
    def train(self) -> Garments:
        return self._garments("train")

    @cached_property
    def validation(self) -> Garments:
        return self._garments("validation")

    def _garments(self, split: str) -> Garments:
        cache = self.work / "data"
        with alone(cache / ".lock"):  # index and crops are stored once, whoever else needs them
            garments = self.source.open(
                split, size=self.preset.size, strict=self.strict, cache=cache, progress=True
            )
            if self.preset.crops == "packed":
                return garments.pack(cache, progress=True)
            if self.preset.crops == "sharded":
                return garments.prepare(cache, workers=self.workers, progress=True)
            return garments

    # ------------------------------------------------------------------ names of work

    def base_key(self, benchmark: Benchmark, kind: str) -> str:
        return key(
            work="base",
            kind=kind,
            seen=benchmark.seen,
            seed=self.seed,
            data=self.train.fingerprint,
            computing=computing(),
            **self.preset.decides(
                "size",
                "network",
                "network_options",
                "base_epochs",
                "base_batch",
                "base_rate",
                "base_optimiser",
            ),
        )

    def fit_key(self, benchmark: Benchmark, learner: type[Learner]) -> str:
        """The key of the parameters that a learner is tested with."""
        if not fits(learner):
            if learner.starts_from:
                return self.fit_key(benchmark, learner.starts_from)
            return self.base_key(benchmark, learner.base_kind)
        return key(
            work="fit",
            start=self._start_key(benchmark, learner),
            learner=learner.__qualname__,
            settings=asdict(self.settings(benchmark, learner)),
            computing=computing(),
            versions=versions(learner),
            seed=self.seed,
            **self.preset.decides("train_queries", "meta_batch"),
        )

    def _start_key(self, benchmark: Benchmark, learner: type[Learner]) -> str:
        if learner.starts_from:
            return self.fit_key(benchmark, learner.starts_from)
        return self.base_key(benchmark, learner.base_kind)

    def settings(self, benchmark: Benchmark, learner: type[Learner]) -> Learner.Settings:
        """A learner's hyperparameters on a benchmark."""
        return self.preset.settings(learner, benchmark.like or benchmark.name)

    def episodes_key(
        self, benchmark: Benchmark, learner: type[Learner], tested: int, shots: int
    ) -> str:
        return key(
            work="episodes",
            fitted=self.fit_key(benchmark, learner),
            learner=learner.__qualname__,
            settings=asdict(self.settings(benchmark, learner)),
            computing=computing(),
            versions=versions(learner),
            data=self.validation.fingerprint,
            category=tested,
            shots=shots,
            seed=self.seed,
            benchmark=benchmark.name,
            **self.preset.decides("episodes", "queries", "size"),
        )

    def base_path(self, benchmark: Benchmark, kind: str) -> Path:
        return self.work / "weights" / f"base-{kind}-{self.base_key(benchmark, kind)}.safetensors"

    def fit_path(self, benchmark: Benchmark, learner: type[Learner]) -> Path:
        name = f"{learner.name}-{self.fit_key(benchmark, learner)}.safetensors"
        return self.work / "weights" / name

    def episodes_path(
        self, benchmark: Benchmark, learner: type[Learner], tested: int, shots: int
    ) -> Path:
        name = self.episodes_key(benchmark, learner, tested, shots)
        return self.work / "episodes" / benchmark.name / learner.name / f"{name}.csv"

    def predictions_path(self, episodes: Path) -> Path:
        """The errors of single landmarks, beside an episodes file: see `_arrays`."""
        return episodes.with_suffix(".npz")

    def evaluated(
        self, benchmark: Benchmark, learner: type[Learner], tested: int, shots: int
    ) -> bool:
        """Whether both files of a category are there, and whole."""
        path = self.episodes_path(benchmark, learner, tested, shots)
        return all([is_whole(path), is_whole(self.predictions_path(path))])  # each is named

    # ------------------------------------------------------------------ the work

    def train_base(self, benchmark: Benchmark, kind: str, report: Report) -> None:
        """The base model M of a benchmark (section 3.4.1)."""
        path = self.base_path(benchmark, kind)
        model = self._new_base(benchmark, kind)
        model.train()
        training = self._training(benchmark, path, report)
        model.fit(
            training,
            epochs=self.preset.base_epochs,
            batch=self.preset.base_batch,
            rate=self.preset.base_rate,
            optimiser=self.preset.base_optimiser,
            micro_batch=self.preset.micro_batch,
        )
        self._finish(path, model.state_dict(), training)

    def fit(self, benchmark: Benchmark, learner: type[Learner], report: Report) -> None:
        """A learner's own stage of meta-training."""
        path = self.fit_path(benchmark, learner)
        model = self._start(benchmark, learner)
        model.train()
        training = self._training(benchmark, path, report)
        model.fit(training)
        self._finish(path, _own(model), training)

    def evaluate(
        self,
        benchmark: Benchmark,
        learner: type[Learner],
        tested: int,
        shots: Sequence[int],
        report: Report,
    ) -> None:
        """A learner's errors on all episodes of one unseen category, two files for each shots."""
        model = self.fitted(benchmark, learner)
        episodes, name = self.episodes(tested), self.source.categories[tested].name
        found: dict[int, list[Predictions]] = {k: [] for k in shots}
        for number in range(len(episodes)):
            task = episodes[number].to(self.device)
            for k in shots:
                self.seed_episode(number, k)
                found[k].append(predict_episode(model, task, k))
            report((number + 1) / len(episodes))
        for k, each in found.items():
            path = self.episodes_path(benchmark, learner, tested, k)
            with written_whole(self.predictions_path(path), summed=True) as file:
                np.savez_compressed(file, **_arrays(each))
            where = [
                (benchmark.name, learner.name, self.seed, name, i, k) for i in range(len(each))
            ]
            rows = [dict(zip(RECORD, w)) | _row(p.mean()) for w, p in zip(where, each)]
            write_text(path, csv_text(pd.DataFrame(rows, columns=COLUMNS)), summed=True)

    def seed_episode(self, number: int, shots: int) -> None:
        """Seed whatever a learner draws while it adapts to an episode."""
        torch.manual_seed(next(raw_stream(self.seed, number, shots)) % 2**63)

    def fitted(self, benchmark: Benchmark, learner: type[Learner]) -> Learner:
        """A learner with its fitted parameters, ready to adapt."""
        model = self._start(benchmark, learner)
        if fits(learner):
            _load_own(model, _weights(self.fit_path(benchmark, learner)))
        return model.eval()

    def check(self, *benchmarks: Benchmark) -> None:
        """Raise `UserError` if a category has too few garments: before any work, not after."""
        sides = {
            "train": (self.train, self.preset.train_queries),
            "validation": (self.validation, self.preset.queries),
        }
        if lines := unfit(benchmarks, self.source.categories, sides):
            raise UserError("; ".join(lines))

    def episodes(self, *tested: int) -> Episodes:
        """The episodes of unseen categories, the same for every learner."""
        return Episodes(
            self.validation,
            tested,
            episodes=self.preset.episodes,
            shots=SHOTS,
            queries=self.preset.queries,
            seed=EPISODE_SEED,
        )

    def tasks(self, benchmark: Benchmark) -> LandmarkTasks:
        """Training tasks of the seen categories, the same for every learner."""
        return LandmarkTasks(
            self.train,
            benchmark.seen,
            shots=SHOTS,
            queries=self.preset.train_queries,
            seed=self.seed,
        )

    # ------------------------------------------------------------------ models

    def _new_base(self, benchmark: Benchmark, kind: str) -> BaseModel:
        torch.manual_seed(self.seed)
        fenet = FENETS[self.preset.network](**self.preset.network_options)
        categories = self.source.categories
        seen, most = categories.landmarks(benchmark.seen), categories.most_landmarks
        return BaseModel(fenet, seen, kind, most).to(self.device)

    def _start(self, benchmark: Benchmark, learner: type[Learner]) -> Learner:
        """A learner as it begins its own stage."""
        base = self._new_base(benchmark, learner.base_kind)
        base.load_state_dict(_weights(self.base_path(benchmark, learner.base_kind)))
        base.requires_grad_(False)
        torch.manual_seed(self.seed)
        model = learner(base, self.settings(benchmark, learner)).to(self.device)
        if learner.starts_from:
            earlier = self.fitted(benchmark, learner.starts_from)
            _load_own(model, _own(earlier))
        return model

    def _training(self, benchmark: Benchmark, path: Path, report: Report) -> Training:
        return Training(
            self.tasks(benchmark),
            seed=self.seed,
            device=self.device,
            together=self.preset.meta_batch,
            loaders=self.preset.loaders,
            ranks=self.ranks,
            checkpoint=_unfinished(path),
            report=report,
        )

    def _finish(self, path: Path, state: dict[str, torch.Tensor], training: Training) -> None:
        with self.ranks.in_turn():
            if self.ranks.first:
                losses = json.dumps([round(loss, 4) for loss in training.losses])
                save_tensors(path, state, True, losses=losses)
                remove(_unfinished(path))


def _unfinished(path: Path) -> Path:
    return path.with_suffix(".unfinished")


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """What a training wrote; raises `UserError` where it is lost, or damaged, since planning."""
    if not is_whole(path):
        raise UserError(f"the weights {path} are lost: run the same command again")
    try:
        return load_file(str(path))
    except SafetensorError as error:  # of no digest
        put_aside(path, str(error))
        raise UserError(f"the weights {path} are lost: run the same command again") from None


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


def _arrays(found: Sequence[Predictions]) -> dict[str, np.ndarray]:
    """Of E episodes: errors (E, Q, N) and heights (E, Q), in half precision."""
    return {
        name: torch.stack([getattr(each, name) for each in found]).cpu().numpy().astype(np.float16)
        for name in ("errors", "heights")
    }


COLUMNS = (*RECORD, *(field.name for field in fields(EpisodeErrors)))
