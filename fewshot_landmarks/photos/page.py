"""What the page does: landmarks clicked in a few photos, and those that are found in the others.

A `Session` is what one visitor has done so far. It never changes: every step makes another one.
How it is shown in a browser stands in `commands/page.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import cv2
import numpy as np

from fewshot_landmarks.data.drawing import draw_landmarks
from fewshot_landmarks.data.formats.coco import annotation_row, category_row, image_row
from fewshot_landmarks.data.images import Unreadable, read_photo
from fewshot_landmarks.photos.boxes import around
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.markup import entities

SHOWN, THUMBNAIL = 1000, 280  # pixels of a photo's longer side, on the page and in its list
FLAT = 0.05  # of a photo's side: landmarks that span less do not tell where the object is
LANDMARKS, LETTERS, UNDOS = 500, 100, 500  # at most: in a photo, of a name, clicks to take back
OWN = 1  # how `draw_landmarks` shows what was clicked: a ring, unlike the dots that were found

Marks: TypeAlias = Mapping[int, tuple[float, float] | None]
"""Landmarks of one photo by their number from 0: x, y in its pixels, or None for not visible."""

_NOTHING: Mapping = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class UploadedPhoto:
    """An uploaded photo."""

    path: Path
    width: int  # upright
    height: int
    small: np.ndarray  # (h, w, 3) uint8, for the list

    @classmethod
    def read(cls, path: Path) -> "UploadedPhoto":
        """The photo of a file. Raises `Unreadable`."""
        pixels = read_photo(path)
        height, width = pixels.shape[:2]
        return cls(Path(path), width, height, _resized(pixels, THUMBNAIL))

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height on the page."""
        return _fitted(self.width, self.height, SHOWN)


@dataclass(frozen=True, eq=False)
class Finding:
    """What was found in a photo."""

    points: np.ndarray  # (N, 2): x, y in its pixels, NaN where not found or outside it
    scores: np.ndarray  # (N,): 0 to 1
    box: np.ndarray  # (4,): x1, y1, x2, y2 that were searched


@dataclass(frozen=True, eq=False)
class Session:
    """Photos by name, in order of arrival, with what was clicked and what was found in them."""

    photos: Mapping[str, UploadedPhoto] = field(default_factory=dict)
    marks: Mapping[str, Marks] = field(default_factory=dict)  # of photos that were clicked
    found: Mapping[str, Finding] = field(default_factory=dict)
    given: tuple[str, ...] = ()  # names of the landmarks; without them they are 1, 2, ...
    chosen: str | None = None  # the photo that is shown
    current: int = 0  # the landmark that the next click sets
    past: tuple[tuple[Mapping[str, Marks], str, int], ...] = ()  # (marks, chosen, current) to undo

    @property
    def names(self) -> tuple[str, ...]:
        """Of the N landmarks."""
        return self.given or tuple(str(i + 1) for i in range(self._used))

    @property
    def _used(self) -> int:
        """How many landmarks were clicked or found so far."""
        clicked = [1 + i for marks in self.marks.values() for i in marks]
        return max([0, *clicked, *(len(each.scores) for each in self.found.values())])

    @property
    def growing(self) -> bool:
        """Whether a click can add a landmark: in the first photo, if no names are given."""
        return not self.given and self.chosen is not None and not self.marks.keys() - {self.chosen}

    @property
    def annotated(self) -> list[str]:
        """Photos with a landmark that was clicked, or found and taken over."""
        return [name for name in self.photos if any(self.marks.get(name, _NOTHING).values())]

    @property
    def others(self) -> list[str]:
        """Photos in which landmarks are to be found."""
        annotated = set(self.annotated)
        return [name for name in self.photos if name not in annotated and not self._empty(name)]

    def _empty(self, name: str) -> bool:
        """Whether every landmark was said not to be visible in a photo."""
        said = self.marks.get(name, _NOTHING)
        return bool(said) and all(i in said and said[i] is None for i in range(len(self.names)))

    def add(
        self,
        files: Sequence[tuple[str, Path]],
        read: Callable[[Path], UploadedPhoto] = UploadedPhoto.read,
    ) -> tuple["Session", list[str]]:
        """With more photos, (name, path) each, and a line on each that cannot be taken.

        `read` gives the photo of a path, or raises `Unreadable`.
        """
        photos, lines = dict(self.photos), []
        for name, path in files:
            try:
                photo = read(path)
            except Unreadable as reason:
                lines.append(f"{name}: {reason}")
                continue
            if name in photos:
                lines.append(f"{name}: a photo of that name is there already; rename this one")
            else:
                photos[name] = photo
        added = replace(self, photos=photos)
        first = next(iter(photos), None)
        return (added.choose(first) if self.chosen is None and first else added), lines

    def choose(self, name: str) -> "Session":
        """With another photo shown: next is its first landmark to set, or the least sure."""
        there = replace(self, chosen=name, current=0)
        if name in self.found and name not in self.marks:
            found = self.found[name]
            sure = np.where(np.isfinite(found.points[:, 0]), found.scores, np.inf)
            return replace(there, current=int(sure.argmin()))
        return replace(there, current=there._next(-1))

    def aim(self, landmark: int) -> "Session":
        """With another landmark to be set by the next click."""
        return replace(self, current=landmark)

    def call(self, text: str) -> "Session":
        """With names of the landmarks, between commas; numbers where the text is empty."""
        text = text.encode("utf-8", "replace").decode()  # halves of a pair cannot be written
        given = tuple(name.strip() for name in text.replace("\n", ",").split(",") if name.strip())
        if twice := sorted({name for name in given if given.count(name) > 1}):
            raise UserError(f"two landmarks are called {twice[0]}: give each a name of its own")
        if len(given) > LANDMARKS or any(len(name) > LETTERS for name in given):
            raise UserError(f"at most {LANDMARKS} names of {LETTERS} letters can be given")
        if given and len(given) < self._used:
            raise UserError(f"{len(given)} names for {self._used} landmarks: name all, in order")
        named = replace(self, given=given)
        if named.chosen is None:
            return named
        return replace(named, current=named._next(self.current - 1))

    def click(self, x: float, y: float) -> "Session":
        """With the current landmark at x, y of the shown photo's pixels; the next one follows."""
        return self._mark((float(x), float(y)))

    def hide(self) -> "Session":
        """With the current landmark not visible in the shown photo; the next one follows."""
        if self.chosen is not None and self.current >= len(self.names):
            raise UserError(
                f"landmark {self.current + 1} is new: click it in a photo that shows it, or choose "
                "another one to call not visible"
            )
        return self._mark(None)

    def undo(self) -> "Session":
        """Without the last click; what was found stays."""
        if not self.past:
            raise UserError("there is no click to undo")
        *past, (marks, chosen, current) = self.past
        return replace(self, marks=marks, chosen=chosen, current=current, past=tuple(past))

    def adapt(self, model: Model) -> "Session":
        """With landmarks found anew in all photos that are not annotated, the least sure shown."""
        support, others = self.annotated, self.others
        if not support:
            raise UserError("no landmark is set yet: click some in a photo first")
        if not others:
            raise UserError("all photos are annotated: add some in which to find landmarks")
        points = np.stack([self._placed(name) for name in support])
        finder = model.adapt(
            [self.photos[name].path for name in support],
            points,
            boxes=np.stack([_box(self.photos[name], self._placed(name)) for name in support]),
            names=self.names,
        )
        result = finder.predict([self.photos[name].path for name in others])
        found = {
            name: _finding(self.photos[name], *each)
            for name, *each in zip(others, result.landmarks, result.scores, result.boxes)
        }
        least = min(found, key=lambda name: found[name].scores.mean())
        marks = {name: said for name, said in self.marks.items() if name not in found}
        return replace(self, marks=marks, found=found, past=()).choose(least)

    def _next(self, landmark: int) -> int:
        """The landmark that follows one in the shown photo: the next that is not set; a new one
        if there may be some; itself, or the first, when all is done."""
        known, total = self.marks.get(self.chosen or "", _NOTHING), len(self.names)
        after = [*range(landmark + 1, total), *range(min(landmark + 1, total))]
        unset = [i for i in after if i not in known]
        if unset:
            return unset[0]
        return total if self.growing and not self.found else max(landmark, 0)

    def _mark(self, place: tuple[float, float] | None) -> "Session":
        if self.chosen is None:
            raise UserError("there is no photo yet: add some first")
        if self.current not in range(LANDMARKS):
            raise UserError(f"at most {LANDMARKS} landmarks can be set")
        known = self.marks.get(self.chosen)
        if known is None:
            known = self._taken_over(self.chosen)
        marks = {**self.marks, self.chosen: {**known, self.current: place}}
        past = (*self.past[1 - UNDOS :], (self.marks, self.chosen, self.current))
        marked = replace(self, marks=marks, past=past)
        return replace(marked, current=marked._next(self.current))

    def _taken_over(self, name: str) -> Marks:
        """What was found in a photo, as if it had been clicked."""
        if name not in self.found:
            return {}
        points = enumerate(self.found[name].points.tolist())
        return {i: (x, y) for i, (x, y) in points if np.isfinite(x)}

    def _placed(self, name: str) -> np.ndarray:
        """Landmarks (N, 2) that were clicked in a photo, NaN where they were not."""
        points = np.full((len(self.names), 2), np.nan, np.float32)
        for i, place in self.marks.get(name, _NOTHING).items():
            points[i] = (np.nan, np.nan) if place is None else place
        return points

    def _points(self, name: str) -> np.ndarray:
        """Landmarks (up to N, 2) that were clicked in a photo, or else found there."""
        if name in self.marks:
            return self._placed(name)
        return self.found[name].points if name in self.found else np.zeros((0, 2))

    # ---------------------------------------------------------------------------- to show

    def picture(self) -> np.ndarray | None:
        """The shown photo with its landmarks, the current one framed."""
        if self.chosen is None:
            return None
        photo = self.photos[self.chosen]
        picture = _large(photo.path).copy()
        points = self._points(self.chosen)
        if self.current < len(points) and np.isfinite(points[self.current]).all():
            place = points[self.current] * photo.shown / (photo.width, photo.height)
            centre = np.rint(place).astype(int).tolist()
            for colour, width in (((0, 0, 0), 6), ((255, 255, 255), 3)):
                cv2.circle(picture, centre, 22, colour, width, cv2.LINE_AA)
        return self._drawn(self.chosen, picture)

    def thumbnails(self) -> list[tuple[np.ndarray, str]]:
        """A small picture of each photo, with what is known of it."""
        return [
            (self._drawn(name, photo.small, numbers=False), self._caption(name))
            for name, photo in self.photos.items()
        ]

    def listed_like(self, other: "Session") -> bool:
        """Whether the other's thumbnails would tell the same, but for clicks in the shown photo."""
        same = (self.photos is other.photos, self.found is other.found, self.chosen == other.chosen)
        return all(same) and all(self._caption(n) == other._caption(n) for n in self.photos)

    def landmarks(self) -> list[tuple[str, int]]:
        """What the next click can set: label (✓ where set, – where not visible) and number."""
        known = self.marks.get(self.chosen or "", _NOTHING)
        offered = []
        for i, name in enumerate(self.names):
            label = name if name == str(i + 1) else f"{i + 1} {name}"
            sign = "" if i not in known else " ✓" if known[i] else " –"
            offered.append((label + sign, i))
        new = len(self.names)
        return [*offered, (f"{new + 1} (new)", new)] if self.growing else offered

    def advice(self) -> str:
        """What can be done now, in Markdown."""
        if self.chosen is None:
            return "Add photos to begin."
        if not self.names:
            return "Click the first landmark in the photo."
        known = self.current < len(self.names)
        name = entities(self.names[self.current]) if known else self.current + 1
        if self.chosen not in self.marks:
            if self.chosen in self.found:
                return (
                    "These were found: red is unsure, green is sure. If one is wrong, choose it "
                    f"below the photo and click where it belongs (now **{name}**)."
                )
            return f"Click landmark **{name}**, or leave this photo to **Adapt**."
        if self.current in self.marks[self.chosen]:
            return f"All landmarks are set; a click moves **{name}**. When right: **Adapt**."
        if self.growing:
            return f"Click landmark **{name}**. When all are set: **Adapt**."
        return f"Click landmark **{name}**."

    def _drawn(self, name: str, picture: np.ndarray, numbers: bool = True) -> np.ndarray:
        """A photo's picture, of any size, with its landmarks."""
        photo = self.photos[name]
        points = self._points(name) * np.divide(picture.shape[1::-1], (photo.width, photo.height))
        if name in self.marks:
            own = np.full(len(points), OWN)
            return draw_landmarks(picture, points, visible=own, numbers=numbers)
        scores = self.found[name].scores if name in self.found else None
        return draw_landmarks(picture, points, scores=scores, numbers=numbers)

    def _caption(self, name: str) -> str:
        if name in self.annotated:
            return f"annotated · {name}"
        if self._empty(name):
            return f"none visible · {name}"
        if name in self.found and name not in self.marks:
            return f"{100 * self.found[name].scores.mean():.0f}% sure · {name}"
        return name

    # -------------------------------------------------------------------------- to keep

    def coco(self) -> dict:
        """COCO keypoint JSON of what was clicked and, with "score" and "keypoint_scores", found.

        A visibility is 2, or 0 where a landmark is not known, not visible, or found outside the
        photo.
        """
        rows = []
        for number, (name, photo) in enumerate(self.photos.items(), 1):
            clicked = name in self.annotated
            if not clicked and (name in self.marks or name not in self.found):
                continue
            points, scores = self._placed(name), {}
            box = _box(photo, points) if clicked else self.found[name].box
            if not clicked:
                found = self.found[name]
                points[: len(found.points)] = found.points
                each = [*found.scores.tolist(), *[0.0] * (len(points) - len(found.points))]
                scores = {
                    "score": round(sum(each) / len(each), 4),
                    "keypoint_scores": [round(score, 4) for score in each],
                }
            x1, y1, x2, y2 = (round(float(edge), 2) for edge in box)
            seen = np.isfinite(points).all(-1)
            marks = np.round(np.nan_to_num(points).astype(float), 2)
            area = round((x2 - x1) * (y2 - y1), 2)
            box = x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)
            ids = {"id": len(rows) + 1, "image_id": number, "category_id": 1}
            rows.append(ids | annotation_row(marks, 2 * seen, box, area) | scores)
        images = [
            image_row(number, name, photo.width, photo.height)
            for number, (name, photo) in enumerate(self.photos.items(), 1)
        ]
        kind = category_row(1, "object", self.names)
        return {"images": images, "annotations": rows, "categories": [kind]}


def _finding(
    photo: UploadedPhoto, points: np.ndarray, scores: np.ndarray, box: np.ndarray
) -> Finding:
    inside = ((points >= 0) & (points < (photo.width, photo.height))).all(-1, keepdims=True)
    return Finding(np.where(inside, points, np.nan), scores, box)


def _box(photo: UploadedPhoto, points: np.ndarray) -> np.ndarray:
    """The box (4,) of an annotated object: around its landmarks (N, 2); the photo if they are in
    a line or too close to each other."""
    size = np.array([photo.width, photo.height], np.float32)
    there = points[np.isfinite(points).all(-1)]
    if (np.ptp(there, axis=0) < FLAT * size).any():
        return np.array([0, 0, *size], np.float32)
    return around(there, photo.width, photo.height)


def _fitted(width: int, height: int, longer: int) -> tuple[int, int]:
    ratio = longer / max(width, height)
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def _resized(pixels: np.ndarray, longer: int) -> np.ndarray:
    size = _fitted(pixels.shape[1], pixels.shape[0], longer)
    way = cv2.INTER_AREA if longer < max(pixels.shape[:2]) else cv2.INTER_CUBIC
    return cv2.resize(pixels, size, interpolation=way)


@lru_cache(maxsize=8)
def _large(path: Path) -> np.ndarray:
    """A photo as large as it is shown. A click draws it anew, which need not decode it again."""
    try:
        return _resized(read_photo(path), SHOWN)
    except Unreadable as reason:
        raise UserError(f"{path.name}: {reason}; add it again") from None
