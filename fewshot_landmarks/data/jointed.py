"""Jointed shapes: a drawn keypoint set of things other than clothes, in COCO keypoint JSON.

    out/images/000001.jpg ...
    out/train.json    out/test.json    out/split.json    out/generator.json

Each category is a tree of named joints with limbs between them, and each joint has a mark of its
own: a disc, a ring, a claw. Left and right are the picture's, of the shape as it stands upright.
A photo holds one to three shapes before clutter. A keypoint's v is 2 where it is in view, 1 where
another shape covers it, and 0 (with x = y = 0) outside the photo; a shape does not hide its own
marks. Its bbox and area are those of the whole shape, covered parts too, cut off at the photo.

    python -m fewshot_landmarks.data.jointed --out DIR
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from fewshot_landmarks.support.console import answer
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import (
    SMALL,
    advice,
    is_whole,
    put_aside,
    read_regular,
    write_text,
)
from fewshot_landmarks.support.locks import alone

VERSION = 1  # to be raised whenever the drawing changes
PHOTOS = {"train": 1600, "test": 800}
MOST = 999_999  # photos: their names have six digits
SUPER = 4  # a photo is drawn this much larger, then averaged
SIGMA = 0.05  # of every keypoint, for COCO's object keypoint similarity

# A shape: its name, how far its joints swing (degrees), its root with the root's mark, and chains
# of joints. A chain begins "parent width tone:" and lists joints "name turn length mark", each the
# parent of the next, on the next line too after a comma. The turn is in degrees, clockwise from the
# parent's direction (up for the root). Before a chain, @ makes it twice: left_NAME as given, and
# right_NAME mirrored. A mark is kind/tone/radius. Units are about a hundredth of the shape.
# The last three in ten are the unseen.
TABLE = """
desk lamp, 14, foot bar/dark/22
  foot 8 base: shoulder 0 12 disc/accent/8, elbow 35 40 ring/light/9, neck -95 36 square/dark/7
  neck 6 base: hood -40 16 shade/accent/15, bulb 0 15 disc/white/7
  foot 6 dark: switch 90 14 diamond/white/5
beetle, 10, thorax disc/dark/13
  thorax 14 dark: head 0 22 disc/accent/10
  thorax 26 base: belly 180 24 star/light/9, rear 0 24 bar/accent/9
  @head 4 base: feeler -35 24 disc/white/5
  @thorax 6 base: front_knee -65 26 square/light/5, front_foot 35 20 fork/dark/8
  @belly 6 base: mid_knee 90 30 ring/accent/7, mid_foot 20 20 wedge/light/8
  @rear 6 base: hind_knee 55 22 diamond/white/7, hind_foot 30 22 bar/dark/7
robot, 14, belly square/dark/13
  belly 22 base: chest 0 26 star/accent/10, head 0 30 square/light/14, aerial 0 24 disc/accent/5
  @head 3 dark: ear -90 15 wedge/accent/6
  @chest 9 base: shoulder -90 22 disc/dark/8, elbow -60 20 ring/white/8, hand -15 19 fork/accent/11
  @belly 10 dark: hip -125 20 diamond/light/8, knee -52 22 square/accent/7, foot 0 22 bar/white/10
tower crane, 5, footing bar/dark/20
  footing 7 base: mast 0 34 diamond/dark/8, slewing 0 30 disc/accent/10, peak 0 18 wedge/white/9
  slewing 6 base: trolley 90 32 square/light/7, tip 0 24 cross/accent/8
  trolley 3 dark: block 90 22 disc/white/6, hook 0 16 fork/dark/10
  slewing 7 base: weight -90 26 square/dark/11
hand, 7, wrist bar/dark/15
  wrist 42 base: palm 0 34 star/accent/9
  palm 10 base: thumb_root -112 27 square/light/7, thumb_joint 40 18 ring/dark/7,
    thumb_tip 10 16 wedge/accent/9
  palm 9 base: index_root -40 32 disc/dark/7, index_joint 26 24 ring/white/7,
    index_tip 3 20 disc/accent/7
  palm 9 base: middle_root -10 28 diamond/light/7, middle_joint 6 27 ring/accent/7,
    middle_tip 1 22 square/white/6
  palm 9 base: ring_root 22 29 square/dark/6, ring_joint -12 25 ring/light/7,
    ring_tip -2 21 bar/accent/7
  palm 8 base: little_root 50 34 disc/white/6, little_joint -28 20 diamond/dark/7,
    little_tip -4 17 cross/accent/6
bird, 12, breast star/light/9
  breast 20 base: neck 0 20 bar/dark/9, head 0 16 disc/accent/10, beak 0 16 wedge/white/9
  breast 24 base: belly 180 24 diamond/accent/8, tail 0 34 shade/dark/13
  @breast 11 dark: shoulder -80 22 disc/white/7, wing_joint -20 28 ring/accent/8,
    wing_tip 45 34 wedge/light/9
  @belly 4 base: leg 62 24 square/light/5, foot 0 16 fork/dark/9
horse, 9, withers disc/light/8
  withers 15 base: neck 35 30 diamond/dark/7, poll 20 18 star/accent/9, muzzle 85 22 square/dark/8
  poll 4 dark: ear -50 13 wedge/white/7
  withers 24 base: rump -90 56 disc/dark/9
  rump 5 accent: dock -20 18 ring/white/6, tail -30 26 shade/light/10
  withers 9 base: fore_knee 155 32 ring/accent/8, fore_hoof 25 24 bar/white/8
  withers 8 dark: off_fore_knee -170 32 cross/light/7, off_fore_hoof -10 24 square/accent/7
  rump 9 base: hind_hock -62 32 ring/dark/8, hind_hoof -25 24 shade/accent/8
  rump 8 dark: off_hind_hock -98 32 diamond/white/7, off_hind_hoof 5 24 fork/light/9
scorpion, 12, trunk disc/dark/10
  trunk 18 base: head 0 24 square/light/8
  trunk 13 base: tail_root 180 22 ring/white/8, tail_bend 12 20 diamond/accent/8,
    tail_hook 30 20 ring/dark/8, sting 45 20 wedge/accent/11
  @head 7 base: claw_root -55 20 disc/accent/7, claw_joint 15 20 square/white/6,
    claw 50 20 fork/dark/14
  @trunk 5 dark: fore_knee -70 24 disc/light/5, fore_foot 25 18 bar/white/6
  @trunk 5 dark: hind_knee -112 26 diamond/light/6, hind_foot -10 20 cross/accent/6
bicycle, 5, crank cross/light/9
  crank 6 base: rear_hub -94 38 wheel/dark/23
  crank 6 base: seat_tube -18 30 disc/accent/6, saddle 0 18 bar/dark/12
  crank 6 base: head_tube 48 44 diamond/white/8, front_hub 112 36 wheel/dark/23
  head_tube 5 accent: stem -66 14 square/light/6, grip 75 16 disc/accent/7
  crank 4 dark: pedal 150 16 square/white/6
windmill, 8, foundation bar/dark/24
  foundation 24 base: door 0 16 square/dark/9, gallery 0 30 bar/light/16, cap 0 26 disc/accent/13
  cap 5 light: first_spar 45 22 square/dark/6, first_sail 0 24 wedge/accent/10
  cap 5 light: second_spar 135 22 diamond/white/7, second_sail 0 24 shade/dark/10
  cap 5 light: third_spar 225 22 disc/accent/6, third_sail 0 24 fork/white/11
  cap 5 light: fourth_spar 315 22 cross/dark/7, fourth_sail 0 24 bar/light/10
scissors, 9, pivot disc/white/8
  @pivot 10 light: blade -16 34 diamond/dark/6, tip 3 34 wedge/accent/9
  @pivot 9 base: shank -150 28 square/accent/6, bow 12 26 wheel/base/15
satellite, 7, core star/accent/12
  core 26 base: bus 180 22 square/dark/10, nozzle 0 18 shade/light/13
  core 6 dark: boom 0 26 disc/light/6, dish 0 20 ring/white/13
  @core 14 accent: inner_panel -90 24 diamond/white/7, mid_panel 0 20 square/dark/7,
    outer_panel 0 20 bar/light/11
  @bus 4 base: thruster 60 22 wedge/dark/8
candelabra, 4, foot bar/dark/20
  foot 8 base: knop 0 22 disc/accent/8, node 0 20 diamond/light/9, socket 0 22 shade/dark/8,
    flame 0 18 drop/accent/10
  @node 6 base: arm -75 22 ring/white/7, cup 75 16 square/dark/8, wick 0 18 star/accent/8
  @knop 6 base: bough -85 38 disc/light/7, bowl 85 18 shade/accent/8, candle 0 20 disc/white/7
octopus, 16, mantle disc/light/12
  mantle 30 base: crown 0 26 star/dark/9
  @mantle 5 dark: eye -70 15 eye/white/8
  @mantle 9 base: first_bend -85 32 ring/accent/7, first_tip 50 24 wedge/light/8
  @mantle 9 base: second_bend -112 36 square/dark/6, second_tip 35 24 disc/white/6
  @mantle 9 base: third_bend -138 40 diamond/white/7, third_tip 15 24 bar/accent/8
  @mantle 9 base: fourth_bend -163 42 cross/light/6, fourth_tip 8 26 fork/dark/9
spider, 10, waist diamond/white/8
  waist 16 base: head 0 16 disc/dark/9
  waist 30 base: abdomen 180 24 star/accent/10, spinneret 0 20 wedge/light/8
  @head 4 dark: fang -30 13 wedge/white/6
  @waist 5 base: first_knee -40 32 disc/accent/6, first_foot 20 28 bar/dark/6
  @waist 5 base: second_knee -72 34 square/light/6, second_foot 5 24 disc/white/5
  @waist 5 base: third_knee -105 34 ring/dark/7, third_foot -10 24 cross/accent/6
  @waist 5 base: fourth_knee -138 38 diamond/accent/7, fourth_foot -12 28 fork/light/8
excavator, 9, undercarriage square/dark/11
  undercarriage 12 dark: rear_sprocket -90 26 wheel/light/12
  undercarriage 12 dark: front_sprocket 90 26 wheel/accent/12
  undercarriage 24 base: deck 0 27 bar/light/13, cab -10 24 square/white/13,
    lamp 0 17 disc/accent/6
  deck 12 base: tailweight -88 30 shade/dark/12
  deck 10 base: boom_foot 75 18 disc/dark/8, boom_knee -30 34 ring/white/9,
    stick 70 28 diamond/accent/8, bucket 55 22 fork/dark/15
lizard, 13, shoulders diamond/light/8
  shoulders 15 base: neck 0 15 bar/accent/8, head 0 15 disc/dark/9, tongue 0 18 fork/accent/9
  shoulders 20 base: loins 180 26 star/white/8, hips 0 20 square/dark/8
  hips 9 base: tail_base 0 18 ring/accent/7, tail_middle 15 18 disc/light/6,
    tail_tip 20 18 wedge/dark/8
  @shoulders 7 dark: elbow -75 25 disc/accent/6, forefoot 45 17 star/white/8
  @hips 7 dark: knee 75 24 square/light/6, hind_foot -50 17 cross/accent/7
chair, 4, seat star/accent/9
  seat 6 light: splat 0 40 ring/dark/8, crest 0 26 bar/light/13
  @seat 13 base: front_corner -116 34 square/dark/7, front_foot -64 36 bar/white/8
  @seat 11 base: back_corner -58 28 diamond/light/7
  @back_corner 6 dark: post 54 28 disc/white/6, finial 0 24 wedge/accent/9
puppet, 17, hips diamond/accent/9
  hips 17 base: waist 0 16 bar/light/10, heart 0 18 disc/accent/8, chin 0 14 square/dark/6,
    face 0 16 eye/white/11, hat 0 18 wedge/accent/13
  @heart 7 dark: shoulder -100 16 ring/light/7, elbow -40 20 diamond/white/7,
    fist 40 20 disc/dark/8
  @hips 8 base: knee -138 28 disc/light/7, ankle -24 24 ring/accent/6, shoe 65 14 shade/dark/9
potted plant, 12, pot shade/dark/17
  pot 5 base: soil 0 14 bar/light/13, first_node 0 20 disc/accent/6,
    second_node 4 20 square/white/6, third_node -8 18 ring/dark/7, flower 5 27 star/accent/13
  @first_node 5 base: low_leaf -65 28 drop/base/12, low_leaf_end 15 14 disc/white/5
  @second_node 4 base: middle_leaf -60 22 drop/light/11, middle_leaf_end 10 13 wedge/dark/6
  @third_node 3 base: bud -80 22 diamond/accent/7
"""


@dataclass(frozen=True)
class Joint:
    """A keypoint and the limb that leads to it from its parent; degrees, hundredths of a shape."""

    name: str
    parent: int  # the parent's position in the shape; a root is its own
    turn: float
    length: float
    width: float
    tone: str
    mark: tuple[str, str, float]  # kind, tone, radius


@dataclass(frozen=True)
class Shape:
    """A category."""

    name: str
    swing: float
    joints: tuple[Joint, ...]

    @property
    def skeleton(self) -> list[tuple[int, int]]:
        """Pairs of a parent and a joint, 1-based."""
        return [(j.parent + 1, i) for i, j in enumerate(self.joints[1:], start=2)]


def _shapes(table: str) -> tuple[Shape, ...]:
    shapes = []
    for line in re.sub(r",\s*\n\s*", ", ", table).strip().splitlines():
        if not line.startswith(" "):
            name, swing, root = line.split(", ")
            joints = [Joint(root.split()[0], 0, 0, 0, 0, "base", _mark(root.split()[1]))]
            shapes.append((name, float(swing), joints))
            continue
        head, chain = line.strip().split(": ")
        for side in ("left_", "right_") if head.startswith("@") else ("",):
            parent, width, tone = head.lstrip("@").split()
            places = {joint.name: i for i, joint in enumerate(joints)}
            at = places.get(side + parent, places.get(parent))
            for name, turn, length, mark in map(str.split, chain.split(", ")):
                turn = -float(turn) if side == "right_" else float(turn)
                joints.append(
                    Joint(side + name, at, turn, float(length), float(width), tone, _mark(mark))
                )
                at = len(joints) - 1
    return tuple(Shape(name, swing, tuple(joints)) for name, swing, joints in shapes)


def _mark(text: str) -> tuple[str, str, float]:
    kind, tone, radius = text.split("/")
    return kind, tone, float(radius)


SHAPES = _shapes(TABLE)


def _around(n: int, *radii: float) -> np.ndarray:
    turn = np.arange(n) * 2 * np.pi / n
    return np.column_stack([np.cos(turn), np.sin(turn)]) * np.resize(radii, n)[:, None]


_DISC, _SLIT = _around(24, 1), np.array([[0.1, -0.8], [0.1, 0.8], [-0.1, 0.8], [-0.1, -0.8]])
# What marks are made of, x along the limb: polygons in units of the radius, each with a tone;
# None is the mark's own tone.
MARKS = {
    "disc": [(_DISC, None)],
    "ring": [(_DISC, None), (_DISC * 0.55, "black")],
    "wheel": [(_DISC, "black"), (_DISC * 0.78, "light"), (_DISC * 0.3, None)],
    "eye": [(_DISC, None), (_DISC * 0.45 + [0.35, 0], "black")],
    "square": [(np.array([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]), None)],
    "diamond": [(_around(4, 1.15), None), (_around(4, 0.4), "black")],
    "wedge": [(np.array([[-0.7, -0.9], [1.3, 0], [-0.7, 0.9]]), None)],
    "bar": [(np.array([[-0.4, -1.1], [0.4, -1.1], [0.4, 1.1], [-0.4, 1.1]]), None)],
    "shade": [(np.array([[-0.7, -0.5], [0.7, -1.1], [0.7, 1.1], [-0.7, 0.5]]), None)],
    "drop": [(_DISC * [1, 0.6], None), (np.array([[0.7, -0.45], [1.7, 0], [0.7, 0.45]]), None)],
    "star": [(_around(10, 1.2, 0.5), None)],
    "cross": [(_SLIT * [3.5, 1.3], None), (_SLIT[:, ::-1] * [1.3, 3.5], None)],
    "fork": [
        (np.array([[-0.5, 0], [0.1, -0.8], [1.2, -0.7], [0.2, -0.2], [0.2, 0.2], [1.2, 0.7],
                   [0.1, 0.8]]), None)
    ],
}  # fmt: skip


def _pose(shape: Shape, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, 2), the root at 0, and the unit vectors (N, 2) of the limbs that lead to them."""
    angles, points = np.zeros(len(shape.joints)), np.zeros((len(shape.joints), 2))
    for i, joint in enumerate(shape.joints):
        swing = rng.uniform(-shape.swing, shape.swing)
        length = joint.length * rng.uniform(0.88, 1.12)
        if i:
            angles[i] = angles[joint.parent] + np.radians(joint.turn + swing)
            points[i] = points[joint.parent] + length * _up(angles[i])
    seen_from = np.array([rng.uniform(0.85, 1.15), 1])  # wider or narrower
    turn = np.radians(rng.uniform(-35, 35))
    rotation = np.array([_up(turn + np.pi / 2), -_up(turn)])
    along = np.column_stack([np.sin(angles), -np.cos(angles)]) * seen_from @ rotation
    return points * seen_from @ rotation, along / np.hypot(along[:, :1], along[:, 1:])


def _up(angle: float) -> np.ndarray:
    return np.array([np.sin(angle), -np.cos(angle)])


def _colours(rng: np.random.Generator) -> dict[str, tuple]:
    """A shape's tones, as BGR: they differ by hue and lightness in the same way on all shapes."""
    hue, contrast = rng.random(), rng.uniform(0.3, 0.7)
    saturation, value = rng.uniform(0.35, 0.8), rng.uniform(0.5, 0.7)
    hsv = {
        "base": (hue, saturation, value),
        "dark": (hue, saturation, value * 0.5),
        "light": (hue, saturation * 0.45, 0.9),
        "accent": (hue + contrast, 0.9, 0.9),
        "white": (0, 0, 0.97),
        "black": (0, 0, 0.1),
    }
    return {tone: _bgr(*values) for tone, values in hsv.items()}


def _bgr(hue: float, saturation: float, value: float) -> tuple:
    return tuple(round(255 * part) for part in hsv_to_rgb(hue % 1, saturation, value)[::-1])


def _parts(shape: Shape, points, along, scale: float, colours: Mapping) -> list[tuple]:
    """What a shape is drawn of, from the back to the front: (polygon in pixels, colour)."""
    limbs = [(points[j.parent], points[i], j) for i, j in enumerate(shape.joints) if j.parent != i]
    edge = 1.5  # an outline
    parts = [(_limb(a, b, (j.width / 2 + edge) * scale), colours["black"]) for a, b, j in limbs]
    parts += [(_limb(a, b, j.width / 2 * scale), colours[j.tone]) for a, b, j in limbs]
    for point, forward, joint in zip(points, along, shape.joints):
        kind, tone, radius = joint.mark
        frame = np.array([forward, [-forward[1], forward[0]]])
        pieces = [(polygon @ frame * radius * scale + point, t) for polygon, t in MARKS[kind]]
        parts += [(_outline(polygon, edge * scale), colours["black"]) for polygon, _ in pieces]
        parts += [(polygon, colours[t or tone]) for polygon, t in pieces]
    return parts


def _limb(start, end, radius: float) -> np.ndarray:
    """A strip from `start` to `end` with round ends."""
    x, y = end - start
    turn = np.arctan2(y, x) + np.linspace(-np.pi / 2, np.pi / 2, 9)
    cap = radius * np.column_stack([np.cos(turn), np.sin(turn)])
    return np.vstack([end + cap, start - cap])


def _outline(polygon: np.ndarray, width: float) -> np.ndarray:
    outward = polygon - polygon.mean(0)
    length = np.hypot(outward[:, :1], outward[:, 1:])
    return polygon + outward / length * width * 1.3


@dataclass(frozen=True, eq=False)
class Thing:
    """A shape in a photo."""

    shape: Shape
    points: np.ndarray  # (N, 2): x, y in pixels, maybe outside the photo
    parts: list[tuple[np.ndarray, tuple]]  # polygons in pixels and their colours, front last

    def mask(self, size: int) -> np.ndarray:
        """Where it is: (SUPER * size, SUPER * size) uint8, 0 or 1."""
        mask = np.zeros((size * SUPER, size * SUPER), np.uint8)
        _draw(mask, [(polygon, 1) for polygon, _ in self.parts])
        return mask


def _place(shape: Shape, size: int, share: float, rng: np.random.Generator) -> Thing:
    """A shape in a random pose and place, its longer side `share` of the photo's."""
    points, along = _pose(shape, rng)
    radii = np.array([[joint.mark[2]] for joint in shape.joints])
    low, high = (points - radii).min(0), (points + radii).max(0)
    scale = share * size / (high - low).max()
    room = (size - (high - low) * scale) / 2 + size * rng.choice([-0.05, 0, 0.12])
    middle = size / 2 + rng.uniform(-1, 1, 2) * np.maximum(room, 0)
    points = np.round(middle + (points - (low + high) / 2) * scale, 2)
    return Thing(shape, points, _parts(shape, points, along, scale, _colours(rng)))


def _draw(picture: np.ndarray, parts) -> None:
    """Fill polygons, in pixels of the photo, on a picture `SUPER` times as large."""
    for polygon, colour in parts:
        corners = np.round((polygon * SUPER - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(picture, [corners], colour, cv2.LINE_8, 4)


def _backdrop(size: int, rng: np.random.Generator) -> np.ndarray:
    """A picture `SUPER` times as large as the photo: uneven ground, things, and stray joints."""
    cells = int(rng.integers(2, 9))
    ground = np.array(_bgr(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.3, 0.95)))
    rough = np.clip(ground + rng.integers(-45, 46, (cells, cells, 3)), 0, 255).astype(np.uint8)
    picture = cv2.resize(rough, (size * SUPER, size * SUPER), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(4, 16)):
        colour = np.clip(ground + rng.integers(-70, 71, 3), 0, 255).tolist()
        at, radius = rng.uniform(0, size, 2), rng.uniform(0.03, 0.2) * size
        if rng.random() < 0.5:
            end = at + rng.uniform(-0.7, 0.7, 2) * size
            polygon = _limb(at, end, rng.uniform(0.003, 0.03) * size)
        else:
            polygon = at + radius * _around(int(rng.integers(3, 9)), *rng.uniform(0.5, 1, 5))
        _draw(picture, [(polygon, colour)])
    for _ in range(rng.integers(0, 6)):
        _draw(picture, _place(_stray(rng), size, rng.uniform(0.08, 0.25), rng).parts)
    return picture


def _stray(rng: np.random.Generator) -> Shape:
    """Two joints with a limb between them that belong to no category."""
    kinds, tones = list(MARKS), ["dark", "light", "accent", "white"]
    first, second = (
        (kinds[rng.integers(len(kinds))], tones[rng.integers(len(tones))], rng.uniform(5, 10))
        for _ in range(2)
    )
    turn, length, width = rng.uniform(0, 360), rng.uniform(15, 35), rng.uniform(4, 10)
    root = Joint("", 0, 0, 0, 0, "base", first)
    return Shape("", 0, (root, Joint("", 0, turn, length, width, "base", second)))


def _visibility(things: list[Thing], size: int) -> list[np.ndarray]:
    """Of each thing's keypoints, (N,) int: 2 in view, 1 covered by a later thing, 0 outside."""
    found, covered = [], np.zeros((size * SUPER, size * SUPER), np.uint8)
    for thing in reversed(things):
        inside = ((thing.points >= 0) & (thing.points < size)).all(1)
        x, y = (np.where(inside[:, None], thing.points, 0) * SUPER).astype(int).T
        found.append(np.where(inside, 2 - covered[y, x], 0))
        covered |= thing.mask(size)
    return found[::-1]


def draw_photo(
    lead: Shape, others: Sequence[Shape], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[Shape, dict]]]:
    """A photo (size, size, 3) uint8 BGR of `lead` and up to two of `others`.

    Also each shape in it with what COCO says of it: keypoints, num_keypoints, bbox, area. At least
    six in ten keypoints of each shape are in view; another shape that would prevent it is left out.
    """
    picture = _backdrop(size, rng)
    count = int(rng.integers(1, 4))
    companions = [others[i] for i in rng.integers(len(others), size=count - 1)]
    things: list[Thing] = []
    for shape in [lead, *companions]:
        for _ in range(20):
            thing = _place(shape, size, rng.uniform(0.5, 0.95) * (1, 0.8, 0.7)[count - 1], rng)
            tried = [*things, thing] if rng.random() < 0.5 else [thing, *things]
            if all((v == 2).mean() >= 0.6 for v in _visibility(tried, size)):
                things = tried
                break
    for thing in things:
        _draw(picture, thing.parts)
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    grain = rng.integers(-7, 8, (size, size, 3))
    picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
    visible = _visibility(things, size)
    return picture, [(t.shape, _described(t, v, size)) for t, v in zip(things, visible)]


def _described(thing: Thing, visible: np.ndarray, size: int) -> dict:
    mask = thing.mask(size)
    points = np.where(visible[:, None] > 0, thing.points, 0)
    return {
        "keypoints": [n for (x, y), v in zip(points.tolist(), visible.tolist()) for n in (x, y, v)],
        "num_keypoints": int((visible > 0).sum()),
        "bbox": [edge / SUPER for edge in cv2.boundingRect(mask)],
        "area": cv2.countNonZero(mask) / SUPER**2,
        "iscrowd": 0,
    }


def write_jointed(
    out: str | os.PathLike,
    *,
    photos: Mapping[str, int] = PHOTOS,
    minimum: int = 1,
    seed: int = 0,
    size: int = 160,
    categories: int = 20,
    progress: bool = True,
) -> dict:
    """Write the set to the folder `out`: whole, or not at all.

    Args:
        photos: how many of "train" and of "test", `size` x `size` pixels each.
        minimum: in how many photos of each file every category must be; checked before drawing.
        seed: the same seed, the same set.
        categories: how many of the 20 shapes; the last three in ten are the unseen ones.

    Returns the content of `generator.json`: the arguments, and how many photos of each file each
    category is in. A set that is there already is kept.

    Raises `UserError` for impossible arguments, for a folder with other content, and for a disk
    that cannot be written.
    """
    out = Path(out).resolve()  # the folder itself, or it could not be replaced in the end
    if not (2 <= categories <= len(SHAPES) and seed >= 0 and size >= 32):
        raise UserError(
            f"categories {categories}, seed {seed}, size {size}: choose 2 to {len(SHAPES)} "
            "categories, a seed of 0 or more, 32 pixels or more"
        )
    photos, needed = {name: int(photos[name]) for name in PHOTOS}, max(minimum, 1) * categories
    if min(photos.values()) < needed:
        raise UserError(
            f"{photos['train']} photos for training and {photos['test']} for testing: {needed} "
            f"or more of each are needed for {categories} categories"
        )
    if sum(photos.values()) > MOST:
        raise UserError(f"{sum(photos.values())} photos: their names have room for {MOST}")
    asked = {"name": "jointed", "version": VERSION, "seed": int(seed), "size": int(size),
             "categories": int(categories), "photos": photos}  # fmt: skip
    if (done := _finished(out, asked)) is not None:
        return done
    try:
        with alone(out.with_name(f".{out.name[-60:]}.lock")):
            if (done := _finished(out, asked)) is not None:  # by another process, in the meantime
                return done
            unfinished = out.with_name(f".{out.name[-60:]}.fewshot-landmarks.partial")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            try:
                record = _write(unfinished, asked, progress)
                if out.is_dir():
                    out.rmdir()  # it is empty
                os.replace(unfinished, out)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot write shapes to {out}: {advice(error)}") from None
    return record


_OWN = {
    *(f"{name}.json" for name in (*PHOTOS, "split", "generator")),
    "generator.json.sum",
    "images",
}


def _finished(out: Path, asked: dict) -> dict | None:
    """The record of an equal set at `out`; None where there is nothing yet."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    record = out / "generator.json"
    own = {path.name for path in out.iterdir()} <= _OWN if out.is_dir() else False
    if record.is_file() and not is_whole(record) and own:
        put_aside(out, "what was drawn is not known")
        return None
    try:
        record = json.loads(read_regular(record, SMALL))
    except (OSError, ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or {key: record.get(key) for key in asked} != asked:
        raise UserError(
            f"{out} holds something else, or shapes drawn with other settings: "
            "choose another folder or delete it"
        )
    return record


def _write(folder: Path, asked: dict, progress: bool) -> dict:
    shapes, first, record = SHAPES[: asked["categories"]], 1, asked | {"photos_of": {}}
    folder.mkdir(parents=True)  # not a link, nor a folder of somebody's
    (folder / "images").mkdir()
    with tqdm(
        total=sum(asked["photos"].values()), desc="shapes", unit="photo", disable=not progress
    ) as bar:
        for name, count in asked["photos"].items():
            leads = _generator(asked["seed"], 0, first).permutation(np.arange(count) % len(shapes))
            coco = _empty_coco(shapes, asked)
            for number, lead in enumerate(leads, start=first):
                _add_photo(coco, folder / "images", number, shapes[lead], shapes, asked)
                bar.update()
            first += count
            _write_json(folder / f"{name}.json", coco)
            pairs = {(a["category_id"], a["image_id"]) for a in coco["annotations"]}
            photos = Counter(number for number, _ in pairs)
            record["photos_of"][name] = {s.name: photos[i] for i, s in enumerate(shapes, start=1)}
    names = [shape.name for shape in shapes]
    seen = len(names) - max(1, len(names) * 3 // 10)
    title = f"{seen} seen shapes, {len(names) - seen} unseen"
    split = {
        "name": "jointed",
        "train": "train.json",
        "test": "test.json",
        "images": "images",
        "benchmarks": {"J-1": {"title": title, "seen": names[:seen], "unseen": names[seen:]}},
    }
    _write_json(folder / "split.json", split)
    os.sync()  # all photos at once
    write_text(folder / "generator.json", json.dumps(record) + "\n", summed=True)
    return record


def _empty_coco(shapes: Sequence[Shape], asked: dict) -> dict:
    categories = [
        {
            "id": number,
            "name": shape.name,
            "supercategory": "jointed",
            "keypoints": [joint.name for joint in shape.joints],
            "skeleton": shape.skeleton,
            "sigmas": [SIGMA] * len(shape.joints),
        }
        for number, shape in enumerate(shapes, start=1)
    ]
    info = {"description": "drawn jointed shapes", **asked}
    return {"info": info, "images": [], "annotations": [], "categories": categories}


def _add_photo(coco: dict, images: Path, number: int, lead, shapes, asked: dict) -> None:
    picture, found = draw_photo(lead, shapes, asked["size"], _generator(asked["seed"], 1, number))
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    name, (height, width) = f"{number:06d}.jpg", picture.shape[:2]
    (images / name).write_bytes(data.tobytes())
    coco["images"].append({"id": number, "file_name": name, "width": width, "height": height})
    for k, (shape, described) in enumerate(found):
        ids = {"id": 10 * number + k, "image_id": number, "category_id": shapes.index(shape) + 1}
        coco["annotations"].append(ids | described)


def _generator(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(s) for s in seed])))


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value) + "\n", "utf-8", newline="\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    summary, train = __doc__.partition("\n")[0], PHOTOS["train"]
    made = argparse.ArgumentParser("python -m fewshot_landmarks.data.jointed", description=summary)
    made.add_argument("--out", type=Path, required=True, metavar="DIR")
    made.add_argument(
        "--photos",
        type=int,
        default=train,
        metavar="N",
        help=f"in train.json (default: {train}); test.json has half as many",
    )
    made.add_argument("--seed", type=int, default=0)
    return answer(execute, made.parse_args(arguments))


def execute(asked: argparse.Namespace) -> None:
    """Draw what is asked for."""
    photos = {"train": asked.photos, "test": asked.photos // 2}
    write_jointed(asked.out, photos=photos, seed=asked.seed)


if __name__ == "__main__":
    sys.exit(main())
