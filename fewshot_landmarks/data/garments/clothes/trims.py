"""Trimmings and folds: hems, cuffs, buttons, prints, pleats, as strokes on a part."""

import numpy as np

from fewshot_landmarks.data.garments.clothes.geometry import along, ellipse, mix, steps
from fewshot_landmarks.data.garments.clothes.shapes import Stroke

HEMS = ("rib", "band", "rolled", "lace", "stitch")


def dashes(curve: np.ndarray, spacing: float, inset: float = 0.0) -> list:
    """A polyline as separate stitches, moved by `inset` upwards."""
    length = np.hypot(*np.diff(curve, axis=0).T).sum()
    n = max(2, int(length / spacing))
    points = along(curve, steps(0, 1, 2 * n)) - [0, inset]
    return [points[i : i + 2] for i in range(0, 2 * n - 1, 2)]


def ribs(curve: np.ndarray, depth: float, spacing: float = 0.07) -> list:
    """Short upright lines above a hem `curve`: a knitted band."""
    length = np.hypot(*np.diff(curve, axis=0).T).sum()
    points = along(curve, steps(0.02, 0.98, max(3, int(length / spacing))))
    return [np.array([p, p - [0, depth]]) for p in points]


def hem_strokes(kind: str, curve: np.ndarray, width: float) -> list[Stroke]:
    """How a lower edge is finished; `width` is the height of its band in units."""
    raised = curve - [0, width]
    if kind == "rib":
        return [Stroke(ribs(curve, width), "ink", 0.022), Stroke([raised], "ink", 0.03)]
    if kind == "band":
        return [
            Stroke([np.vstack([curve, raised[::-1]])], "trim", 0),
            Stroke([raised], "ink", 0.02),
        ]
    if kind == "rolled":
        band = np.vstack([curve, raised[::-1]])
        return [Stroke([band], "light", 0), Stroke([raised], "ink", 0.045)]
    if kind == "lace":
        length = np.hypot(*np.diff(curve, axis=0).T).sum()
        centres = along(curve, steps(0.03, 0.97, max(4, int(length / 0.13))))
        loops = [ellipse(c - [0, 0.05], (0.055, 0.07), n=8) for c in centres]
        rims = [np.vstack([loop, loop[:1]]) for loop in loops]
        return [
            Stroke(loops, "light", 0),
            Stroke(rims, "ink", 0.015),
            Stroke([raised], "ink", 0.02),
        ]
    return [Stroke(dashes(curve, 0.11, width * 0.6), "light", 0.022), Stroke([raised], "ink", 0.02)]


def skirt_details(pleats: int, top: np.ndarray, hem: np.ndarray, finish: str) -> list[Stroke]:
    """Pleats from `top` to `hem` and the hem's finish."""
    strokes = []
    if pleats:
        at = steps(0.06, 0.94, pleats)
        lines = [np.array(pair) for pair in zip(along(top, at), along(hem, at))]
        strokes.append(Stroke(lines, "ink", 0.03))
        strokes.append(Stroke([line + [0.04, 0] for line in lines], "light", 0.02))
    return strokes + hem_strokes(finish, hem, 0.14)


def skirt_folds(top: np.ndarray, hem: np.ndarray) -> list:
    """Soft folds that fall from `top` to `hem`."""
    places = ((0.2, -0.7), (0.36, 0.6), (0.55, -0.7), (0.72, 0.5), (0.85, -0.6))
    falls = [(along(top, [t])[0], along(hem, [t])[0], strength) for t, strength in places]
    return [(np.array([mix(a, b, 0.25), b]), strength) for a, b, strength in falls]


def cuff_strokes(kind: str, band: np.ndarray) -> list[Stroke]:
    """How a sleeve's end is finished; `band` (4, 2): outer, inner, and both further up."""
    outer, inner, inner_up, outer_up = band
    top = np.array([outer_up, inner_up])
    if kind == "band":
        return [Stroke([band], "trim", 0), Stroke([top], "ink", 0.025)]
    if kind == "rolled":
        return [Stroke([band], "light", 0), Stroke([top], "ink", 0.04)]
    if kind == "rib":
        pairs = [
            np.array([mix(outer, inner, t), mix(outer_up, inner_up, t)])
            for t in (0.2, 0.4, 0.6, 0.8)
        ]
        return [Stroke(pairs, "ink", 0.022), Stroke([top], "ink", 0.03)]
    if kind == "lace":
        spots = [
            ellipse(mix(mix(outer, inner, t), outer_up, 0.3), (0.05, 0.05), n=8)
            for t in (0.1, 0.37, 0.63, 0.9)
        ]
        return [Stroke(spots, "light", 0), Stroke([top], "ink", 0.02)]
    return [Stroke(dashes(top, 0.1), "light", 0.022)]


def sleeve_folds(outer: np.ndarray, inner: np.ndarray) -> list:
    """Creases across a sleeve and the light along it."""
    bends = [(3, -0.7), (6, -0.8), (7, -0.6), (9, -0.5)]
    folds = [(np.array([inner[i], mix(inner[i], outer[i - 1], 0.6)]), k) for i, k in bends]
    return folds + [(mix(outer, inner, 0.35), 0.5)]


def button_strokes(top: np.ndarray, end: np.ndarray) -> list[Stroke]:
    """A buttoned placket from `top` to `end`."""
    line = np.array([top, end])
    count = max(2, int(np.hypot(*(end - top)) / 0.33))
    spots = along(line, steps(0.1, 0.94, count))
    rails = [line + [dx, 0] for dx in (-0.07, 0.07)]
    return [
        Stroke(rails, "ink", 0.022),
        Stroke([ellipse(p, (0.045, 0.045), n=8) for p in spots], "metal", 0),
    ]


def print_strokes(kind: str, shape: tuple, place) -> list[Stroke]:
    """A picture on the chest; `shape`: six numbers from 0 to 1; `place` maps template points."""
    a, b, c, d, e, f = shape
    if kind == "text":
        rows = [
            (y, x) for y in steps(0.85, 0.9 + 0.4 * b, 2 + int(2 * c)) for x in (-0.34, -0.08, 0.14)
        ]
        words = [[[x, y], [x + 0.1 + 0.12 * ((7 * y * d + x * e) % 1), y]] for y, x in rows]
        return [Stroke([place(word) for word in words], "trim", 0.06 + 0.05 * f)]
    if kind == "badge":
        centre, size = np.array([0, 0.9 + 0.35 * a]), 0.2 + 0.2 * b
        disc = ellipse(centre, (size, size * (0.6 + 0.5 * c)), n=3 + int(17 * d))
        mark = ellipse(
            centre + [0.1 * (e - 0.5), 0.05], (size * 0.5, size * 0.4), f * 3, 3 + int(5 * e)
        )
        line = [centre + size * np.array(v) for v in ((-0.8, c), (a - 0.5, -f), (0.8, d - 0.2))]
        return [Stroke([place(disc)], "trim", 0), Stroke([place(mark)], "light", 0),
                Stroke([place(line)], "ink", 0.05)]  # fmt: skip
    top, low = 0.85 + 0.3 * a, 1.2 + 0.6 * b
    return [Stroke([place([[-1.4, top], [1.4, top], [1.4, low], [-1.4, low]])], "trim", 0)]


def collar_strokes(side: int, corner: np.ndarray, low: np.ndarray) -> list[Stroke]:
    """One wing of a shirt's collar between the neck's `corner` and the neckline's lowest point."""
    tip = mix(corner, low, 0.75) + [side * 0.24, 0.16]
    wing = np.array([corner - [0, 0.05], low, tip, corner + [side * 0.1, 0.02]])
    rim = np.vstack([wing[1:], wing[:1]])
    return [Stroke([wing], "light", 0), Stroke([rim], "ink", 0.03)]


def torso_folds(side: int, flank: np.ndarray) -> list:
    """Creases that run inwards from under the arm and from the waist; `flank` is the side."""
    arm, waist = flank[0], flank[len(flank) // 2]
    inward = np.array([-side, 0.0])
    return [
        (np.array([arm, arm + inward * 0.25 + [0, 0.25], arm + inward * 0.4 + [0, 0.6]]), -0.8),
        (np.array([arm + [0, 0.15], arm + inward * 0.15 + [0, 0.6]]), 0.5),
        (np.array([waist, waist + inward * 0.35 + [0, 0.1]]), -0.7),
        (np.array([waist + [0, 0.15], waist + inward * 0.3 + [0, 0.3]]), -0.5),
        (np.array([flank[-2] + inward * 0.3, waist + inward * 0.4 + [0, 0.2]]), 0.5),
    ]
