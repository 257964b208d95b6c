"""Where the data of a benchmark are: DeepFashion2's folder, or a split file of a keypoint set."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fewshot_landmarks.data.categories import DEEPFASHION2, Categories
from fewshot_landmarks.data.crops import Garments
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.data.keypoints import KeypointSplit, read_split
from fewshot_landmarks.protocol import BENCHMARKS, Benchmark


@dataclass(frozen=True)
class Folder:
    """DeepFashion2, or garments drawn in its layout; what `KeypointSplit` is to a keypoint set."""

    root: Path
    name: str = "DeepFashion2"  # as tables call it

    @property
    def benchmarks(self) -> Mapping[str, Benchmark]:
        return BENCHMARKS

    @property
    def categories(self) -> Categories:
        return DEEPFASHION2

    def open(self, split: str, **options) -> Garments:
        """The objects of "train", where seen categories are learnt, or "validation"."""
        return DeepFashion2(self.root, split, **options)


Source: TypeAlias = Folder | KeypointSplit
"""A data set with its benchmarks."""


def find_source(data: Path) -> Source:
    """What `--data` names: a folder, or a split file. Raises `UserError` for a broken one."""
    named = os.path.isfile(data) or data.suffix == ".json"
    return read_split(data) if named else Folder(data)
