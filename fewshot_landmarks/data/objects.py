"""What annotation files hold, in one form for all formats, and how their values are checked."""

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
class Listed:
    """A photo as a file of annotations lists it, there or not."""

    key: object  # what objects refer to it by
    id: int
    names: tuple[str, ...]  # of its file, the likeliest first
    width: int | None
    height: int | None


@dataclass(frozen=True)
class Object:
    """An object as annotated; in its photo or not."""

    name: str  # to call it by in a line
    photo: object  # the key of a `Listed`
    item: int
    category: Category
    marks: list[float]  # x, y and visibility of each landmark
    box: tuple[float, ...] | None  # x1, y1, x2, y2
    area: float | None


@dataclass
class Read:
    """What a file or folder of annotations says."""

    photos: list[Listed]
    categories: Categories = field(default_factory=lambda: Categories([]))
    objects: list[Object] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # a line for each thing left out
    unlabelled: int = 0


class Bad(Exception):
    """Something annotated that is not fit for use; the message says why."""


def parsed(path: Path, content: bytes) -> object:
    """A JSON file's content; raises `Bad`."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Bad(f"{path} is not JSON: {error}; export it again") from None


def key_of(value: object) -> int | str | None:
    """An id as annotations are matched by: "007" and 7.0 are 7; None for what is no id."""
    whole = re.fullmatch(r"(-?[0-9]{1,18})(\.0)?", str(value))
    if whole:
        return int(whole[1])
    return str(value) if isinstance(value, (int, str)) else None


def numbered(keys: list[int | str | None], largest: int = 10**18) -> list[int]:
    """The ids, with numbers after the largest for those that are not whole numbers."""
    whole = [key if isinstance(key, int) and abs(key) <= largest else None for key in keys]
    fresh = count(max((key for key in whole if key is not None), default=0) + 1)
    return [next(fresh) if key is None else key for key in whole]


def pixels(value: object) -> int | None:
    """A photo's width or height, None where it is not said."""
    try:
        return max(int(value), 0) or None
    except (TypeError, ValueError, OverflowError):
        return None


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
    return tuple(sorted((i, j) for i, j in other.items() if j is not None and i < j))
