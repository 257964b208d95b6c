"""Any COCO keypoint set as a task distribution: MP-100's files, or one's own.

A split file says which categories are seen in meta-training and which are tested:

    {"name": "mp100", "train": "annotations/mp100_split1_train.json",
     "test": "annotations/mp100_split1_test.json", "images": "images",
     "benchmarks": {"split1": {"seen": ["hand", ...], "unseen": ["face", ...]}}}

Paths are relative to the split file. Without "test", both sides come from "train"; "test_images" is
its folder of photos where it has another. Without "benchmarks", what "train" annotates is seen, and
what only "test" annotates is unseen; of DeepFashion2's thirteen categories they are the paper's.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_landmarks.data.categories import DEEPFASHION2, Categories, Category
from fewshot_landmarks.data.crops import Damaged, Garments
from fewshot_landmarks.data.formats.annotations import Annotations, read_annotations
from fewshot_landmarks.data.formats.values import aligned, folded
from fewshot_landmarks.data.images import Unreadable, read_photo
from fewshot_landmarks.data.index import SPLITS
from fewshot_landmarks.protocol import BENCHMARKS, Benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import SMALL, read_regular, write_text
from fewshot_landmarks.support.names import listed, names_a_folder, plain


class Keypoints(Garments):
    """Annotated objects in photos, in the order of their annotations; see `Garments`.

    Args:
        annotations: what `read_annotations` found.
        split: what messages call this part of the data.
        size, margin, strict: as of `DeepFashion2`.
    """

    def __init__(
        self,
        annotations: Annotations,
        split: str = "annotations",
        *,
        size: int = 64,
        margin: float = 0.1,
        strict: bool = False,
    ) -> None:
        self.annotations = annotations
        super().__init__(
            annotations.source,
            split,
            annotations.index,
            annotations.categories,
            size=size,
            margin=margin,
            strict=strict,
        )

    def _read(self, number: int) -> np.ndarray:
        photo = self.annotations.photos[number]
        try:
            return read_photo(photo.path, photo.declared)
        except Unreadable as reason:
            raise Damaged(f"{photo.path}: {reason}") from None

    def _place(self, i: int) -> str:
        return f"annotation {self._index.item[i]}"


@dataclass(frozen=True)
class KeypointSplit:
    """What a split file says; data are read when they are needed."""

    name: str
    files: Mapping[str, Path]  # "train" and "validation" (what the split file calls "test")
    images: Mapping[str, Path | None]  # folders of the photos
    written: Mapping[str, Mapping[str, object]]  # benchmarks as the file has them

    def annotations(self, split: str) -> Annotations:
        """One side's; a file is read once, whatever asks for it."""
        return self._read[self.files[split]]

    @cached_property
    def _read(self) -> dict[Path, Annotations]:
        folders = {path: self.images[split] for split, path in self.files.items()}
        found = {path: read_annotations(path, images=folders[path]) for path in folders}
        first, last = (found[path] for path in self.files.values())
        alike = first.categories.keys() & last.categories.keys()
        if all(first.categories[n].columns == last.categories[n].columns for n in alike):
            return found
        # What either side labels are landmarks of both.
        others = zip(folders, (last, first))
        return {
            path: read_annotations(path, images=folders[path], labelled=other.labelled)
            for path, other in others
        }

    def open(
        self,
        split: str,
        *,
        size: int,
        strict: bool = False,
        cache: Path | None = None,
        progress: bool = False,
    ) -> Keypoints:
        """One side's objects; there is no index to cache."""
        return Keypoints(self.annotations(split), split, size=size, strict=strict)

    @cached_property
    def categories(self) -> Categories:
        """Those of both sides, which must agree on what they share."""
        found: dict[int, Category] = {}
        ids: dict[str, int] = {}
        for split, path in self.files.items():
            for category in self.annotations(split).categories.values():
                known = found.setdefault(category.id, category)
                if (folded(known.name), known.landmarks) != (
                    folded(category.name),
                    category.landmarks,
                ):
                    raise UserError(
                        f"{path}: category {category.id} is {category.name!r} with "
                        f"{category.landmarks} keypoints, in the other file {known.name!r} with "
                        f"{known.landmarks}: number categories alike in both"
                    )
                order = aligned(known.names, category.names)
                first = next((i for i, place in enumerate(order) if place != i), None)
                if first is not None:
                    names = [listed(kind.names[first:]) for kind in (category, known)]
                    raise UserError(
                        f"{path}: keypoints of category {category.name!r} are {names[0]}, in the "
                        f"other file {names[1]}: let them be the same, in one order"
                    )
                if (number := ids.setdefault(folded(category.name), category.id)) != category.id:
                    raise UserError(
                        f"{path}: category {category.name!r} is {number} and {category.id}: what "
                        "is seen and what is not could not be told; give it one id"
                    )
        return Categories(found.values())

    @cached_property
    def benchmarks(self) -> dict[str, Benchmark]:
        """Its benchmarks, by name."""
        if not self.written:
            own = {(kind.id, kind.name, kind.landmarks) for kind in self.categories.values()}
            theirs = {(kind.id, kind.name, kind.landmarks) for kind in DEEPFASHION2.values()}
            return BENCHMARKS if own == theirs else {self.name: self._by_file()}
        return {name: self._benchmark(name, given) for name, given in self.written.items()}

    def _by_file(self) -> Benchmark:
        sides = [set(self.annotations(split).index.category.tolist()) for split in self.files]
        seen, unseen = sides[0], sides[-1] - sides[0]
        if not unseen:
            raise UserError(
                f"{self.name}: every category is annotated for training, none is left to test: "
                'name them under "benchmarks" in the split file, or with --seen'
            )
        return Benchmark(self.name, "", tuple(sorted(seen)), tuple(sorted(unseen)))

    def _benchmark(self, name: str, given: Mapping[str, Any]) -> Benchmark:
        seen = self._ids(given.get("seen", ()))
        tested = self._ids(given.get("unseen", ())) or tuple(
            number for number in self.categories if number not in seen
        )
        if not seen:
            raise UserError(f"benchmark {name!r} of {self.name} has no seen categories: name some")
        if not tested:
            raise UserError(
                f"benchmark {name!r} of {self.name} sees all its categories, none is left to test"
            )
        if both := sorted(set(seen) & set(tested)):
            raise UserError(
                f"benchmark {name!r} of {self.name}: {self.categories[both[0]].name} is seen and "
                "unseen; let it be one of them"
            )
        return Benchmark(name, plain(given.get("title", "")), seen, tested)

    def _ids(self, names: Iterable[str | int]) -> tuple[int, ...]:
        return tuple(sorted({self.categories.find(name).id for name in names}))


def write_split(
    path: Path, data: Path, images: Path | None, seen: Iterable[str], unseen: Iterable[str]
) -> None:
    """A split file of one COCO file, whose categories not seen are unseen unless some are named."""
    _check_names(data, [data.stem])
    sides = {"seen": list(seen), "unseen": list(unseen)}
    said = {"name": data.stem, "train": str(data.resolve()), "benchmarks": {data.stem: sides}}
    if images:
        said["images"] = str(images.resolve())
    write_text(path, json.dumps(said, indent=1) + "\n")


def names_a_split(path: Path) -> bool:
    """Whether a file is a split file, and not annotations."""
    try:
        return (
            path.suffix == ".json"
            and path.is_file()
            and not _large(path)
            and "train" in _said(path)
        )
    except UserError:
        return False


def _large(path: Path) -> bool:
    """Whether a file is too large for a split file, so that it may take minutes to read."""
    return os.path.isfile(path) and os.path.getsize(path) > SMALL


def _said(path: Path) -> dict:
    """What a JSON file says, if it is an object."""
    try:
        said = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}; give a split file") from None
    return said if isinstance(said, dict) else {}


def read_split(path: Path) -> KeypointSplit:
    """The split of a file, or that of a COCO file which names no split.

    Raises `UserError` where the file cannot be read or does not say what is needed.
    """
    said = {"annotations": []} if _large(path) else _said(path)
    if not {"train", "annotations"} & set(said):
        raise UserError(f'{path} is neither a split file (with "train") nor COCO keypoint JSON')
    if "annotations" in said:
        return KeypointSplit(path.stem, dict.fromkeys(SPLITS, path), dict.fromkeys(SPLITS), {})
    given, name = said.get("benchmarks") or {}, plain(said.get("name") or path.stem)
    if not (isinstance(given, dict) and all(map(_is_benchmark, given.values()))):
        raise UserError(f'{path}: "benchmarks" must hold {{"NAME": {{"seen": [...]}}}}')
    _check_names(path, given or [name])
    train, images = said["train"], said.get("images")
    test, test_images = said.get("test") or train, said.get("test_images") or images
    if not all(isinstance(place, str) for place in (train, test, images or "", test_images or "")):
        raise UserError(
            f'{path}: "train", "test", "images" and "test_images" must be paths, one each'
        )
    if train == test and images != test_images:
        raise UserError(f'{path}: "train" and "test" are one file: give one folder, "images"')
    return KeypointSplit(
        name=name,
        files={"train": path.parent / train, "validation": path.parent / test},
        images={
            split: path.parent / folder if folder else None
            for split, folder in zip(SPLITS, (images, test_images))
        },
        written=given,
    )


def _is_benchmark(given: object) -> bool:
    sides = [given.get(side, []) for side in ("seen", "unseen")] if isinstance(given, dict) else []
    return bool(sides) and all(isinstance(side, list) for side in sides)


DERIVED = ("r", "r2", "r3", "h", "s")  # of a name: its rehearsals, and what measures it further


def _check_names(path: Path, names: Iterable[str]) -> None:
    """Raise `UserError` for a benchmark's name that is taken, or no name of a folder."""
    names = list(names)
    derived = {name + suffix: name for name in names for suffix in DERIVED}
    for name in names:
        if name in derived:
            raise UserError(
                f"{path}: {name!r} is also what a part of benchmark {derived[name]!r} is called: "
                "call one of them otherwise"
            )
        if name in BENCHMARKS:
            raise UserError(f"{path}: {name} is a benchmark of the paper: call yours otherwise")
        if not names_a_folder(name):
            raise UserError(f"{path}: {name!r} cannot be a benchmark's name, which names a folder")
