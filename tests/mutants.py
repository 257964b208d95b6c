"""Files that went wrong in transit or by hand: seeded mutants of good ones, for the slow tests."""

import copy
import json
import random
import re
from collections.abc import Iterator

ODD = (
    None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e9, 1e308, 10**19, 10**400, float("nan"),
    float("inf"), "", " ", "1", "1.0", "007", "nan", "a,b", "a\nb", "=1+1", "../x", "/dev/null",
    "x" * 300, "\ud800", "é", "e\u0301", [], [[]], [None], [0, 0, 0], {}, {"id": 1}, {"x": None},
)  # fmt: skip


def json_mutants(document: object, count: int, seed: int = 0) -> Iterator[bytes]:
    """JSON files with one to three values replaced, removed, repeated, moved or wrapped."""
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        mutant = copy.deepcopy(document)
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            mutant = _edited(mutant, draw)
        yield json.dumps(mutant).encode()


def _edited(document: object, draw: random.Random) -> object:
    places = [place for place in _places(document) if place[0] is not None]
    if not places:
        return draw.choice(ODD)
    inside, key = draw.choice(places)
    way = draw.randrange(6)
    if way <= 1:
        inside[key] = copy.deepcopy(draw.choice(ODD))
    elif way == 2:
        del inside[key]
    elif way == 3:
        other, place = draw.choice(places)
        inside[key] = copy.deepcopy(other[place])
    elif way == 4 and isinstance(inside, list):
        inside.insert(draw.randrange(len(inside) + 1), copy.deepcopy(inside[key]))
    elif way == 4:
        inside[draw.choice((key.upper(), f"{key} ", "id"))] = inside.pop(key)
    else:
        inside[key] = draw.choice(([inside[key]], {"x": inside[key]}, str(inside[key])))
    return document


def _places(document: object) -> Iterator[tuple[object, object]]:
    """Every list or dictionary with each of its keys."""
    if isinstance(document, (list, dict)):
        keys = list(document) if isinstance(document, dict) else range(len(document))
        for key in keys:
            yield document, key
            yield from _places(document[key])


def byte_mutants(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Files with one to three stretches changed, lost, repeated, zeroed or cut off."""
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        mutant = bytearray(content)
        for _ in range(draw.choice((1, 1, 2, 3))):
            start = draw.randrange(len(mutant) + 1)
            end = min(len(mutant), start + draw.choice((1, 1, 2, 8, 64, 512)))
            way = draw.randrange(6)
            if way == 0:
                mutant[start:end] = draw.randbytes(end - start)
            elif way == 1:
                del mutant[start:end]
            elif way == 2:
                mutant[start:start] = mutant[start:end]
            elif way == 3:
                mutant[start:end] = bytes(end - start)
            elif way == 4 and start < end:
                mutant[start] ^= 1 << draw.randrange(8)
            else:
                del mutant[start:]
        yield bytes(mutant)


def xml_mutants(content: str, count: int, seed: int = 0) -> Iterator[bytes]:
    """XML files, well formed, with one to three attributes' values or names exchanged or lost."""
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        mutant = content
        for _ in range(draw.choice((1, 1, 2, 3))):
            found = list(re.finditer(r' (\w+)="([^"]*)"', mutant))
            one, other = draw.choice(found), draw.choice(found)
            value = draw.choice((other[2], *(str(odd) for odd in ODD if odd != "\ud800")))
            value = value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
            name = draw.choice((one[1], one[1], one[1], other[1]))
            said = draw.choice((f' {name}="{value}"', f' {name}="{value}"', ""))
            mutant = mutant[: one.start()] + said + mutant[one.end() :]
        yield mutant.encode()
