"""Curves in the plane: what bodies, garments and things are drawn with.

A point is a row (x, y), x to the right and y down, in units of the figure (a figure is about
nine units tall) until the very last step, which maps units to pixels.
"""

from functools import lru_cache

import numpy as np

_CATMULL_ROM = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], float)


@lru_cache(maxsize=64)
def _spline_matrix(n: int, per: int) -> np.ndarray:
    """What turns `n` control points into the points of a curve, as one matrix."""
    padded = np.zeros((n + 2, n))  # the ends continued in a straight line
    padded[1:-1] = np.eye(n)
    padded[0, :2], padded[-1, -2:] = (2, -1), (-1, 2)
    weights = np.vander(np.arange(per) / per, 4, increasing=True) @ _CATMULL_ROM
    rows = [weights @ padded[i : i + 4] for i in range(n - 1)]
    return np.vstack([*rows, np.eye(n)[-1:]])


def spline(points, per: int = 6) -> np.ndarray:
    """A smooth curve through `points` (n, 2) as a polyline of `(n - 1) * per + 1` points.

    Point k of `points` is row `k * per` of the result, so what lies on a control point lies on
    the curve.
    """
    points = np.asarray(points, float)
    return _spline_matrix(len(points), per) @ points


def along(curve: np.ndarray, fractions) -> np.ndarray:
    """Points at `fractions` (0 to 1) of the arc length of a polyline `curve` (n, 2)."""
    steps = curve[1:] - curve[:-1]
    length = np.zeros(len(curve))
    np.cumsum(np.hypot(steps[:, 0], steps[:, 1]), out=length[1:])
    at = np.asarray(fractions, float) * length[-1]
    points = np.empty((at.size, 2))
    points[:, 0] = np.interp(at, length, curve[:, 0])
    points[:, 1] = np.interp(at, length, curve[:, 1])
    return points


def mix(a, b, t: float) -> np.ndarray:
    """The point (or points) at `t` on the way from `a` to `b`."""
    return np.asarray(a, float) * (1 - t) + np.asarray(b, float) * t


@lru_cache(maxsize=16)
def _circle(n: int) -> np.ndarray:
    turn = np.arange(n) * 2 * np.pi / n
    return np.column_stack([np.cos(turn), np.sin(turn)])


def ellipse(centre, radii, angle: float = 0.0, n: int = 20) -> np.ndarray:
    """A closed polygon (n, 2) on an ellipse turned by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    axes = np.array([[c * radii[0], s * radii[0]], [-s * radii[1], c * radii[1]]])
    return _circle(n) @ axes + np.asarray(centre, float)


def box(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    """An upright rectangle as a polygon (4, 2)."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], float)


def strip(left: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    """The quadrilaterals between two polylines of equal length (n, 2).

    A bent limb drawn as one polygon would cross itself at the inside of the bend and leave a
    hole there; the union of its pieces has none.
    """
    quads = np.empty((len(left) - 1, 4, 2))
    quads[:, 0], quads[:, 1] = left[:-1], left[1:]
    quads[:, 2], quads[:, 3] = right[1:], right[:-1]
    return list(quads)


def steps(first: float, last: float, n: int) -> np.ndarray:
    """`n` (2 or more) evenly spaced numbers; like `np.linspace`, in a tenth of its time."""
    return first + (last - first) * _unit_steps(n)


@lru_cache(maxsize=256)
def _unit_steps(n: int) -> np.ndarray:
    return np.arange(n) / (n - 1)


class Limb:
    """A smooth line through three joints, with a normal that points away from the body."""

    SAMPLES = 25

    def __init__(self, joints, side: int):
        """`joints` (3, 2): root, middle, end; `side` is -1 (left in the picture) or +1."""
        joints = np.asarray(joints, float)
        first, second = joints[1] - joints[0], joints[2] - joints[1]
        lengths = np.hypot(*first), np.hypot(*second)
        self.bend = lengths[0] / sum(lengths)  # where the middle joint lies, as a fraction
        self.joints = joints
        t = _unit_steps(self.SAMPLES)[:, None]
        straight = np.where(
            t < self.bend,
            joints[0] + first * t / self.bend,
            joints[1] + second * (t - self.bend) / (1 - self.bend),
        )
        path = _smoothing(self.SAMPLES) @ straight
        direction = np.gradient(path, axis=0)
        direction /= np.hypot(direction[:, 0], direction[:, 1])[:, None] + 1e-9
        normal = side * direction[:, ::-1] * [1, -1]
        self._table = np.hstack([path, normal])

    def at(self, t) -> np.ndarray:
        """Points of the centre line at fractions `t` of the limb's length, (n, 2)."""
        return self._lookup(t)[:, :2]

    def normals(self, t) -> np.ndarray:
        """Unit vectors across the limb, away from the body, at fractions `t`, (n, 2)."""
        return self._lookup(t)[:, 2:]

    def edges(self, t, width) -> tuple[np.ndarray, np.ndarray]:
        """The outer and inner edge, each (n, 2), at fractions `t` and half widths `width`."""
        found = self._lookup(t)
        centre, offset = found[:, :2], found[:, 2:] * np.reshape(width, (-1, 1))
        return centre + offset, centre - offset

    def _lookup(self, t) -> np.ndarray:
        place = np.clip(np.atleast_1d(t), 0, 1) * (self.SAMPLES - 1)
        below = np.minimum(place.astype(int), self.SAMPLES - 2)
        part = (place - below)[:, None]
        return self._table[below] * (1 - part) + self._table[below + 1] * part


@lru_cache(maxsize=1)
def _smoothing(n: int) -> np.ndarray:
    """A running mean over a line of `n` points that keeps its ends, as a matrix."""
    padded = np.zeros((n + 4, n))
    padded[2:-2] = np.eye(n)
    for k in (1, 2):  # the ends mirrored through themselves
        padded[2 - k, [0, k]] = 2, -1
        padded[n + 1 + k, [n - 1, n - 1 - k]] = 2, -1
    return sum(w * padded[i : i + n] for i, w in enumerate(np.array([1, 2, 3, 2, 1]) / 9))
