"""Garments that hang from the waist: shorts, trousers and skirts."""

import numpy as np

from fewshot_landmarks.data.garments.clothes.geometry import along, ellipse, mix, spline, steps
from fewshot_landmarks.data.garments.clothes.shapes import DrawnGarment, Part, Stroke, grain
from fewshot_landmarks.data.garments.clothes.styles import SHORTS, SKIRT, TROUSERS, LowerStyle
from fewshot_landmarks.data.garments.clothes.trims import (
    dashes,
    hem_strokes,
    ribs,
    skirt_details,
    skirt_folds,
)
from fewshot_landmarks.data.garments.figure import ANKLE, CROTCH, HIP, SIDES, Figure


def build_lower(category: int, style: LowerStyle, figure: Figure) -> DrawnGarment:
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


def _legs(category: int, style: LowerStyle, figure: Figure) -> DrawnGarment:
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
    return DrawnGarment(category, parts, np.array(landmarks), order)


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
    centre = mix(along(outside, steps(0.35, 1, n)), along(inside, steps(0, 1, n)), 0.5)
    if style.crease:
        strokes.append(Stroke([centre], "light", 0.035))
    if style.stripe:
        strokes.append(Stroke([mix(outside, crotch, 0.09)], "trim", 0.09))
    if style.pockets:
        a, b = half_waist[3] + [0, 0.16], along(outside, [0.2])[0]
        strokes.append(
            Stroke([spline([a, mix(a, b, 0.5) + [-side * 0.06, 0.05], b])], "ink", 0.035)
        )
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
        (
            spline(
                [crotch, mix(crotch, outside[6], 0.4), mix(crotch, outside[6], 0.75) + [0, 0.12]]
            ),
            -0.8,
        ),
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
    y = steps(top, hem, 13)
    hip = max(figure.body.hip + ease, half)
    width = np.interp(
        y, [top, (top + HIP) / 2, HIP, CROTCH, ANKLE], [half, hip - 0.06, hip, hip, hip]
    )
    width = width + flare * np.clip((y - top) / 2.2, 0, None) ** 1.2
    needed = np.where(y > CROTCH, figure.reach(y) + 0.06, 0)
    return y, np.maximum(width, needed)


def _skirt(style: LowerStyle, figure: Figure) -> DrawnGarment:
    waist, half = _waist(style, figure)
    y, width = skirt_sides(figure, style.rise, half, style.length, style.flare, style.ease)
    left = figure.torso(np.stack([-width, y], -1))
    right = figure.torso(np.stack([width, y], -1))
    droop = 0.04 + 0.1 * min(style.flare, 1)
    half_hem, end = width[-1], style.length
    hem = figure.torso(
        spline(
            [
                [-half_hem, end],
                [-half_hem / 2, end + droop * 0.8],
                [0, end + droop],
                [half_hem / 2, end + droop * 0.8],
                [half_hem, end],
            ]
        )
    )
    middle = len(waist) // 2
    marks = [
        waist[0],
        waist[middle],
        waist[-1],
        along(left, [0.5])[0],
        left[-1],
        hem[len(hem) // 2],
        right[-1],
        along(right, [0.5])[0],
    ]
    polygon = np.vstack([waist, right, hem[::-1], left[::-1]])
    part = Part("skirt", [polygon])
    part.strokes += skirt_details(style.pleats, waist, hem, style.hem)
    if style.buttons:
        line = along(np.array([waist[middle], hem[len(hem) // 2]]), steps(0.08, 0.92, 7))
        part.strokes.append(Stroke([line], "ink", 0.03))
        part.strokes.append(Stroke([ellipse(p, (0.05, 0.05), n=8) for p in line], "metal", 0))
    if style.pockets and not style.pleats:
        for curve, sign in ((left, 1), (right, -1)):
            a = curve[1] + [sign * 0.22, 0.03]
            part.strokes.append(Stroke([np.array([a, curve[3] + [sign * 0.05, 0]])], "ink", 0.035))
    part.strokes += _waistband(style, waist[middle:]) + _waistband(style, waist[middle::-1])
    part.folds += skirt_folds(waist, hem)
    return DrawnGarment(SKIRT, {"skirt": part}, np.array(marks), [["skirt"]] * 8)
