"""Annotations as DeepFashion2 writes them, read from the painting itself.

Every part marks the pixels that it covers. A landmark is visible where a part that it belongs to
is on top beside it, and a garment's outline is that of the pixels where it is on top.
"""

import cv2
import numpy as np

from fewshot_landmarks.data.categories import category as category_of
from fewshot_landmarks.data.garments.clothes.cloth import OVERSAMPLING, Painter
from fewshot_landmarks.data.garments.clothes.outfit import Outfit

_DISC = 2  # radius in final pixels within which a visible landmark's part must show
_SHARE = 0.1  # of that disc; a sharp corner of a garment covers more
_LOOSE = 0.07  # of a garment's longer side: how far its box stands off at the most
_SMALLEST = 8  # pixels: what shows less of itself is not annotated


def items_of(outfit: Outfit, painter: Painter, numbers: dict, viewpoint: int, rng) -> dict:
    """The annotated items by key; the lead's, first, is None where it does not show."""
    items = []
    for i in sorted(range(len(outfit.garments)), key=lambda i: i != outfit.lead):
        own = {name: n for (index, name), n in numbers.items() if index == i}
        item = _item(outfit.garments[i], own, painter, viewpoint, rng)
        if item or i == outfit.lead:
            items.append(item)
    return {f"item{k}": item for k, item in enumerate(items, start=1)}


def _item(garment, own: dict, painter: Painter, viewpoint: int, rng) -> dict | None:
    """The annotation of one garment, None where it does not show."""
    height, width = (n // OVERSAMPLING for n in painter.ids.shape)
    table = np.zeros(256, np.uint8)
    table[list(own.values())] = 255
    shown = cv2.resize(cv2.LUT(painter.ids, table), (width, height), interpolation=cv2.INTER_AREA)
    rings = _rings((shown > 60).astype(np.uint8))
    frame = _extent(garment, painter, (width, height), rng)
    if not rings or frame is None:
        return None
    exact = (painter.pixels(garment.landmarks) - (OVERSAMPLING - 1) / 2) / OVERSAMPLING
    points = np.rint(exact).astype(int)
    inside = np.all((points >= 0) & (points < [width, height]), axis=1)
    if not inside.any():
        return None
    homes = [[own[name] for name in names] for names in garment.homes]
    visibility = np.where(_shown(painter.ids, points, homes), 2, 1) * inside
    landmarks = np.column_stack([points * inside[:, None], visibility])
    return _describe(
        garment.category, frame, landmarks.ravel().tolist(), rings, viewpoint, (width, height), rng
    )


def _describe(category: int, frame, landmarks, rings, viewpoint, size, rng) -> dict:
    visibility = np.array(landmarks[2::3])
    hidden = (visibility == 1).sum() / max(1, (visibility > 0).sum())
    outside = (visibility == 0).mean()
    area = (frame[2] - frame[0]) * (frame[3] - frame[1]) / (size[0] * size[1])
    return {
        "category_name": category_of(category).name,
        "category_id": category,
        "style": int(rng.integers(0, 4)),
        "bounding_box": frame,
        "landmarks": landmarks,
        "segmentation": rings,
        "scale": 1 + int(area > 0.15) + int(area > 0.4),
        "occlusion": 1 + int(hidden > 0.2) + int(hidden > 0.55),
        "zoom_in": 1 + int(outside > 0) + int(outside > 0.35),
        "viewpoint": viewpoint,
    }


def _disc_offsets() -> np.ndarray:
    """Positions (n, 2) of the oversampled pixels around a final pixel's centre."""
    radius = _DISC * OVERSAMPLING
    grid = np.arange(-radius, radius + OVERSAMPLING)
    x, y = np.meshgrid(grid, grid)
    middle = (OVERSAMPLING - 1) / 2
    near = (x - middle) ** 2 + (y - middle) ** 2 <= (radius + 0.5) ** 2
    return np.column_stack([x[near], y[near]])


_OFFSETS = _disc_offsets()


def _shown(ids: np.ndarray, points: np.ndarray, homes: list) -> np.ndarray:
    """Whether one of a landmark's own parts is on top in the disc around it, (n,) booleans.

    `ids` is oversampled, `points` (n, 2) are final pixels, `homes` lists numbers of parts.
    """
    height, width = ids.shape
    x, y = (points[:, None, :] * OVERSAMPLING + _OFFSETS).transpose(2, 0, 1)
    within = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    found = ids[y.clip(0, height - 1), x.clip(0, width - 1)] * within
    own = np.zeros((len(points), 256), bool)
    for row, numbers in zip(own, homes):
        row[numbers] = True
    return np.take_along_axis(own, found.astype(np.intp), axis=1).mean(1) > _SHARE


def _rings(shown: np.ndarray) -> list[list[int]]:
    """The visible area as closed rings x1, y1, x2, y2, ...; of a sliver its bounding box."""
    contours, _ = cv2.findContours(shown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rings = []
    for contour in contours:
        ring = cv2.approxPolyDP(contour, 0.8, True).reshape(-1, 2)
        if len(ring) < 3 or cv2.contourArea(ring) < 4:
            (x1, y1), (x2, y2) = contour[:, 0].min(0), contour[:, 0].max(0)
            ring = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        rings.append(np.vstack([ring, ring[:1]]).ravel().tolist())
    return rings


def _extent(garment, painter: Painter, size, rng) -> list[int] | None:
    """The box of the garment's whole extent in the frame, covered areas included, loosened."""
    points = painter.pixels(np.vstack(garment.polygons())) / OVERSAMPLING
    limit = np.array(size) - 1
    low, high = np.clip(points.min(0), 0, limit), np.clip(points.max(0), 0, limit)
    if (high - low).min() < _SMALLEST:
        return None
    loose = 1 + _LOOSE * (high - low).max()
    low = np.clip(np.floor(low - loose * rng.random(2)), 0, limit)
    high = np.clip(np.ceil(high + loose * rng.random(2)), 0, limit)
    return [int(v) for v in (*low, *high)]
