"""One photo: an outfit on a figure before a background, and its annotation.

What a landmark's visibility says is read from the painting itself: every part marks the pixels
it covers, and a landmark is visible where a part that it belongs to is on top beside it.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from fewshot_landmarks.categories import category as category_of
from fewshot_landmarks.data.garments import people
from fewshot_landmarks.data.garments.backdrop import backdrop
from fewshot_landmarks.data.garments.cloth import Painter, plain, random_colour
from fewshot_landmarks.data.garments.figure import (
    SIDES, Body, Figure, flat_pose, random_body, random_pose,
)  # fmt: skip
from fewshot_landmarks.data.garments.outfit import LOWERS, OUTWEAR, Outfit, random_outfit
from fewshot_landmarks.data.garments.shapes import Part, Stroke

OVERSAMPLING = 2
_DISC = 2  # radius in final pixels within which a visible landmark's part must show
_SHARE = 0.1  # of that disc; a sharp corner of a garment covers more
_SMALLEST = 8  # pixels: what shows less of itself is not annotated


@dataclass(frozen=True)
class Difficulty:
    """How photos are made; `flat` is the share of clothes that nobody wears."""

    alone: bool  # a garment without companions
    flat: float
    plain: bool  # an even background
    cut: float  # share of photos whose lead garment the frame cuts
    things: bool  # bags and the like in front


DIFFICULTIES = {
    "single": Difficulty(alone=True, flat=1.0, plain=True, cut=0.0, things=False),
    "outfits": Difficulty(alone=False, flat=0.07, plain=False, cut=0.28, things=True),
}


@dataclass
class Photo:
    """A picture (h, w, 3), BGR uint8, and its annotation as DeepFashion2 writes it."""

    image: np.ndarray
    annotation: dict


def draw_photo(lead: int, rng: np.random.Generator, difficulty: Difficulty, pair_id: int) -> Photo:
    """Draw a photo whose lead garment is of category `lead` (1 to 13).

    The lead's item is `item1`; at least half of its landmarks are in the frame and some of
    those are visible: a photo that came out otherwise is drawn anew with the next numbers.
    """
    while True:
        photo = _attempt(lead, rng, difficulty, pair_id)
        first = photo.annotation["item1"]
        states = np.array(first["landmarks"][2::3]) if first else np.zeros(1)
        if (states > 0).mean() >= 0.5 and (states == 2).mean() >= 0.15:
            return photo


def _attempt(lead: int, rng, difficulty: Difficulty, pair_id: int) -> Photo:
    """One try at a photo; its `item1` is None where the lead does not show."""
    flat = bool(rng.random() < difficulty.flat)
    figure = Figure(Body(), flat_pose(rng)) if flat else Figure(random_body(rng), random_pose(rng))
    alone = difficulty.alone or (flat and rng.random() < 0.6)
    outfit = random_outfit(lead, figure, rng, alone)
    size, matrix, offset = _frame(outfit, rng, difficulty.cut, flat)
    width, height = size
    shop = bool(rng.random() < 0.45)
    even = difficulty.plain or bool(shop and rng.random() < 0.4)
    feet = max(limb.at(1.0)[0] @ matrix[1] + offset[1] for limb in figure.legs.values())
    ground = 1.0 if flat else feet / OVERSAMPLING / height
    behind = backdrop(width, height, rng, even, flat, ground)
    canvas = cv2.resize(behind, (width * OVERSAMPLING, height * OVERSAMPLING))
    painter = Painter(canvas, matrix, offset, rng)
    layers = _flat_layers(outfit, rng) if flat else _worn_layers(outfit, figure, rng)
    if difficulty.things and not flat:
        layers += [(part, fabric, None) for part, fabric in people.things(figure, rng)]
    numbers = _paint(painter, layers)
    viewpoint = 1 if flat else (3 if abs(figure.pose.yaw) > 0.6 else 2)
    annotation = {"source": "shop" if shop else "user", "pair_id": pair_id}
    annotation |= _items(outfit, painter, numbers, viewpoint, rng)
    return Photo(_develop(painter.image, size, rng), annotation)


# Framing


def _frame(outfit: Outfit, rng, cut: float, flat: bool):
    """The photo's size (w, h) and the map from units to oversampled pixels.

    Tries positions until at least half of the lead's landmarks are in the frame.
    """
    lead = outfit.garments[outfit.lead]
    long, short = rng.integers(200, 261), rng.integers(150, 201)
    size = np.array([short, long] if rng.random() < 0.88 else [long, short])
    roll = rng.normal(0, 0.12 if flat else 0.035)
    c, s = np.cos(roll), np.sin(roll)
    turn = np.array([[c, -s], [s, c]])
    everything = np.vstack(lead.polygons()) @ turn.T
    extent = np.ptp(everything, axis=0)
    aim = rng.uniform(85, 200)
    cutting = rng.random() < cut
    room = 1.25 if cutting else 0.94
    scale = min(aim / extent.max(), *(room * size / extent))
    matrix = turn * scale * OVERSAMPLING
    marks = lead.landmarks @ (turn * scale).T
    low, high = everything.min(0) * scale, everything.max(0) * scale
    for attempt in range(12):
        over = 0.3 * (high - low) * cutting * (1 - attempt / 11)
        first, last = 3 - low - over, size - 3 - high + over
        first, last = np.minimum(first, last), np.maximum(first, last)
        offset = first + (last - first) * rng.beta(1.6, 1.6, 2)
        inside = np.all((marks + offset >= 0) & (marks + offset <= size - 1), axis=1)
        if inside.mean() >= 0.5:
            break
    return tuple(map(int, size)), matrix, offset * OVERSAMPLING + (OVERSAMPLING - 1) / 2


# Layers: (part, fabric, index of the garment or None), from the back to the front


def _worn_layers(outfit: Outfit, figure: Figure, rng) -> list:
    skin, hair = people.random_skin(rng), people.random_hair(rng)
    style = people.HAIR[rng.choice(len(people.HAIR), p=people.HAIR_SHARES)]
    behind, before = people.hair(figure, style)
    coats = outfit.of(OUTWEAR)
    inner = [i for i in range(len(outfit.garments)) if i not in coats]
    tops = [i for i in inner if outfit.garments[i].category not in LOWERS]
    lowers = outfit.of(LOWERS)
    far = [figure.far_side] if figure.far_side else []
    layers = [(part, hair, None) for part in behind]
    for side in far:
        layers += _arm_layers(outfit, figure, side, skin, tops, coats)
    layers += _named(outfit, [*coats, *tops], ("back",))
    layers += _body_layers(figure, skin, rng)
    layers += [(people.arm(figure, s), skin, None) for s in SIDES if s not in far]
    order = [*tops, *lowers] if outfit.tucked else [*lowers, *tops]
    layers += _named(outfit, order, ("torso", "leg-1", "leg1", "skirt"))
    if coats:
        layers += _named(outfit, tops, [f"sleeve{s}" for s in SIDES if s not in far])
    layers += _named(outfit, coats, ("panel-1", "panel1"))
    for side in SIDES:
        if side not in far:
            layers += _arm_layers(outfit, figure, side, skin, tops, coats)
    layers.append((people.head(figure), skin, None))
    layers += [(part, hair, None) for part in before]
    return layers


def _named(outfit: Outfit, indices, names) -> list:
    """Layers of the parts of some garments that have one of `names`, in the garment's order."""
    return [
        (part, outfit.fabrics[i], i)
        for i in indices
        for name, part in outfit.garments[i].parts.items()
        if name in names
    ]


def _body_layers(figure: Figure, skin, rng) -> list:
    legs, feet = skin, plain(random_colour(rng))
    if rng.random() < 0.15:
        legs = plain(random_colour(rng), 0.4)  # tights
    kind = str(rng.choice(["flat", "trainer", "boot"]))
    layers = [(people.leg(figure, s), legs, None) for s in SIDES]
    layers += [(people.shoe(figure, s, kind), feet, None) for s in SIDES]
    return [*layers, (people.torso(figure), skin, None)]


def _arm_layers(outfit: Outfit, figure: Figure, side: int, skin, tops, coats) -> list:
    """An arm with the sleeves on it; of a near arm only what is bare, the rest is behind the torso."""
    inner, outer = (_named(outfit, those, (f"sleeve{side}",)) for those in (tops, coats))
    if outer and side != figure.far_side:
        inner = [(_beyond(part, outer[0][0]), *rest) for part, *rest in inner]
    sleeves = inner + outer
    bare = max((part.covers for part, *_ in sleeves), default=0.36) - 0.1
    bare = 0.0 if side == figure.far_side else bare
    layers = [(people.arm(figure, side, bare), skin, None), *sleeves]
    hidden = figure.pose.hidden_hands[(side + 1) // 2]
    if not hidden:
        layers.append((people.hand(figure, side), skin, None))
    return layers


def _beyond(sleeve: Part, outer: Part) -> Part:
    """What of a sleeve sticks out of the one over it; the rest lies under the coat's front."""
    pieces = sleeve.polygons[1:]
    first = round(len(pieces) * max(0.0, outer.covers - 0.1) / sleeve.covers)
    return replace(sleeve, polygons=pieces[first:])


def _flat_layers(outfit: Outfit, rng) -> list:
    """Clothes laid out, on a hanger at times, with their backs showing in the neckline."""
    order = range(len(outfit.garments))
    if outfit.tucked and len(outfit.garments) > 1:
        order = sorted(order, key=lambda i: outfit.garments[i].category in LOWERS)
    layers = []
    lead = outfit.garments[outfit.lead]
    if rng.random() < 0.4 and lead.category not in LOWERS:
        wood = plain((70, 110, 150))
        bar = np.array([[-0.75, 0.22], [0, -0.12], [0.75, 0.22], [0, 0.05]])
        hook = np.array([[0.0, -0.1], [0.0, -0.45], [0.12, -0.6]])
        wire = np.vstack([hook - [0.03, 0], hook[::-1] + [0.03, 0]])
        layers.append((Part("hanger", [bar, wire], [Stroke([hook], "light", 0.03)]), wood, None))
    for i in order:
        garment, fabric = outfit.garments[i], outfit.fabrics[i]
        layers += [(part, fabric, i) for part in garment.parts.values()]
    return layers


def _paint(painter: Painter, layers: list) -> dict:
    """Paint all layers; returns the number of each garment's parts: (index, name) -> number."""
    numbers = {}
    for fresh, (part, fabric, index) in enumerate(layers, start=1):
        if part.name == "back":
            fabric = plain(fabric.colours["lining"], 0.5, trim=fabric.colours["base"])
        number = fresh if index is None else numbers.setdefault((index, part.name), fresh)
        painter.paint(part, fabric, number)
    return numbers


# Annotation


def _items(outfit: Outfit, painter: Painter, numbers: dict, viewpoint: int, rng) -> dict:
    """The annotated items by key; the lead's, first, is None where it does not show."""
    items = []
    for i in sorted(range(len(outfit.garments)), key=lambda i: i != outfit.lead):
        own = {name: n for (index, name), n in numbers.items() if index == i}
        item = _item(outfit.garments[i], own, painter, viewpoint, rng)
        if item or i == outfit.lead:
            items.append(item)
    return {f"item{k}": item for k, item in enumerate(items, start=1)}


def _item(garment, own: dict, painter: Painter, viewpoint: int, rng) -> dict | None:
    """The annotation of one garment, None where it does not show."""
    height, width = (n // OVERSAMPLING for n in painter.ids.shape)
    table = np.zeros(256, np.uint8)
    table[list(own.values())] = 255
    shown = cv2.resize(cv2.LUT(painter.ids, table), (width, height), interpolation=cv2.INTER_AREA)
    rings = _rings((shown > 60).astype(np.uint8))
    frame = _extent(garment, painter, (width, height), rng)
    if not rings or frame is None:
        return None
    exact = (painter.pixels(garment.landmarks) - (OVERSAMPLING - 1) / 2) / OVERSAMPLING
    points = np.rint(exact).astype(int)
    inside = np.all((points >= 0) & (points < [width, height]), axis=1)
    if not inside.any():
        return None
    homes = [[own[name] for name in names] for names in garment.homes]
    visibility = np.where(_shown(painter.ids, points, homes), 2, 1) * inside
    landmarks = np.column_stack([points * inside[:, None], visibility])
    return _describe(
        garment.category, frame, landmarks.ravel().tolist(), rings, viewpoint, (width, height), rng
    )


def _describe(category: int, frame, landmarks, rings, viewpoint, size, rng) -> dict:
    visibility = np.array(landmarks[2::3])
    hidden = (visibility == 1).sum() / max(1, (visibility > 0).sum())
    outside = (visibility == 0).mean()
    area = (frame[2] - frame[0]) * (frame[3] - frame[1]) / (size[0] * size[1])
    return {
        "category_name": category_of(category).name,
        "category_id": category,
        "style": int(rng.integers(0, 4)),
        "bounding_box": frame,
        "landmarks": landmarks,
        "segmentation": rings,
        "scale": 1 + int(area > 0.15) + int(area > 0.4),
        "occlusion": 1 + int(hidden > 0.2) + int(hidden > 0.55),
        "zoom_in": 1 + int(outside > 0) + int(outside > 0.35),
        "viewpoint": viewpoint,
    }


def _disc_offsets() -> np.ndarray:
    """Positions (n, 2) of the oversampled pixels around a final pixel's centre."""
    radius = _DISC * OVERSAMPLING
    grid = np.arange(-radius, radius + OVERSAMPLING)
    x, y = np.meshgrid(grid, grid)
    middle = (OVERSAMPLING - 1) / 2
    near = (x - middle) ** 2 + (y - middle) ** 2 <= (radius + 0.5) ** 2
    return np.column_stack([x[near], y[near]])


_OFFSETS = _disc_offsets()


def _shown(ids: np.ndarray, points: np.ndarray, homes: list) -> np.ndarray:
    """Whether one of a landmark's own parts is on top in the disc around it, (n,) booleans.

    `ids` is oversampled, `points` (n, 2) are final pixels, `homes` lists numbers of parts.
    """
    height, width = ids.shape
    x, y = (points[:, None, :] * OVERSAMPLING + _OFFSETS).transpose(2, 0, 1)
    within = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    found = ids[y.clip(0, height - 1), x.clip(0, width - 1)] * within
    own = np.zeros((len(points), 256), bool)
    for row, numbers in zip(own, homes):
        row[numbers] = True
    return np.take_along_axis(own, found.astype(np.intp), axis=1).mean(1) > _SHARE


def _rings(shown: np.ndarray) -> list[list[int]]:
    """The visible area as closed rings x1, y1, x2, y2, ...; of a sliver its bounding box."""
    contours, _ = cv2.findContours(shown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rings = []
    for contour in contours:
        ring = cv2.approxPolyDP(contour, 0.8, True).reshape(-1, 2)
        if len(ring) < 3 or cv2.contourArea(ring) < 4:
            (x1, y1), (x2, y2) = contour[:, 0].min(0), contour[:, 0].max(0)
            ring = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        rings.append(np.vstack([ring, ring[:1]]).ravel().tolist())
    return rings


def _extent(garment, painter: Painter, size, rng) -> list[int] | None:
    """The box of the garment's whole extent in the frame, covered areas included, loosened."""
    points = painter.pixels(np.vstack(garment.polygons())) / OVERSAMPLING
    limit = np.array(size) - 1
    low, high = np.clip(points.min(0), 0, limit), np.clip(points.max(0), 0, limit)
    if (high - low).min() < _SMALLEST:
        return None
    low = np.clip(np.floor(low) - rng.integers(0, 7, 2), 0, limit)
    high = np.clip(np.ceil(high) + rng.integers(0, 7, 2), 0, limit)
    return [int(v) for v in (*low, *high)]


# The camera


def _develop(canvas: np.ndarray, size, rng) -> np.ndarray:
    """The photo at its final size: light, colour cast, blur and noise."""
    image = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    light = cv2.resize(rng.normal(128, 13, (2, 2)).clip(70, 180).astype(np.uint8), size)
    cast = [cv2.multiply(light, float(f)) for f in rng.normal(1.0, 0.05, 3)]
    image = cv2.multiply(image, cv2.merge(cast), scale=rng.uniform(0.85, 1.15) / 128)
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (3, 3), rng.uniform(0.4, 1.0))
    sigma = abs(rng.normal(0, 4))
    grain = rng.standard_normal(image.shape[:2], np.float32) * sigma
    return cv2.add(image, cv2.merge([grain] * 3), dtype=cv2.CV_8U)
