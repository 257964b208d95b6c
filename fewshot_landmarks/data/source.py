"""Where the data of a benchmark are: DeepFashion2's folder, or a split file of a keypoint set."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fewshot_landmarks.data.categories import DEEPFASHION2, Categories
from fewshot_landmarks.data.crops import Garments
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.data.keypoints import read_split
from fewshot_landmarks.protocol import BENCHMARKS, Benchmark


class Source(Protocol):
    """A data set with its benchmarks."""

    @property
    def name(self) -> str:
        """How tables call it."""

    @property
    def benchmarks(self) -> Mapping[str, Benchmark]:
        """By name."""

    @property
    def categories(self) -> Categories:
        """All of them, seen or not."""

    def open(self, split: str, *, size: int, strict: bool, cache: Path, progress: bool) -> Garments:
        """The objects of "train", where seen categories are learnt, or "validation"."""


@dataclass(frozen=True)
class Folder:
    """DeepFashion2, or garments drawn in its layout."""

    root: Path
    name: str = "DeepFashion2"

    @property
    def benchmarks(self) -> Mapping[str, Benchmark]:
        return BENCHMARKS

    @property
    def categories(self) -> Categories:
        return DEEPFASHION2

    def open(self, split: str, **options) -> Garments:
        return DeepFashion2(self.root, split, **options)


def find_source(data: Path) -> Source:
    """What `--data` names: a folder, or a split file. Raises `UserError` for a broken one."""
    named = os.path.isfile(data) or data.suffix == ".json"
    return read_split(data) if named else Folder(data)
