"""Mistakes of an annotator's: landmarks, boxes and photos that do not fit the others; and a COCO file
without them, beside the old one."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from tqdm import tqdm

from fewshot_landmarks.data.formats import coco, writing
from fewshot_landmarks.data.formats.found import Found, Searched
from fewshot_landmarks.data.formats.objects import Annotations
from fewshot_landmarks.data.formats.values import key_of, numbered
from fewshot_landmarks.data.images import Unreadable, read_photo, upright_size
from fewshot_landmarks.data.index import Index
from fewshot_landmarks.photos.errors.misfits import (
    FAR,
    FEWEST,
    SWAPPED,
    Crops,
    Evidence,
    Mistake,
    misplaced,
    thumbnail,
)
from fewshot_landmarks.photos.locate import MARGIN, overlap
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_text
from fewshot_landmarks.support.outputs import claim

TWICE, BESIDE = "annotated twice", "outside the box"
NEARLY = 12  # of 255: photos that differ by no more in any cell of their thumbnails are the same
CLOSE = 0.1  # two objects whose landmarks lie so close, in units of their size, are one
Thumbs: TypeAlias = dict[int, tuple[tuple[int, ...], np.ndarray]]  # shapes of photos, thumbnails
SHARED = 0.5  # overlap of two boxes in copies of a photo, which are around one object


def find(annotations: Annotations, model: Model | None = None) -> tuple[list[Mistake], list[str]]:
    """What does not fit, the surest first; and lines on what could not be looked at.

    model: finds landmarks to compare with, in photos; without it these are not opened, and boxes
    and objects that are annotated twice are all that is looked at.
    """
    index, lines, thumbs, by_category = annotations.index, [], {}, {}
    numbers = np.unique(index.photo) if model else ()
    for number in tqdm(numbers, "reading", unit="photo", leave=False):
        photo = annotations.photos[number]
        try:
            pixels = read_photo(photo.path, photo.declared)
        except Unreadable:  # the doctor says so anyway
            continue
        thumbs[int(number)] = pixels.shape, thumbnail(pixels)
        for row in np.flatnonzero(index.photo == number).tolist():
            kind = int(index.category[row])
            by_category.setdefault(kind, Crops()).add(annotations, row, pixels, model)
    found = [*beside(annotations), *twice(annotations, thumbs)]
    for kind, crops in by_category.items():
        name = annotations.categories[kind].name
        if len(set(crops.photos)) < FEWEST:
            lines.append(f"{name}: landmarks are compared where {FEWEST} photos or more show it")
        else:
            found += misplaced(crops, Evidence.of(crops, model))  # type: ignore[arg-type]
    return sorted(found, key=lambda each: -each.sure), lines


def beside(annotations: Annotations) -> Iterator[Mistake]:
    """Objects more than half of whose landmarks lie outside their box, which a margin makes larger."""
    index = annotations.index
    for row in range(len(index)):
        points, visible = index.landmarks(row)
        low, high = index.box[row].reshape(2, 2)
        slack = MARGIN * (high - low).max()
        out = (visible > 0) & ((points < low - slack) | (points > high + slack)).any(1)
        if 2 * out.sum() > (visible > 0).sum():
            which = tuple(np.flatnonzero(out).tolist())
            why = f"its box misses {len(which)} of {(visible > 0).sum()} landmarks"
            yield Mistake(row, BESIDE, which, np.inf, why)


def twice(annotations: Annotations, thumbs: Thumbs) -> Iterator[Mistake]:
    """Objects that are annotated a second time: in the same photo, or in another file of it.

    thumbs: of photos by their number; without them files have to be the same byte by byte.
    """
    index, first = annotations.index, _first_like(annotations, thumbs)
    seen: dict[tuple[int, int], list[int]] = {}
    for row in range(len(index)):
        others = seen.setdefault((first[int(index.photo[row])], int(index.category[row])), [])
        for other in others:
            apart = _apart(index, other, row)
            own = index.photo[row] == index.photo[other]
            if apart < CLOSE or (not own and overlap(index.box[row], index.box[other]) > SHARED):
                where = annotations.photos[index.photo[other]].name
                why = f"also as annotation {index.item[other]} of {where}"
                if np.isfinite(apart):
                    why += f"; their landmarks are {apart:.2f} of the object's size apart"
                yield Mistake(row, TWICE, (), np.inf, why)
                break
        others.append(row)


def _apart(index: Index, a: int, b: int) -> float:
    """Mean distance of the landmarks of two objects, of their size; infinite where none is shared."""
    (points, visible), (others, known) = index.landmarks(a), index.landmarks(b)
    both = (visible > 0) & (known > 0)
    if not both.any():
        return np.inf
    return float(np.linalg.norm(points - others, axis=1)[both].mean() / np.sqrt(index.area[a]))


def _first_like(annotations: Annotations, thumbs: Thumbs) -> dict[int, int]:
    """Of each annotated photo the first one that shows the same."""
    index, first, digests = annotations.index, {}, {}
    sizes = dict(zip(index.photo.tolist(), index.image_bytes.tolist()))
    repeated = np.unique(list(sizes.values()), return_counts=True)
    several = set(repeated[0][repeated[1] > 1].tolist()) - {0}
    known: list[tuple[int, tuple[int, ...], np.ndarray]] = []
    for number, size in sizes.items():
        first[number] = number
        if size in several:
            digest = hashlib.sha256(annotations.photos[number].path.read_bytes()).digest()
            first[number] = digests.setdefault(digest, number)
        if number in thumbs and first[number] == number:
            shape, thumb = thumbs[number]
            like = (
                n for n, size, other in known
                if size == shape and np.abs(thumb - other).max() <= NEARLY
            )  # fmt: skip
            first[number] = next(like, number)
            known.append((number, shape, thumb))
    return first


def check_mended(out: Path) -> None:
    """Raise `UserError` where a file of that name is no JSON, cannot be written or is there."""
    if out.suffix != coco.SUFFIX:
        raise UserError(f"--mended {out}: it is a COCO keypoint file; call it {out.stem}.json")
    if os.path.lexists(out):
        raise UserError(f"--mended {out} is there already and is not replaced: choose another name")
    claim([out], None)


def write_mended(annotations: Annotations, found: Sequence[Mistake], out: Path) -> int:
    """Write the annotations with swapped landmarks exchanged, and those that are far off marked as
    not labelled; nothing else is changed. Returns how many landmarks are.

    A COCO file keeps all that it has besides. Of others comes what was read of them.
    """
    index, orders, away = annotations.index, {}, {}
    for each in found:
        kind = annotations.categories[int(index.category[each.row])]
        if each.kind in (SWAPPED, FAR):
            order = orders.setdefault(each.row, np.arange(kind.landmarks))
            lost = away.setdefault(each.row, np.zeros(kind.landmarks, bool))
            if each.kind == SWAPPED:
                order[list(each.landmarks)] = order[list(each.landmarks[::-1])]
            else:
                lost[list(each.landmarks)] = True
    if (document := _coco_document(annotations.source)) is not None:
        items = {int(index.item[row]): row for row in orders}
        rows = [row for row in document["annotations"] if isinstance(row, dict)]
        for row, item in zip(rows, numbered([key_of(row.get("id")) for row in rows])):
            if (k := items.get(item)) is not None:
                kind = annotations.categories[int(index.category[k])]
                own = np.flatnonzero(kind.columns or np.ones(kind.landmarks, bool))
                _mend(row, own.tolist(), orders[k].tolist(), away[k].tolist())
        write_text(out, json.dumps(document) + "\n")
    else:
        writing.write("coco", out, _as_found(annotations, orders, away), ())
    changed = [(lost | (orders[k] != np.arange(len(lost)))).sum() for k, lost in away.items()]
    return int(np.sum(changed))


def _mend(row: dict, own: list[int], order: list[int], away: list[bool]) -> None:
    """Change an object of a COCO file, whose keypoints `own` are the category's landmarks."""
    marks = [row["keypoints"][3 * i : 3 * i + 3] for i in range(len(row["keypoints"]) // 3)]
    new = [[0, 0, 0] if lost else marks[own[i]] for i, lost in zip(order, away)]
    for i, mark in zip(own, new):
        marks[i] = mark
    row["keypoints"] = sum(marks, [])
    if "num_keypoints" in row:
        row["num_keypoints"] = sum(1 for mark in marks if mark[2] > 0)


def _coco_document(source: Path) -> dict | None:
    """A COCO file's content; None where annotations are of another form."""
    try:
        document = json.loads(source.read_bytes()) if source.is_file() else None
    except ValueError:  # XML, CSV, YAML, HDF5
        return None
    if isinstance(document, dict) and all(isinstance(document.get(n), list) for n in coco.PARTS):
        return document
    return None


def _as_found(annotations: Annotations, orders: dict, away: dict) -> list[Searched]:
    """All objects, mended, as what writes annotations takes them."""
    index, photos = annotations.index, {}
    for row, number in enumerate(index.photo.tolist()):
        photo, kind = annotations.photos[number], annotations.categories[int(index.category[row])]
        if number not in photos:
            size = photo.declared or upright_size(photo.path)
            photos[number] = Searched(photo.id, photo.path, photo.name, *size)
        points, visible = index.landmarks(row)
        if row in orders:
            points, visible = points[orders[row]], np.where(away[row], 0, visible[orders[row]])
        x1, y1, x2, y2 = (round(float(n), 2) for n in index.box[row])
        box, scores = (x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)), np.ones(kind.landmarks)
        about = kind.id, kind.name, kind.names, points, scores, visible
        photos[number].objects.append(Found(*about, box, 1.0, kind.edges, int(index.item[row])))
    return list(photos.values())
