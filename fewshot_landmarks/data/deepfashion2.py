"""DeepFashion2 as it lies on disk, read as a data set of cropped garments.

    root/train/image/000001.jpg        root/validation/image/...
    root/train/annos/000001.json       root/validation/annos/...

Annotations are in the pixel grid that the JPEG stores: a photo is never turned by its EXIF
orientation.
"""

import os
from pathlib import Path

import cv2
import numpy as np

from fewshot_landmarks.data.categories import DEEPFASHION2
from fewshot_landmarks.data.crops import Damaged, Garments
from fewshot_landmarks.data.images import MOST_BYTES, Unreadable, open_photo
from fewshot_landmarks.data.index import load_index
from fewshot_landmarks.support.files import read_regular


class DeepFashion2(Garments):
    """The garments of one split, in the order of their photo's number, then their item's.

    What is not fit for use (a broken annotation file, a garment with values of the wrong type,
    number or range, a photo that is missing or empty) is left out, and `skipped` has a line
    on it; so is, silently but for the count `unlabelled`, a garment without any labelled
    landmark. A photo that is damaged inside shows only when it is read.

    Args:
        root: folder that holds `train/` and `validation/`.
        split: "train" or "validation".
        size: side of the crops, in pixels.
        margin: how much the box is grown, as a fraction of its sides.
        strict: raise `UserError` for the first thing that would be skipped.
        cache: folder for the file that holds the index; `root` by default, if writable.
        progress: show a progress bar while the index is built.

    Raises:
        UserError: the data are not there, an argument is impossible, or nothing is left.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str,
        *,
        size: int = 64,
        margin: float = 0.1,
        strict: bool = False,
        cache: str | os.PathLike | None = None,
        progress: bool = False,
    ) -> None:
        index = load_index(root, split, cache=cache, progress=progress)
        super().__init__(
            Path(root), split, index, DEEPFASHION2, size=size, margin=margin, strict=strict
        )

    def _read(self, number: int) -> np.ndarray:
        name = f"{self.split}/image/{number:06d}.jpg"
        try:
            content = read_regular(self.root / name, MOST_BYTES)
            open_photo(content).close()  # of a form and a size that may be decoded
            return _decode(content)
        except OSError as error:
            raise Damaged(f"{name}: cannot be read: {error.strerror or error}") from None
        except (Damaged, Unreadable) as reason:
            raise Damaged(f"{name}: {reason}") from None

    def _place(self, i: int) -> str:
        return f"{self.split}/annos/{self.photos[i]:06d}.json: item{self._index.item[i]}"


def _decode(data: bytes) -> np.ndarray:
    """Pixels (height, width, 3) uint8, RGB, as stored; raises `Damaged` if not all there."""
    # The decoder fills what is missing with grey and says nothing. Neither marker occurs in
    # compressed data, and a thumbnail's lie before the last start of scan.
    start_of_scan, end_of_image = b"\xff\xda", b"\xff\xd9"
    if data.startswith(b"\xff\xd8") and data.rfind(end_of_image) < data.rfind(start_of_scan):
        raise Damaged("the JPEG is cut short")
    try:
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise Damaged("not an image that can be decoded")
    return pixels
