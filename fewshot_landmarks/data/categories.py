"""Categories and their landmark definitions: DeepFashion2's 13, and those of any keypoint set.

DeepFashion2's facts stand in `data/landmarks.json` (indices are 0-based within a category): names
and ids as in the data set's annotations, the number of landmarks, the pairs that are mirror images
of each other, and the edges of the skeleton. Landmarks in no pair lie on the axis of symmetry.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources

from fewshot_landmarks.data.formats.values import folded, whole
from fewshot_landmarks.support.errors import UserError


@dataclass(frozen=True)
class Category:
    """One category; landmark indices are 0-based."""

    id: int
    name: str
    landmarks: int  # how many the category defines
    pairs: tuple[tuple[int, int], ...] = ()  # landmarks that are mirror images of each other
    edges: tuple[tuple[int, int], ...] = ()  # the skeleton, for drawing
    oks_sigmas: tuple[float, ...] = ()  # of COCO's object keypoint similarity; empty: not known
    landmark_names: tuple[str, ...] = ()  # empty: they are called by their numbers, 1 to N
    # Of the keypoints that its file gives an object, which are its landmarks; empty: all.
    columns: tuple[bool, ...] = field(default=(), repr=False, compare=False)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Landmarks merged by symmetry, in order of their first index."""
        partner = {a: b for pair in self.pairs for a, b in (pair, pair[::-1])}
        merged = {tuple(sorted({i, partner.get(i, i)})) for i in range(self.landmarks)}
        return tuple(sorted(merged))

    @property
    def names(self) -> tuple[str, ...]:
        """What its landmarks are called."""
        return self.landmark_names or tuple(str(i + 1) for i in range(self.landmarks))


class Categories(Mapping[int, Category]):
    """Categories by id, in order of their ids; names find them too."""

    def __init__(self, categories: Iterable[Category]):
        self._by_id = {found.id: found for found in sorted(categories, key=lambda c: c.id)}

    def __getitem__(self, number: int) -> Category:
        return self._by_id[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def landmarks(self, ids: Iterable[int]) -> dict[int, int]:
        """How many landmarks each of some categories has."""
        return {number: self[number].landmarks for number in ids}

    @property
    def most_landmarks(self) -> int:
        """Of any category."""
        return max(found.landmarks for found in self._by_id.values())

    def called(self, name: object) -> list[Category]:
        """Those of a name, or else of one that differs in case and spaces alone, or else of another
        name of the same category of DeepFashion2.
        """
        kinds = self._by_id.values()
        named = [kind for kind in kinds if kind.name == name]
        named = named or [kind for kind in kinds if folded(kind.name) == folded(name)]
        known = None if named else deepfashion2(name)
        return named or [kind for kind in kinds if known and deepfashion2(kind.name) == known]

    def find(self, key: int | str) -> Category:
        """The category of a name, see `called`, or else of an id.

        Raises `UserError` for an unknown one, and for a name that several have.
        """
        kinds, number = self._by_id.values(), whole(key)
        if isinstance(key, int) and key in self._by_id:
            return self._by_id[key]
        named = self.called(key)
        if number in self._by_id and not any(kind.name == key for kind in named):
            return self._by_id[number]
        if len(named) == 1:
            return named[0]
        if named:
            ids = ", ".join(str(kind.id) for kind in named)
            raise UserError(f"several categories are called {key!r}: choose one by its id: {ids}")
        names = ", ".join(f"{kind.id} {kind.name}" for kind in kinds)
        raise UserError(f"unknown category {key!r}: choose one of {names}")


def _load() -> Categories:
    text = resources.files("fewshot_landmarks.data").joinpath("landmarks.json").read_text("utf-8")
    return Categories(
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


# Words that the data set's converter to COCO and others use for those of its annotations, and what
# mmpose's keypoints of each category begin with, in order of ids.
_WORDS = {"sleeved": "sleeve", "shirt": "top", "outer": "outwear", "outerwear": "outwear"}
_INITIALS = "sss lss sso lso vest sling shorts trousers skirt ssd lsd vd sd".split()


def deepfashion2(name: object) -> Category | None:
    """DeepFashion2's category of any of its names in use: "long sleeve dress",
    "long_sleeved_dress", "lsd"; None for another's.
    """
    words = re.split(r"[\s_-]+", folded(name))
    return _BY_NAME.get(" ".join(_WORDS.get(word, word) for word in words))


DEEPFASHION2 = _load()
CATEGORIES = tuple(DEEPFASHION2.values())
_BY_NAME = {kind.name: kind for kind in CATEGORIES} | dict(zip(_INITIALS, CATEGORIES, strict=True))
category = DEEPFASHION2.find
