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
    quads = np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)
    return list(quads)


class Limb:
    """A smooth line through three joints, with a normal that points away from the body."""

    SAMPLES = 25

    def __init__(self, joints, side: int):
        """`joints` (3, 2): root, middle, end; `side` is -1 (left in the picture) or +1."""
        joints = np.asarray(joints, float)
        first, second = np.hypot(*np.diff(joints, axis=0).T)
        self.bend = first / (first + second)  # where the middle joint lies, as a fraction
        self.joints = joints
        self._t = np.linspace(0, 1, self.SAMPLES)
        knots = [0, self.bend, 1]
        raw = np.stack([np.interp(self._t, knots, joints[:, k]) for k in (0, 1)], -1)
        padded = np.vstack([2 * raw[0] - raw[2:0:-1], raw, 2 * raw[-1] - raw[-2:-4:-1]])
        window = np.array([1, 2, 3, 2, 1]) / 9
        self._path = np.stack([np.convolve(padded[:, k], window, "valid") for k in (0, 1)], -1)
        direction = np.gradient(self._path, axis=0)
        direction /= np.hypot(*direction.T)[:, None] + 1e-9
        self._normal = side * np.stack([direction[:, 1], -direction[:, 0]], -1)

    def at(self, t) -> np.ndarray:
        """Points of the centre line at fractions `t` of the limb's length, (n, 2)."""
        return self._interpolate(self._path, t)

    def edges(self, t, width) -> tuple[np.ndarray, np.ndarray]:
        """The outer and inner edge, each (n, 2), at fractions `t` and half widths `width`."""
        centre = self._interpolate(self._path, t)
        offset = self._interpolate(self._normal, t) * np.reshape(width, (-1, 1))
        return centre + offset, centre - offset

    def _interpolate(self, values, t) -> np.ndarray:
        t = np.atleast_1d(t)
        return np.stack([np.interp(t, self._t, values[:, k]) for k in (0, 1)], -1)
