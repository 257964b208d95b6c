"""Annotated objects as crops: what every data set here does once it knows its index.

Coordinates are continuous: pixel i covers [i, i + 1), in photos and in crops.
"""

import os
from collections.abc import Callable, Iterable
from math import ceil, floor, isfinite
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from fewshot_landmarks.data.categories import Categories
from fewshot_landmarks.data.index import Index
from fewshot_landmarks.data.shards import QUALITY, Shards, open_shards, write_shards
from fewshot_landmarks.support.errors import UserError

# Crops are small and read in several processes: OpenCV's threads would only get in each
# other's way, and they do not survive a fork.
cv2.setNumThreads(0)


class Garment(NamedTuple):
    """One item of the data set, with the N landmarks of its category.

    Where the annotation does not label a landmark its coordinates mean nothing, and a labelled
    one may lie outside the crop: select with `labelled` or `inside`.
    """

    image: torch.Tensor  # (3, S, S) float32, RGB, 0 to 1
    landmarks: torch.Tensor  # (N, 2) float32: x, y in pixels of the crop
    labelled: torch.Tensor  # (N,) bool: v > 0 in the annotation
    inside: torch.Tensor  # (N,) bool: labelled and inside the crop; only these may be trained on
    origin: torch.Tensor  # (2,) float32: original = origin + crop * scale
    scale: torch.Tensor  # (2,) float32
    box: torch.Tensor  # (4,) float32: x1, y1, x2, y2 of the annotated box, pixels of the crop
    area: torch.Tensor  # () float32: original pixels squared, of the annotated box
    category: int  # its id
    index: int  # type: ignore[assignment]  # position in the data set


class Damaged(Exception):
    """A photo that cannot be used; the message says which and why."""


class Garments(Dataset):
    """Annotated objects of some categories, each cropped by its box and resized to a square.

    The crop is the bounding box grown on each side by `margin` times its width or height, cut
    off at the photo's edges and stretched to `size` x `size` pixels.

    A subclass finds the index and defines `_read` (a photo by its number) and `_place` (where an
    object is annotated, for messages).

    Attributes:
        categories: what the objects are, by id.
        labels: (M,) int64, the category's id of each garment.
        photos: (M,) int64, the number of the photo that each garment is in.
        usable: (M,) bool, False for a garment found damaged by `pack`; do not ask for those.
        skipped: a line for each file or garment left out.
        unlabelled: how many garments were left out for want of a labelled landmark.
        fingerprint: 16 hex digits that name the garments' content; see `Index.digest`.

    Raises:
        UserError: an argument is impossible, or, with `strict`, something was skipped.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        index: Index,
        categories: Categories,
        *,
        size: int,
        margin: float,
        strict: bool,
    ) -> None:
        if size < 1:
            raise UserError(f"a crop of size {size} is impossible: choose 1 pixel or more")
        if not (isfinite(margin) and margin >= 0):
            raise UserError(f"a margin of {margin} is impossible: choose 0 or more")
        self.root, self.split = root, split
        self.size, self.margin, self.strict = size, float(margin), strict
        self.categories = categories
        self._index = index
        self._refuse(index.skipped)
        self.labels = index.category.astype(np.int64)
        self.photos = index.photo.astype(np.int64)
        self.usable = np.ones(len(index), bool)
        self.skipped = list(index.skipped)
        self.unlabelled = index.unlabelled
        self.fingerprint = index.digest()
        self._stored: Shards | None = None

    def _read(self, number: int) -> np.ndarray:
        """Photo of that number: (height, width, 3) uint8, RGB. Raises `Damaged`."""
        raise NotImplementedError

    def _place(self, i: int) -> str:
        """Where garment i is annotated."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: int) -> Garment:
        """Garment i; raises `UserError` if its photo is damaged or does not reach its box."""
        i = range(len(self))[i]
        if self._stored is None:
            try:
                window, crop = self._cut(self._read(self.photos[i]), i)
            except Damaged as reason:
                raise self._user_error(str(reason)) from None
        elif self.usable[i]:
            window, crop = self._stored.read(i)
        else:
            raise UserError(f"garment {i} of {self.root / self.split} is damaged: see `usable`")
        return self._garment(i, window, crop)

    def pack(self, directory: str | os.PathLike, *, progress: bool = False) -> "Garments":
        """Store the pixels of all crops in a folder of `directory`, and read them from there.

        The folder's name tells the data and the crops apart, so that it is used again when it is
        there already. A garment that turns out damaged is noted in `skipped` and no longer
        `usable`; with `strict` it raises `UserError`. So does a directory that cannot be written
        to. Returns this data set.
        """
        return self._store(Path(directory), "pixels", "rgb", 1, f"packing {self.split}", progress)

    def prepare(
        self, directory: str | os.PathLike, *, workers: int = 1, progress: bool = False
    ) -> "Garments":
        """Store all crops as JPEGs in a folder of `directory`, and read them from there.

        For large data: so they are not bit for bit those of the photos, and `fingerprint` then says
        so too. All else is as of `pack`. `workers`: processes that cut them.
        """
        title = f"preparing {self.split}"
        stored = self._store(Path(directory), "crops", "jpg", workers, title, progress)
        self.fingerprint = f"{self._index.digest()}-jpeg{QUALITY}"
        return stored

    def _store(
        self, directory: Path, name: str, kind: str, workers: int, title: str, progress: bool
    ) -> "Garments":
        """Read crops from shards (see `shards`), which are written where they are missing."""
        folder = directory / f"{name}-{self._index.digest()}-{self.size}-{self.margin!r}"
        shards = open_shards(folder, len(self), kind)
        if shards is None:
            write_shards(folder, Cutter(self), kind, workers, progress, title)
            shards = Shards(folder, kind)
        self._refuse(shards.skipped)
        self._stored = shards
        self.usable = shards.windows[:, 2] > shards.windows[:, 0]
        self.skipped = [*self._index.skipped, *shards.skipped]
        return self

    def _refuse(self, skipped: Iterable[str]) -> None:
        if self.strict and (lines := list(skipped)):
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            raise self._user_error(f"{lines[0]}{more}")

    def _user_error(self, line: str) -> UserError:
        return UserError(
            f"{self.root}{os.sep}{line}; "
            "fetch the file again, or delete the photo and its annotation"
        )

    def _cut(self, photo: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Garment i's window x1, y1, x2, y2 in its photo, and its crop (S, S, 3)."""
        cut = cut_out(photo, self._index.box[i], self.margin, self.size)
        if cut is None:
            height, width = photo.shape[:2]
            raise Damaged(
                f"{self._place(i)}: its box lies outside its photo of {width} x {height} pixels"
            )
        return cut

    def _garment(self, i: int, window: np.ndarray, crop: np.ndarray) -> Garment:
        points, visible = self._index.landmarks(i)
        area, kind = float(self._index.area[i]), int(self.labels[i])
        box = self._index.box[i]
        return garment(window, crop, points, visible, box=box, area=area, category=kind, index=i)


def garment(
    window: np.ndarray,
    crop: np.ndarray,
    points: np.ndarray,
    visible: np.ndarray,
    *,
    box: np.ndarray,
    area: float,
    category: int,
    index: int,
) -> Garment:
    """An item of a data set: its crop (S, S, 3) uint8, landmarks (N, 2) and box (4,) in the photo."""
    size = len(crop)
    origin = window[:2].astype(np.float64)
    scale = (window[2:] - window[:2]) / size
    landmarks = ((points - origin) / scale).astype(np.float32)
    boxed = (np.reshape(box, (2, 2)) - origin) / scale
    inside = (visible > 0) & ((landmarks >= 0) & (landmarks < size)).all(axis=1)
    image = np.divide(crop.transpose(2, 0, 1), 255, dtype=np.float32, order="C")
    return Garment(
        image=torch.from_numpy(np.asarray(image)),
        landmarks=torch.from_numpy(landmarks),
        labelled=torch.from_numpy(visible > 0),
        inside=torch.from_numpy(inside),
        origin=torch.from_numpy(origin.astype(np.float32)),
        scale=torch.from_numpy(scale.astype(np.float32)),
        box=torch.from_numpy(boxed.astype(np.float32).flatten()),
        area=torch.tensor(area, dtype=torch.float32),
        category=category,
        index=index,
    )


def unlabelled(
    window: np.ndarray, crop: np.ndarray, box: np.ndarray, landmarks: int, around: np.ndarray
) -> Garment:
    """An object of which a box (4,) in the photo is known, and none of its landmarks; `around` is
    the box (4,) that tells its area."""
    area = float((around[2:] - around[:2]).prod())
    nothing = np.zeros((landmarks, 2), np.float32), np.zeros(landmarks, np.uint8)
    return garment(window, crop, *nothing, box=box, area=area, category=0, index=0)


def cut_out(
    photo: np.ndarray, box: np.ndarray, margin: float, size: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """The window x1, y1, x2, y2 (4,) int32 of a box in a photo, and its crop (S, S, 3).

    None where the box has no part in the photo.
    """
    height, width = photo.shape[:2]
    x1, y1, x2, y2 = window = crop_window(box, margin, width, height)
    if x1 >= x2 or y1 >= y2:
        return None
    return np.array(window, np.int32), resize(photo[y1:y2, x1:x2], size)


def square_out(
    photo: np.ndarray, box: np.ndarray, margin: float, size: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """The square x1, y1, x2, y2 (4,) float64 around a box, and its crop (S, S, 3), not stretched.

    Its side is the longer one of the box, grown at each end by `margin` times that; where it leaves
    the photo, the photo's edge goes on. None where the box has no part in the photo.
    """
    height, width = photo.shape[:2]
    x1, y1, x2, y2 = crop_window(box, margin, width, height)
    if x1 >= x2 or y1 >= y2:
        return None
    low, high = np.reshape(np.asarray(box, np.float64), (2, 2))
    side = max(float((high - low).max()) * (1 + 2 * margin), 1.0)
    start = (low + high - side) / 2
    x1, y1 = (max(floor(value), 0) for value in start)
    x2, y2 = (min(ceil(value), edge) for value, edge in zip(start + side, (width, height)))
    part = photo[y1:y2, x1:x2]
    times = side / size
    if times >= 2:  # averaged first, or what lies between the points of a coarse grid is lost
        sides = [max(round(n / int(times)), 1) for n in part.shape[1::-1]]
        part = cv2.resize(part, sides, interpolation=cv2.INTER_AREA)
    reduced = np.array([part.shape[1] / (x2 - x1), part.shape[0] / (y2 - y1)])
    # From the crop's pixel centres to those of the part.
    scale = times * reduced
    shift = (start - (x1, y1)) * reduced + scale / 2 - 0.5
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(part, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.array([*start, *(start + side)]), crop


def crop_window(
    box: np.ndarray, margin: float, width: int, height: int
) -> tuple[int, int, int, int]:
    """Edges x1, y1, x2, y2 of the whole pixels that hold the grown box, cut off at the photo.

    Empty (x1 >= x2 or y1 >= y2) if the box itself has no part in the photo.
    """
    x1, y1, x2, y2 = map(float, box)
    if x1 >= width or y1 >= height:
        return 0, 0, 0, 0
    dx, dy = margin * (x2 - x1), margin * (y2 - y1)
    return (
        max(floor(x1 - dx), 0),
        max(floor(y1 - dy), 0),
        min(ceil(x2 + dx), width),
        min(ceil(y2 + dy), height),
    )


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """`image` (height, width, 3) stretched to (size, size, 3), antialiased where it shrinks.

    Each side by itself: OpenCV's area filter does not average when one of the sides grows.
    """
    height, width = image.shape[:2]
    smaller = cv2.resize(image, (min(width, size), min(height, size)), interpolation=cv2.INTER_AREA)
    return cv2.resize(smaller, (size, size), interpolation=cv2.INTER_LINEAR)


class Cutter:
    """Cuts a data set's garments out of its photos; each photo is decoded once for all of its own.

    Garments are asked for in their order.
    """

    def __init__(self, garments: Garments) -> None:
        self._garments = garments
        self._photo: tuple[int, np.ndarray | str] | None = None

    def __len__(self) -> int:
        return len(self._garments)

    def cut(self, i: int) -> tuple[np.ndarray, np.ndarray] | str:
        """Garment i's window and crop, or why there is none."""
        number = int(self._garments.photos[i])
        if self._photo is None or self._photo[0] != number:
            self._photo = None  # or it is still there while the next is decoded
            self._photo = number, _or_reason(self._garments._read, number)
        photo = self._photo[1]
        return photo if isinstance(photo, str) else _or_reason(self._garments._cut, photo, i)

    def describe(self, i: int) -> dict:
        """What the data set knows of garment i, in pixels of its photo."""
        index = self._garments._index
        points, visible = index.landmarks(i)
        return {
            "photo": int(index.photo[i]),
            "item": int(index.item[i]),
            "category_id": int(index.category[i]),
            "landmarks": [[*map(float, point), int(v)] for point, v in zip(points, visible)],
            "area": float(index.area[i]),
        }


def _or_reason(read: Callable, *args):
    """`read(*args)`, or why it is damaged."""
    try:
        return read(*args)
    except Damaged as reason:
        return str(reason)
