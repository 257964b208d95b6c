"""Outfits: which garments go with a given one, how they are cut, and in what order they lie."""

from dataclasses import dataclass, replace

import numpy as np

from fewshot_landmarks.data.garments.clothes.cloth import Fabric, random_fabric
from fewshot_landmarks.data.garments.clothes.lowers import build_lower
from fewshot_landmarks.data.garments.clothes.shapes import DrawnGarment
from fewshot_landmarks.data.garments.clothes.styles import (
    DRESSES,
    LOWERS,
    OUTWEAR,
    TOPS,
    random_lower,
    random_upper,
)
from fewshot_landmarks.data.garments.clothes.uppers import build_upper
from fewshot_landmarks.data.garments.figure import Figure

FREQUENCIES = {  # garments of each category in the real training set
    1: 71645, 2: 36064, 3: 543, 4: 13457, 5: 16095, 6: 1985, 7: 36616, 8: 55387, 9: 30835,
    10: 17211, 11: 7907, 12: 17949, 13: 6492,
}  # fmt: skip


@dataclass
class Outfit:
    """Garments from the innermost outwards, each with its fabric; `lead` is an index of theirs."""

    garments: list
    fabrics: list
    lead: int
    tucked: bool  # the top is inside the lower garment

    def of(self, categories) -> list[int]:
        """Indices of the garments of some categories."""
        return [i for i, g in enumerate(self.garments) if g.category in categories]


def random_outfit(lead: int, figure: Figure, rng: np.random.Generator, alone: bool) -> Outfit:
    """An outfit around a garment of category `lead`; `alone` leaves out its companions."""
    categories = [lead] if alone else _companions(lead, rng)
    tucked = bool(rng.random() < 0.35)
    styles = {}
    for category in categories:
        draw = random_lower if category in LOWERS else random_upper
        styles[category] = draw(category, rng)
    _layer(styles, lead)
    if tucked:
        _tuck(styles)
    garments = [_build(category, style, figure) for category, style in styles.items()]
    fabrics = [_fabric(category, rng) for category in categories]
    return Outfit(garments, fabrics, categories.index(lead), tucked)


def _build(category: int, style, figure: Figure) -> DrawnGarment:
    build = build_lower if category in LOWERS else build_upper
    return build(category, style, figure)


def _fabric(category: int, rng) -> Fabric:
    fabric = random_fabric(rng)
    if category in LOWERS and fabric.tile is not None and rng.random() < 0.4:
        fabric = replace(fabric, tile=None)  # trousers are plain more often than tops
    return fabric


def _draw(categories, rng) -> int:
    shares = np.array([FREQUENCIES[c] for c in categories], float)
    return int(categories[rng.choice(len(categories), p=shares / shares.sum())])


def _companions(lead: int, rng) -> list[int]:
    """The categories of an outfit, from the innermost outwards."""
    if lead in OUTWEAR:
        inner = (
            [_draw(DRESSES, rng)] if rng.random() < 0.22 else [_draw(TOPS, rng), _draw(LOWERS, rng)]
        )
        return [*inner, lead]
    if lead in DRESSES:
        inner = [lead]
    elif lead in LOWERS:
        inner = [_draw(TOPS, rng), lead]
    else:
        inner = [lead, _draw(LOWERS, rng)]
    return inner + ([_draw(OUTWEAR, rng)] if rng.random() < 0.16 else [])


def _layer(styles: dict, lead: int) -> None:
    """Make cuts fit over each other: wider outside, open where the lead is underneath."""
    outer = next((c for c in styles if c in OUTWEAR), None)
    if outer is None:
        return
    style = styles[outer]
    for category, inner in styles.items():
        if category in LOWERS or category == outer:
            continue
        styles[category] = inner = replace(
            inner, ease=min(inner.ease, style.ease * 0.6), puff=0.0, sleeve_flare=0.0,
            sleeve_ease=min(inner.sleeve_ease, style.sleeve_ease * 0.5),
        )  # fmt: skip
        if category == lead:
            style = replace(style, gap=max(style.gap, 0.2), gap_hem=max(style.gap_hem, 0.35))
    styles[outer] = style


def _tuck(styles: dict) -> None:
    """Hold a top's hem inside the waist of the lower garment."""
    waist = next((styles[c].rise for c in styles if c in LOWERS), None)
    if waist is None:
        return
    for category in styles:
        if category in TOPS:
            styles[category] = replace(styles[category], tuck=waist, length=waist + 0.3, droop=0.03)
