"""What every garment is made of: areas of cloth with drawings on them, and landmarks."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Stroke:
    """Lines (or, at width 0, filled shapes) of one colour role on a part, clipped to it."""

    lines: list  # of (n, 2) polylines
    role: str  # a colour of the fabric: "ink", "light", "trim", "base", "metal", "lining"
    width: float = 0.03


@dataclass
class Part:
    """An area of cloth or skin: the union of polygons, with drawings and folds on it."""

    name: str
    polygons: list
    strokes: list = field(default_factory=list)
    folds: list = field(default_factory=list)  # (polyline, strength from -1 dark to 1 light)
    grain: float = 0.0  # direction of the cloth, radians from straight down
    cut: list = field(default_factory=list)  # polygons taken away, without a rim of their own
    covers: float = 0.0  # of a sleeve: the fraction of the arm that it hides


@dataclass
class DrawnGarment:
    """A garment to draw, in figure units.

    `landmarks` (n, 2) are in the category's order; `homes` names, for each, the parts on whose
    edge it lies: it is visible where one of them is.
    """

    category: int
    parts: dict
    landmarks: np.ndarray
    homes: list

    def polygons(self) -> list:
        return [polygon for part in self.parts.values() for polygon in part.polygons]


def grain(line: np.ndarray) -> float:
    """The direction of cloth that hangs along a line (n, 2), radians from straight down."""
    across, down = line[-1] - line[0]
    return float(np.arctan2(across, down))
