"""Landmarks on photos, and contact sheets of such pictures.

Pictures are (H, W, 3) uint8 in RGB; points are x, y in their pixels, of which pixel i covers
[i, i + 1). Sizes of dots, lines and numbers follow the size of the picture.
"""

import functools
import os
import textwrap
from collections.abc import Mapping, Sequence
from math import ceil, floor
from pathlib import Path

import cv2
import numpy as np

from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import written_whole

FAINT = 0.05  # a landmark with a lower score is hardly there
MARGIN = 0.15  # around an object's box, on each side, as a fraction of the box's larger side

_VISIBLE, _OCCLUDED = (255, 64, 64), (64, 224, 255)
_EDGE, _WHITE, _BLACK, _PAPER = (255, 214, 90), (255,) * 3, (0,) * 3, (240,) * 3
_SEMIBOLD, _REGULAR = 600, 400
_SHIFT = 4  # points are given to OpenCV with this many binary places


def draw_landmarks(
    photo: np.ndarray,
    landmarks: np.ndarray,
    *,
    visible: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    radii: np.ndarray | None = None,
    edges: Sequence[tuple[int, int]] = (),
    numbers: bool = True,
) -> np.ndarray:
    """A copy of `photo` with N landmarks on it, each a dot with its number, 1 to N.

    Args:
        photo: (H, W, 3) uint8, RGB.
        landmarks: (N, 2), x and y; those that are not finite or outside the photo are left out.
        visible: (N,): 0 is not drawn, 1 (occluded) is a ring, 2 a dot; all 2 by default.
        scores: (N,), 0 to 1: colours the landmarks from red to green. One below `FAINT` is a
            faint ring without a number.
        radii: (N,), pixels: a circle around each landmark that has a dot; none where it is NaN.
        edges: pairs of 0-based landmarks to join by a line, where both are drawn.
        numbers: whether to write the numbers.
    """
    picture = np.array(photo, order="C")
    height, width = picture.shape[:2]
    points = np.asarray(landmarks, np.float64).reshape(-1, 2)
    visible = np.full(len(points), 2) if visible is None else np.asarray(visible)
    marked = (visible > 0) & ((points >= 0) & (points < (width, height))).all(axis=1)  # no NaN
    colours, faint = [_VISIBLE if v == 2 else _OCCLUDED for v in visible], np.zeros_like(marked)
    if scores is not None:
        scores = np.nan_to_num(np.asarray(scores, np.float64))
        colours = [_red_to_green(score) for score in scores]
        marked, faint = marked & (scores >= FAINT), marked & (scores < FAINT)
    unit = (height * width) ** 0.5 / 400
    radius, line = max(2.5, 4 * unit), max(1, round(unit))

    pale = picture.copy()
    for colour, thickness in ((_BLACK, line + 1), (_EDGE, line)):
        for pair in (list(edge) for edge in edges if marked[list(edge)].all()):
            cv2.line(pale, *_fixed(points[pair]), colour, thickness, cv2.LINE_AA, _SHIFT)
    radii = np.full(len(points), np.nan) if radii is None else radii
    for i in np.flatnonzero(marked):
        if np.isfinite(radii[i]):
            around = round(min(float(radii[i]), 30_000.0) * 2**_SHIFT)
            for colour, thickness in ((_BLACK, line + 1), (colours[i], line)):
                (middle,) = _fixed(points[[i]])
                cv2.circle(pale, middle, around, colour, thickness, cv2.LINE_AA, _SHIFT)
    picture = cv2.addWeighted(pale, 0.6, picture, 0.4, 0)

    for i in np.flatnonzero(faint):
        _disc(picture, points[i], 0.8 * radius, colours[i], 0.8 * radius - line, alpha=0.6)
    marked = np.flatnonzero(marked)
    if numbers:
        size = max(11, round(12 * unit))
        labels = [str(i + 1) for i in marked]
        boxes = np.array([_extent(label, size) for label in labels]).reshape(-1, 2)
        centres = _places(points[marked], boxes, radius, (width, height))
        for ends in np.stack([points[marked], centres], axis=1):
            cv2.line(picture, *_fixed(ends), _WHITE, max(1, line // 2), cv2.LINE_AA, _SHIFT)
    for i in marked:
        hole = 0.55 * radius * (visible[i] == 1)
        _disc(picture, points[i], radius + 0.7 * line, _BLACK, hole and hole - 0.7 * line)
        _disc(picture, points[i], radius, colours[i], hole)
    if numbers:
        corners = np.rint(centres + boxes * (-0.5, 0.5)).astype(int)
        _write(picture, labels, corners, size, halo=max(1, round(size / 10)))
    return picture


def object_cell(
    photo: np.ndarray,
    landmarks: np.ndarray,
    box: Sequence[float] | np.ndarray,
    side: int,
    *,
    radii: np.ndarray | None = None,
    **options,
) -> np.ndarray:
    """A square cut around an object's box, `side` pixels wide, with its landmarks drawn.

    `landmarks` (N, 2), `radii` (N,) and `box` (x1, y1, x2, y2) are in pixels of the photo; the cut
    is scaled before it is drawn on. `options` are those of `draw_landmarks`.
    """
    x1, y1, x2, y2 = map(float, box)
    window = max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * MARGIN)
    scale = side / window
    origin = np.array([x1 + x2 - window, y1 + y2 - window]) / 2
    cell = _cut(photo, origin, window, side)
    points = (np.asarray(landmarks, float) - origin) * scale
    return draw_landmarks(cell, points, radii=None if radii is None else radii * scale, **options)


def contact_sheet(
    cells: Sequence[np.ndarray], titles: Sequence[str], columns: int, side: int
) -> np.ndarray:
    """One picture of pictures, row by row: each fitted into a square, its title over its top.

    Args:
        cells: (H, W, 3) uint8 each, of any size; at least one.
        titles: one for each cell; "" for none.
        columns: how many in a row; fewer where there are fewer cells.
        side: of the squares, in pixels.
    """
    columns = min(columns, len(cells))
    sheet = np.full((ceil(len(cells) / columns) * side, columns * side, 3), _PAPER, np.uint8)
    for i, (cell, title) in enumerate(zip(cells, titles, strict=True)):
        y, x = side * (i // columns), side * (i % columns)
        _fill(sheet[y : y + side, x : x + side], cell, title)
    return sheet


def note_cell(text: str, side: int) -> np.ndarray:
    """A square of `side` pixels that holds a text in place of a picture."""
    size, cell = _title_size(side), np.full((side, side, 3), _PAPER, np.uint8)
    lines = textwrap.wrap(text, max(1, int(1.6 * side / size)))
    corners = [(size, 4 * size + i * round(1.4 * size)) for i in range(len(lines))]
    _write(cell, lines, corners, size, ink=_BLACK)
    return cell


def legend(blocks: Mapping[str, Sequence[str]], height: int) -> np.ndarray:
    """Numbered names under headings, in as many columns as a picture of that height needs."""
    size = 16
    lines = []
    for heading, names in blocks.items():
        lines += [(heading, _SEMIBOLD)]
        lines += [(f"{i}  {name}", _REGULAR) for i, name in enumerate(names, start=1)] + [("", 0)]
    room = max(1, (height - size) // round(1.4 * size))
    parts = [np.full((height, size, 3), _PAPER, np.uint8)]
    for start in range(0, len(lines), room):
        column = lines[start : start + room]
        width = max(_extent(text, size)[0] for text, _ in column) + 2 * size
        part = np.full((height, round(width), 3), _PAPER, np.uint8)
        for i, (text, weight) in enumerate(column, start=1):
            _write(part, [text], [(0, i * round(1.4 * size))], size, ink=_BLACK, weight=weight)
        parts.append(part)
    return np.hstack(parts)


def check_picture(path: str | os.PathLike) -> None:
    """Raise `UserError` unless the path's ending is that of a picture which can be written."""
    if not cv2.haveImageWriter(str(path)):
        raise UserError(f"cannot write a picture called {path}: let it end in .png or .jpg")


def write_picture(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write a picture, whole or not at all; the path's ending decides the format.

    Raises `UserError` where the path has another ending or cannot be written, or where the
    format cannot hold a picture as large.
    """
    path = Path(path)
    check_picture(path)
    try:
        coded, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if not coded:
            height, width = picture.shape[:2]
            raise OSError(f"{path.suffix} cannot hold {width} x {height} pixels")
        with written_whole(path) as file:
            file.write(data.tobytes())
    except (OSError, cv2.error) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"cannot write {path}: {why}; choose another path") from None


def _fixed(points: np.ndarray) -> list[tuple[int, ...]]:
    """Points (N, 2) for OpenCV, to whose mind pixel i has its middle at i."""
    held = np.clip(points - 0.5, -30_000, 30_000)
    return [tuple(map(int, row)) for row in np.rint(held * 2**_SHIFT)]


def _disc(
    picture: np.ndarray, centre: np.ndarray, radius: float, colour, hole: float = 0, alpha=1.0
) -> None:
    """An anti-aliased disc with a hole; OpenCV's small circles are lopsided."""
    x1, y1 = np.maximum(np.floor(centre - radius - 1), 0).astype(int)
    x2, y2 = np.ceil(centre + radius + 1).astype(int)
    patch = picture[y1:y2, x1:x2]
    ys, xs = np.indices(patch.shape[:2]) + 0.5
    distance = np.hypot(xs + x1 - centre[0], ys + y1 - centre[1])
    cover = np.clip(radius + 0.5 - distance, 0, 1)
    if hole:
        cover *= np.clip(distance + 0.5 - hole, 0, 1)
    patch[:] = np.rint(patch + alpha * cover[..., None] * (np.array(colour) - patch))


def _red_to_green(score: float) -> tuple[int, ...]:
    hue = round(60 * min(max(score, 0.0), 1.0))  # in steps of 2 degrees
    colour = np.array([[[hue, 230, 255]]], np.uint8)
    return tuple(map(int, cv2.cvtColor(colour, cv2.COLOR_HSV2RGB)[0, 0]))


def _places(
    points: np.ndarray, boxes: np.ndarray, radius: float, bounds: tuple[int, int]
) -> np.ndarray:
    """Centres (N, 2) for N labels of the sizes `boxes` (N, 2), each near its point.

    Every label takes the best of some places around its point, given where the others are,
    until all have had three turns.
    """
    if not len(points):
        return points
    halves = boxes / 2
    angles = np.arange(16) * np.pi / 8
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    square = circle / np.abs(circle).max(axis=1, keepdims=True)  # a label's middle runs on this
    rings = np.repeat([1.5, 4.0, 7.0], len(circle))  # gap between point and label, in radii
    gaps = halves[:, None] + radius * rings[:, None]
    options = points[:, None] + np.tile(square, (3, 1)) * gaps  # (N, 48, 2)

    outwards = points - points.mean(axis=0)
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    beyond = (options < halves[:, None]) | (options > bounds - halves[:, None])
    on_points = np.abs(options[:, :, None] - points) < halves[:, None, None] + radius
    costs = (
        10 * beyond.any(axis=2)
        + 4 * on_points.all(axis=3).sum(axis=2)
        + 0.5 * rings
        - 0.5 * np.tile(outwards @ circle.T, 3)
    )
    centres = options[np.arange(len(points)), costs.argmin(axis=1)]
    for _ in range(3):
        for i in range(len(points)):
            others = np.arange(len(points)) != i
            over = halves[i] + halves[others] - np.abs(options[i][:, None] - centres[others])
            shared = np.maximum(over, 0).prod(axis=2).sum(axis=1) / boxes[i].prod()
            centres[i] = options[i][(costs[i] + 12 * shared).argmin()]
    return centres


@functools.cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def _plain(text: str) -> str:
    """A text without line breaks and halves of characters, at which OpenCV would crash."""
    return " ".join(text.encode(errors="replace").decode().split())


def _extent(text: str, size: int, weight: int = _SEMIBOLD) -> tuple[int, float]:
    """Width and height of a text; the height is that of a digit."""
    width = cv2.getTextSize((0, 0), _plain(text), (0, 0), _font(), size, weight)[2]
    return width, 0.75 * size


def _write(
    picture: np.ndarray, texts: Sequence[str], corners, size: int,
    *, ink=_WHITE, halo: int = 0, weight: int = _SEMIBOLD,
) -> None:  # fmt: skip
    """Write texts, each from its lower left corner, with a dark halo of some pixels."""
    around = [(x, y) for x in (-halo, 0, halo) for y in (-halo, 0, halo) if x or y]
    for shifts, colour in ((around, _BLACK), ([(0, 0)], ink)):
        for text, (x, y) in zip(texts, corners, strict=True):
            for dx, dy in shifts:
                at = int(x + dx), int(y + dy)
                cv2.putText(picture, _plain(text), at, colour, _font(), size, weight)


def _title_size(side: int) -> int:
    return max(11, side // 26)


def _fill(square: np.ndarray, cell: np.ndarray, title: str) -> None:
    """Fit a picture into a square of the sheet, with a frame and a title."""
    side, (height, width) = len(square), cell.shape[:2]
    scale = side / max(height, width)
    h, w = max(1, round(scale * height)), max(1, round(scale * width))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    y, x = (side - h) // 2, (side - w) // 2
    square[y : y + h, x : x + w] = cv2.resize(cell, (w, h), interpolation=way)
    square[[0, -1]] = square[:, [0, -1]] = _WHITE
    if title:
        size = _title_size(side)
        while len(title) > 1 and _extent(title, size)[0] > side - size:
            title = title[:-2] + "…"
        band = square[1 : round(1.5 * size), 1:-1]
        band[:] = cv2.addWeighted(band, 0.25, np.full_like(band, 255), 0.75, 0)
        _write(square, [title], [(size // 2, round(1.15 * size))], size, ink=_BLACK)


def _cut(photo: np.ndarray, origin: np.ndarray, window: float, side: int) -> np.ndarray:
    """The square of `window` pixels at `origin` scaled to `side`, paper where no photo is."""
    height, width = photo.shape[:2]
    x1, y1 = (max(floor(edge) - 2, 0) for edge in origin)
    x2, y2 = (min(ceil(edge + window) + 2, end) for edge, end in zip(origin, (width, height)))
    if x1 >= x2 or y1 >= y2:
        return np.full((side, side, 3), _PAPER, np.uint8)
    part, scale = photo[y1:y2, x1:x2], side / window
    if scale < 1:  # average first: an affine map takes single pixels
        size = [max(1, round(scale * edge)) for edge in (x2 - x1, y2 - y1)]
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    scales = scale * np.array([x2 - x1, y2 - y1]) / part.shape[1::-1]  # what is left to do
    shift = (np.array([x1, y1]) - origin) * scale + 0.5 * scales - 0.5  # of pixels' middles
    affine = np.column_stack([np.diag(scales), shift])
    return cv2.warpAffine(part, affine, (side, side), flags=cv2.INTER_CUBIC, borderValue=_PAPER)
