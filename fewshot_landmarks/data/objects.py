"""What annotation files of all formats are read into, and how their values are checked."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from reprlib import repr as brief

from fewshot_landmarks.categories import Categories, Category
from fewshot_landmarks.data.index import Index


@dataclass(frozen=True)
class Photo:
    """A photo that the annotations speak of, and that is there."""

    id: int
    path: Path
    width: int | None  # as the annotations say, None where they do not
    height: int | None


@dataclass(frozen=True, eq=False)
class Annotations:
    """What `read_annotations` read."""

    source: Path
    categories: Categories  # those of the file that have landmarks
    photos: tuple[Photo, ...]  # in the file's order; those without a usable annotation too
    index: Index  # `photo` is the position in `photos`, `item` (int64) the annotation's id


@dataclass(frozen=True)
class Object:
    """An object as it is annotated, fit for use or not."""

    name: str  # to call it by in a line
    photo: object  # what `Read.photos` calls it
    item: int
    category: Category
    marks: list[float]  # x, y and visibility of each landmark
    box: tuple[float, ...] | None  # x1, y1, x2, y2
    area: float | None


@dataclass
class Read:
    """What a file or folder says."""

    photos: dict[object, Photo]  # there or not; their paths as the file has them
    skipped: list[str]  # a line for each thing left out
    unlabelled: int = 0
    categories: Categories = field(default_factory=lambda: Categories(()))
    objects: list[Object] = field(default_factory=list)


class Bad(Exception):
    """Something annotated that is not fit for use; the message says why."""


def parsed(path: Path, content: bytes) -> object:
    """What a JSON file says; raises `Bad`."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Bad(f"{path} is not JSON: {error}; export it again") from None


def key_of(value: object) -> int | str | None:
    """An id as annotations are matched by: "007" and 7.0 are 7; None for what is no id."""
    if whole := re.fullmatch(r"(-?[0-9]{1,18})(\.0)?", str(value)):
        return int(whole[1])
    return str(value) if isinstance(value, (int, str)) else None


def numbered(keys: list[int | str | None], largest: int = 10**18) -> list[int]:
    """The ids, with numbers after the largest for those that are not whole numbers."""
    whole = {key for key in keys if isinstance(key, int) and abs(key) <= largest}
    fresh = count(max(whole, default=0) + 1)
    return [key if key in whole else next(fresh) for key in keys]


def pixels(value: object) -> int | None:
    """A photo's width or height, None where none is said that a photo can have."""
    try:
        length = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return length if 0 < length <= 100_000 else None


def numbers(values: object, what: str) -> list[float]:
    """The values, if they are a list of coordinates; raises `Bad`."""
    is_list = isinstance(values, list) and values and set(map(type, values)) <= {int, float}
    if not is_list or not all(-1e9 < value < 1e9 for value in values):
        raise Bad(f"{what} is not a list of coordinates: {brief(values)}")
    return values


_SIDE = re.compile("left|right|(?<![a-z])[lr](?![a-z])")
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirrored(names: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of landmarks whose names differ only in left and right, or l and r."""
    place = {name.lower(): i for i, name in enumerate(names)}
    other = {i: place.get(_SIDE.sub(lambda s: _OTHER[s[0]], name)) for name, i in place.items()}
    return tuple((i, j) for i, j in sorted(other.items()) if j is not None and i < j)
