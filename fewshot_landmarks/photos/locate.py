"""Where objects are in photos without boxes: the support's shapes, looked for in whole photos.

A photo is seen in square windows: all of it, or parts where the support's objects are small in
their photos. The shape that is fitted in a window tells a box; the shape in the crop of that box
tells how much it looks like the support's objects, and a better box. Where that is less than what
the support's photos have when they are left out, finer and coarser windows are looked at too.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from fewshot_landmarks.data.crops import square_out, unlabelled
from fewshot_landmarks.samples import Samples, collate

MARGIN = 0.1  # of a crop around a box, as in training
ROOM = 6.0  # sides of an object: the side of a window in which it is looked for
STEP = 0.75  # of a window's side, from one to the next
ZOOM = 1.75  # from windows to finer ones
LEVELS = (0, 1, 2, -1, -2)  # of zoom, in the order in which they are tried
WINDOWS = 30  # of a photo at one level
LEAST = 0.002  # side of a window by the photo's longer side
FINEST = 48  # pixels: the side of a window that is worth looking at
WAYS = 3  # to put a shape in a window
TOLD = 2  # candidates beyond those asked that are looked at in crops of their own
SAME = 0.3  # of the smaller of two boxes, what they share: they are of one object, or of a part
THERE = 0.75  # of the likeness of left-out photos: what has it is an object
NOTHING = 0.4  # of it: what has that is none
FOUND = 0.5  # overlap of a box with the true one, the median over left-out photos


class ShapeDetector(Protocol):
    """A detector that fits the support's shapes; see `baselines.untrained.clm`."""

    likeness: float

    @property
    def folds(self) -> Sequence[tuple[list[int], int]]: ...

    @property
    def seen(self) -> Sequence[Any]: ...

    def search(self, query: Samples, objects: int = 1, ways: int = 1) -> list[list]: ...


@dataclass(frozen=True)
class Sighting:
    """An object that was found in a photo."""

    box: np.ndarray  # (4,) float32: x1, y1, x2, y2
    likeness: float  # in units of what left-out support photos have
    frame: np.ndarray | None = None  # (4,): the window in which what is found stands, if it does

    @property
    def presence(self) -> float:
        """0 to 1: how much speaks for an object there."""
        return min(max((self.likeness - NOTHING) / (THERE - NOTHING), 0.0), 1.0)


def window_of(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """The part (4,) of a photo in which an object of a box is looked for: all, unless it is small."""
    side = min(max(width, height), ROOM * float((box[2:] - box[:2]).max()))
    sides = np.minimum(side, (width, height))
    start = np.clip((box[:2] + box[2:] - sides) / 2, 0, (width, height) - sides)
    return np.concatenate([start, start + sides]).astype(np.float32)


def crop_of(photo: np.ndarray, box: np.ndarray, margin: float, size: int, landmarks: int):
    """The square crop around a box as Samples, without landmarks; None where there is none."""
    cut = square_out(photo, box, margin, size)
    if cut is None:
        return None
    return collate([unlabelled(*cut, box, landmarks, box)])


@dataclass(frozen=True)
class Locator:
    """Finds the objects of a support in photos."""

    whole: ShapeDetector  # of windows of photos
    boxed: ShapeDetector  # of crops around objects
    sizes: tuple[int, int]  # sides of their crops, pixels
    part: float  # side of a window by the photo's longer side
    margins: np.ndarray  # (4,): of boxes around landmarks, in units of the landmarks' extent
    landmarks: int
    device: torch.device
    crops: bool  # whether crops are looked at: not where boxes of left-out photos are not found,
    # as where they reach as far as landmarks are seen or limbs move

    @classmethod
    def of(cls, whole: object, boxed: object, support, device: torch.device) -> "Locator | None":
        """Of a support's two detectors; None where they fit no shapes, or none tells a box."""
        margins = margins_of(support.boxed)
        shapes = [getattr(each, "shapes", None) for each in (whole, boxed)]
        if margins is None or not all(shapes):
            return None
        crops = support.whole
        photo = ((crops.box[:, 2:] - crops.box[:, :2]) * crops.scale).amax(1)
        part = float((crops.size * crops.scale[:, 0] / photo).median().clamp(LEAST, 1))
        sizes = crops.size, support.boxed.size
        there = overlaps(whole, support, margins)  # type: ignore[arg-type]
        found = not there or float(np.median(there)) >= FOUND
        return cls(whole, boxed, sizes, part, margins, len(support.names), device, found)  # type: ignore[arg-type]

    def __call__(self, photo: np.ndarray, objects: int = 1) -> list[Sighting]:
        """Objects of a photo (H, W, 3), the likeliest first: at least one (the whole photo, with
        no likeness, where no shape fits), and no more than `objects`, of which all but the first
        are surely there."""
        frame = np.array([0, 0, *photo.shape[1::-1]], np.float32)
        whole = Sighting(frame, 0.0, frame)
        if not self.crops:
            return self._window(photo) or [whole]
        seen: list[Sighting] = []
        for part in self._parts(*photo.shape[1::-1]):
            seen = distinct([*seen, *self._look(photo, part, objects)])
            if sum(each.likeness >= THERE for each in seen) >= objects:
                break
        others = [each for each in seen[1:objects] if each.likeness >= THERE]
        return [*(seen[:1] or [whole]), *others]

    def _parts(self, width: int, height: int) -> Iterator[float]:
        """Sides of windows by the photo's longer side, in the order in which they are tried."""
        tried: list[float] = []
        for level in LEVELS:
            part = min(self.part / ZOOM**level, 1.0)
            while not tried and count(width, height, part) > WINDOWS:
                part *= 1.1
            fine = part * max(width, height) >= FINEST
            few = count(width, height, part) <= WINDOWS
            if not tried or (fine and few and all(abs(part / t - 1) > 0.2 for t in tried)):
                tried.append(part)
                yield part

    def _window(self, photo: np.ndarray) -> list[Sighting]:
        """What is seen in the window in which most is."""
        height, width = photo.shape[:2]
        part = next(self._parts(width, height))
        return sorted(
            (
                replace(seen, frame=frame)
                for frame in windows(width, height, part)
                for seen in self._see(self.whole, photo, frame, 0.0)
            ),
            key=lambda one: -one.likeness,
        )[:1]

    def _look(self, photo: np.ndarray, part: float, objects: int) -> list[Sighting]:
        """What is seen in windows of one size, as its own crop shows it."""
        height, width = photo.shape[:2]
        frames = windows(width, height, part)
        found = []
        for frame in frames:
            found += self._see(self.whole, photo, frame, 0.0, objects, WAYS)
        if len(frames) > 1 or objects > 1:
            found = distinct(found)
        return [
            sighting
            for each in found[: objects + TOLD]
            for sighting in self._see(self.boxed, photo, each.box, MARGIN)
        ]

    def _see(
        self, detector: ShapeDetector, photo, box, margin: float, objects: int = 1, ways: int = 1
    ) -> Iterator[Sighting]:
        """What is seen in a crop."""
        size = self.sizes[detector is self.boxed]
        query = crop_of(photo, box, margin, size, self.landmarks)
        if query is None:
            return
        query = query.to(self.device)
        with torch.no_grad():
            for seen in detector.search(query, objects, ways)[0]:
                box = box_around(seen, query, self.margins, *photo.shape[1::-1])
                yield Sighting(box, seen.likeness / max(detector.likeness, 1e-6))


def box_around(seen, crop: Samples, margins: np.ndarray, width: float, height: float) -> np.ndarray:
    """The box (4,) around what is seen in a crop, cut off at the photo, of a pixel at least."""
    landmarks = crop.to_original(seen.landmarks.unsqueeze(0))[0, seen.own].cpu().numpy()
    low, high = landmarks.min(0), landmarks.max(0)
    extent = np.linalg.norm(high - low)
    low = np.clip(low - margins[:2] * extent, 0, (width - 1, height - 1))
    high = np.clip(high + margins[2:] * extent, low + 1, (width, height))
    return np.concatenate([low, high]).astype(np.float32)


def overlaps(detector: ShapeDetector, support, margins: np.ndarray) -> list[float]:
    """How far boxes that were found in left-out photos are the true ones."""
    there = []
    for (_, k), each in zip(detector.folds, detector.seen):
        whole, boxed = support.whole[[k]], support.boxed[[k]]
        frame, box = (one.to_original(one.box.view(1, 2, 2)).flatten() for one in (whole, boxed))
        found = box_around(each, whole, margins, *frame[2:].tolist())
        there.append(overlap(found, box.cpu().numpy()))
    return there


def margins_of(boxed: Samples) -> np.ndarray | None:
    """How far boxes reach beyond their landmarks to the left, up, right and down, in units of the
    diagonal around the landmarks: the mean over a support. None where no object has two."""
    found = []
    for points, known, box in zip(boxed.landmarks, boxed.labelled, boxed.box):
        if known.sum() < 2:
            continue
        low, high = points[known].amin(0), points[known].amax(0)
        extent = (high - low).norm()
        if extent > 0:
            found.append(torch.cat([low - box[:2], box[2:] - high]) / extent)
    return torch.stack(found).mean(0).cpu().numpy() if found else None


def windows(width: int, height: int, part: float) -> list[np.ndarray]:
    """Overlapping windows (4,) of a photo whose side is a part of its longer one."""
    side = part * max(width, height)
    xs, ys = (
        np.linspace(0, max(length - side, 0), _along(length, side)) for length in (width, height)
    )
    sides = np.minimum(side, (width, height))
    return [np.array([x, y, x + sides[0], y + sides[1]], np.float32) for y in ys for x in xs]


def count(width: int, height: int, part: float) -> int:
    """How many windows of a part of a photo's longer side there are."""
    side = part * max(width, height)
    return _along(width, side) * _along(height, side)


def _along(length: int, side: float) -> int:
    """Windows of a side along a length."""
    return math.ceil(max(length - side, 0) / (STEP * side) - 1e-6) + 1


def distinct(found: Sequence[Sighting]) -> list[Sighting]:
    """The likeliest of those whose boxes lie over each other, the likeliest first."""
    kept: list[Sighting] = []
    for each in sorted(found, key=lambda one: -one.likeness):
        if all(shared(each.box, other.box) < SAME for other in kept):
            kept.append(each)
    return kept


def shared(a: np.ndarray, b: np.ndarray) -> float:
    """What two boxes x1, y1, x2, y2 share, of the smaller one."""
    both, one, other = _areas(a, b)
    return both / max(min(one, other), 1e-9)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2."""
    both, one, other = _areas(a, b)
    return both / max(one + other - both, 1e-9)


def _areas(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Of what two boxes share, and of each."""
    both = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    return float(both.prod()), float((a[2:] - a[:2]).prod()), float((b[2:] - b[:2]).prod())
