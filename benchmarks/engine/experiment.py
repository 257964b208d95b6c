"""What a run is: a preset on a data set with one training seed. Its data are opened here."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.presets import Preset
from fewshot_landmarks.data.crops import Garments
from fewshot_landmarks.data.source import Source, find_source
from fewshot_landmarks.protocol import Benchmark, unfit
from fewshot_landmarks.support.distributed import ALONE, Ranks
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import alone


@dataclass(frozen=True)
class Data:
    """A data set, each split opened when it is asked for, once; picklable with what is open."""

    root: Path
    cache: Path  # where the index and the crops are stored
    size: int  # side of the crops, pixels
    crops: str  # how they are stored, of presets.CROPS
    strict: bool = False  # stop at the first bad garment
    workers: int = 1  # processes that store crops

    @cached_property
    def source(self) -> Source:
        """The data set's categories and benchmarks."""
        return find_source(self.root)

    @cached_property
    def train(self) -> Garments:
        """Where seen categories are learnt."""
        return self._open("train")

    @cached_property
    def validation(self) -> Garments:
        """Where unseen categories are tested."""
        return self._open("validation")

    def _open(self, split: str) -> Garments:
        with alone(self.cache / ".lock"):  # stored once, whoever else needs index and crops
            garments = self.source.open(
                split, size=self.size, strict=self.strict, cache=self.cache, progress=True
            )
            if self.crops == "packed":
                return garments.pack(self.cache, progress=True)
            if self.crops == "sharded":
                return garments.prepare(self.cache, workers=self.workers, progress=True)
            return garments


@dataclass(frozen=True)
class Experiment:
    """A preset on a data set with one training seed; picklable, so that processes share it."""

    preset: Preset
    data: Data
    work: Path  # where finished and unfinished work is kept
    seed: int = 0
    device: str = "cpu"
    ranks: Ranks = ALONE  # processes that train together

    @classmethod
    def of(
        cls,
        preset: Preset,
        root: Path,
        work: Path,
        *,
        crops: str = "",
        strict: bool = False,
        workers: int = os.cpu_count() or 1,
        **others,
    ) -> "Experiment":
        """An experiment on the data at `root`; crops: stored otherwise than the preset says."""
        crops = crops or preset.crops
        data = Data(root, work / "data", preset.size, crops, strict, workers)
        return cls(preset, data, work, **others)

    def check(self, benchmarks: Iterable[Benchmark]) -> None:
        """Tell which garments are left out; raise `UserError` if a category has too few others."""
        sides = {
            "train": (self.data.train, self.preset.train_queries),
            "validation": (self.data.validation, self.preset.queries),
        }
        for garments, _ in sides.values():
            _tell_skipped(garments)
        each = {benchmark.name: benchmark for benchmark in benchmarks}
        if lines := unfit(each.values(), self.data.source.categories, sides):
            raise UserError("; ".join(lines))


def _tell_skipped(garments: Garments) -> None:
    if not (skipped := garments.skipped):
        return
    more = [f"... and {len(skipped) - 5} more"] * (len(skipped) > 5)
    print(f"{garments.split}: skipped {len(skipped)}:", *skipped[:5], *more, sep="\n  ")
