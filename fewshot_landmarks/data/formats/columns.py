"""Which of the keypoints that a COCO file gives its objects are their category's landmarks.

DeepFashion2's converter gives an object of any category the 294 keypoints of all thirteen, one
category's after the other's, of which it labels its own 8 to 39. Other sets of several categories
are written in the same way.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import accumulate, compress
from typing import TypeAlias

import numpy as np

from fewshot_landmarks.data.categories import CATEGORIES, DEEPFASHION2, Category, deepfashion2
from fewshot_landmarks.data.formats.values import Bad, key_of, mirrored, repeated
from fewshot_landmarks.support.names import listed

Labelled: TypeAlias = Mapping[int, np.ndarray]
"""For categories by id: (W,) bool, which of their file's keypoints any object labels."""

_ENDS = tuple(accumulate(kind.landmarks for kind in CATEGORIES))
_WIDTH = _ENDS[-1]
LONG = 300  # numbers in a list that is kept as an array


def compacted(row: dict) -> dict:
    """An object of a JSON file without what nothing reads, and a long list of numbers as an array.

    DeepFashion2's training annotations, 1.7 GB of text, would take some 12 GB otherwise.
    """
    row.pop("segmentation", None)
    said = row.get("keypoints")
    if type(said) is list and len(said) >= LONG and set(map(type, said)) <= {int, float}:
        try:
            row["keypoints"] = array("d", said)
        except OverflowError:  # an integer that no float holds: it is refused by value
            pass
    return row


def length(said: object) -> int:
    """How many numbers an annotation's keypoints are; 0 for what is no list."""
    return len(said) if isinstance(said, (list, array)) else 0


def labelled_columns(kinds: Mapping[object, Category], rows: Iterable[dict]) -> Labelled:
    """Which keypoints the annotations of each category label; categories have their keys."""
    found = {key: np.zeros(kind.landmarks, bool) for key, kind in kinds.items()}
    for row in rows:
        mask, said = found.get(key_of(row.get("category_id"))), row.get("keypoints")
        if mask is not None and length(said) == 3 * len(mask) and not mask.all():
            seen = said[2::3]  # type: ignore[index]
            if isinstance(seen, list):
                mask |= [type(value) in (int, float) and value > 0 for value in seen]
            else:
                mask |= np.array(seen) > 0
    return {kinds[key].id: mask for key, mask in found.items()}


def with_own_columns(
    kinds: Mapping[object, Category], shared: Counter, labelled: Labelled
) -> dict[object, Category]:
    """Categories, by their keys, with their own of their file's keypoints.

    Of 294 keypoints a category has those that DeepFashion2's of that name has, or that the only one
    of its categories has whose keypoints objects label. Where several categories of a file list the
    same keypoints (`shared` counts lists), or most of a category's are labelled by no object, it
    has those that are labelled. Where names of these repeat, nothing would tell them from those of
    another file, and a category has all.
    """
    found = {}
    for key, kind in kinds.items():
        found[key] = kind
        mask = labelled[kind.id]
        if kind.landmarks == _WIDTH and (known := _deepfashion2(kind, mask)):
            name = known.name if deepfashion2(kind.name) else kind.name
            found[key] = replace(known, id=kind.id, name=name, columns=_span(known))
        elif mask.any() and (shared[kind.names] > 1 or 2 * mask.sum() < len(mask)):
            found[key] = _cut(kind, mask)
    return found


def _span(known: Category) -> tuple[bool, ...]:
    end = _ENDS[CATEGORIES.index(known)]
    return tuple(end - known.landmarks <= column < end for column in range(_WIDTH))


def _deepfashion2(kind: Category, mask: np.ndarray) -> Category | None:
    """DeepFashion2's category that one with as many keypoints as all of its have is."""
    if known := deepfashion2(kind.name):
        return known
    if not all(
        "_kpt" in name for name in kind.landmark_names
    ):  # neither numbers nor mmpose's names
        return None
    if not mask.any():
        return DEEPFASHION2.get(kind.id)
    owners = {int(owner) for owner in np.searchsorted(_ENDS, np.flatnonzero(mask), side="right")}
    return CATEGORIES[owners.pop()] if len(owners) == 1 else None


def _cut(kind: Category, mask: np.ndarray) -> Category:
    """A category of the keypoints of a mask alone."""
    names = tuple(compress(kind.names, mask))
    if mask.all() or repeated(names):
        return kind
    place = {int(column): i for i, column in enumerate(np.flatnonzero(mask))}
    edges, pairs = (
        tuple((place[a], place[b]) for a, b in lines if a in place and b in place)
        for lines in (kind.edges, kind.pairs)
    )
    return replace(
        kind,
        landmarks=len(names),
        pairs=pairs or mirrored(names),
        edges=edges,
        oks_sigmas=tuple(compress(kind.oks_sigmas, mask)),
        landmark_names=() if names == tuple(str(i + 1) for i in range(len(names))) else names,
        columns=tuple(mask.tolist()),
    )


def own_marks(said: object, kind: Category) -> object:
    """What an annotation says of its category's landmarks; raises `Bad` where it labels others."""
    if not kind.columns:
        return said.tolist() if isinstance(said, array) else said
    if not isinstance(said, (list, array)) or len(said) != 3 * len(kind.columns):
        raise Bad(
            f"keypoints has {length(said)} values, not 3 for each of {len(kind.columns)} keypoints"
        )
    parts = [list(compress(said[first::3], kind.columns)) for first in range(3)]
    seen = list(said[2::3])
    if seen.count(0) - parts[2].count(0) < len(seen) - kind.landmarks:
        others = [k for k, own in enumerate(kind.columns, 1) if seen[k - 1] != 0 and not own]
        raise Bad(f"it labels keypoints that are none of {kind.name}'s: {listed(others)}")
    return [number for mark in zip(*parts) for number in mark]


def told(kinds: Iterable[Category]) -> list[str]:
    """A line on keypoints that are left out, if any are."""
    cut = [f"{len(kind.columns) - kind.landmarks} of {len(kind.columns)} of {kind.name}"
           for kind in kinds if kind.columns]  # fmt: skip
    return (
        [f"keypoints that are no landmarks of a category are left out: {listed(cut)}"]
        if cut
        else []
    )
