"""The 20 categories: their joints, limbs and marks."""

import re
from dataclasses import dataclass

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
            at = places[side + parent if side + parent in places else parent]
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
