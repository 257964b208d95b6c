"""What callers hand to a model: photos, landmarks and boxes, checked."""

from collections.abc import Sequence
from os import PathLike
from typing import TypeAlias

import numpy as np

from fewshot_landmarks.data.images import Unreadable, read_photo
from fewshot_landmarks.support.errors import UserError

Image: TypeAlias = object
"""Whatever `read_photo` takes: a path, a PIL image, an array (H, W, 3), a tensor (3, H, W)."""


def several(images: Sequence[Image]) -> Sequence[Image]:
    """The images, unless they are a single one, whose rows would be taken for images."""
    sized = hasattr(images, "__len__") and not isinstance(images, str)
    if not sized or getattr(images, "ndim", 4) in (2, 3):
        raise UserError("images must be a list of images: give [image] where it is one")
    return images


def photo_of(image: Image, i: int) -> np.ndarray:
    """The photo (H, W, 3) of image i of several."""
    try:
        return read_photo(image)
    except Unreadable as reason:
        name = image if isinstance(image, (str, PathLike)) else f"image {i + 1}"
        raise UserError(f"{name}: {reason}") from None


def annotation(count: int, landmarks, visible) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (K, N, 2) float32 and their visibility (K, N) uint8, checked."""
    landmarks = _numbers(landmarks, "landmarks", "x, y (K, N, 2)")
    if count == 0 or landmarks.ndim != 3 or landmarks.shape[::2] != (count, 2):
        raise UserError(
            f"landmarks of shape {landmarks.shape} for {count} support photos: give (K, N, 2), x "
            "and y of N landmarks in each of K photos, at least one"
        )
    known = np.isfinite(landmarks).all(-1)
    visible = known if visible is None else _numbers(visible, "visible", "0, 1 or 2 (K, N)")
    if visible.shape != landmarks.shape[:2]:
        raise UserError(f"visible has shape {visible.shape}: give {landmarks.shape[:2]}")
    return landmarks, ((visible > 0) & known).astype(np.uint8)


def _numbers(values, what: str, wanted: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{what} must be numbers: {wanted}, as many in each photo") from None


def boxes_of(boxes, count: int) -> np.ndarray:
    """x1, y1, x2, y2 of each of so many images: (count, 4) float32, checked."""
    boxes = _numbers(boxes, "boxes", "x1, y1, x2, y2")
    if boxes.shape != (count, 4) or not np.isfinite(boxes).all():
        raise UserError(
            f"boxes of shape {boxes.shape} for {count} images: give x1, y1, x2, y2 each"
        )
    return boxes
