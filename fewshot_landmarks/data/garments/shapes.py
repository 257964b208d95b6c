"""What every garment is made of, and the garments that hang from the waist.

A garment is built on a `Figure`: parts (areas of cloth in painting order) and the landmarks of
its category. Category ids are DeepFashion2's.
"""

from dataclasses import dataclass, field

import numpy as np

from fewshot_landmarks.data.garments.figure import ANKLE, CROTCH, HIP, KNEE, SIDES, Figure
from fewshot_landmarks.data.garments.geometry import along, ellipse, mix, spline

SHORTS, TROUSERS, SKIRT = 7, 8, 9


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
class Garment:
    """A garment in figure units.

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


def dashes(curve: np.ndarray, spacing: float, inset: float = 0.0) -> list:
    """A polyline as separate stitches, moved by `inset` upwards."""
    length = np.hypot(*np.diff(curve, axis=0).T).sum()
    n = max(2, int(length / spacing))
    points = along(curve, np.linspace(0, 1, 2 * n)) - [0, inset]
    return [points[i : i + 2] for i in range(0, 2 * n - 1, 2)]


def ribs(curve: np.ndarray, depth: float, spacing: float = 0.07) -> list:
    """Short upright lines above a hem `curve`: a knitted band."""
    length = np.hypot(*np.diff(curve, axis=0).T).sum()
    points = along(curve, np.linspace(0.02, 0.98, max(3, int(length / spacing))))
    return [np.array([p, p - [0, depth]]) for p in points]


def hem_strokes(kind: str, curve: np.ndarray, width: float) -> list[Stroke]:
    """How a lower edge is finished; `width` is the height of its band in units."""
    raised = curve - [0, width]
    if kind == "rib":
        return [Stroke(ribs(curve, width), "ink", 0.022), Stroke([raised], "ink", 0.03)]
    if kind == "band":
        return [Stroke([np.vstack([curve, raised[::-1]])], "trim", 0), Stroke([raised], "ink", 0.02)]
    if kind == "rolled":
        band = np.vstack([curve, raised[::-1]])
        return [Stroke([band], "light", 0), Stroke([raised], "ink", 0.045)]
    if kind == "lace":
        length = np.hypot(*np.diff(curve, axis=0).T).sum()
        centres = along(curve, np.linspace(0.03, 0.97, max(4, int(length / 0.13))))
        loops = [ellipse(c - [0, 0.05], (0.055, 0.07), n=8) for c in centres]
        rims = [np.vstack([loop, loop[:1]]) for loop in loops]
        return [Stroke(loops, "light", 0), Stroke(rims, "ink", 0.015), Stroke([raised], "ink", 0.02)]
    return [Stroke(dashes(curve, 0.11, width * 0.6), "light", 0.022), Stroke([raised], "ink", 0.02)]


HEMS = ("rib", "band", "rolled", "lace", "stitch")


@dataclass(frozen=True)
class LowerStyle:
    """The cut of shorts, trousers or a skirt; lengths in units."""

    rise: float = 1.8  # height of the waist on the template
    ease: float = 0.06
    length: float = 1.0  # where the legs end, as a fraction of hip to ankle, or a skirt's hem
    flare: float = 0.0
    hem: str = "stitch"
    fly: bool = True
    loops: bool = True
    pockets: bool = True
    belt: bool = False
    crease: bool = False
    rips: bool = False
    cargo: bool = False
    pleats: int = 0
    stripe: bool = False
    buttons: bool = False


def random_lower(category: int, rng: np.random.Generator) -> LowerStyle:
    """A style of shorts (7), trousers (8) or skirt (9)."""

    def chance(p):
        return bool(rng.random() < p)

    length = {
        SHORTS: rng.uniform(0.14, 0.48),
        TROUSERS: rng.uniform(0.74, 1.02),
        SKIRT: rng.choice([rng.uniform(3.5, 4.5), rng.uniform(4.5, 6.6)]),
    }[category]
    flare = abs(rng.normal(0, 0.35)) if category == SKIRT else rng.normal(0.03, 0.07)
    if category == TROUSERS and chance(0.2):
        flare = rng.uniform(0.15, 0.32)
    smart = chance(0.35)
    return LowerStyle(
        rise=rng.uniform(1.5, 2.1),
        ease=float(np.clip(rng.normal(0.07, 0.05), 0.01, 0.25)),
        length=float(length),
        flare=float(flare),
        hem=str(rng.choice(HEMS, p=[0.1, 0.15, 0.25, 0.1, 0.4])),
        fly=chance(0.75),
        loops=chance(0.65),
        pockets=chance(0.75),
        belt=chance(0.3),
        crease=smart and chance(0.6),
        rips=not smart and chance(0.25),
        cargo=chance(0.15),
        pleats=int(rng.integers(5, 12)) if chance(0.45) else 0,
        stripe=chance(0.15),
        buttons=chance(0.2),
    )


def build_lower(category: int, style: LowerStyle, figure: Figure) -> Garment:
    """Shorts (7), trousers (8) or a skirt (9) worn by `figure`."""
    if category == SKIRT:
        return _skirt(style, figure)
    return _legs(category, style, figure)


def waist_width(body, height: float) -> float:
    """Half the width of a waistband at a height on the template."""
    return float(np.interp(height, [1.4, 1.75, HIP], [body.waist + 0.06, body.waist, body.hip]))


def _waist(style: LowerStyle, figure: Figure) -> tuple[np.ndarray, float]:
    """The waist's edge, left to right (13, 2), and its half width on the template."""
    half = waist_width(figure.body, style.rise) + min(style.ease, 0.08)
    dip = 0.05
    line = spline([[-half, style.rise], [0, style.rise + dip], [half, style.rise]])
    return figure.torso(line), half


def _legs(category: int, style: LowerStyle, figure: Figure) -> Garment:
    waist, half = _waist(style, figure)
    middle = waist[len(waist) // 2]
    crotch = figure.torso([[0, CROTCH + 0.05 + style.ease * 0.8]])[0]
    sides = {s: _leg(category, style, figure, s, waist, half, crotch) for s in SIDES}
    marks = {s: sides[s][1] for s in SIDES}
    homes = {s: [[f"leg{s}"]] * len(marks[s]) for s in SIDES}
    both = ["leg-1", "leg1"]
    right = slice(None, None, -1)
    landmarks = [waist[0], middle, waist[-1], *marks[-1], crotch, *marks[1][right]]
    order = [["leg-1"], both, ["leg1"], *homes[-1], both, *homes[1]]
    back = -1 if figure.legs[-1].joints[2, 1] < figure.legs[1].joints[2, 1] else 1
    parts = {f"leg{s}": sides[s][0] for s in (back, -back)}
    return Garment(category, parts, np.array(landmarks), order)


def _leg(category, style, figure, side, waist, half, crotch):
    """One leg with its half of the seat, and its landmarks from the hip down and up again."""
    limb, body = figure.legs[side], figure.body
    end = style.length
    knee = limb.bend
    wide = 0.17 * body.limb + style.ease
    outer_t = [0.24, knee * 0.62, knee, (knee + end) / 2, end]
    if category == SHORTS:
        outer_t = [0.12, end * 0.62, end]
    width = np.interp(outer_t, [0.1, knee, 1], [0.38 * body.limb, wide + 0.08, wide])
    width = width + style.ease * 0.6 + style.flare * np.clip(np.array(outer_t) - 0.2, 0, None)
    outer, _ = limb.edges(outer_t, width)
    _, inner = limb.edges(outer_t, np.minimum(width, 0.28 + 0.2 * np.array(outer_t)))  # no crossing
    corner = waist[0] if side < 0 else waist[-1]
    seat = figure.torso([[side * (body.hip + style.ease), HIP]])[0]
    if category == SHORTS:
        controls = [corner, seat, *outer[1:]]
        outside, inside = spline(controls), spline([crotch, mix(crotch, inner[-1], 0.5), inner[-1]])
        marks = [along(outside, [0.55])[0], outer[-1], inner[-1]]
    else:
        outside = spline([corner, seat, *outer])
        inside = spline([crotch, mix(crotch, inner[2], 0.5), inner[2], inner[3], inner[4]])
        marks = [outside[12], outside[24], outer[-1], inner[-1], inner[2]]
    middle = waist[len(waist) // 2]
    top = waist[: len(waist) // 2 + 1] if side < 0 else waist[len(waist) // 2 :][::-1]
    hem = spline([outside[-1], mix(outside[-1], inside[-1], 0.5) + [0, 0.05], inside[-1]])
    polygon = np.vstack([outside, hem, inside[::-1], middle, top[::-1]])
    part = Part(f"leg{side}", [polygon], grain=grain(limb.at([0.1, end])))
    _leg_details(part, category, style, side, waist, crotch, outside, inside, hem)
    return part, marks


def _leg_details(part, category, style, side, waist, crotch, outside, inside, hem):
    middle = waist[len(waist) // 2]
    half_waist = waist if side > 0 else waist[::-1]
    half_waist = half_waist[len(waist) // 2 :]
    strokes = part.strokes
    n = min(len(outside), len(inside))
    centre = mix(along(outside, np.linspace(0.35, 1, n)), along(inside, np.linspace(0, 1, n)), 0.5)
    if style.crease:
        strokes.append(Stroke([centre], "light", 0.035))
    if style.stripe:
        strokes.append(Stroke([mix(outside, crotch, 0.09)], "trim", 0.09))
    if style.pockets:
        a, b = half_waist[3] + [0, 0.16], along(outside, [0.2])[0]
        strokes.append(Stroke([spline([a, mix(a, b, 0.5) + [-side * 0.06, 0.05], b])], "ink", 0.035))
    if style.cargo:
        c = mix(along(outside, [0.45])[0], along(inside, [0.25])[0], 0.3)
        pocket = np.array([[-0.14, -0.2], [0.14, -0.2], [0.14, 0.18], [-0.14, 0.18], [-0.14, -0.2]])
        strokes.append(Stroke([pocket + c, pocket[:2] + c + [0, 0.1]], "ink", 0.035))
    if style.rips and category == TROUSERS:
        knee = mix(along(outside, [0.62])[0], along(inside, [0.45])[0], 0.5)
        tears = [ellipse(knee + [0, dy], (0.15, 0.035), n=8) for dy in (-0.12, 0.05, 0.25)]
        strokes.append(Stroke(tears, "light", 0))
    strokes.append(Stroke([np.array([middle, crotch])], "ink", 0.03))
    if style.fly and side > 0:
        low = mix(middle, crotch, 0.62)
        curve = spline([middle + [0.15, 0.1], mix(middle, low, 0.7) + [0.15, 0.05], low])
        strokes.append(Stroke(dashes(curve, 0.09), "light", 0.025))
    strokes += hem_strokes(style.hem, hem, 0.16)
    strokes += _waistband(style, half_waist)
    part.folds += [
        (spline([crotch, mix(crotch, outside[6], 0.4), mix(crotch, outside[6], 0.75) + [0, 0.12]]), -0.8),
        (np.array([crotch + [side * 0.06, 0.12], mix(crotch, outside[8], 0.6) + [0, 0.2]]), -0.5),
        (np.array([mix(centre[-8], outside[-8], 0.5), mix(centre[-6], inside[-7], 0.6)]), -0.5),
        (centre, 0.5),
    ]


def _waistband(style: LowerStyle, line: np.ndarray) -> list[Stroke]:
    """The band along the waist's edge `line`, with loops, a belt or a button."""
    low = line + [0, 0.17]
    band = np.vstack([line, low[::-1]])
    strokes = []
    if style.belt:
        strokes.append(Stroke([band], "trim", 0))
    strokes.append(Stroke([low], "ink", 0.035))
    if style.loops:
        posts = [np.array([p, p + [0, 0.2]]) for p in along(line, [0.25, 0.62, 0.93])]
        strokes.append(Stroke(posts, "ink", 0.06))
    else:
        strokes.append(Stroke(ribs(low, 0.15, 0.06), "ink", 0.018))
    if style.fly or style.belt:
        centre = line[0] + [0, 0.09]
        strokes.append(Stroke([ellipse(centre, (0.06, 0.06), n=8)], "metal", 0))
    return strokes


def skirt_sides(figure: Figure, top: float, half: float, hem: float, flare: float, ease: float):
    """Template half widths of a skirt's side from `top` to `hem`: heights and widths (13,)."""
    y = np.linspace(top, hem, 13)
    hip = max(figure.body.hip + ease, half)
    width = np.interp(y, [top, (top + HIP) / 2, HIP, CROTCH, ANKLE], [half, hip - 0.06, hip, hip, hip])
    width = width + flare * np.clip((y - top) / 2.2, 0, None) ** 1.2
    needed = np.where(y > CROTCH, figure.reach(y) + 0.06, 0)
    return y, np.maximum(width, needed)


def _skirt(style: LowerStyle, figure: Figure) -> Garment:
    waist, half = _waist(style, figure)
    y, width = skirt_sides(figure, style.rise, half, style.length, style.flare, style.ease)
    left = figure.torso(np.stack([-width, y], -1))
    right = figure.torso(np.stack([width, y], -1))
    droop = 0.04 + 0.1 * min(style.flare, 1)
    half_hem, end = width[-1], style.length
    hem = figure.torso(
        spline([[-half_hem, end], [-half_hem / 2, end + droop * 0.8], [0, end + droop],
                [half_hem / 2, end + droop * 0.8], [half_hem, end]])
    )
    middle = len(waist) // 2
    marks = [waist[0], waist[middle], waist[-1], along(left, [0.5])[0], left[-1],
             hem[len(hem) // 2], right[-1], along(right, [0.5])[0]]
    polygon = np.vstack([waist, right, hem[::-1], left[::-1]])
    part = Part("skirt", [polygon])
    part.strokes += skirt_details(style.pleats, waist, hem, style.hem)
    if style.buttons:
        line = along(np.array([waist[middle], hem[len(hem) // 2]]), np.linspace(0.08, 0.92, 7))
        part.strokes.append(Stroke([line], "ink", 0.03))
        part.strokes.append(Stroke([ellipse(p, (0.05, 0.05), n=8) for p in line], "metal", 0))
    if style.pockets and not style.pleats:
        for curve, sign in ((left, 1), (right, -1)):
            a = curve[1] + [sign * 0.22, 0.03]
            part.strokes.append(Stroke([np.array([a, curve[3] + [sign * 0.05, 0]])], "ink", 0.035))
    part.strokes += _waistband(style, waist[middle:]) + _waistband(style, waist[middle::-1])
    part.folds += skirt_folds(waist, hem)
    return Garment(SKIRT, {"skirt": part}, np.array(marks), [["skirt"]] * 8)


def skirt_details(pleats: int, top: np.ndarray, hem: np.ndarray, finish: str) -> list[Stroke]:
    """Pleats from `top` to `hem` and the hem's finish."""
    strokes = []
    if pleats:
        at = np.linspace(0.06, 0.94, pleats)
        lines = [np.array(pair) for pair in zip(along(top, at), along(hem, at))]
        strokes.append(Stroke(lines, "ink", 0.03))
        strokes.append(Stroke([line + [0.04, 0] for line in lines], "light", 0.02))
    return strokes + hem_strokes(finish, hem, 0.14)


def skirt_folds(top: np.ndarray, hem: np.ndarray) -> list:
    """Soft folds that fall from `top` to `hem`."""
    places = ((0.2, -0.7), (0.36, 0.6), (0.55, -0.7), (0.72, 0.5), (0.85, -0.6))
    falls = [(along(top, [t])[0], along(hem, [t])[0], strength) for t, strength in places]
    return [(np.array([mix(a, b, 0.25), b]), strength) for a, b, strength in falls]
