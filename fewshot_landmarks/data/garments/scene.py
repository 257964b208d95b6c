"""One photo: an outfit on a figure before a background, and its annotation."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from fewshot_landmarks.data.garments import people
from fewshot_landmarks.data.garments.annotation import items_of
from fewshot_landmarks.data.garments.backdrop import backdrop
from fewshot_landmarks.data.garments.clothes.cloth import (
    OVERSAMPLING,
    Painter,
    plain,
    random_colour,
)
from fewshot_landmarks.data.garments.clothes.outfit import Outfit, random_outfit
from fewshot_landmarks.data.garments.clothes.shapes import Part, Stroke
from fewshot_landmarks.data.garments.clothes.styles import LOWERS, OUTWEAR
from fewshot_landmarks.data.garments.figure import (
    SIDES,
    Body,
    Figure,
    flat_pose,
    random_body,
    random_pose,
)


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
class Scene:
    """A picture (h, w, 3), BGR uint8, and its annotation as DeepFashion2 writes it."""

    image: np.ndarray
    annotation: dict


def draw_photo(lead: int, rng: np.random.Generator, difficulty: Difficulty, pair_id: int) -> Scene:
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


def _attempt(lead: int, rng, difficulty: Difficulty, pair_id: int) -> Scene:
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
    pitch = float(np.clip(rng.normal(0, 0.2), -0.45, 0.45))
    painter = Painter(canvas, matrix, offset, rng, pitch)
    layers = _flat_layers(outfit, rng) if flat else _worn_layers(outfit, figure, rng)
    if difficulty.things and not flat:
        layers += [(part, fabric, None) for part, fabric in people.things(figure, rng)]
    numbers = _paint(painter, layers)
    viewpoint = 1 if flat else (3 if abs(figure.pose.yaw) > 0.6 else 2)
    annotation = {"source": "shop" if shop else "user", "pair_id": pair_id}
    annotation |= items_of(outfit, painter, numbers, viewpoint, rng)
    return Scene(_develop(painter.image, size, rng), annotation)


# Framing


def _frame(outfit: Outfit, rng, cut: float, flat: bool):
    """The photo's size (w, h) and the map from units to oversampled pixels.

    Tries positions until at least half of the lead's landmarks are in the frame.
    """
    lead = outfit.garments[outfit.lead]
    long, short = rng.integers(200, 261), rng.integers(150, 201)
    size = np.array([short, long] if rng.random() < 0.88 else [long, short])
    roll = rng.normal(0, 0.3 if flat else rng.choice([0.035, 0.15], p=[0.7, 0.3]))
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
    """An arm with its sleeves; of a near arm only what is bare, the rest lies behind the torso."""
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
    layers: list = []
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
