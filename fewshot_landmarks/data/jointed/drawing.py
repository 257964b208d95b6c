"""Photos of shapes: poses, colours, clutter, and what is in view."""

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass

import cv2
import numpy as np

from fewshot_landmarks.data.formats.coco import annotation_row
from fewshot_landmarks.data.jointed.shapes import Joint, Shape

SUPER = 4  # a photo is drawn this much larger, then averaged


def _around(n: int, *radii: float) -> np.ndarray:
    turn = np.arange(n) * 2 * np.pi / n
    return np.column_stack([np.cos(turn), np.sin(turn)]) * np.resize(radii, n)[:, None]


_DISC, _SLIT = _around(24, 1), np.array([[0.1, -0.8], [0.1, 0.8], [-0.1, 0.8], [-0.1, -0.8]])
# What marks are made of, x along the limb: polygons in units of the radius, each with a tone;
# None is the mark's own tone.
MARKS: dict[str, list[tuple[np.ndarray, str | None]]] = {
    "disc": [(_DISC, None)],
    "ring": [(_DISC, None), (_DISC * 0.55, "black")],
    "wheel": [(_DISC, "black"), (_DISC * 0.78, "light"), (_DISC * 0.3, None)],
    "eye": [(_DISC, None), (_DISC * 0.45 + [0.35, 0], "black")],
    "square": [(np.array([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]), None)],
    "diamond": [(_around(4, 1.15), None), (_around(4, 0.4), "black")],
    "wedge": [(np.array([[-0.7, -0.9], [1.3, 0], [-0.7, 0.9]]), None)],
    "bar": [(np.array([[-0.4, -1.1], [0.4, -1.1], [0.4, 1.1], [-0.4, 1.1]]), None)],
    "shade": [(np.array([[-0.7, -0.5], [0.7, -1.1], [0.7, 1.1], [-0.7, 0.5]]), None)],
    "drop": [(_DISC * [1, 0.6], None), (np.array([[0.7, -0.45], [1.7, 0], [0.7, 0.45]]), None)],
    "star": [(_around(10, 1.2, 0.5), None)],
    "cross": [(_SLIT * [3.5, 1.3], None), (_SLIT[:, ::-1] * [1.3, 3.5], None)],
    "fork": [
        (np.array([[-0.5, 0], [0.1, -0.8], [1.2, -0.7], [0.2, -0.2], [0.2, 0.2], [1.2, 0.7],
                   [0.1, 0.8]]), None)
    ],
}  # fmt: skip


def _pose(shape: Shape, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, 2), the root at 0, and the unit vectors (N, 2) of the limbs that lead to them."""
    angles, points = np.zeros(len(shape.joints)), np.zeros((len(shape.joints), 2))
    for i, joint in enumerate(shape.joints):
        swing = rng.uniform(-shape.swing, shape.swing)
        length = joint.length * rng.uniform(0.88, 1.12)
        if i:
            angles[i] = angles[joint.parent] + np.radians(joint.turn + swing)
            points[i] = points[joint.parent] + length * _up(angles[i])
    seen_from = np.array([rng.uniform(0.85, 1.15), 1])  # wider or narrower
    turn = np.radians(rng.uniform(-35, 35))
    rotation = np.array([_up(turn + np.pi / 2), -_up(turn)])
    along = np.column_stack([np.sin(angles), -np.cos(angles)]) * seen_from @ rotation
    return points * seen_from @ rotation, along / np.hypot(along[:, :1], along[:, 1:])


def _up(angle: float) -> np.ndarray:
    return np.array([np.sin(angle), -np.cos(angle)])


def _colours(rng: np.random.Generator) -> dict[str, tuple]:
    """A shape's tones, as BGR: they differ by hue and lightness in the same way on all shapes."""
    hue, contrast = rng.random(), rng.uniform(0.3, 0.7)
    saturation, value = rng.uniform(0.35, 0.8), rng.uniform(0.5, 0.7)
    hsv = {
        "base": (hue, saturation, value),
        "dark": (hue, saturation, value * 0.5),
        "light": (hue, saturation * 0.45, 0.9),
        "accent": (hue + contrast, 0.9, 0.9),
        "white": (0, 0, 0.97),
        "black": (0, 0, 0.1),
    }
    return {tone: _bgr(*values) for tone, values in hsv.items()}


def _bgr(hue: float, saturation: float, value: float) -> tuple:
    return tuple(round(255 * part) for part in hsv_to_rgb(hue % 1, saturation, value)[::-1])


def _parts(shape: Shape, points, along, scale: float, colours: Mapping) -> list[tuple]:
    """What a shape is drawn of, from the back to the front: (polygon in pixels, colour)."""
    limbs = [(points[j.parent], points[i], j) for i, j in enumerate(shape.joints) if j.parent != i]
    edge = 1.5  # an outline
    parts = [(_limb(a, b, (j.width / 2 + edge) * scale), colours["black"]) for a, b, j in limbs]
    parts += [(_limb(a, b, j.width / 2 * scale), colours[j.tone]) for a, b, j in limbs]
    for point, forward, joint in zip(points, along, shape.joints):
        kind, tone, radius = joint.mark
        frame = np.array([forward, [-forward[1], forward[0]]])
        pieces = [(polygon @ frame * radius * scale + point, t) for polygon, t in MARKS[kind]]
        parts += [(_outline(polygon, edge * scale), colours["black"]) for polygon, _ in pieces]
        parts += [(polygon, colours[t or tone]) for polygon, t in pieces]
    return parts


def _limb(start, end, radius: float) -> np.ndarray:
    """A strip from `start` to `end` with round ends."""
    x, y = end - start
    turn = np.arctan2(y, x) + np.linspace(-np.pi / 2, np.pi / 2, 9)
    cap = radius * np.column_stack([np.cos(turn), np.sin(turn)])
    return np.vstack([end + cap, start - cap])


def _outline(polygon: np.ndarray, width: float) -> np.ndarray:
    outward = polygon - polygon.mean(0)
    length = np.hypot(outward[:, :1], outward[:, 1:])
    return polygon + outward / length * width * 1.3


@dataclass(frozen=True, eq=False)
class Thing:
    """A shape in a photo."""

    shape: Shape
    points: np.ndarray  # (N, 2): x, y in pixels, maybe outside the photo
    parts: list[tuple[np.ndarray, tuple]]  # polygons in pixels and their colours, front last

    def mask(self, size: int) -> np.ndarray:
        """Where it is: (SUPER * size, SUPER * size) uint8, 0 or 1."""
        mask = np.zeros((size * SUPER, size * SUPER), np.uint8)
        _draw(mask, [(polygon, 1) for polygon, _ in self.parts])
        return mask


def _place(shape: Shape, size: int, share: float, rng: np.random.Generator) -> Thing:
    """A shape in a random pose and place, its longer side `share` of the photo's."""
    points, along = _pose(shape, rng)
    radii = np.array([[joint.mark[2]] for joint in shape.joints])
    low, high = (points - radii).min(0), (points + radii).max(0)
    scale = share * size / (high - low).max()
    room = (size - (high - low) * scale) / 2 + size * rng.choice([-0.05, 0, 0.12])
    middle = size / 2 + rng.uniform(-1, 1, 2) * np.maximum(room, 0)
    points = np.round(middle + (points - (low + high) / 2) * scale, 2)
    return Thing(shape, points, _parts(shape, points, along, scale, _colours(rng)))


def _draw(picture: np.ndarray, parts) -> None:
    """Fill polygons, in pixels of the photo, on a picture `SUPER` times as large."""
    for polygon, colour in parts:
        corners = np.round((polygon * SUPER - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(picture, [corners], colour, cv2.LINE_8, 4)


def _backdrop(size: int, rng: np.random.Generator) -> np.ndarray:
    """A picture `SUPER` times as large as the photo: uneven ground, things, and stray joints."""
    cells = int(rng.integers(2, 9))
    ground = np.array(_bgr(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.3, 0.95)))
    rough = np.clip(ground + rng.integers(-45, 46, (cells, cells, 3)), 0, 255).astype(np.uint8)
    picture = cv2.resize(rough, (size * SUPER, size * SUPER), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(4, 16)):
        colour = np.clip(ground + rng.integers(-70, 71, 3), 0, 255).tolist()
        at, radius = rng.uniform(0, size, 2), rng.uniform(0.03, 0.2) * size
        if rng.random() < 0.5:
            end = at + rng.uniform(-0.7, 0.7, 2) * size
            polygon = _limb(at, end, rng.uniform(0.003, 0.03) * size)
        else:
            polygon = at + radius * _around(int(rng.integers(3, 9)), *rng.uniform(0.5, 1, 5))
        _draw(picture, [(polygon, colour)])
    for _ in range(rng.integers(0, 6)):
        _draw(picture, _place(_stray(rng), size, rng.uniform(0.08, 0.25), rng).parts)
    return picture


def _stray(rng: np.random.Generator) -> Shape:
    """Two joints with a limb between them that belong to no category."""
    kinds, tones = list(MARKS), ["dark", "light", "accent", "white"]
    first, second = (
        (kinds[rng.integers(len(kinds))], tones[rng.integers(len(tones))], rng.uniform(5, 10))
        for _ in range(2)
    )
    turn, length, width = rng.uniform(0, 360), rng.uniform(15, 35), rng.uniform(4, 10)
    root = Joint("", 0, 0, 0, 0, "base", first)
    return Shape("", 0, (root, Joint("", 0, turn, length, width, "base", second)))


def _visibility(things: list[Thing], size: int) -> list[np.ndarray]:
    """Of each thing's keypoints, (N,) int: 2 in view, 1 covered by a later thing, 0 outside."""
    found, covered = [], np.zeros((size * SUPER, size * SUPER), np.uint8)
    for thing in reversed(things):
        inside = np.asarray(((thing.points >= 0) & (thing.points < size)).all(1))
        x, y = (np.where(inside[:, None], thing.points, 0) * SUPER).astype(int).T
        found.append(np.where(inside, 2 - covered[y, x], 0))
        covered |= thing.mask(size)
    return found[::-1]


def draw_photo(
    lead: Shape, others: Sequence[Shape], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[Shape, dict]]]:
    """A photo (size, size, 3) uint8 BGR of `lead` and up to two of `others`.

    Also each shape in it with what COCO says of it: keypoints, num_keypoints, bbox, area. At least
    six in ten keypoints of each shape are in view; another shape that would prevent it is left out.
    """
    picture = _backdrop(size, rng)
    count = int(rng.integers(1, 4))
    companions = [others[i] for i in rng.integers(len(others), size=count - 1)]
    things: list[Thing] = []
    for shape in [lead, *companions]:
        for _ in range(20):
            thing = _place(shape, size, rng.uniform(0.5, 0.95) * (1, 0.8, 0.7)[count - 1], rng)
            tried = [*things, thing] if rng.random() < 0.5 else [thing, *things]
            if all((v == 2).mean() >= 0.6 for v in _visibility(tried, size)):
                things = tried
                break
    for thing in things:
        _draw(picture, thing.parts)
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    grain = rng.integers(-7, 8, (size, size, 3))
    picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
    visible = _visibility(things, size)
    return picture, [(t.shape, _described(t, v, size)) for t, v in zip(things, visible)]


def _described(thing: Thing, visible: np.ndarray, size: int) -> dict:
    mask = thing.mask(size)
    points = np.where(visible[:, None] > 0, thing.points, 0)
    box = [edge / SUPER for edge in cv2.boundingRect(mask)]
    return annotation_row(points, visible, box, cv2.countNonZero(mask) / SUPER**2)
