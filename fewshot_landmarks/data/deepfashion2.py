"""DeepFashion2 as it lies on disk, read as a data set of cropped garments.

    root/train/image/000001.jpg        root/validation/image/...
    root/train/annos/000001.json       root/validation/annos/...

Annotations are in the pixel grid that the JPEG stores: a photo is never turned by its EXIF
orientation. Coordinates are continuous: pixel i covers [i, i + 1), in photos and in crops.
"""

import os
import zipfile
from collections.abc import Callable, Iterable
from math import ceil, floor, isfinite
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from fewshot_landmarks.categories import category
from fewshot_landmarks.data.index import load_index
from fewshot_landmarks.data.shards import QUALITY, Shards, open_shards, write_shards
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.files import written_whole

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
    visible: torch.Tensor  # (N,) uint8: v as annotated, 0 not labelled, 1 occluded, 2 visible
    origin: torch.Tensor  # (2,) float32: original = origin + crop * scale
    scale: torch.Tensor  # (2,) float32
    area: torch.Tensor  # () float32: original pixels squared, of the annotated box or the mask
    category: int  # 1 to 13
    index: int  # position in the data set


class DeepFashion2(Dataset):
    """The garments of one split, each cropped by its box and resized to a square.

    The crop is the bounding box grown on each side by `margin` times its width or height, cut
    off at the photo's edges and stretched to `size` x `size` pixels. Garments come in the
    order of their photo's number, then their item's.

    What is not fit for use (a broken annotation file, a garment with values of the wrong type,
    number or range, a photo that is missing or empty) is left out, and `skipped` has a line
    on it; so is, silently but for the count `unlabelled`, a garment without any labelled
    landmark. A photo that is damaged inside shows only when it is read.

    Args:
        root: folder that holds `train/` and `validation/`.
        split: "train" or "validation".
        size: side of the crops, in pixels.
        categories: ids or names to keep; all by default. Positions in the data set, and
            everything that has one entry a garment, then count the kept garments only.
        margin: how much the box is grown, as a fraction of its sides.
        area: "box" or "mask": what `Garment.area` measures.
        strict: raise `UserError` for the first thing that would be skipped.
        cache: folder for the file that holds the index; `root` by default, if writable.
        progress: show a progress bar while the index is built.

    Attributes:
        labels: (M,) int64, the category's id of each garment.
        photos: (M,) int64, the number of the photo that each garment is in.
        usable: (M,) bool, False for a garment found damaged by `pack`; do not ask for those.
        skipped: a line for each file or garment left out.
        unlabelled: how many garments were left out for want of a labelled landmark.
        fingerprint: 16 hex digits that name the garments' content; see `Index.digest`.

    Raises:
        UserError: the data are not there, an argument is impossible, or nothing is left.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str,
        *,
        size: int = 64,
        categories: Iterable[int | str] | None = None,
        margin: float = 0.1,
        area: str = "box",
        strict: bool = False,
        cache: str | os.PathLike | None = None,
        progress: bool = False,
    ) -> None:
        if size < 1:
            raise UserError(f"a crop of size {size} is impossible: choose 1 pixel or more")
        if not (isfinite(margin) and margin >= 0):
            raise UserError(f"a margin of {margin} is impossible: choose 0 or more")
        self.root, self.split = Path(root), split
        self.size, self.margin, self.strict = size, float(margin), strict

        index = load_index(root, split, area=area, cache=cache, progress=progress)
        self._refuse(index.skipped)
        if categories is not None:
            ids = sorted({category(key).id for key in categories})
            index = index.select(np.isin(index.category, ids))
            if not len(index):
                raise UserError(f"no garment of the categories {ids} in {self.root / split}")

        self._index = index
        self.labels = index.category.astype(np.int64)
        self.photos = index.photo.astype(np.int64)
        self.usable = np.ones(len(index), bool)
        self.skipped = list(index.skipped)
        self.unlabelled = index.unlabelled
        self.fingerprint = index.digest()
        self._packed: _Packed | Shards | None = None

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: int) -> Garment:
        """Garment i; raises `UserError` if its photo is damaged or does not reach its box."""
        i = range(len(self))[i]
        if self._packed is None:
            try:
                window, crop = self._cut(self._read(self.photos[i]), i)
            except _Damaged as reason:
                raise self._user_error(str(reason)) from None
        elif self.usable[i]:
            window, crop = self._packed.read(i)
        else:
            raise UserError(f"garment {i} of {self.root / self.split} is damaged: see `usable`")
        return self._garment(i, window, crop)

    def original_landmarks(self, i: int) -> torch.Tensor:
        """Garment i's landmarks as annotated: (N, 2) float32, pixels of the photo."""
        points, _ = self._index.landmarks(range(len(self))[i])
        return torch.from_numpy(points.copy())

    def pack(self, directory: str | os.PathLike, *, progress: bool = False) -> "DeepFashion2":
        """Store all crops in one file of `directory` and read them from there from now on.

        The file takes M x size x size x 3 bytes. Its name tells the data and the crops apart,
        so that it is used again when it is there already. A garment that turns out damaged is
        noted in `skipped` and no longer `usable`; with `strict` it raises `UserError`. So does
        a directory that cannot be written to. Returns this data set.
        """
        name = f"crops-{self.fingerprint}-{self.size}-{self.margin!r}"
        crops, notes = (Path(directory) / f"{name}{suffix}" for suffix in (".npy", ".npz"))
        packed = _Packed.open(crops, notes, self._packed_shape)
        if packed is None:
            try:
                self._write_pack(crops, notes, progress)
            except OSError as error:
                megabytes = int(np.prod(self._packed_shape)) >> 20
                raise UserError(
                    f"cannot write {megabytes + 1} MiB of crops to {crops}: "
                    f"{error.strerror or error}; make room or choose another folder"
                ) from None
            packed = _Packed(crops, notes)
        return self._read_from(packed)

    def prepare(
        self, directory: str | os.PathLike, *, workers: int = 1, progress: bool = False
    ) -> "DeepFashion2":
        """Store all crops in shards of a folder in `directory`, and read them from there.

        For large data: crops are JPEGs in tar files (see `shards`), so they are not bit for bit
        those of the photos. Stopped and called again, it goes on; shards that are there are used
        again. `fingerprint` then says so too. Damaged garments and a folder that cannot be written
        are dealt with as by `pack`.
        """
        digest = self._index.digest()
        folder = Path(directory) / f"crops-{digest}-{self.size}-{self.margin!r}"
        shards = open_shards(folder, len(self))
        if shards is None:
            write_shards(folder, _Cutter(self), workers, progress, f"preparing {self.split}")
            shards = Shards(folder)
        self.fingerprint = f"{digest}-jpeg{QUALITY}"
        return self._read_from(shards)

    def _read_from(self, stored: "_Packed | Shards") -> "DeepFashion2":
        self._refuse(stored.skipped)
        self._packed = stored
        self.usable = stored.windows[:, 2] > stored.windows[:, 0]
        self.skipped = [*self._index.skipped, *stored.skipped]
        return self

    @property
    def _packed_shape(self) -> tuple[int, int, int, int]:
        return len(self), self.size, self.size, 3

    def _write_pack(self, crops: Path, notes: Path, progress: bool) -> None:
        windows = np.zeros((len(self), 4), np.int32)  # stays empty for a damaged garment
        skipped = {}  # a line once, though a damaged photo may hold several garments
        cutter = _Cutter(self)
        # Written in sequence, not through a memory map: a full disk is then an error, not a
        # signal that ends the process.
        with (
            written_whole(crops) as file,
            tqdm(total=len(self), desc=f"packing {self.split}", disable=not progress) as bar,
        ):
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": self._packed_shape}
            )
            for i in range(len(self)):
                cut = cutter.cut(i)
                if isinstance(cut, str):
                    self._refuse([cut])
                    skipped[cut] = None
                    file.write(bytes(self.size * self.size * 3))
                else:
                    windows[i], crop = cut
                    file.write(crop.tobytes())
                bar.update()
        with written_whole(notes) as file:
            np.savez(file, windows=windows, skipped=np.array(list(skipped), str))

    def _refuse(self, skipped: Iterable[str]) -> None:
        if self.strict and (lines := list(skipped)):
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            raise self._user_error(f"{lines[0]}{more}")

    def _user_error(self, line: str) -> UserError:
        return UserError(
            f"{self.root}{os.sep}{line}; "
            "fetch the file again, or delete the photo and its annotation"
        )

    def _read(self, number: int) -> np.ndarray:
        """Photo of that number: (height, width, 3) uint8, BGR."""
        name = f"{self.split}/image/{number:06d}.jpg"
        try:
            return _decode((self.root / name).read_bytes())
        except OSError as error:
            raise _Damaged(f"{name}: cannot be read: {error.strerror or error}") from None
        except _Damaged as reason:
            raise _Damaged(f"{name}: {reason}") from None

    def _cut(self, photo: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Garment i's window x1, y1, x2, y2 in its photo, and its crop (S, S, 3) in RGB."""
        height, width = photo.shape[:2]
        window = crop_window(self._index.box[i], self.margin, width, height)
        x1, y1, x2, y2 = window
        if x1 >= x2 or y1 >= y2:
            raise _Damaged(
                f"{self.split}/annos/{self.photos[i]:06d}.json: item{self._index.item[i]}: "
                f"its box lies outside its photo of {width} x {height} pixels"
            )
        crop = resize(photo[y1:y2, x1:x2], self.size)
        return np.array(window, np.int32), cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)

    def _garment(self, i: int, window: np.ndarray, crop: np.ndarray) -> Garment:
        points, visible = self._index.landmarks(i)
        origin = window[:2].astype(np.float64)
        scale = (window[2:] - window[:2]) / self.size
        landmarks = ((points - origin) / scale).astype(np.float32)
        inside = (visible > 0) & ((landmarks >= 0) & (landmarks < self.size)).all(axis=1)
        image = np.divide(crop.transpose(2, 0, 1), 255, dtype=np.float32, order="C")
        return Garment(
            image=torch.from_numpy(np.asarray(image)),
            landmarks=torch.from_numpy(landmarks),
            labelled=torch.from_numpy(visible > 0),
            inside=torch.from_numpy(inside),
            visible=torch.from_numpy(visible.copy()),
            origin=torch.from_numpy(origin.astype(np.float32)),
            scale=torch.from_numpy(scale.astype(np.float32)),
            area=torch.tensor(self._index.area[i]),
            category=int(self.labels[i]),
            index=i,
        )


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


class _Damaged(Exception):
    """A photo that cannot be used; the message says which and why."""


def _decode(data: bytes) -> np.ndarray:
    """Pixels (height, width, 3) uint8, BGR, as stored; raises `_Damaged` if not all there."""
    # The decoder fills what is missing with grey and says nothing. Neither marker occurs in
    # compressed data, and a thumbnail's lie before the last start of scan.
    start_of_scan, end_of_image = b"\xff\xda", b"\xff\xd9"
    if data.startswith(b"\xff\xd8") and data.rfind(end_of_image) < data.rfind(start_of_scan):
        raise _Damaged("the JPEG is cut short")
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise _Damaged("not an image that can be decoded")
    return pixels


class _Cutter:
    """Cuts a data set's garments out of its photos; each photo is decoded once for all of its own.

    Garments are asked for in their order.
    """

    def __init__(self, garments: DeepFashion2) -> None:
        self._garments = garments
        self._photo: tuple[int, np.ndarray | str] | None = None

    def __len__(self) -> int:
        return len(self._garments)

    def cut(self, i: int) -> tuple[np.ndarray, np.ndarray] | str:
        """Garment i's window and crop, or why there is none."""
        number = int(self._garments.photos[i])
        if self._photo is None or self._photo[0] != number:
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
    except _Damaged as reason:
        return str(reason)


class _Packed:
    """Crops stored by `DeepFashion2.pack`: opened anew, not copied, in another process."""

    crops: np.ndarray  # (M, S, S, 3) uint8, RGB, mapped from the file
    windows: np.ndarray  # (M, 4) int32: x1, y1, x2, y2 in the photo; zeros if damaged
    skipped: list[str]

    def __init__(self, crops: Path, notes: Path) -> None:
        self._paths = crops, notes
        self.crops = np.load(crops, mmap_mode="r", allow_pickle=False)
        with np.load(notes, allow_pickle=False) as stored:
            self.windows, self.skipped = stored["windows"], stored["skipped"].tolist()

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Garment i's window and its crop."""
        return self.windows[i], self.crops[i]

    @classmethod
    def open(cls, crops: Path, notes: Path, shape: tuple[int, ...]) -> "_Packed | None":
        """The stored crops, or None where they are not there in full."""
        try:
            packed = cls(crops, notes)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        return packed if packed.crops.shape == shape else None

    def __reduce__(self):
        return _Packed, self._paths
