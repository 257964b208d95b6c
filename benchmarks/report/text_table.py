"""A table of the report, and how its numbers are printed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fewshot_landmarks.protocol import ABLATIONS, LEARNERS, UNTRAINED

DASH = "—"


@dataclass(frozen=True)
class TextTable:
    """A table of ready texts; the first column heads the rows, those of `words` are no numbers."""

    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: tuple[str, ...] = ()


def fixed(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number with that many decimals and a true minus; a dash where there is none."""
    if not math.isfinite(value):
        return DASH
    value = round(value, digits) + 0.0  # no negative zero
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def interval(value: float, ci95: float, sign: bool = False, decimals: int = 3) -> str:
    """A number and the half-width of its interval, if it has one."""
    text, half = fixed(value, decimals, sign=sign), fixed(ci95, decimals)
    return text if DASH in (text, half) else f"{text} ± {half}"


def ordered(learners: Iterable[str]) -> list[str]:
    """Learners as the tables order them: the nine, the ablations, others by name, controls."""
    found, usual = set(learners), LEARNERS + ABLATIONS
    others = sorted(found - {*usual, *UNTRAINED})
    return [name for name in (*usual, *others, *UNTRAINED) if name in found]
