"""What annotation files of all formats are read into: photos, objects, and what is ignored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewshot_landmarks.data.categories import Categories, Category
from fewshot_landmarks.data.index import Index


@dataclass(frozen=True)
class Photo:
    """A photo that the annotations speak of, and that is there."""

    id: int
    path: Path  # its file, or LabelMe's that holds it
    width: int | None  # as the annotations say, None where they do not
    height: int | None
    keys: tuple[int | str, ...] = field(default=(), compare=False)  # its ids as they are written
    stated: frozenset[str] = field(default=frozenset(), compare=False)  # names that it is listed by
    called: str = ""  # its file's name, where `path` is not the photo's own
    stem: str = field(default="", compare=False)  # of its own annotations' file, often its too

    @property
    def name(self) -> str:
        """Its file's name."""
        return self.called or self.path.name

    @property
    def declared(self) -> tuple[int, int] | None:
        """Width and height, if the annotations say both: they tell whether they mean it as turned."""
        return (self.width, self.height) if self.width and self.height else None


@dataclass(frozen=True, eq=False)
class Annotations:
    """What `read_annotations` read."""

    source: Path
    categories: Categories  # those of the file that have landmarks
    photos: tuple[Photo, ...]  # in the file's order; those without a usable annotation too
    index: Index  # `photo` is the position in `photos`, `item` (int64) the annotation's id
    ignored: tuple["Ignored", ...] = ()  # what a detector may find or not
    notes: tuple[str, ...] = ()  # on what was read in another way than it is written
    labelled: Mapping[int, np.ndarray] = field(default_factory=dict)  # of COCO; see `columns`

    @property
    def lines(self) -> list[str]:
        """All that a reader of them has to know."""
        return [*self.notes, *(f"skipped: {line}" for line in self.index.skipped)]


@dataclass(frozen=True, eq=False)
class Ignored:
    """An object that is neither found nor missed: of a crowd, or without a labelled landmark."""

    photo: int  # position in the photos
    category: int
    box: tuple[float, ...]  # x1, y1, x2, y2
    area: float
    crowd: bool
    marks: tuple[float, ...]  # x, y and visibility of each landmark


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
    crowd: bool = False


@dataclass
class Read:
    """What a file or folder says."""

    photos: dict[object, Photo]  # there or not; their paths as the file has them
    skipped: list[str]  # a line for each thing left out
    unlabelled: int = 0  # objects of crowds, or without a labelled landmark
    notes: list[str] = field(default_factory=list)
    categories: Categories = field(default_factory=lambda: Categories(()))
    objects: list[Object] = field(default_factory=list)
    ignored: list[Object] = field(default_factory=list)
    unsized: bool = False  # it says no sizes of photos: those of the files count
    relative: bool = False  # places and boxes are shares of their photo's width and height
    labelled: Mapping[int, np.ndarray] = field(default_factory=dict)  # of COCO; see `columns`
