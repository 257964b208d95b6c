"""What was found in photos, or annotated, as all forms that annotators open are written from it.

A landmark without a place in its photo is one that is not labelled. Coordinates are continuous, as
everywhere: the first pixel's centre is 0.5, 0.5.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewshot_landmarks.support.errors import UserError

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, eq=False)
class Found:
    """An object that was found in a photo, or that somebody annotated there."""

    category: int
    kind: str  # what its category is called
    names: tuple[str, ...]  # of its N landmarks
    points: np.ndarray  # (N, 2) pixels
    scores: np.ndarray  # (N,) 0 to 1; of no meaning where `score` is None
    visible: np.ndarray  # (N,) 2 where it has a place in the photo, else 0
    box: tuple[float, float, float, float]  # x, y, width, height
    score: float | None  # None of what somebody annotated
    edges: tuple[tuple[int, int], ...] = ()  # the category's skeleton, as far as it is known
    item: int | None = None  # the id of the annotation whose box was searched

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Its box's x1, y1, x2, y2, to a hundredth of a pixel."""
        x, y, width, height = self.box
        return x, y, round(x + width, 2), round(y + height, 2)


@dataclass(frozen=True, eq=False)
class Searched:
    """A photo, and what was found in it."""

    id: int
    path: Path  # its file, or LabelMe's that embeds it
    name: str
    width: int  # of the photo as it was searched, which EXIF may turn
    height: int
    objects: list[Found] = field(default_factory=list)

    def box_within(self, one: Found) -> tuple[float, ...]:
        """An object's corners, cut off at the photo: some annotators refuse others."""
        sides = self.width, self.height, self.width, self.height
        return tuple(min(max(n, 0), side) for n, side in zip(one.corners, sides))

    def add(self, row: dict, kind: str, edges: tuple[tuple[int, int], ...] = ()) -> None:
        """Add an entry of `predict`'s results, of a category that is called so."""
        marks = np.array(row["keypoints"], float).reshape(-1, 3)
        points, scores = marks[:, :2], marks[:, 2]
        inside = ((points >= 0) & (points <= (self.width, self.height))).all(1)
        visible = np.where(marks.any(1) & inside, 2, 0)
        names, item = tuple(row["keypoint_names"]), row.get("annotation_id")
        about = row["category_id"], kind, names, points, scores, visible
        self.objects.append(Found(*about, tuple(row["bbox"]), row["score"], edges, item))


def kinds(photos: Iterable[Searched]) -> dict[int, Found]:
    """An object of each category that was found, in order of the categories' ids."""
    found = {one.category: one for photo in photos for one in photo.objects}
    return dict(sorted(found.items()))


def distinct_names(photos: Sequence[Searched]) -> list[str]:
    """The photos' names; the whole path of one whose name another has, too."""
    times = Counter(photo.name for photo in photos)
    return [photo.name if times[photo.name] == 1 else whole(photo.path) for photo in photos]


def whole(path: Path) -> str:
    """A whole path, with slashes."""
    return Path(os.path.abspath(path)).as_posix()


def between(folder: Path, photo: Path) -> str:
    """The way from a folder to a photo, or to another folder."""
    place = photo.parent.resolve() / photo.name
    try:
        return Path(os.path.relpath(place, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return place.as_posix()


def a_file_each(
    form: str, photos: Iterable[tuple[Path, str]], file_of: Callable[[Path, str], Path]
) -> list[Path]:
    """The files of a form that has one a photo.

    Raises `UserError` where two photos would have one.
    """
    owners: dict[str, tuple[Path, Path]] = {}
    for photo, name in photos:
        file = file_of(photo, name)
        _, owner = owners.setdefault(str(file).casefold(), (file, photo))
        if owner != photo:
            raise UserError(
                f"{form} has a file a photo, and {file} would be that of both {owner} and {photo}: "
                "search one folder of photos at a time, or give --format coco or cvat"
            )
    return [file for file, _ in owners.values()]


def xml_text(text: str) -> str:
    """A text without what XML cannot hold."""
    return _NOT_XML.sub(" ", text)
