"""The person in the clothes, and what a person holds: everything in front that is no garment."""

import numpy as np

from fewshot_landmarks.data.garments.clothes.cloth import Fabric, hsv, plain, random_colour, shade
from fewshot_landmarks.data.garments.clothes.geometry import box, ellipse, mix, spline, steps, strip
from fewshot_landmarks.data.garments.clothes.shapes import Part, Stroke
from fewshot_landmarks.data.garments.figure import CROTCH, HIP, SIDES, WAIST, Figure

_ARM = ([0, 0.12, 0.3, 0.55, 1], [0.14, 0.19, 0.17, 0.14, 0.095])
_LEG = ([0, 0.25, 0.5, 0.7, 1], [0.36, 0.31, 0.21, 0.2, 0.12])
_HEAD = np.array([0.0, -0.98])


def random_skin(rng: np.random.Generator) -> Fabric:
    """Skin from light to dark."""
    t = rng.beta(0.9, 1.5)
    tone = hsv(rng.uniform(0.04, 0.075), 0.3 + 0.32 * t, 0.97 - 0.62 * t**1.2)
    return plain(tone, 0.4, ink=shade(tone, 0.72), lining=hsv(0.99, 0.55, 0.75 - 0.3 * t))


def random_hair(rng: np.random.Generator) -> Fabric:
    """Hair: black, brown, blond, red, grey, seldom dyed."""
    palette = ((0.07, 0.3, 0.1), (0.06, 0.5, 0.25), (0.07, 0.55, 0.45), (0.11, 0.5, 0.8),
               (0.04, 0.7, 0.5), (0.1, 0.05, 0.65))  # fmt: skip
    h, s, v = palette[rng.choice(6, p=[0.34, 0.26, 0.16, 0.12, 0.06, 0.06])]
    if rng.random() < 0.05:
        h, s, v = rng.random(), 0.5, 0.7
    return plain(hsv(h, s, v), 1.0)


def torso(figure: Figure) -> Part:
    """The bare body from the neck to the crotch."""
    body = figure.body
    right = np.array([[0.21, -0.55], [0.22, -0.15], [0.36, -0.01], [body.shoulder - 0.02, 0.13],
                      [body.shoulder - 0.1, 0.5], [body.chest, 0.85], [body.waist, WAIST],
                      [body.hip, HIP], [body.hip * 0.9, CROTCH], [0.05, CROTCH + 0.1]])  # fmt: skip
    curve = spline(right, per=4)
    outline = figure.torso(np.vstack([curve, curve[::-1] * [-1, 1]]))
    bones = [figure.torso([[s * 0.08, 0.12], [s * 0.45, 0.02]]) for s in SIDES]
    jaw = figure.torso([[-0.25, -0.4], [0.25, -0.4]])
    return Part("body", [outline], [Stroke(bones, "ink", 0.03)], [(jaw, -1.0)])


def arm(figure: Figure, side: int, start: float = 0.0) -> Part:
    """An arm without its hand, from the fraction `start` of its length on.

    Shaded like the whole arm, so that it joins one that is painted behind the clothes.
    """
    limb = figure.arms[side]
    t = steps(0, 1, 17)
    width = np.interp(t, *_ARM) * figure.body.limb
    cap = ellipse(limb.at(0.0)[0], [width[0]] * 2, n=12)
    part = Part(f"arm{side}", [cap, *strip(*limb.edges(t, width))])
    if start > 0:
        behind = steps(0, start, 7)
        outer, inner = limb.edges(behind, 0.3)
        inner[-1] = mix(inner[-1], limb.at(start + 0.1)[0], 0.8)  # a slanting cut, as an armhole's
        part.cut = [ellipse(limb.at(0.0)[0], (0.3, 0.3), n=12), *strip(outer, inner)]
    return part


def hand(figure: Figure, side: int) -> Part:
    """A mitten of a hand at the end of an arm."""
    limb = figure.arms[side]
    end, before = limb.at(1.0)[0], limb.at(0.93)[0]
    ahead = (end - before) / (np.hypot(*(end - before)) + 1e-9)
    angle = np.arctan2(ahead[1], ahead[0])
    palm = ellipse(end + ahead * 0.15, (0.22, 0.115), angle)
    thumb = ellipse(
        end + ahead * 0.1 + side * np.array([-0.08, 0.02]), (0.13, 0.045), angle + side * 0.6
    )
    lines = [np.array([end + ahead * 0.18, end + ahead * 0.36]) + d for d in (-0.03, 0.03)]
    return Part(f"hand{side}", [palm, thumb], [Stroke(lines, "ink", 0.02)])


def leg(figure: Figure, side: int) -> Part:
    """A bare leg."""
    limb = figure.legs[side]
    t = steps(0, 1, 15)
    outer, inner = limb.edges(t, np.interp(t, *_LEG) * figure.body.limb)
    knee = limb.at(limb.bend)[0]
    mark = spline([knee + [-0.1, 0.05], knee + [0, 0.12], knee + [0.1, 0.05]])
    return Part(f"leg{side}", strip(outer, inner), [Stroke([mark], "ink", 0.025)])


def shoe(figure: Figure, side: int, kind: str) -> Part:
    """A shoe or, for `kind` "boot", one that reaches up the shin."""
    limb = figure.legs[side]
    ankle = limb.at(1.0)[0]
    toe = ankle + [side * 0.12 - 0.2 * np.sin(figure.pose.yaw), 0.26]
    top, low = box(-0.15, -0.05, 0.15, -0.05)[:2] + ankle, box(-0.2, 0.03, 0.2, 0.03)[:2] + toe
    polygons = [ellipse(toe, (0.24, 0.15)), np.vstack([top, low[::-1]])]
    sole = np.array([toe + [-0.24, 0.09], toe + [0.24, 0.09]])
    strokes = [Stroke([sole], "light", 0.07)]
    if kind == "boot":
        t = steps(0.72, 1.0, 6)
        polygons += strip(*limb.edges(t, 0.2 * figure.body.limb))
    elif kind == "trainer":
        laces = [np.array([toe + [-0.08, dy], toe + [0.08, dy]]) for dy in (-0.16, -0.1, -0.04)]
        strokes.append(Stroke(laces, "light", 0.03))
    return Part(f"shoe{side}", polygons, strokes)


def head(figure: Figure) -> Part:
    """A head with a face that looks where the body turns."""
    centre, look = _head_centre(figure), -0.3 * np.sin(figure.pose.yaw)
    right = np.array([[0, -0.62], [0.36, -0.45], [0.44, -0.02], [0.32, 0.38], [0, 0.6]])
    outline = spline(np.vstack([right, right[-2::-1] * [-1, 1]]), per=4)
    middle = centre + [look, 0]
    eyes = [ellipse(middle + [dx, 0.0], (0.065, 0.04), n=8) for dx in (-0.17, 0.17)]
    brows = [
        np.array([middle + [dx - 0.09, -0.12], middle + [dx + 0.09, -0.13]]) for dx in (-0.17, 0.17)
    ]
    nose = np.array([middle + [0.02, 0.0], middle + [0.06, 0.18], middle + [-0.02, 0.2]])
    mouth = spline([middle + [-0.12, 0.34], middle + [0, 0.37], middle + [0.12, 0.34]])
    strokes = [Stroke(eyes, "dark", 0), Stroke(brows, "dark", 0.04), Stroke([nose], "ink", 0.03),
               Stroke([mouth], "lining", 0.06)]  # fmt: skip
    ears = [ellipse(centre + [s * 0.43, 0.05], (0.07, 0.12)) for s in SIDES]
    return Part("head", [outline + centre, *ears], strokes)


def hair(figure: Figure, style: str) -> tuple[list[Part], list[Part]]:
    """Hair behind the body and in front of the clothes; `style` is one of `HAIR`."""
    centre = _head_centre(figure)
    if style == "bald":
        return [], []
    fringe = spline([[-0.48, 0.12], [-0.42, -0.25], [-0.1, -0.34], [0.25, -0.3], [0.44, -0.12],
                     [0.49, 0.12], [0.53, -0.3], [0.3, -0.68], [0, -0.77], [-0.3, -0.68],
                     [-0.53, -0.3], [-0.48, 0.12]], per=4)  # fmt: skip
    front = [Part("fringe", [fringe + centre])]
    if style == "short":
        return [], front
    if style == "bun":
        return [Part("bun", [ellipse(centre + [0.05, -0.75], (0.28, 0.25))])], front
    drop = {"bob": 0.75, "long": 1.7, "over": 1.9}[style]
    fall = spline([[-0.5, -0.35], [-0.6, 0.2], [-0.62, drop], [0, drop + 0.1], [0.62, drop],
                   [0.6, 0.2], [0.5, -0.35], [0, -0.76], [-0.5, -0.35]], per=4)  # fmt: skip
    behind = [Part("hair", [fall + centre])]
    if style == "over":
        for s in SIDES:
            lock = spline([[s * 0.47, -0.3], [s * 0.56, 0.3], [s * 0.62, 0.9], [s * 0.52, drop],
                           [s * 0.33, drop - 0.2], [s * 0.36, 0.8], [s * 0.42, 0.2],
                           [s * 0.47, -0.3]], per=4)  # fmt: skip
            lines = [
                spline([[s * x, 0.0], [s * (x + 0.05), 0.9], [s * x, drop]]) + centre
                for x in (0.42, 0.52)
            ]
            front.append(Part(f"lock{s}", [lock + centre], [Stroke(lines, "ink", 0.025)]))
    return behind, front


HAIR = ("bald", "short", "bun", "bob", "long", "over")
HAIR_SHARES = (0.06, 0.3, 0.12, 0.16, 0.18, 0.18)


def things(figure: Figure, rng: np.random.Generator) -> list[tuple[Part, Fabric]]:
    """What is carried in front of the clothes: bags, phones, cups, scarves; often nothing."""
    carried = []
    roll = rng.random()
    side = int(rng.choice(SIDES))
    if roll < 0.12:
        carried.append((_shoulder_bag(figure, side, rng), plain(random_colour(rng))))
    elif roll < 0.22 and figure.pose.arms[(side + 1) // 2][1] < 1.2:  # no bag over a raised hand
        carried.append((_hand_bag(figure, side, rng), plain(random_colour(rng))))
    elif roll < 0.29:
        carried.append((_phone(figure, side), plain((40, 36, 34), 0.3)))
    elif roll < 0.34:
        carried.append((_box_in_arms(figure, rng), plain(random_colour(rng))))
    if rng.random() < 0.12:
        chain = figure.torso(
            spline([[-0.3, -0.1], [-0.15, 0.45], [0, 0.6], [0.15, 0.45], [0.3, -0.1]])
        )
        links = strip(chain - [0.02, 0], chain + [0.02, 0])
        carried.append(
            (Part("chain", [*links, ellipse(chain[12], (0.07, 0.08))]), plain((90, 190, 215)))
        )
    return carried


def _head_centre(figure: Figure) -> np.ndarray:
    return figure.torso([_HEAD])[0]


def _shoulder_bag(figure, side, rng) -> Part:
    end = figure.torso([[-side * (figure.body.hip + 0.1), HIP + rng.uniform(-0.4, 0.4)]])[0]
    top = figure.torso([[side * 0.55, -0.08]])[0]
    middle = mix(top, end, 0.5) + [side * 0.05, 0.1]
    strap = spline([top, middle, end])
    width, height = rng.uniform(0.3, 0.55), rng.uniform(0.25, 0.5)
    body = box(end[0] - width, end[1], end[0] + width, end[1] + 2 * height)
    flap = np.array([end + [-width, height * 0.8], end + [width, height * 0.8]])
    clasp = ellipse(end + [0, height * 0.8], (0.08, 0.08))
    polygons = [*strip(strap - [0.045, 0], strap + [0.045, 0]), body]
    return Part("bag", polygons, [Stroke([flap], "ink", 0.05), Stroke([clasp], "metal", 0)])


def _hand_bag(figure, side, rng) -> Part:
    grip = figure.arms[side].at(1.0)[0] + [0, 0.25]
    width, height = rng.uniform(0.35, 0.7), rng.uniform(0.5, 1.0)
    top = grip + [0, 0.45]
    body = np.array(
        [
            top + [-width * 0.85, 0],
            top + [width * 0.85, 0],
            top + [width, height],
            top + [-width, height],
        ]
    )
    loop = spline([top + [-width * 0.5, 0], grip, top + [width * 0.5, 0]])
    seam = np.array([top + [-width, 0.12], top + [width, 0.12]])
    polygons = [body, *strip(loop - [0.03, 0], loop + [0.03, 0.0])]
    return Part("bag", polygons, [Stroke([seam], "ink", 0.04)])


def _phone(figure, side) -> Part:
    at = figure.arms[side].at(1.0)[0]
    case = box(-0.16, -0.42, 0.16, 0.2) + at
    lens = [ellipse(at + [dx, -0.32], (0.035, 0.035), n=8) for dx in (-0.1, 0.0)]
    return Part("phone", [case], [Stroke(lens, "light", 0)])


def _box_in_arms(figure, rng) -> Part:
    """A book, a folder or a parcel held before the body."""
    at = figure.torso([[rng.uniform(-0.5, 0.5), rng.uniform(0.9, 2.6)]])[0]
    size = rng.uniform(0.25, 0.55, 2)
    turn = rng.normal(0, 0.3)
    c, s = np.cos(turn), np.sin(turn)
    corners = box(-1, -1, 1, 1) * size @ np.array([[c, s], [-s, c]])
    return Part(
        "parcel", [corners + at], [Stroke([mix(corners, 0 * corners, 0.3) + at], "light", 0.04)]
    )
