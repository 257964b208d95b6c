"""Fabrics, and the painter that lays parts of cloth, skin and things over each other.

Pictures are BGR, uint8, drawn at `OVERSAMPLING` times the final size.
"""

import colorsys
from dataclasses import dataclass
from itertools import accumulate

import cv2
import numpy as np

from fewshot_landmarks.data.garments.clothes.shapes import Part

OVERSAMPLING = 2
TILE = 128  # pixels of a pattern's repeat
_SHIFT = 4  # bits of sub-pixel position in OpenCV's drawing


@dataclass(frozen=True)
class Fabric:
    """Colours by role, and a pattern that repeats."""

    colours: dict  # role -> (B, G, R)
    tile: np.ndarray | None = None  # (TILE, TILE, 3)
    repeat: float = 1.0  # size of the tile in units
    angle: float = 0.0
    phase: tuple = (0.0, 0.0)  # where the pattern begins, in pixels of the tile
    folds: float = 1.0  # how strongly folds and the turn of the surface show


def hsv(h: float, s: float, v: float) -> tuple:
    """A BGR colour of 0 to 255 from hue, saturation and value of 0 to 1."""
    r, g, b = colorsys.hsv_to_rgb(h % 1, min(max(s, 0), 1), min(max(v, 0), 1))
    return (b * 255, g * 255, r * 255)


def shade(colour, factor: float) -> tuple:
    """A darker (factor below 1) or lighter version of a colour."""
    if factor <= 1:
        return tuple(c * factor for c in colour)
    return tuple(255 - (255 - c) / factor for c in colour)


_CLASSICS = (  # hue, saturation, value of what most clothes are
    (0.0, 0.0, 0.93), (0.0, 0.0, 0.13), (0.0, 0.02, 0.5), (0.62, 0.55, 0.3), (0.59, 0.45, 0.55),
    (0.58, 0.3, 0.72), (0.1, 0.25, 0.8), (0.09, 0.4, 0.5), (0.25, 0.35, 0.4), (0.98, 0.65, 0.45),
)  # fmt: skip


def random_colour(rng: np.random.Generator) -> tuple:
    """A colour as clothes have it: mostly muted, at times loud."""
    if rng.random() < 0.5:
        h, s, v = _CLASSICS[rng.integers(len(_CLASSICS))]
        return hsv(h + rng.normal(0, 0.02), s + rng.normal(0, 0.06), v + rng.normal(0, 0.07))
    return hsv(rng.random(), rng.uniform(0.2, 0.85), rng.uniform(0.3, 0.95))


def random_fabric(rng: np.random.Generator) -> Fabric:
    """A fabric with its trim: plain half of the time, otherwise patterned."""
    base, trim = random_colour(rng), random_colour(rng)
    bright = sum(base) / 3
    colours = {
        "base": base,
        "trim": trim if rng.random() < 0.5 else shade(base, 0.65 if bright > 90 else 1.5),
        "ink": shade(base, rng.uniform(0.4, 0.62)) if bright > 50 else shade(base, 1.35),
        "light": shade(base, rng.uniform(1.2, 1.8)),
        "metal": hsv(0.12, rng.choice([0.05, 0.45]), rng.uniform(0.55, 0.9)),
        "lining": shade(base, 0.55),
    }
    tile = None
    if rng.random() < 0.52:
        names = list(_PATTERNS)
        second = trim if rng.random() < 0.6 else shade(base, 0.6 if bright > 90 else 1.8)
        tile = _tile(names[rng.integers(len(names))], base, second, rng)
    return Fabric(
        colours,
        tile,
        repeat=rng.uniform(0.7, 1.5),
        angle=rng.choice([0.0, rng.normal(0, 0.08), np.pi / 4, np.pi / 2], p=[0.5, 0.3, 0.1, 0.1]),
        phase=tuple(rng.uniform(0, TILE, 2)),
        folds=rng.uniform(0.5, 1.3),
    )


def plain(colour, folds: float = 0.6, **roles) -> Fabric:
    """A fabric (or skin, leather, hair) of one colour; `roles` set further colours."""
    colours = {
        "base": colour,
        "ink": shade(colour, 0.55),
        "light": shade(colour, 1.4),
        "trim": shade(colour, 0.75),
        "metal": (180, 200, 210),
        "lining": shade(colour, 0.5),
        "dark": (32, 28, 30),
    }
    return Fabric(colours | roles, folds=folds)


# Patterns: functions of (tile to draw on, second colour, generator).


def _stripes(tile, second, rng):
    n = int(rng.choice([2, 4, 8]))
    period = TILE // n
    for k in range(n):
        top = k * period
        cv2.rectangle(
            tile, (0, top), (TILE, top + int(period * rng.uniform(0.15, 0.6))), second, -1
        )


def _even_stripes(tile, second, rng):
    period = TILE // int(rng.choice([2, 4, 8]))
    width = period * rng.uniform(0.12, 0.6)
    tile[(np.arange(TILE) % period) < width] = second


def _upright_stripes(tile, second, rng):
    period = TILE // int(rng.choice([4, 8]))
    tile[:, (np.arange(TILE) % period) < period * rng.uniform(0.12, 0.6)] = second


def _gingham(tile, second, rng):
    period = TILE // int(rng.choice([2, 4, 8]))
    band = ((np.arange(TILE) % period) < period / 2).astype(float)
    weight = ((band[:, None] + band[None, :]) / 2)[..., None]
    tile[:] = (tile * (1 - weight) + np.array(second) * weight).astype(np.uint8)


def _tartan(tile, second, rng):
    weave = np.zeros(TILE)
    for _ in range(4):
        at, wide = rng.integers(TILE), rng.integers(3, 22)
        weave[(np.arange(TILE) - at) % TILE < wide] += rng.uniform(0.25, 0.6)
    weight = np.clip((weave[:, None] + weave[None, :]) / 1.5, 0, 1)[..., None]
    tile[:] = (tile * (1 - weight) + np.array(second) * weight).astype(np.uint8)


def _dots(tile, second, rng):
    n = int(rng.choice([2, 4]))
    step = TILE / n
    radius = int(step * rng.uniform(0.12, 0.3))
    for i in range(n):
        for j in range(n):
            for dx in (0, 0.5):
                centre = (int((j + 0.25 + dx) * step) % TILE, int((i + 0.25 + dx) * step) % TILE)
                cv2.circle(tile, centre, radius, second, -1, cv2.LINE_AA)


def _floral(tile, second, rng):
    for _ in range(9):
        centre = rng.uniform(14, TILE - 14, 2)
        size = rng.uniform(4, 9)
        colour = shade(second, rng.uniform(0.7, 1.4))
        for petal in np.arange(5) * 2 * np.pi / 5:
            at = centre + size * np.array([np.cos(petal), np.sin(petal)])
            cv2.circle(tile, (int(at[0]), int(at[1])), int(size * 0.7), colour, -1, cv2.LINE_AA)
        cv2.circle(tile, (int(centre[0]), int(centre[1])), 3, (90, 200, 230), -1)


def _blotches(tile, second, rng):
    small = np.tile(rng.random((6, 6)).astype(np.float32), (3, 3))
    large = cv2.resize(small, (3 * TILE, 3 * TILE), interpolation=cv2.INTER_CUBIC)
    field = large[TILE : 2 * TILE, TILE : 2 * TILE]
    tile[field > 0.62] = second
    tile[field < 0.3] = shade(second, 0.6)


def _harlequin(tile, second, rng):
    n = TILE // int(rng.choice([4, 8]))
    y, x = np.mgrid[:TILE, :TILE]
    tile[((x // n) + (y // n)) % 2 == 0] = second


def _zigzag(tile, second, rng):
    period = TILE // 4
    y, x = np.mgrid[:TILE, :TILE]
    wave = np.abs((x % period) - period / 2)
    tile[((y + wave) % period) < period * rng.uniform(0.2, 0.5)] = second


def _denim(tile, second, rng):
    y, x = np.mgrid[:TILE, :TILE]
    twill = ((x + y) % 8 < 3) * 16.0 + rng.normal(0, 9, (TILE, TILE))
    tile[:] = np.clip(tile + twill[..., None], 0, 255).astype(np.uint8)


def _knit(tile, second, rng):
    y, x = np.mgrid[:TILE, :TILE]
    loops = 18 * np.sin((y + 3 * np.abs((x % 16) - 8) / 2) * np.pi / 4)
    tile[:] = np.clip(tile + loops[..., None], 0, 255).astype(np.uint8)


_PATTERNS = {
    "stripes": _stripes, "even stripes": _even_stripes, "upright stripes": _upright_stripes,
    "gingham": _gingham, "tartan": _tartan, "dots": _dots, "floral": _floral,
    "blotches": _blotches, "harlequin": _harlequin, "zigzag": _zigzag, "denim": _denim,
    "knit": _knit,
}  # fmt: skip


def _tile(name: str, base, second, rng) -> np.ndarray:
    tile = np.empty((TILE, TILE, 3), np.uint8)
    tile[:] = np.array(base, float).astype(np.uint8)
    _PATTERNS[name](tile, second, rng)
    return tile


class Painter:
    """Lays parts over a picture and remembers which part is on top of each pixel.

    `image` (h, w, 3) is painted in place; `ids` (h, w) holds the number of the topmost part, 0
    for the background. `matrix` (2, 2) and `offset` (2,) map units to pixels; then perspective
    makes what is low in the picture smaller by `pitch` (larger, if negative): the camera looks
    down, as in a selfie, or up.
    """

    def __init__(self, image, matrix: np.ndarray, offset: np.ndarray, rng, pitch: float = 0.0):
        self.image, self.rng = image, rng
        self.ids = np.zeros(image.shape[:2], np.uint8)
        self.matrix, self.offset, self.pitch = matrix, offset, pitch
        self._inverse = np.linalg.inv(matrix)
        self.unit = float(np.sqrt(abs(np.linalg.det(matrix))))

    def pixels(self, points) -> np.ndarray:
        """Points in units (n, 2) as points in pixels of the painted picture."""
        flat = np.asarray(points) @ self.matrix.T + self.offset
        height, width = self.ids.shape
        centre = np.array([width, height]) / 2
        low = np.clip((flat[:, 1:] - centre[1]) / height, -1, 1)
        return centre + (flat - centre) / (1 + self.pitch * low)

    def paint(self, part: Part, fabric: Fabric, number: int) -> None:
        """Lay `part` on top and mark its pixels with `number` (1 to 255)."""
        if not part.polygons:
            return
        everything = self.pixels(np.concatenate(part.polygons))
        height, width = self.ids.shape
        x1, y1 = np.maximum(np.floor(everything.min(0)).astype(int) - 1, 0)
        x2, y2 = np.minimum(np.ceil(everything.max(0)).astype(int) + 2, (width, height))
        if x2 - x1 < 2 or y2 - y1 < 2:
            return
        corner = np.array([x1, y1])
        mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
        self._fill(mask, part.polygons, corner, 255)
        colour = self._cloth(fabric, part.grain, mask.shape, corner)
        self._draw(colour, part.strokes, fabric, corner)
        light = self._light(part, fabric, mask, corner)
        self._fill(mask, part.cut, corner, 0)
        colour = cv2.multiply(colour, cv2.merge([light] * 3), scale=1 / 160)
        cv2.copyTo(colour, mask, self.image[y1:y2, x1:x2])
        cv2.copyTo(np.full(mask.shape, number, np.uint8), mask, self.ids[y1:y2, x1:x2])

    def _fill(self, mask, polygons: list, corner, value: int) -> None:
        for polygon in self._fixed(polygons, corner):
            if len(polygon) == 4:  # a piece of a limb, which a sharp bend may have twisted
                polygon = cv2.convexHull(polygon)
            cv2.fillPoly(mask, [polygon], value, cv2.LINE_8, _SHIFT)

    def _fixed(self, lines: list, corner) -> list:
        """Lines in units as OpenCV's fixed-point pixels of the area that begins at `corner`."""
        if not lines:
            return []
        pixels = (self.pixels(np.concatenate(lines)) - corner) * (1 << _SHIFT)
        fixed = np.rint(pixels).astype(np.int32)
        ends = list(accumulate(len(line) for line in lines))
        return [fixed[a:b] for a, b in zip([0, *ends], ends)]

    def _cloth(self, fabric: Fabric, grain: float, shape, corner) -> np.ndarray:
        if fabric.tile is None:
            colour = np.empty((*shape, 3), np.uint8)
            cv2.rectangle(colour, (0, 0), (shape[1], shape[0]), fabric.colours["base"], -1)
            return colour
        angle = fabric.angle + grain
        c, s = np.cos(angle), np.sin(angle)
        turn = TILE / fabric.repeat * np.array([[c, -s], [s, c]]) @ self._inverse
        start = turn @ (corner - self.offset) + fabric.phase
        affine = np.hstack([turn, start[:, None]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            fabric.tile, affine, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_WRAP
        )

    def _draw(self, colour, strokes, fabric, corner) -> None:
        lines = self._fixed([line for stroke in strokes for line in stroke.lines], corner)
        for stroke in strokes:
            own, lines = lines[: len(stroke.lines)], lines[len(stroke.lines) :]
            ink = fabric.colours[stroke.role]
            if stroke.width == 0:
                for line in own:
                    cv2.fillPoly(colour, [line], ink, cv2.LINE_AA, _SHIFT)
                continue
            width = max(1, round(stroke.width * self.unit))
            cv2.polylines(colour, own, False, ink, width, cv2.LINE_AA, _SHIFT)

    def _light(self, part, fabric, mask, corner) -> np.ndarray:
        """Brightness of the surface, 160 for its own colour: turn, folds, unevenness."""
        height, width = mask.shape
        coarse = self.rng.normal(0, 9 * fabric.folds, (5, 4)).astype(np.float32)
        coarse += 110 + np.linspace(-12, 12, 4, dtype=np.float32) * self.rng.normal(0, 0.8)
        light = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (width, height))
        wide = max(3, int(0.07 * self.unit))
        lines = self._fixed([line for line, _ in part.folds], corner)
        for line, (_, strength) in zip(lines, part.folds):
            level = float(110 + 42 * strength * fabric.folds)
            cv2.polylines(light, [line], False, level, wide, cv2.LINE_8, _SHIFT)
        if part.folds:
            light = cv2.blur(light, (wide * 2 + 1, wide * 2 + 1))
        size = int(0.3 * self.unit) | 1
        rim = cv2.blur(mask, (size, size), borderType=cv2.BORDER_CONSTANT)
        return cv2.addWeighted(light, 1.0, rim, 0.22, 0)
