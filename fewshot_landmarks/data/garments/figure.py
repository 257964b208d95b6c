"""A figure: proportions of a body, a pose, and the maps that carry clothes along with both.

Clothes are designed on a *template*, an upright frontal body that is symmetric about x = 0 with
its shoulders at y = 0. `Figure.torso` moves template points with the torso and, below the hips,
with the legs; sleeves and trouser legs follow the `Limb`s.
"""

from dataclasses import dataclass, field

import numpy as np

from fewshot_landmarks.data.garments.clothes.geometry import Limb

# Heights on the template.
ARMPIT, WAIST, HIP, CROTCH, KNEE, ANKLE = 0.8, 1.75, 2.55, 3.05, 4.95, 6.9
LEFT, RIGHT = -1, 1
SIDES = (LEFT, RIGHT)

_UPPER_ARM, _FOREARM, _THIGH, _SHIN = 1.5, 1.35, 2.1, 2.05


@dataclass(frozen=True)
class Body:
    """Half widths of the torso and a factor on the limbs, in units."""

    shoulder: float = 0.86
    chest: float = 0.70
    waist: float = 0.58
    hip: float = 0.76
    limb: float = 1.0


@dataclass(frozen=True)
class Pose:
    """Angles in radians; those of limbs are measured from straight down, outwards."""

    yaw: float = 0.0  # turn about the vertical: positive shows more of the picture's left side
    lean: float = 0.0  # of the shoulders, sideways, per unit of height
    hip_shift: float = 0.0
    shoulder_tilt: float = 0.0
    hip_tilt: float = 0.0
    arms: tuple = ((0.2, 0.15), (0.2, 0.15))  # (upper arm, forearm) left and right
    legs: tuple = ((0.06, 0.04), (0.06, 0.04))  # (thigh, shin) left and right
    leg_lengths: tuple = ((1.0, 1.0), (1.0, 1.0))  # seen of them: less where they point at us
    hidden_hands: tuple = (False, False)  # in a pocket or behind the back


@dataclass(frozen=True)
class Figure:
    """A body in a pose. `arms` and `legs` map a side (-1 left, +1 right) to a `Limb`."""

    body: Body = Body()
    pose: Pose = Pose()
    arms: dict = field(init=False)
    legs: dict = field(init=False)
    _between: "Limb" = field(init=False)
    _reach: list[float] = field(init=False)

    def __post_init__(self):
        arms, legs = {}, {}
        for side in SIDES:
            k = (side + 1) // 2
            root = self._upper([[side * (self.body.shoulder - 0.14), 0.22]])[0]
            arms[side] = self._limb(root, self.pose.arms[k], (_UPPER_ARM, _FOREARM), side)
            hip = self._upper([[side * self.body.hip * 0.47, HIP + 0.2]])[0]
            lengths = np.array([_THIGH, _SHIN]) * self.pose.leg_lengths[k]
            legs[side] = self._limb(hip, self.pose.legs[k], lengths, side)
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "legs", legs)
        _, knees, ankles = np.stack([legs[side].joints for side in SIDES], axis=1)
        middle = [[self._spine(HIP), HIP], knees.mean(0), ankles.mean(0)]
        object.__setattr__(self, "_between", Limb(middle, RIGHT))
        across = self._between.normals([self._between.bend, 1.0])
        apart = np.abs(((knees[1] - knees[0]) @ across[0], (ankles[1] - ankles[0]) @ across[1]))
        object.__setattr__(self, "_reach", [0.0, apart[0] / 2 + 0.3, apart[1] / 2 + 0.2])

    def torso(self, points, front: float = 1.0) -> np.ndarray:
        """Template points (n, 2) carried along with the body.

        `front` is 1 for points on the front of the body, -1 for those on its back: a turn moves
        the two in opposite directions, and the silhouette between them hardly.
        """
        points = np.asarray(points, float).reshape(-1, 2)
        posed = self._upper(points, front)
        below = points[:, 1] > HIP
        if below.any():
            posed[below] = self._lower(points[below], front)
        return posed

    def _lower(self, points: np.ndarray, front: float) -> np.ndarray:
        """Template points below the hips carried along the line between the legs.

        What is beside the line stays beside it, so that a skirt follows the thighs of somebody
        who sits; just below the hips it still lies as the hips do.
        """
        y = points[:, 1]
        line = self._between
        t = np.interp(y, [HIP, KNEE, ANKLE], [0.0, line.bend, 1.0])
        turned = self._turned(points, front)
        follow = np.clip((y - HIP) / 0.9, 0, 1)[:, None]
        level = np.column_stack([np.ones(len(y)), np.full(len(y), self.pose.hip_tilt)])
        across = (1 - follow) * level + follow * line.normals(t)
        return line.at(t) + turned[:, None] * across

    def reach(self, y: np.ndarray) -> np.ndarray:
        """Half the width that a skirt needs at template heights `y` to cover both legs."""
        return np.interp(y, [HIP, KNEE, ANKLE], self._reach)

    @property
    def far_side(self) -> int:
        """The side (-1 or +1) turned away from the viewer, 0 in a frontal view."""
        return 0 if abs(self.pose.yaw) < 0.4 else int(-np.sign(self.pose.yaw))

    def _upper(self, points, front: float = 1.0) -> np.ndarray:
        points = np.asarray(points, float)
        y, pose = points[:, 1], self.pose
        tilt = np.interp(y, [0, HIP], [pose.shoulder_tilt, pose.hip_tilt])
        turned = self._turned(points, front)
        return np.column_stack([turned + self._spine(y), y + turned * tilt])

    def _turned(self, points: np.ndarray, front: float) -> np.ndarray:
        """How far to the side template points lie after the turn about the vertical, (n,)."""
        x, yaw = points[:, 0], self.pose.yaw
        squeeze = np.sqrt(np.cos(yaw) ** 2 + 0.3 * np.sin(yaw) ** 2)
        bulge = np.clip(1 - (x / 0.9) ** 2, 0, 1)
        return squeeze * x - front * 0.34 * np.sin(yaw) * bulge

    def _spine(self, y) -> np.ndarray:
        pose = self.pose
        sway = pose.hip_shift * np.exp(-(((y - HIP) / 1.3) ** 2))
        return pose.lean * np.clip(HIP - y, 0, None) + sway

    def _limb(self, root, angles, lengths, side) -> Limb:
        squeeze = 0.35 + 0.65 * np.cos(self.pose.yaw)
        joints = [root]
        for angle, length in zip(angles, lengths):
            step = [side * np.sin(angle) * squeeze, np.cos(angle)]
            joints.append(joints[-1] + length * np.asarray(step))
        return Limb(joints, side)


def random_body(rng: np.random.Generator) -> Body:
    """Proportions from slight to broad."""
    broad = rng.normal(0, 0.05)
    return Body(
        shoulder=0.86 + broad + rng.normal(0, 0.04),
        chest=0.70 + broad + rng.normal(0, 0.03),
        waist=0.58 + broad * 1.3 + rng.normal(0, 0.05),
        hip=0.76 + broad + rng.normal(0, 0.05),
        limb=float(np.clip(1 + 2 * broad + rng.normal(0, 0.08), 0.75, 1.3)),
    )


_ARMS = {  # mode: (share, upper arm low and high, forearm low and high), degrees
    "hang": (40, (4, 24), (-6, 22)),
    "away": (10, (35, 75), (25, 85)),
    "hip": (14, (36, 58), (-75, -48)),
    "pocket": (9, (16, 30), (-22, -8)),
    "front": (10, (4, 26), (-105, -55)),
    "chest": (7, (8, 32), (-155, -125)),
    "raised": (5, (105, 155), (140, 205)),
    "behind": (5, (8, 22), (-22, -10)),
}


# A leg: thigh and shin in degrees outwards, lowest and highest, and how much of them is seen.
_STRAIGHT = ((-2, 8), (-5, 8), (1.0, 1.0), (1.0, 1.0))
_APART = ((9, 26), (6, 24), (1.0, 1.0), (1.0, 1.0))
_INWARDS = ((-13, -4), (-12, -2), (1.0, 1.0), (1.0, 1.0))
_OUT = ((10, 30), (-8, 24), (0.9, 1.0), (1.0, 1.0))
_BEHIND = ((-6, 8), (-8, 10), (0.8, 1.0), (0.45, 0.85))
_RAISED = ((8, 55), (-20, 10), (0.5, 0.95), (0.9, 1.0))
_SEATED = ((8, 34), (-14, 10), (0.3, 0.65), (0.9, 1.0))
_SIDEWAYS = ((50, 84), (-14, 18), (0.75, 1.0), (0.9, 1.0))
_LEGS = {  # mode: (share, one leg, the other)
    "stand": (36, _STRAIGHT, _STRAIGHT),
    "wide": (13, _APART, _APART),
    "crossed": (8, _INWARDS, _INWARDS),
    "one leg out": (14, _STRAIGHT, _OUT),
    "walk": (11, _STRAIGHT, _BEHIND),
    "foot up": (4, _STRAIGHT, _RAISED),
    "sit": (6, _SEATED, _SEATED),
    "sit sideways": (8, _SIDEWAYS, _SIDEWAYS),
}


def random_legs(rng: np.random.Generator) -> tuple[tuple, tuple]:
    """How somebody stands, walks or sits: angles and seen lengths of thighs and shins."""
    names = list(_LEGS)
    shares = np.array([_LEGS[name][0] for name in names], float)
    mode = names[rng.choice(len(names), p=shares / shares.sum())]
    angles, seen = [], []
    for thigh, shin, thigh_seen, shin_seen in _LEGS[mode][1:]:
        angles.append([np.radians(rng.uniform(*thigh)), np.radians(rng.uniform(*shin))])
        seen.append((rng.uniform(*thigh_seen), rng.uniform(*shin_seen)))
    if mode == "sit sideways":  # both legs to the right, side by side
        near = [-angle + rng.normal(0, 0.08) for angle in angles[1]]
        angles[0], seen[0] = near, seen[1]
    if rng.random() < 0.5:
        angles, seen = angles[::-1], seen[::-1]
    return tuple(map(tuple, angles)), tuple(seen)


def random_pose(rng: np.random.Generator) -> Pose:
    """A standing, leaning, turning or walking person's pose."""
    yaw = 0.0
    if rng.random() < 0.45:
        most = rng.choice([0.8, 1.3], p=[0.8, 0.2])  # of the turned, some to a side view
        yaw = rng.choice([-1, 1]) * rng.uniform(most - 0.7, most)
    names = list(_ARMS)
    shares = np.array([_ARMS[name][0] for name in names], float)
    arms, hidden = [], []
    for _ in SIDES:
        mode = names[rng.choice(len(names), p=shares / shares.sum())]
        _, upper, fore = _ARMS[mode]
        arms.append((np.radians(rng.uniform(*upper)), np.radians(rng.uniform(*fore))))
        hidden.append(mode in ("pocket", "behind"))
    legs, seen = random_legs(rng)
    return Pose(
        yaw=yaw,
        lean=rng.normal(0, rng.choice([0.06, 0.2], p=[0.75, 0.25])),
        hip_shift=rng.normal(0, 0.07),
        shoulder_tilt=rng.normal(0, 0.06),
        hip_tilt=rng.normal(0, 0.05),
        arms=tuple(arms),
        legs=legs,
        leg_lengths=seen,
        hidden_hands=tuple(hidden),
    )


def flat_pose(rng: np.random.Generator) -> Pose:
    """Clothes laid out or hung up: almost symmetric, sleeves spread, nobody in them."""
    opening = rng.uniform(0.15, 1.1)
    arms = []
    for _ in SIDES:
        upper = opening + rng.normal(0, 0.06)
        arms.append((upper, upper + rng.normal(-0.05, 0.15)))
    apart = rng.uniform(0.0, 0.22)
    legs = tuple((apart + rng.normal(0, 0.03), apart + rng.normal(0, 0.04)) for _ in SIDES)
    return Pose(
        lean=rng.normal(0, 0.015), hip_shift=rng.normal(0, 0.02), arms=tuple(arms), legs=legs
    )
