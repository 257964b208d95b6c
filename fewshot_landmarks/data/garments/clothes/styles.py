"""How garments are cut: styles of every category, drawn at random. Lengths are in units.

Category ids are DeepFashion2's.
"""

from dataclasses import dataclass

import numpy as np

from fewshot_landmarks.data.garments.clothes.trims import HEMS

TOPS, OUTWEAR, DRESSES = (1, 2, 5, 6), (3, 4), (10, 11, 12, 13)
SHORTS, TROUSERS, SKIRT = LOWERS = (7, 8, 9)
SHORT_SLEEVED, LONG_SLEEVED = (1, 3, 10), (2, 4, 11)
VESTS, SLINGS = (5, 12), (6, 13)

NECKS = {  # half width, height of the corners, depth, (share for tops, for sleeveless)
    "round": (0.36, -0.07, 0.26, 30, 25),
    "scoop": (0.46, -0.04, 0.52, 8, 25),
    "v": (0.34, -0.07, 0.68, 16, 20),
    "boat": (0.60, 0.0, 0.10, 8, 10),
    "square": (0.46, -0.04, 0.42, 5, 12),
    "turtle": (0.27, -0.36, 0.04, 9, 4),
    "collar": (0.32, -0.09, 0.32, 24, 4),
}


@dataclass(frozen=True)
class UpperStyle:
    """The cut of a garment that hangs from the shoulders; lengths in units."""

    neck: str = "round"
    neck_width: float = 1.0  # factors on the neckline's own numbers
    neck_depth: float = 1.0
    ease: float = 0.08
    flare: float = 0.0
    length: float = 2.6  # height of the hem on the template
    droop: float = 0.06
    tuck: float = 0.0  # height of a waist that holds the hem in, 0: none
    sleeve: float = 0.3  # where a sleeve ends, as a fraction of the arm
    sleeve_ease: float = 0.06
    sleeve_flare: float = 0.0
    puff: float = 0.0
    hem: str = "stitch"
    cuff: str = "stitch"
    placket: str = "none"  # "none", "half", "full"
    pocket: bool = False
    low_pockets: bool = False
    print: str = "none"  # "none", "text", "badge", "band"
    print_shape: tuple = (0.5,) * 6  # numbers from 0 to 1 that shape the print
    hood: bool = False
    pleats: int = 0
    waist: str = "none"  # of a dress: "none", "seam", "belt"
    strap: float = 0.5  # where straps or a vest's shoulders lie, as half width
    strap_width: float = 0.05
    gap: float = 0.15  # between the front edges of outwear, at the top and at the hem
    gap_hem: float = 0.3
    lapel: float = 0.9  # how low the front edges begin
    zip: bool = False


def random_upper(category: int, rng: np.random.Generator) -> UpperStyle:
    """A style of any category that hangs from the shoulders."""

    def chance(p):
        return bool(rng.random() < p)

    sleeveless = category in VESTS + SLINGS
    names = list(NECKS)
    shares = np.array([NECKS[n][4 if sleeveless else 3] for n in names], float)
    dress, outwear = category in DRESSES, category in OUTWEAR
    length = rng.uniform(1.75, 2.95)
    if dress:
        length = rng.choice([rng.uniform(3.5, 4.6), rng.uniform(4.5, 6.7)])
    elif outwear:
        length = rng.choice([rng.uniform(1.9, 3.0), rng.uniform(3.0, 5.2)], p=[0.7, 0.3])
    elif chance(0.12):
        length = rng.uniform(1.35, 1.7)
    neck = str(rng.choice(names, p=shares / shares.sum()))
    placket = "none"
    if neck == "collar" or (neck in ("round", "v") and chance(0.2)):
        placket = str(rng.choice(["half", "full"]))
    long_sleeves = category in LONG_SLEEVED
    return UpperStyle(
        neck=neck,
        neck_width=rng.uniform(0.88, 1.15),
        neck_depth=rng.uniform(0.7, 1.25),
        ease=float(np.clip(rng.normal(0.09, 0.08), 0.0, 0.34)) + (0.09 if outwear else 0),
        flare=abs(rng.normal(0, 0.3)) if dress else rng.normal(0.02, 0.05),
        length=float(length),
        droop=float(rng.choice([0.03, 0.08, 0.22], p=[0.4, 0.4, 0.2])),
        sleeve=rng.uniform(0.72, 0.98) if long_sleeves else rng.uniform(0.17, 0.46),
        sleeve_ease=abs(rng.normal(0.05, 0.04)) + (0.05 if outwear else 0),
        sleeve_flare=abs(rng.normal(0, 0.06)) + (rng.uniform(0.1, 0.25) if chance(0.1) else 0),
        puff=rng.uniform(0.08, 0.2) if chance(0.15) and not outwear else 0.0,
        hem=str(rng.choice(HEMS, p=[0.25, 0.15, 0.05, 0.1, 0.45])),
        cuff=str(rng.choice(HEMS, p=[0.3, 0.2, 0.15, 0.05, 0.3])),
        placket=placket,
        pocket=chance(0.2),
        low_pockets=outwear and chance(0.7),
        print=str(rng.choice(["none", "text", "badge", "band"], p=[0.68, 0.12, 0.12, 0.08])),
        print_shape=tuple(rng.random(6)),
        hood=(outwear and chance(0.25)) or (category == 2 and chance(0.1)),
        pleats=int(rng.integers(4, 10)) if dress and chance(0.45) else 0,
        waist=str(rng.choice(["none", "seam", "belt"], p=[0.4, 0.3, 0.3])),
        strap=rng.uniform(0.34, 0.5) if category in SLINGS else rng.uniform(0.56, 0.8),
        strap_width=rng.uniform(0.035, 0.09),
        gap=rng.choice([0.02, rng.uniform(0.08, 0.28)], p=[0.3, 0.7]),
        gap_hem=rng.uniform(0.05, 0.5),
        lapel=rng.uniform(0.35, 1.5),
        zip=chance(0.4),
    )


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
