"""COCO keypoint JSON.

A visibility between 0 and 2 is rounded up. Ids that are not whole numbers, and those that another
annotation has, are replaced by numbers after the largest. A photo or category cannot be told by an
id that another one has: their annotations are left out. A skeleton that has a 0 counts from 0,
others from 1. Pairs of mirrored landmarks are "flip_pairs" (from 0) or told by names that differ in
left and right. Keypoints that several categories share are each one's own alone: see `columns`.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from reprlib import repr as brief

import numpy as np

from fewshot_landmarks.data.categories import Categories, Category
from fewshot_landmarks.data.formats.columns import (
    Labelled,
    labelled_columns,
    length,
    own_marks,
    told,
    with_own_columns,
)
from fewshot_landmarks.data.formats.found import Searched, distinct_names, kinds
from fewshot_landmarks.data.formats.objects import Object, Photo, Read
from fewshot_landmarks.data.formats.values import (
    Bad,
    key_of,
    marks,
    mirrored,
    numbered,
    numbers,
    pixels,
    plain,
    said_true,
)
from fewshot_landmarks.support.errors import UserError

SUFFIX = ".json"
PARTS = ("images", "annotations", "categories")


def read(
    source: Path, document: object, wanted: str | None, labelled: Labelled | None = None
) -> Read:
    """What a file's document says of all its categories, or of one, by its id or name.

    labelled: keypoints that another file's objects label too; see `columns`.

    Raises `UserError` for what is not COCO's, no category with landmarks, an unknown category.
    """
    lines: list[str] = []
    images, rows, listed = _parts(source, document, lines)
    found = Read(_photos(images, lines), lines)
    by_key = _categories(source, listed, rows, lines)
    found.labelled = _united(labelled_columns(by_key, rows), labelled or {})
    by_key = with_own_columns(by_key, _shared(listed), found.labelled)
    found.categories = Categories(by_key.values())
    if wanted is not None:
        only = found.categories.find(wanted)
        found.categories = Categories([only])
        by_key = {key: category for key, category in by_key.items() if category == only}
    found.notes += told(found.categories.values())
    ids = [key_of(row.get("id")) for row in rows]
    seen, items, times = set(), numbered(ids), Counter(ids)
    for row, item in zip(rows, items):
        if wanted is not None and key_of(row.get("category_id")) not in by_key:
            continue
        name = f"annotation {row.get('id', item)}"
        if times[key := key_of(row.get("id"))] > 1 and key is not None:
            same = key, brief(row.get("image_id")), str(row.get("keypoints"))
            if same in seen:
                lines.append(f"{name}: given a second time")
                continue
            seen.add(same)
        try:
            if row.get("keypoints") and not said_true(row.get("iscrowd")):
                found.objects.append(_object(name, row, item, by_key, found.photos, lines))
                continue
            found.unlabelled += 1
        except Bad as reason:
            lines.append(f"{name}: {reason}")
        found.ignored += _ignored(name, row, item, by_key, found.photos)
    return found


def _parts(source: Path, document: object, lines: list[str]) -> list[list[dict]]:
    said = document if isinstance(document, dict) else {}
    if not all(isinstance(said.get(part), list) for part in PARTS):
        raise UserError(
            f"{source} is not COCO keypoint JSON: it has no lists {', '.join(PARTS)}; export the "
            "annotations as COCO keypoints, or give the folder of LabelMe's files"
        )
    for part in PARTS:
        wrong = [row for row in said[part] if not isinstance(row, dict)]
        lines += [f"{part}: {brief(row)} is not an object" for row in wrong]
    return [[row for row in said[part] if isinstance(row, dict)] for part in PARTS]


def _photos(rows: list[dict], lines: list[str]) -> dict[object, Photo]:
    """The photos by their key; those that share one are left out, unless they are the same."""
    keys, photos, several = [key_of(row.get("id")) for row in rows], {}, set()
    for row, key, number in zip(rows, keys, numbered(keys)):
        path = Path(PureWindowsPath(str(row.get("file_name"))).as_posix())
        size = pixels(row.get("width")), pixels(row.get("height"))
        if key is None:
            lines.append(f"photo {path}: no id; left out")
        elif photos.setdefault(key, Photo(number, path, *size, (key,))).path != path:
            several.add(key)
    for key in several:
        lines.append(f"photo {photos.pop(key).path}: another photo has its id {key!r}; left out")
    return photos


def _object(
    name: str,
    row: dict,
    item: int,
    by_key: dict[object, Category],
    photos: dict[object, Photo],
    lines: list[str],
) -> Object:
    category, photo = by_key.get(key_of(row.get("category_id"))), key_of(row.get("image_id"))
    if category is None:
        raise Bad(f"no category of id {brief(row.get('category_id'))} has landmarks")
    if photo not in photos:
        raise Bad(f"there is no photo of id {brief(row.get('image_id'))}")
    said = row.get("keypoints")
    own = own_marks(said, category) if said else [0] * 3 * category.landmarks
    places = marks(own, "keypoints", category.landmarks)
    area = row.get("area") or None
    if area is not None and not (type(area) in (int, float) and 0 < area < 1e18):
        lines.append(f"{name}: its area is {brief(area)}, no number above 0; its box's is taken")
        area = None
    crowd = said_true(row.get("iscrowd"))
    return Object(name, photo, item, category, places, _box(row), area, crowd)


def _box(row: dict) -> tuple[float, ...] | None:
    """x1, y1, x2, y2; None where there is none, or all of it is 0. Raises `Bad`."""
    said = row.get("bbox")
    if not said or said == [0, 0, 0, 0]:
        return None
    x, y, width, height = numbers(said, "bbox", count=4)
    return x, y, x + width, y + height


def _ignored(
    name: str, row: dict, item: int, by_key: dict[object, Category], photos: dict[object, Photo]
) -> list[Object]:
    """The object without the landmarks, or else the box, that cannot be read; nothing without a
    place.
    """
    for lacking in ({}, {"keypoints": None}, {"bbox": None}):
        try:
            return [_object(name, row | lacking, item, by_key, photos, [])]
        except Bad:
            pass
    return []


def _categories(
    source: Path, rows: list[dict], annotations: list[dict], lines: list[str]
) -> dict[object, Category]:
    """The categories with landmarks by their key."""
    keys, lengths, found = [key_of(row.get("id")) for row in rows], _lengths(annotations), {}
    several = set()
    for row, key, number in zip(rows, keys, numbered(keys, 2**31 - 1)):
        names = row.get("keypoints")
        names = tuple(map(plain, names)) if isinstance(names, list) else ()
        landmarks = len(names) or lengths.get(key, 0)
        if key is None:
            lines.append(f"category {brief(row.get('name'))}: no id; left out")
        elif landmarks:
            made = _category(number, row, names, landmarks, lines)
            if replace(made, id=found.setdefault(key, made).id) != found[key]:
                several.add(key)
    for key in several:
        lines.append(f"category {found.pop(key).name}: another one has its id {key!r}; left out")
    if not found:
        raise UserError(
            f"no category of {source} has landmarks: export the annotations as COCO keypoints"
        )
    return found


def _shared(rows: list[dict]) -> Counter:
    """How many categories list the same keypoints."""
    lists = (row.get("keypoints") for row in rows)
    return Counter(tuple(map(plain, names)) for names in lists if isinstance(names, list))


def _united(own: Labelled, other: Labelled) -> Labelled:
    """What any of two files labels; the other counts where its categories are as long."""
    return {number: mask | other[number] if len(other.get(number, ())) == len(mask) else mask
            for number, mask in own.items()}  # fmt: skip


def _lengths(annotations: list[dict]) -> dict[object, int]:
    """How many landmarks most annotations of each category have."""
    lengths = Counter(
        (key_of(row.get("category_id")), numbers // 3)
        for row in annotations
        if (numbers := length(row.get("keypoints")))
    )
    return {kind: number for (kind, number), _ in reversed(lengths.most_common())}


def _category(
    number: int, row: dict, names: tuple[str, ...], landmarks: int, lines: list[str]
) -> Category:
    name = plain(row.get("name") or "") or str(number)
    try:
        edges, pairs, sigmas = _structure(row, landmarks)
    except (TypeError, ValueError):
        edges = pairs = sigmas = ()
        lines.append(
            f"category {name}: its skeleton, flip_pairs or sigmas do not fit its {landmarks} "
            "landmarks; left out"
        )
    names = () if names == tuple(str(i + 1) for i in range(landmarks)) else names
    return Category(number, name, landmarks, pairs or mirrored(names), edges, sigmas, names)


def _structure(row: dict, landmarks: int) -> tuple[tuple, tuple, tuple]:
    """A category's edges, pairs and sigmas; raises `TypeError` or `ValueError`."""
    skeleton, pairs = row.get("skeleton") or (), row.get("flip_pairs") or ()
    first = 0 if any(0 in edge for edge in skeleton) else 1
    edges = tuple((int(a) - first, int(b) - first) for a, b in skeleton)
    pairs = tuple((int(a), int(b)) for a, b in pairs)
    sigmas = tuple(map(float, row.get("sigmas") or ()))
    if not all(0 <= k < landmarks for pair in edges + pairs for k in pair):
        raise ValueError
    if sigmas and not (len(sigmas) == landmarks and all(0 < s < math.inf for s in sigmas)):
        raise ValueError
    return edges, pairs, sigmas


# ------------------------------------------------------------------------------- writing


def files(out: Path, photos: Sequence[tuple[Path, str]]) -> list[Path]:
    """One file for all photos."""
    return [out]


def contents(out: Path, photos: Sequence[Searched]) -> Iterator[tuple[Path, str]]:
    """A whole data set, whose annotations have scores besides where they were found."""
    images, rows = [], []
    for photo, name in zip(photos, distinct_names(photos)):
        images.append(image_row(photo.id, name, photo.width, photo.height))
        for one in photo.objects:
            points = np.where(one.visible[:, None] > 0, one.points, 0)
            item = len(rows) + 1 if one.item is None else one.item
            ids = {"id": item, "image_id": photo.id, "category_id": one.category}
            area = round(one.box[2] * one.box[3], 2)
            row = ids | annotation_row(points, one.visible, one.box, area)
            if one.score is not None:
                row |= {"score": one.score, "keypoint_scores": one.scores.tolist()}
            rows.append(row)
    categories = [
        category_row(number, one.kind, one.names, [(a + 1, b + 1) for a, b in one.edges])
        for number, one in kinds(photos).items()
    ]
    yield out, json.dumps(dict(zip(PARTS, (images, rows, categories)))) + "\n"


def image_row(number: int, name: str, width: int, height: int) -> dict:
    """A photo as COCO says it."""
    return {"id": number, "file_name": name, "width": width, "height": height}


def annotation_row(
    points: np.ndarray, visible: np.ndarray, box: Sequence[float], area: float
) -> dict:
    """An object as COCO says it, but for its ids: landmarks (N, 2) with their visibility (N,), and
    its box: x, y, width, height.
    """
    marks = zip(points.tolist(), visible.tolist())
    return {
        "keypoints": [number for (x, y), seen in marks for number in (x, y, seen)],
        "num_keypoints": int((visible > 0).sum()),
        "bbox": list(box),
        "area": area,
        "iscrowd": 0,
    }


def category_row(
    number: int,
    name: str,
    names: Sequence[str],
    skeleton: Sequence[tuple[int, int]] = (),
    supercategory: str = "",
) -> dict:
    """A category as COCO says it; its skeleton counts landmarks from 1."""
    return {
        "id": number,
        "name": name,
        "supercategory": supercategory,
        "keypoints": list(names),
        "skeleton": list(skeleton),
    }
