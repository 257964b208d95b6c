"""Numbers, ids and names from outside, turned into what the code may trust, or refused by value."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from reprlib import repr as brief
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from fewshot_landmarks.support.names import plain

LARGEST = 1e9  # no coordinate in a photo is as large


class Bad(Exception):
    """Something annotated that is not fit for use; the message says why."""


def parsed(path: Path, content: bytes, each: Callable[[dict], dict] | None = None) -> object:
    """What a JSON file says, with what `each` makes of its objects; raises `Bad`."""
    try:
        return json.loads(content, object_hook=each)
    except UnicodeDecodeError as error:
        raise Bad(
            f"{path} is not in UTF-8: {error.reason} at byte {error.start}; save it so"
        ) from None
    except (ValueError, RecursionError) as error:
        raise Bad(f"{path} is not JSON: {error}; export it again") from None


def parsed_xml(path: Path, content: bytes) -> Element:
    """The root of an XML file in UTF-8; raises `Bad`, also for a document type or entity."""
    try:
        text = content.decode("utf-8-sig")
        # A text is parsed as UTF-8 whatever it declares, so that nothing can hide from this search.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise Bad(f"{path} declares a document type, which no annotator writes: not read")
        return ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise Bad(f"{path} is not XML in UTF-8: {error}; export it again") from None


def key_of(value: object) -> int | str | None:
    """An id as annotations are matched by: "007" and 7.0 are 7; None for what is no id."""
    if type(value) is int and -(10**18) < value < 10**18:
        return value
    if whole := re.fullmatch(r"(-?[0-9]{1,18})(\.0*)?", str(value)):
        return int(whole[1])
    return str(value) if isinstance(value, (int, str)) else None


def whole(value: object) -> int | None:
    """A whole number, however it is written; None for anything else."""
    key = key_of(value)
    return key if isinstance(key, int) else None


def said_true(value: object) -> bool:
    """Whether a flag is set: true, yes or 1, in whatever type and spelling."""
    return whole(value) == 1 or str(value).strip().lower() in ("true", "yes")


def numbered(keys: Sequence[int | str | None], largest: int = 10**18) -> list[int]:
    """The ids, with free numbers for those that repeat or are not whole numbers.

    Those come after the largest id, or from 1 where that would lead beyond what is allowed.
    """
    whole = {key for key in keys if isinstance(key, int) and abs(key) <= largest}
    top = max(whole, default=0)
    start, free = top + 1 if top + len(keys) <= largest else 1, set(whole)
    fresh = (number for number in count(start) if number not in whole)
    numbers = []
    for key in keys:
        numbers.append(key if key in free else next(fresh))
        free.discard(key)
    return numbers


def pixels(value: object) -> int | None:
    """A photo's width or height, None where none is said that a photo can have."""
    length = whole(value)
    return length if length and 0 < length <= 100_000 else None


def is_number(value: Any, largest: float = LARGEST) -> bool:
    """Whether a value is a number of less than that, not NaN."""
    # Compared as Python numbers: an integer may be too large for a float. NaN compares false.
    return type(value) in (int, float) and -largest < value < largest


def numbers(
    values: object, what: str, largest: float = LARGEST, count: int | None = None
) -> list[float]:
    """The values, if they are a list of (so many) numbers; raises `Bad` that shows what is not."""
    if not isinstance(values, list) or not values:
        raise Bad(f"{what} is not a list of numbers: {brief(values)}")
    if count is not None and len(values) != count:
        raise Bad(f"{what} is {brief(values)}, not {count} numbers")
    for value in values:
        if not is_number(value, largest):
            raise Bad(f"{what} has {brief(value)}, which is no number below {largest:g}")
    return values


def marks(values: object, what: str, landmarks: int, largest: float = LARGEST) -> list[float]:
    """x, y and visibility (0 to 2) of each landmark; of one with visibility 0 nothing is read.

    Raises `Bad`.
    """
    if not isinstance(values, list):
        raise Bad(f"{what} is not a list of coordinates: {brief(values)}")
    if len(values) != 3 * landmarks:
        raise Bad(f"{what} has {len(values)} values, not 3 for each of {landmarks} landmarks")
    found: list[float] = []
    for three in zip(*[iter(values)] * 3):
        seen = three[2]
        found += (0, 0, 0) if type(seen) in (int, float) and seen == 0 else three
    numbers(found, what, largest)
    if wrong := [seen for seen in found[2::3] if not 0 <= seen <= 2]:
        raise Bad(f"{what} has the visibility {brief(wrong[0])}, which is not 0 to 2")
    return found


def folded(name: object) -> str:
    """What names share that differ in case, spaces or Unicode's form alone."""
    return plain(name).casefold()


def aligned(ours: Iterable[str], theirs: Iterable[str]) -> list[int]:
    """For each of our landmarks its position among theirs, by name; -1 where there is none.

    A name that repeats is told by its turn: its first is their first. Case and spaces do not count
    unless they tell names of one side apart. Names say nothing that are all alike, or the numbers
    from 0 or 1. Where both sides' are such, or one's and no name agrees, and there are as many,
    landmarks are told by their place.
    """
    sides = [tuple(map(plain, side)) for side in (ours, theirs)]
    if all(len(set(map(folded, side))) == len(set(side)) for side in sides):
        sides = [tuple(map(folded, side)) for side in sides]
    own, other = map(_with_turns, sides)
    place = {name: i for i, name in enumerate(other)}
    found = [place.get(name, -1) for name in own]
    silent = sum(map(_nameless, sides))
    if len(own) == len(other) and (silent == 2 or (silent and max(found, default=-1) < 0)):
        return list(range(len(own)))
    return found


def _with_turns(names: tuple[str, ...]) -> list[tuple[str, int]]:
    turns: Counter[str] = Counter()
    found = []
    for name in names:
        found.append((name, turns[name]))
        turns[name] += 1
    return found


def _nameless(names: tuple[str, ...]) -> bool:
    counts = [tuple(str(i + first) for i in range(len(names))) for first in (0, 1)]
    return names in counts or 1 == len(set(names)) < len(names)


def repeated(names: Iterable[str]) -> list[str]:
    """The names that more than one landmark has."""
    return [name for name, times in Counter(names).items() if times > 1]


_SIDE = re.compile("left|right|(?<![a-z])[lr](?![a-z])")
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirrored(names: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of landmarks whose names differ only in left and right, or l and r."""
    turns = _with_turns(tuple(name.lower() for name in names))
    place = {each: i for i, each in enumerate(turns)}
    other = {i: place.get((_SIDE.sub(lambda s: _OTHER[s[0]], name), turn))
             for (name, turn), i in place.items()}  # fmt: skip
    return tuple((i, j) for i, j in sorted(other.items()) if j is not None and i < j)
