"""Backgrounds: rooms, streets, studios and surfaces, with corners and edges of their own.

None of the things in them is a garment: whatever looks like one in a photo is annotated.
"""

import cv2
import numpy as np

from fewshot_landmarks.data.garments.clothes.cloth import hsv, random_colour, shade


def backdrop(
    width: int, height: int, rng: np.random.Generator, plain: bool, flat: bool, feet: float
) -> np.ndarray:
    """A background of `(height, width, 3)`, BGR uint8.

    `plain` keeps to an even surface; `flat` is one that clothes are laid on; `feet` is where a
    person's ankles are, as a fraction of the height, perhaps below the picture.
    """
    wall = _wall_colour(rng)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = wall
    if plain:
        return _gradient(picture, rng)
    if flat:
        rng.choice([_planks, _weave, _tiles])(picture, wall, rng)  # type: ignore[arg-type]
        for _ in range(rng.integers(0, 4)):
            _clutter(picture, rng)
        return _gradient(picture, rng)
    floor = int(height * (rng.uniform(0.65, 1.1) if feet > 1.1 else feet - rng.uniform(0, 0.12)))
    kind = rng.choice(5)
    if kind < 4:
        (_room, _room, _street, _studio)[kind](picture, wall, floor, rng)
    else:
        _shop(picture, wall, rng)
    for _ in range(rng.integers(0, 5)):
        _clutter(picture, rng)
    picture = _gradient(picture, rng)
    if rng.random() < 0.35:
        size = int(rng.integers(2, 6))
        picture = cv2.blur(picture, (size, size))
    return picture


def _wall_colour(rng) -> tuple:
    if rng.random() < 0.6:
        return hsv(rng.random(), rng.uniform(0, 0.2), rng.uniform(0.45, 0.95))
    return shade(random_colour(rng), rng.uniform(0.7, 1.2))


def _gradient(picture, rng) -> np.ndarray:
    coarse = np.clip(rng.normal(128, 16, (3, 3)), 60, 200).astype(np.uint8)
    light = cv2.resize(coarse, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.multiply(picture, cv2.merge([light] * 3), scale=1 / 128)


def _rectangle(picture, x, y, w, h, colour, thickness=-1) -> None:
    cv2.rectangle(picture, (int(x), int(y)), (int(x + w), int(y + h)), colour, thickness)


def _room(picture, wall, floor, rng) -> None:
    """A wall with a floor, a door or window, pictures and furniture."""
    height, width = picture.shape[:2]
    ground = shade(random_colour(rng), rng.uniform(0.5, 1.1))
    _rectangle(picture, 0, floor, width, height, ground)
    _rectangle(picture, 0, floor - 4, width, 4, shade(wall, 0.7))
    for k in range(1, 6):
        x = int(width * (k / 3 - 0.5))
        cv2.line(
            picture,
            (x, height),
            (int(width / 2 + (x - width / 2) * 0.5), floor),
            shade(ground, 0.75),
            1,
        )
    if rng.random() < 0.5:
        _door(picture, wall, floor, rng)
    if rng.random() < 0.5:
        _window(picture, rng)
    for _ in range(rng.integers(0, 3)):
        _poster(picture, rng)
    if rng.random() < 0.6:
        _furniture(picture, floor, rng)


def _door(picture, wall, floor, rng) -> None:
    height, width = picture.shape[:2]
    x, w = rng.uniform(-0.1, 0.8) * width, rng.uniform(0.25, 0.45) * width
    top = rng.uniform(-0.1, 0.2) * height
    colour = shade(wall, rng.choice([0.6, 0.8, 1.4]))
    _rectangle(picture, x, top, w, floor - top, colour)
    _rectangle(picture, x, top, w, floor - top, shade(wall, 0.5), 2)
    for row in (0.1, 0.55):
        _rectangle(
            picture,
            x + 0.18 * w,
            top + row * (floor - top),
            0.64 * w,
            0.33 * (floor - top),
            shade(colour, 0.8),
            1,
        )
    cv2.circle(picture, (int(x + 0.9 * w), int((top + floor) / 2)), 3, (90, 160, 190), -1)


def _window(picture, rng) -> None:
    height, width = picture.shape[:2]
    x, y = rng.uniform(-0.1, 0.7) * width, rng.uniform(-0.1, 0.3) * height
    w, h = rng.uniform(0.25, 0.5) * width, rng.uniform(0.25, 0.5) * height
    _rectangle(picture, x, y, w, h, hsv(rng.uniform(0.5, 0.65), 0.25, 0.95))
    frame = hsv(0.1, 0.1, rng.uniform(0.3, 1))
    _rectangle(picture, x, y, w, h, frame, 4)
    cv2.line(picture, (int(x + w / 2), int(y)), (int(x + w / 2), int(y + h)), frame, 3)
    cv2.line(picture, (int(x), int(y + h / 2)), (int(x + w), int(y + h / 2)), frame, 3)


def _poster(picture, rng) -> None:
    height, width = picture.shape[:2]
    x, y = rng.uniform(0, 0.85) * width, rng.uniform(0, 0.5) * height
    w, h = rng.uniform(0.1, 0.3) * width, rng.uniform(0.1, 0.3) * height
    colour = random_colour(rng)
    _rectangle(picture, x, y, w, h, colour)
    for _ in range(3):
        at = (int(x + rng.random() * w), int(y + rng.random() * h))
        cv2.circle(
            picture, at, int(rng.uniform(0.05, 0.25) * w) + 1, random_colour(rng), -1, cv2.LINE_AA
        )
    _rectangle(picture, x, y, w, h, shade(colour, 0.4), 2)


def _furniture(picture, floor, rng) -> None:
    """A chair, a table or shelves."""
    height, width = picture.shape[:2]
    colour = hsv(rng.uniform(0.04, 0.1), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.8))
    x, w = rng.uniform(-0.2, 0.8) * width, rng.uniform(0.25, 0.5) * width
    top = floor - rng.uniform(0.15, 0.4) * height
    base = floor + rng.uniform(0.0, 0.1) * height
    if rng.random() < 0.4:
        rows = int(rng.integers(3, 6))
        for k in range(rows):
            y = top - 0.3 * height + k * (base - top + 0.3 * height) / rows
            _rectangle(picture, x, y, w, 4, colour)
            for _ in range(4):
                h = rng.uniform(8, 20)
                _rectangle(
                    picture,
                    x + rng.random() * 0.9 * w,
                    y - h,
                    rng.uniform(4, 12),
                    h,
                    random_colour(rng),
                )
        _rectangle(
            picture, x, top - 0.3 * height, w, base - top + 0.3 * height, shade(colour, 0.7), 2
        )
        return
    _rectangle(picture, x, top, w, 6, colour)
    for leg in (0.05, 0.9):
        _rectangle(picture, x + leg * w, top, 5, base - top, shade(colour, 0.8))
    if rng.random() < 0.5:
        _rectangle(picture, x, top - 0.25 * height, 6, 0.25 * height, colour)
        _rectangle(picture, x, top - 0.25 * height, 0.5 * w, 0.1 * height, shade(colour, 1.2))


def _street(picture, wall, floor, rng) -> None:
    """Sky, houses with windows, a road, a tree."""
    height, width = picture.shape[:2]
    picture[:] = hsv(rng.uniform(0.52, 0.62), rng.uniform(0.05, 0.4), rng.uniform(0.7, 1))
    x = -rng.uniform(0, 0.3) * width
    while x < width:
        w, top = rng.uniform(0.2, 0.5) * width, rng.uniform(-0.1, 0.4) * height
        colour = hsv(rng.uniform(0, 0.12), rng.uniform(0.05, 0.5), rng.uniform(0.3, 0.85))
        _rectangle(picture, x, top, w, floor - top, colour)
        pane = shade(colour, rng.choice([0.45, 1.5]))
        step = rng.uniform(16, 30)
        for wy in np.arange(top + 8, floor - 12, step):
            for wx in np.arange(x + 6, x + w - 8, step * 0.8):
                _rectangle(picture, wx, wy, step * 0.4, step * 0.5, pane)
        x += w
    _rectangle(picture, 0, floor, width, height, hsv(0.6, 0.05, rng.uniform(0.25, 0.65)))
    if rng.random() < 0.6:
        tx = int(rng.random() * width)
        _rectangle(picture, tx - 4, floor * 0.5, 8, floor * 0.5, (40, 60, 80))
        for _ in range(12):
            at = (int(tx + rng.normal(0, 20)), int(floor * 0.35 + rng.normal(0, 22)))
            leaf = hsv(rng.uniform(0.22, 0.38), 0.6, rng.uniform(0.25, 0.6))
            cv2.circle(picture, at, int(rng.uniform(6, 16)), leaf, -1, cv2.LINE_AA)


def _studio(picture, wall, floor, rng) -> None:
    """An even backdrop with, at times, a horizon."""
    height, width = picture.shape[:2]
    if rng.random() < 0.5:
        _rectangle(picture, 0, floor, width, height, shade(wall, rng.choice([0.85, 1.2])))


def _shop(picture, wall, rng) -> None:
    """Bricks or panels, a rail with empty hangers, boxes."""
    height, width = picture.shape[:2]
    rng.choice([_tiles, _planks])(picture, wall, rng)
    y = int(rng.uniform(0.05, 0.5) * height)
    metal = hsv(0.6, 0.05, rng.uniform(0.3, 0.9))
    cv2.line(picture, (0, y), (width, y), metal, 3)
    for x in rng.uniform(0, width, rng.integers(2, 6)).astype(int):
        hook = np.array(
            [[x, y], [x, y + 10], [x - 24, y + 26], [x + 24, y + 26], [x, y + 10]], np.int32
        )
        cv2.polylines(picture, [hook], False, shade(metal, 0.6), 2, cv2.LINE_AA)


def _planks(picture, wall, rng) -> None:
    height, width = picture.shape[:2]
    step = rng.uniform(16, 40)
    upright = rng.random() < 0.5
    for at in np.arange(0, max(height, width), step):
        colour = shade(wall, rng.uniform(0.8, 1.15))
        if upright:
            _rectangle(picture, at, 0, step, height, colour)
        else:
            _rectangle(picture, 0, at, width, step, colour)
            _rectangle(picture, rng.random() * width, at, 1, step, shade(wall, 0.55))
    line = shade(wall, 0.55)
    for at in np.arange(0, max(height, width), step).astype(int):
        ends = ((at, 0), (at, height)) if upright else ((0, at), (width, at))
        cv2.line(picture, *ends, line, 1)


def _tiles(picture, wall, rng) -> None:
    height, width = picture.shape[:2]
    h = rng.uniform(10, 34)
    w = h * rng.choice([1.0, 2.0])
    line = shade(wall, rng.choice([0.7, 1.4]))
    for k, y in enumerate(np.arange(0, height, h)):
        cv2.line(picture, (0, int(y)), (width, int(y)), line, 1)
        start = (k % 2) * w / 2 if w > h else 0
        for x in np.arange(start, width, w):
            cv2.line(picture, (int(x), int(y)), (int(x), int(y + h)), line, 1)


def _weave(picture, wall, rng) -> None:
    """A carpet or a bed cover: soft large shapes."""
    height, width = picture.shape[:2]
    coarse = rng.integers(0, 255, (6, 5)).astype(np.uint8)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture[field > 150] = shade(wall, 0.85)
    if rng.random() < 0.5:
        border = int(rng.uniform(6, 20))
        _rectangle(
            picture, border, border, width - 2 * border, height - 2 * border, random_colour(rng), 3
        )


def _clutter(picture, rng) -> None:
    """One thing with corners or edges like a garment's: a bar, a wedge, a plate, a cable."""
    height, width = picture.shape[:2]
    at = rng.random(2) * [width, height]
    colour = random_colour(rng)
    size = rng.uniform(0.05, 0.22) * height
    kind = rng.integers(4)
    if kind == 0:
        axes = (int(size * 0.6), int(size * rng.uniform(0.3, 0.6)))
        turn = rng.uniform(0, 180)
        cv2.ellipse(picture, tuple(map(int, at)), axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
    elif kind == 1:
        turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 6)))
        shape = at + size * np.stack([np.cos(turns), np.sin(turns)], -1)
        cv2.fillPoly(picture, [shape.astype(np.int32)], colour, cv2.LINE_AA)
        cv2.polylines(picture, [shape.astype(np.int32)], True, shade(colour, 0.6), 2, cv2.LINE_AA)
    elif kind == 2:
        other = at + rng.normal(0, 0.3, 2) * [width, height]
        cv2.line(
            picture,
            tuple(map(int, at)),
            tuple(map(int, other)),
            colour,
            int(rng.uniform(2, 14)),
            cv2.LINE_AA,
        )
    else:
        turn = rng.uniform(0, np.pi)
        axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        corners = (
            at
            + (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * rng.uniform(0.3, 1, 2) * size)
            @ axes
        )
        cv2.fillPoly(picture, [corners.astype(np.int32)], colour, cv2.LINE_AA)
