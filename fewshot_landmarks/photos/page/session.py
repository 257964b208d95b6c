"""What the page does: landmarks clicked in a few photos, and those that are found in the others.

A `Session` is what one visitor has done so far. It never changes: every step makes another one.
What is shown of it stands in `view.py`, how in `layout.py`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from fewshot_landmarks.data.images import Unreadable, upright_size
from fewshot_landmarks.photos.boxes import around
from fewshot_landmarks.photos.errors.suggest import choose, doubts_of, likeness
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.support.errors import UserError

FLAT = 0.05  # of a photo's side: landmarks that span less do not tell where the object is
LANDMARKS, LETTERS, UNDOS = 500, 100, 500  # at most: in a photo, of a name, steps to take back
LEAST = 2  # pixels of a side of a box
AT_ONCE = 4  # photos that are searched before they are shown

Marks: TypeAlias = Mapping[int, tuple[float, float] | None]
"""Landmarks of one photo by their number from 0: x, y in its pixels, or None for not visible."""

Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of its photo."""

_NOTHING: Mapping = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class UploadedPhoto:
    """An uploaded photo."""

    path: Path
    width: int  # upright
    height: int

    @classmethod
    def read(cls, path: Path) -> "UploadedPhoto":
        """The photo of a file. Raises `Unreadable`."""
        return cls(Path(path), *upright_size(path))


@dataclass(frozen=True, eq=False)
class Finding:
    """What was found in a photo."""

    points: np.ndarray  # (N, 2): x, y in its pixels, NaN where not found or outside it
    scores: np.ndarray  # (N,): 0 to 1
    box: np.ndarray  # (4,): x1, y1, x2, y2 that were searched
    look: np.ndarray  # (D,): what the object looks like, see `Finder.looks`
    known: np.ndarray  # (K, D): what those look like that it was found by

    @cached_property
    def score(self) -> float:
        return float(self.scores.mean())


@dataclass(frozen=True, eq=False)
class Session:
    """Photos by name, in order of arrival, with what was clicked and what was found in them."""

    photos: Mapping[str, UploadedPhoto] = field(default_factory=dict)
    marks: Mapping[str, Marks] = field(default_factory=dict)  # of photos that were clicked
    boxes: Mapping[str, Box] = field(default_factory=dict)  # that were drawn
    found: Mapping[str, Finding] = field(default_factory=dict)
    order: tuple[str, ...] = ()  # of photos in which something was found: those that teach most
    given: tuple[str, ...] = ()  # names of the landmarks; without them they are 1, 2, ...
    chosen: str | None = None  # the photo that is shown
    current: int = 0  # the landmark that the next click sets
    past: tuple[tuple, ...] = ()  # (marks, boxes, chosen, current) to undo

    @cached_property
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

    @cached_property
    def annotated(self) -> list[str]:
        """Photos with a landmark that was clicked, or found and taken over."""
        return [name for name in self.photos if any(self.marks.get(name, _NOTHING).values())]

    @property
    def others(self) -> list[str]:
        """Photos in which landmarks are to be found: those first that the queue has first."""
        annotated, queue = set(self.annotated), self.queue()
        order = [*queue, *(name for name in self.photos if name not in set(queue))]
        return [name for name in order if name not in annotated and not self.empty(name)]

    def empty(self, name: str) -> bool:
        """Whether every landmark was said not to be visible in a photo."""
        said = self.marks.get(name, _NOTHING)
        return bool(said) and all(i in said and said[i] is None for i in range(len(self.names)))

    def queue(self) -> list[str]:
        """Photos in which landmarks were found and that nobody has corrected or called right: in
        the order in which to look at them."""
        return [name for name in self.order if name not in self.marks]

    # ---------------------------------------------------------------------------- photos

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
            if name.strip(" .") == "" or name.lower().endswith(".json"):
                lines.append(f"{name!r} is no name of a photo: rename this one")
            elif name in photos:
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

    def walk(self, steps: int) -> "Session":
        """With the photo shown that comes so many places later in the order of arrival."""
        names = [*self.photos]
        if not names or self.chosen is None:
            return self
        return self.choose(names[(names.index(self.chosen) + steps) % len(names)])

    def next(self) -> "Session":
        """With the next photo of the queue shown; behind its last comes the first."""
        queue = self.queue()
        if not queue:
            raise UserError("no photo is left to look at: press Adapt, or download what is there")
        after = queue.index(self.chosen) + 1 if self.chosen in queue else 0
        return self.choose(queue[after % len(queue)])

    # ------------------------------------------------------------------------- landmarks

    def aim(self, landmark: int) -> "Session":
        """With another landmark to be set by the next click."""
        if type(landmark) is not int:
            raise UserError("there is no such landmark: choose one of those below the photo")
        return replace(self, current=landmark)

    def turn(self, steps: int) -> "Session":
        """With the landmark to be set that comes so many places later."""
        count = len(self.names) + self.growing
        return replace(self, current=(self.current + steps) % count) if count else self

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

    def confirm(self) -> "Session":
        """With what was found in the shown photo taken over as it is, and the next one shown."""
        if self.chosen is None or self.chosen not in self.found or self.chosen in self.marks:
            raise UserError("nothing was found in this photo that could be called right")
        taken = self._taken_over(self.chosen)
        if not taken:
            raise UserError("no landmark was found in this photo: click those that it shows")
        done = replace(self._kept(), marks={**self.marks, self.chosen: taken})
        return done.next() if done.queue() else done.choose(self.chosen)

    # ----------------------------------------------------------------------------- boxes

    def frame(self, x1: float, y1: float, x2: float, y2: float) -> "Session":
        """With a box around the object in the shown photo, between two corners in its pixels."""
        if self.chosen is None:
            raise UserError("there is no photo yet: add some first")
        photo = self.photos[self.chosen]
        corners = np.array([[x1, y1], [x2, y2]], float)
        if not np.isfinite(corners).all():
            raise UserError("a corner of a box has to lie in the photo")
        corners = np.sort(corners.clip(0, (photo.width, photo.height)), axis=0)
        if (np.diff(corners, axis=0) < LEAST).any():
            raise UserError("a box needs a width and a height: drag from one corner to the other")
        box = tuple(corners.ravel().tolist())
        return replace(self._kept(), boxes={**self.boxes, self.chosen: box})

    def unframe(self) -> "Session":
        """Without the box that was drawn in the shown photo."""
        if self.chosen not in self.boxes:
            raise UserError("no box is drawn in this photo")
        boxes = {name: box for name, box in self.boxes.items() if name != self.chosen}
        return replace(self._kept(), boxes=boxes)

    def undo(self) -> "Session":
        """Without the last step; what was found stays."""
        if not self.past:
            raise UserError("there is nothing to undo")
        *past, (marks, boxes, chosen, current) = self.past
        known = {"marks": marks, "boxes": boxes, "chosen": chosen, "current": current}
        return replace(self, **known, past=tuple(past))

    # ---------------------------------------------------------------------------- to find

    def check(self) -> None:
        """Raise `UserError` where there is nothing to adapt to, or to search."""
        if not self.annotated:
            raise UserError("no landmark is set yet: click some in a photo first")
        if not self.others:
            raise UserError("all photos are annotated: add some in which to find landmarks")

    def adapt(self, model: Model) -> Iterator[dict[str, Finding]]:
        """What is found in photos that are not annotated, some at a time; nothing before the first.

        Adapts to the annotated ones first, with their boxes where these are drawn. Photos with a
        drawn box are searched in it alone.
        """
        self.check()
        support = self.annotated
        finder = model.adapt(
            [self.photos[name].path for name in support],
            np.stack([self.placed(name) for name in support]),
            boxes=np.stack([self.box(name) for name in support]),
            names=self.names,
        )
        yield {}
        others = self.others
        ends = range(1, len(others) + AT_ONCE, AT_ONCE)  # the first photo as soon as can be
        for part in (others[max(0, end - AT_ONCE) : end] for end in ends):
            found = {}
            for framed in (True, False):
                names = [name for name in part if (name in self.boxes) == framed]
                if not names:
                    continue
                boxes = np.stack([self.box(name) for name in names]) if framed else None
                paths = [self.photos[name].path for name in names]
                result = finder.predict(paths, boxes)
                looks = finder.looks(paths, result.boxes).astype(np.float16)
                known = finder.support_looks
                each = zip(names, result.landmarks, result.scores, result.boxes, looks)
                found |= {name: _finding(self.photos[name], *one, known) for name, *one in each}
            yield found

    def take(self, found: Mapping[str, Finding], since: "Session") -> "Session":
        """With what was found in photos, but for those in which something was clicked `since`."""
        kept = {n: one for n, one in found.items() if self.marks.get(n) is since.marks.get(n)}
        if not kept:
            return self
        marks = {name: said for name, said in self.marks.items() if name not in kept}
        every = {**self.found, **kept}
        waiting = [name for name in self.photos if name in every and name not in marks]
        taken = replace(self, marks=marks, found=every, order=_order(every, waiting))
        return taken.choose(self.chosen) if self.chosen in kept else taken

    # -------------------------------------------------------------------------- what is known

    def placed(self, name: str) -> np.ndarray:
        """Landmarks (N, 2) that were clicked in a photo, NaN where they were not."""
        points = np.full((len(self.names), 2), np.nan, np.float32)
        for i, place in self.marks.get(name, _NOTHING).items():
            points[i] = (np.nan, np.nan) if place is None else place
        return points

    def points(self, name: str) -> np.ndarray:
        """Landmarks (up to N, 2) that were clicked in a photo, or else found there."""
        if name in self.marks:
            return self.placed(name)
        return self.found[name].points if name in self.found else np.zeros((0, 2))

    def box(self, name: str) -> np.ndarray:
        """The box (4,) of an annotated object: as it was drawn, else around its landmarks; the
        photo if they are in a line or too close to each other."""
        if name in self.boxes:
            return np.array(self.boxes[name], np.float32)
        photo, points = self.photos[name], self.placed(name)
        size = np.array([photo.width, photo.height], np.float32)
        there = points[np.isfinite(points).all(-1)]
        if (np.ptp(there, axis=0) < FLAT * size).any():
            return np.array([0, 0, *size], np.float32)
        return around(there, photo.width, photo.height)

    def _next(self, landmark: int) -> int:
        """The landmark that follows one in the shown photo: the next that is not set; a new one
        if there may be some; itself, or the first, when all is done."""
        known, total = self.marks.get(self.chosen or "", _NOTHING), len(self.names)
        after = [*range(landmark + 1, total), *range(min(landmark + 1, total))]
        unset = [i for i in after if i not in known]
        if unset:
            return unset[0]
        return total if self.growing and not self.found else max(landmark, 0)

    def _kept(self) -> "Session":
        """As it is, to be undone to."""
        state = self.marks, self.boxes, self.chosen, self.current
        return replace(self, past=(*self.past[1 - UNDOS :], state))

    def _mark(self, place: tuple[float, float] | None) -> "Session":
        if self.chosen is None:
            raise UserError("there is no photo yet: add some first")
        if self.current not in range(LANDMARKS):
            raise UserError(f"at most {LANDMARKS} landmarks can be set")
        if place is not None:
            photo = self.photos[self.chosen]
            if not all(0 <= n <= side for n, side in zip(place, (photo.width, photo.height))):
                raise UserError("that is outside the photo")
        known = self.marks.get(self.chosen)
        if known is None:
            known = self._taken_over(self.chosen)
        marks = {**self.marks, self.chosen: {**known, self.current: place}}
        marked = replace(self._kept(), marks=marks)
        return replace(marked, current=marked._next(self.current))

    def _taken_over(self, name: str) -> Marks:
        """What was found in a photo, as if it had been clicked."""
        if name not in self.found:
            return {}
        points = enumerate(self.found[name].points.tolist())
        return {i: (x, y) for i, (x, y) in points if math.isfinite(x)}


def _finding(photo: UploadedPhoto, points: np.ndarray, *more: np.ndarray) -> Finding:
    inside = ((points >= 0) & (points < (photo.width, photo.height))).all(-1, keepdims=True)
    return Finding(np.where(inside, points, np.nan), *more)


def _order(found: Mapping[str, Finding], waiting: Sequence[str]) -> tuple[str, ...]:
    """Photos in the order in which `suggest` would have them labelled."""
    if not waiting:
        return ()
    those = [found[name] for name in waiting]
    looks, known = np.stack([one.look for one in those]).astype(np.float32), those[-1].known
    alike, doubts = likeness(looks, looks), doubts_of(np.stack([one.scores for one in those]))
    chosen = choose(alike, likeness(looks, known), doubts, len(those))
    return tuple(waiting[i] for i in chosen)
