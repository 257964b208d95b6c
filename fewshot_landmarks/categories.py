"""DeepFashion2's 13 clothing categories and their landmark definitions.

The facts stand in `data/landmarks.json` (indices are 0-based within a category): names and ids
as in the data set's annotations, the number of landmarks, the pairs that are mirror images of
each other, and the edges of the skeleton. Landmarks in no pair lie on the axis of symmetry.
"""

import json
from dataclasses import dataclass
from importlib import resources

from fewshot_landmarks.errors import UserError


@dataclass(frozen=True)
class Category:
    """One clothing category; landmark indices are 0-based."""

    id: int
    name: str
    landmarks: int  # how many the category defines, 8 to 39
    pairs: tuple[tuple[int, int], ...]  # landmarks that are mirror images of each other
    edges: tuple[tuple[int, int], ...]  # the skeleton, for drawing
    oks_sigmas: tuple[float, ...]

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Landmarks merged by symmetry, in order of their first index."""
        partner = {a: b for pair in self.pairs for a, b in (pair, pair[::-1])}
        merged = {tuple(sorted({i, partner.get(i, i)})) for i in range(self.landmarks)}
        return tuple(sorted(merged))


def _load() -> tuple[Category, ...]:
    text = resources.files("fewshot_landmarks.data").joinpath("landmarks.json").read_text("utf-8")
    return tuple(
        Category(
            id=row["id"],
            name=row["name"],
            landmarks=row["landmarks"],
            pairs=tuple(map(tuple, row["pairs"])),
            edges=tuple(map(tuple, row["edges"])),
            oks_sigmas=tuple(row["oks_sigmas"]),
        )
        for row in json.loads(text)
    )


CATEGORIES = _load()
MAX_LANDMARKS = max(category.landmarks for category in CATEGORIES)  # 39, long sleeve outwear

_BY_KEY = {key: category for category in CATEGORIES for key in (category.id, category.name)}


def category(key: int | str) -> Category:
    """The category of an id (1 to 13) or a name; raises `UserError` for an unknown one."""
    try:
        return _BY_KEY[key]
    except (KeyError, TypeError):
        names = ", ".join(f"{c.id} {c.name}" for c in CATEGORIES)
        raise UserError(f"unknown category {key!r}: choose one of {names}") from None
