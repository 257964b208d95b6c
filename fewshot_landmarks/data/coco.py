"""COCO keypoint JSON.

A visibility between 0 and 2 is rounded up. Ids that are not whole numbers are replaced by numbers
after the largest. A skeleton that has a 0 counts from 0, others from 1. Pairs of mirrored
landmarks are "flip_pairs" (from 0) or told by names that differ in left and right.
"""

import json
import os
from collections import Counter
from math import inf
from pathlib import Path, PureWindowsPath
from reprlib import repr as brief

import numpy as np

from fewshot_landmarks.categories import Categories, Category
from fewshot_landmarks.data.objects import (
    Annotations,
    Bad,
    Listed,
    Object,
    Photo,
    Read,
    key_of,
    mirrored,
    numbered,
    numbers,
    parsed,
    pixels,
)
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.files import write_text

PARTS = ("images", "annotations", "categories")


def read(source: Path, content: bytes, wanted: int | str | None) -> Read:
    """What the file says of all its categories, or of one, by its id or name.

    Raises `UserError` for what is not COCO's, no category with landmarks, an unknown category.
    """
    images, rows, kinds, lines = _parts(source, content)
    found = Read(_photos(images), skipped=lines)
    by_key = _categories(source, kinds, rows, found.skipped)
    found.categories = Categories(by_key.values())
    if wanted is not None:
        found.categories = Categories([_find(found.categories, wanted)])

    photos, seen = {photo.key for photo in found.photos}, set()
    items = numbered([key_of(row.get("id")) for row in rows])
    for row, item in zip(rows, items):
        category = by_key.get(key_of(row.get("category_id")))
        if wanted is not None and (category is None or category.id not in found.categories):
            continue
        if row.get("iscrowd") or not row.get("keypoints"):
            found.unlabelled += 1
            continue
        name = f"annotation {row.get('id', item)}"
        try:
            if item in seen:
                raise Bad("a second annotation of that id")
            found.objects.append(_object(name, row, item, category, photos))
        except Bad as reason:
            found.skipped.append(f"{name}: {reason}")
        seen.add(item)
    return found


def _parts(source: Path, content: bytes) -> tuple[list[dict], list[dict], list[dict], list[str]]:
    """Images, annotations, categories, and a line for each that is no object."""
    try:
        document = parsed(source, content)
    except Bad as reason:
        raise UserError(str(reason)) from None
    said = document if isinstance(document, dict) else {}
    if "shapes" in said:
        raise UserError(f"{source} is a LabelMe file: give the folder that it lies in")
    if not all(isinstance(said.get(part), list) for part in PARTS):
        raise UserError(
            f"{source} is not COCO keypoint JSON: it has no lists {', '.join(PARTS)}; export the "
            "annotations as COCO keypoints"
        )
    lines = [
        f"{part}: {brief(row)} is not an object"
        for part in PARTS
        for row in said[part]
        if not isinstance(row, dict)
    ]
    return *([row for row in said[part] if isinstance(row, dict)] for part in PARTS), lines


def _photos(rows: list[dict]) -> list[Listed]:
    keys = [key_of(row.get("id")) for row in rows]
    return [
        Listed(
            number if key is None else key,
            number,
            (PureWindowsPath(str(row.get("file_name"))).as_posix(),),
            pixels(row.get("width")),
            pixels(row.get("height")),
        )
        for row, key, number in zip(rows, keys, numbered(keys))
    ]


def _object(
    name: str, row: dict, item: int, category: Category | None, photos: set[object]
) -> Object:
    if category is None:
        raise Bad(f"no category of id {brief(row.get('category_id'))} has landmarks")
    photo = key_of(row.get("image_id"))
    if photo not in photos:
        raise Bad(f"there is no photo of id {brief(row.get('image_id'))}")
    marks = numbers(row["keypoints"], "keypoints")
    if len(marks) != 3 * category.landmarks:
        raise Bad(
            f"keypoints has {len(marks)} values, not 3 for each of the {category.landmarks} "
            f"landmarks of {category.name}"
        )
    if not all(0 <= visible <= 2 for visible in marks[2::3]):
        raise Bad("keypoints has a visibility that is not 0 to 2")
    return Object(name, photo, item, category, marks, _box(row.get("bbox")), _area(row.get("area")))


def _box(values: object) -> tuple[float, ...] | None:
    if values is None or values == []:
        return None
    box = numbers(values, "bbox")
    if len(box) != 4:
        raise Bad(f"bbox has {len(box)} values, not x, y, width, height")
    x, y, width, height = box
    return x, y, x + width, y + height


def _area(value: object) -> float | None:
    if not value:
        return None
    if type(value) not in (int, float) or not 0 < value < 1e18:
        raise Bad(f"area is not a number above 0: {brief(value)}")
    return value


def _find(categories: Categories, key: int | str) -> Category:
    """The category of an id or a name, or of an id as a command line gives it."""
    named = {category.name for category in categories.values()}
    return categories.find(int(key) if key not in named and str(key).isdecimal() else key)


def _categories(
    source: Path, rows: list[dict], annotations: list[dict], lines: list[str]
) -> dict[int | str, Category]:
    """The categories with landmarks by their key."""
    keys, lengths, found = [key_of(row.get("id")) for row in rows], _lengths(annotations), {}
    for row, key, number in zip(rows, keys, numbered(keys, 2**31 - 1)):
        if key is None or key in found:
            lines.append(f"category {brief(row.get('id'))}: no id, or a second one; left out")
            continue
        names = row.get("keypoints")
        names = tuple(map(str, names)) if isinstance(names, list) else ()
        if landmarks := len(names) or lengths.get(key, 0):
            found[key] = _category(number, row, names, landmarks, lines)
    if not found:
        raise UserError(
            f"no category of {source} has landmarks: export the annotations as COCO keypoints"
        )
    return found


def _lengths(annotations: list[dict]) -> dict[object, int]:
    """How many landmarks most annotations of each category have."""
    lengths = Counter(
        (key_of(row.get("category_id")), len(row["keypoints"]) // 3)
        for row in annotations
        if isinstance(row.get("keypoints"), list) and row["keypoints"]
    )
    return {kind: number for (kind, number), _ in reversed(lengths.most_common())}


def _category(
    number: int, row: dict, names: tuple[str, ...], landmarks: int, lines: list[str]
) -> Category:
    name, facts = str(row.get("name") or number), {}
    for part, read_part in (("skeleton", _edges), ("flip_pairs", _pairs), ("sigmas", _sigmas)):
        try:
            facts[part] = read_part(row.get(part) or (), landmarks)
        except (TypeError, ValueError):
            facts[part] = ()
            lines.append(f"category {name}: its {part} does not fit its landmarks; left out")
    counted = tuple(str(i + 1) for i in range(landmarks))
    return Category(
        id=number,
        name=name,
        landmarks=landmarks,
        pairs=facts["flip_pairs"] or mirrored(names),
        edges=facts["skeleton"],
        oks_sigmas=facts["sigmas"],
        landmark_names=() if names == counted else names,
    )


def _edges(values: list, landmarks: int) -> tuple[tuple[int, int], ...]:
    first = 0 if any(0 in edge for edge in values) else 1
    return _pairs([(a - first, b - first) for a, b in values], landmarks)


def _pairs(values: list, landmarks: int) -> tuple[tuple[int, int], ...]:
    pairs = tuple((int(a), int(b)) for a, b in values)
    if not all(0 <= k < landmarks for pair in pairs for k in pair):
        raise ValueError
    return pairs


def _sigmas(values: list, landmarks: int) -> tuple[float, ...]:
    sigmas = tuple(map(float, values))
    if len(sigmas) not in (0, landmarks) or not all(0 < sigma < inf for sigma in sigmas):
        raise ValueError
    return sigmas


def write_coco(path: str | os.PathLike, annotations: Annotations) -> None:
    """The same as COCO keypoint JSON, which `read_annotations` reads back.

    Photos below the folder of `path` are named relative to it, others by their whole path.
    Raises `UserError` where the file cannot be written.
    """
    path = Path(path)
    document = {
        "images": [_image_row(photo, path.parent.resolve()) for photo in annotations.photos],
        "annotations": _rows(annotations),
        "categories": [_category_row(category) for category in annotations.categories.values()],
    }
    write_text(path, json.dumps(document, ensure_ascii=False) + "\n")


def _image_row(photo: Photo, folder: Path) -> dict:
    path = photo.path.resolve()
    name = path.relative_to(folder) if path.is_relative_to(folder) else path
    size = {"width": photo.width, "height": photo.height}
    known = {side: length for side, length in size.items() if length}
    return {"id": photo.id, "file_name": name.as_posix(), **known}


def _rows(annotations: Annotations) -> list[dict]:
    index, rows = annotations.index, []
    boxes, areas, points = (_short(v) for v in (index.box, index.area, index.points))
    visible, start = index.visible.tolist(), index.start.tolist()
    for i, ((x1, y1, x2, y2), area) in enumerate(zip(boxes, areas)):
        own = slice(start[i], start[i + 1])
        rows.append(
            {
                "id": int(index.item[i]),
                "image_id": annotations.photos[index.photo[i]].id,
                "category_id": int(index.category[i]),
                "keypoints": [n for (x, y), v in zip(points[own], visible[own]) for n in (x, y, v)],
                "num_keypoints": sum(v > 0 for v in visible[own]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": area,
                "iscrowd": 0,
            }
        )
    return rows


def _short(values: np.ndarray) -> list:
    """float32 as the floats of fewest digits that are the same as float32."""
    return values.astype(str).astype(float).tolist()


def _category_row(category: Category) -> dict:
    row = {
        "id": category.id,
        "name": category.name,
        "supercategory": "",
        "keypoints": list(category.names),
        "skeleton": [[a + 1, b + 1] for a, b in category.edges],
    }
    extra = {"flip_pairs": category.pairs, "sigmas": category.oks_sigmas}
    return row | {part: values for part, values in extra.items() if values}
