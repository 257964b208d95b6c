"""Landmark annotations of one's own photos: COCO keypoint JSON, LabelMe, CVAT "for images".

All become one `Index`, as DeepFashion2's. Coordinates are continuous: pixel i covers [i, i + 1).

LabelMe's JSON and CVAT's XML are read with the standard library, for no library reads their
landmarks and fits this project's requirements: supervision leaves LabelMe's points out and has no
CVAT, datumaro leaves out CVAT's skeletons and wants older OpenCV, pandas and Pillow, and LabelMe's
own reader needs Qt. A document type or entity, which CVAT never writes, is refused in XML.
"""

import io
import json
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from math import isfinite
from pathlib import Path, PureWindowsPath
from reprlib import repr as brief
from xml.etree import ElementTree

import cv2
import numpy as np

from fewshot_landmarks.categories import Categories, Category
from fewshot_landmarks.data.index import Index
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.files import write_text

HULL_MARGIN = 0.1  # by how much of its longer side the landmarks' hull grows to make a box

_LARGEST = 100_000  # pixels: wider or higher than any photo
_INT32, _INT64 = 2**31 - 1, 2**63 - 1


@dataclass(frozen=True)
class Photo:
    """A photo that the annotations speak of, and that is there."""

    id: int
    path: Path
    width: int | None  # as the annotations say, None where they do not
    height: int | None


@dataclass(frozen=True, eq=False)
class Annotations:
    """What `read_annotations` read."""

    source: Path
    categories: Categories  # those of the file that have landmarks
    photos: tuple[Photo, ...]  # in the file's order; those without a usable annotation too
    index: Index  # `photo` is the position in `photos`, `item` (int64) the annotation's id


def read_annotations(
    source: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    category: int | str | None = None,
) -> Annotations:
    """The objects with landmarks of a file or folder of annotations.

    Args:
        source: a COCO keypoint JSON file; a folder of LabelMe's JSON files, one a photo; or a
            CVAT "for images 1.1" XML file, or a folder that holds it as annotations.xml.
        images: folder of the photos. They are looked for there, beside the annotations, and in
            the folder `images` beside them; under the name that the annotations give, then
            under its last part if no other photo's name ends in the same.
        category: id or name of the only category to keep. For LabelMe and CVAT: what to call it,
            or which skeleton of CVAT's to keep.

    What is not fit for use is left out, with a line in `index.skipped`: a photo that is missing
    or empty, and annotations that are wrong, are given twice, or whose box lies outside the
    photo. So is the label of a landmark outside its photo, not the rest of its object. Crowds and
    objects without any labelled landmark are left out with a count, `index.unlabelled`.

    COCO: a visibility between 0 and 2 is rounded up. Ids that are not whole numbers are replaced
    by numbers after the largest. A skeleton that has a 0 counts from 0, others from 1. Pairs of
    mirrored landmarks are "flip_pairs" (from 0) or told by names that differ in left and right.
    An object without a box has the hull of its landmarks, grown by `HULL_MARGIN` of its longer
    side, or the whole photo where they all lie in one place; without an area, its box's.

    LabelMe and CVAT: points are landmarks, named by their labels; rectangles are boxes, polygons
    areas (and boxes, where there is no rectangle). A group id, or a skeleton, makes an object; the
    other points of a photo make one together. A box or polygon without group id belongs to the
    photo's only object, or else to the only one whose landmarks all lie within it. The landmarks
    are the union of all objects', in order of first appearance; each skeleton is a category.

    Raises `UserError` where nothing can be read: no such file, broken JSON or XML, another format,
    no landmarks, an unknown category, photos that have no landmark name in common, or no
    annotation fit for use.
    """
    source = Path(source)
    if images is not None and not Path(images).is_dir():
        raise UserError(f"no folder {images}: give the folder that holds the photos")
    images = None if images is None else Path(images)
    if source.is_dir():
        exported = source / "annotations.xml"
        read = _read_cvat(exported) if exported.is_file() else _read_labelme(source)
        found = _from_shapes(source, read, images, category)
    else:
        content = _content(source)
        if content[:1] == b"\x80":
            raise UserError(f"{source} is a pickle, which is never opened: give JSON or XML")
        if content[:2] == b"PK":
            raise UserError(f"{source} is a zip file: unpack it and give what is in it")
        if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            found = _from_shapes(source, _read_cvat(source), images, category)
        else:
            found = _read_coco(source, _json(source, content), images, category)
    if not len(found.index):
        skipped, bare = found.index.skipped, found.index.unlabelled
        first = f", the first because of {skipped[0]}" if skipped else ""
        raise UserError(
            f"no annotation fit for use in {source}: {len(skipped)} lines on what is wrong{first}; "
            f"{bare} objects without a labelled landmark"
        )
    return found


def write_coco(path: str | os.PathLike, annotations: Annotations) -> None:
    """The same as COCO keypoint JSON, which `read_annotations` reads back.

    Photos below the folder of `path` are named relative to it, others by their whole path.
    Raises `UserError` where the file cannot be written.
    """
    path, index = Path(path), annotations.index
    ids = np.array([photo.id for photo in annotations.photos], object)
    corners = _short(index.box)
    sides = _short(index.box[:, 2:].astype(np.float64) - index.box[:, :2])
    marks = np.column_stack([_short(index.points), index.visible])
    labelled = np.add.reduceat(index.visible > 0, index.start[:-1], dtype=np.int64)
    rows = [
        {
            "id": item,
            "image_id": image,
            "category_id": category,
            "keypoints": [int(v) if v == int(v) else v for v in marks[start:end].ravel().tolist()],
            "num_keypoints": number,
            "bbox": [*corner[:2], *side],
            "area": area,
            "iscrowd": 0,
        }
        for item, image, category, start, end, number, corner, side, area in zip(
            index.item.tolist(),
            ids[index.photo].tolist(),
            index.category.tolist(),
            index.start[:-1].tolist(),
            index.start[1:].tolist(),
            labelled.tolist(),
            corners.tolist(),
            sides.tolist(),
            _short(index.area).tolist(),
        )
    ]
    document = {
        "images": [_coco_image(photo, path.parent) for photo in annotations.photos],
        "annotations": rows,
        "categories": [_coco_category(c) for c in annotations.categories.values()],
    }
    write_text(path, json.dumps(document, ensure_ascii=False) + "\n")


def _coco_image(photo: Photo, folder: Path) -> dict:
    try:
        name = photo.path.resolve().relative_to(folder.resolve())
    except ValueError:
        name = photo.path.resolve()
    size = {"width": photo.width, "height": photo.height}
    known = {side: pixels for side, pixels in size.items() if pixels is not None}
    return {"id": photo.id, "file_name": name.as_posix(), **known}


def _coco_category(category: Category) -> dict:
    row = {
        "id": category.id,
        "name": category.name,
        "supercategory": "",
        "keypoints": list(category.names),
        "skeleton": [[a + 1, b + 1] for a, b in category.edges],
    }
    if category.pairs:
        row["flip_pairs"] = [list(pair) for pair in category.pairs]
    if category.oks_sigmas:
        row["sigmas"] = list(category.oks_sigmas)
    return row


def _short(values: np.ndarray) -> np.ndarray:
    """float64 that are the same as float32, with few decimals where that does not change them."""
    exact = values.astype(np.float64)
    rounded = exact.round(4)
    return np.where(rounded.astype(np.float32) == exact.astype(np.float32), rounded, exact)


# --- what all formats share


class _Bad(Exception):
    """An annotation that is not fit for use; the message says why."""


@dataclass
class _Rows:
    """Objects one after another, as flat arrays; NaN where there is no box or area."""

    names: list[str] = field(default_factory=list)  # what to call each in a line on it
    photo: array = field(default_factory=lambda: array("i"))
    item: array = field(default_factory=lambda: array("q"))
    category: array = field(default_factory=lambda: array("i"))
    marks: array = field(default_factory=lambda: array("d"))  # x, y, v
    lengths: array = field(default_factory=lambda: array("q"))  # landmarks of each
    box: array = field(default_factory=lambda: array("d"))  # x1, y1, x2, y2
    area: array = field(default_factory=lambda: array("d"))
    skipped: list[str] = field(default_factory=list)
    unlabelled: int = 0

    def add(self, name, photo, item, category, marks, box, area) -> None:
        self.names.append(name)
        self.photo.append(photo)
        self.item.append(item)
        self.category.append(category)
        self.marks.extend(marks)
        self.lengths.append(len(marks) // 3)
        self.box.extend(box or _NO_BOX)
        self.area.append(float("nan") if area is None else area)

    def index(self, listing: "_Listing", categories: Categories) -> Index:
        """The index of the objects that are fit for use, in order of photo and item."""
        photo, item = np.array(self.photo, np.int32), np.array(self.item, np.int64)
        category = np.array(self.category, np.int32)
        marks = np.array(self.marks, np.float64).reshape(-1, 3)
        box = np.array(self.box, np.float64).reshape(-1, 4)
        area = np.array(self.area, np.float64)
        start = _starts(np.array(self.lengths, np.int64))
        owner = np.repeat(np.arange(len(photo)), np.diff(start))
        size = listing.sizes()[photo]
        skipped = [*listing.skipped, *self.skipped]

        points, visible = marks[:, :2], np.ceil(marks[:, 2]).astype(np.uint8)
        extent = np.where(np.isfinite(size), size, _LARGEST)[owner]
        outside = (visible > 0) & ~((points >= 0) & (points <= extent)).all(axis=1)
        for i in np.unique(owner[outside]).tolist():
            names = categories[int(category[i])].names
            lost = [names[k] for k in np.flatnonzero(outside[start[i] : start[i + 1]])]
            skipped.append(
                f"{self.names[i]}: outside its photo of {_shown(size[i])} and taken as not "
                f"labelled: {', '.join(lost)}"
            )
        visible[outside] = 0
        points[visible == 0] = 0

        labelled = np.bincount(owner, visible > 0, len(photo)) > 0
        hull = labelled & np.isnan(box[:, 0])
        box[hull] = _hulls(points, visible, start, size)[hull]
        x1, y1, x2, y2 = box.T
        no_box = labelled & np.isnan(x1)
        away = labelled & ((x2 <= 0) | (y2 <= 0) | (x1 >= size[:, 0]) | (y1 >= size[:, 1]))
        for i in np.flatnonzero(no_box | away).tolist():
            why = (
                "has no box, and its landmarks all lie in one place"
                if no_box[i]
                else f"its box {box[i].tolist()} lies outside its photo of {_shown(size[i])}"
            )
            skipped.append(f"{self.names[i]}: {why}")
        area = np.where(np.isnan(area), (x2 - x1) * (y2 - y1), area)

        keep = labelled & ~no_box & ~away
        order = np.lexsort((item, photo))
        rank = np.argsort(order)  # of each object in that order
        order = order[keep[order]]
        rows = np.argsort(rank[owner], kind="stable")
        rows = rows[keep[owner[rows]]]
        return Index(
            photo=photo[order],
            item=item[order],
            category=category[order],
            box=box[order].astype(np.float32),
            area=area[order].astype(np.float32),
            image_bytes=np.array(listing.bytes, np.int64)[photo[order]],
            start=_starts(np.diff(start)[order]),
            points=points[rows].astype(np.float32),
            visible=visible[rows],
            skipped=tuple(skipped),
            unlabelled=self.unlabelled + int((~labelled).sum()),
        )


_NO_BOX = (float("nan"),) * 4


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _shown(size: np.ndarray) -> str:
    return f"{size[0]:g} x {size[1]:g}" if np.isfinite(size).all() else "unknown size"


def _hulls(
    points: np.ndarray, visible: np.ndarray, start: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """(M, 4) boxes around the labelled landmarks: x1, y1, x2, y2; NaN where that is a point.

    Grown by `HULL_MARGIN` of the longer side on each side, and cut off at the photo.
    """
    if not len(points):
        return np.zeros((0, 4))
    there = visible[:, np.newaxis] > 0
    low = np.minimum.reduceat(np.where(there, points, np.inf), start[:-1])
    high = np.maximum.reduceat(np.where(there, points, -np.inf), start[:-1])
    longer = (high - low).max(axis=1, keepdims=True)
    grown = np.hstack([low - HULL_MARGIN * longer, high + HULL_MARGIN * longer])
    whole = np.hstack([np.zeros_like(size), size])
    boxes = np.where(longer > 0, grown, np.where(np.isfinite(size).all(1)[:, None], whole, np.nan))
    return np.hstack([np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:], size)])


@dataclass(frozen=True)
class _Named:
    """A photo as the annotations name it."""

    key: object  # what annotations refer to it by
    id: int
    names: tuple[str, ...]  # relative to one of the folders, the first that is there
    width: int | None
    height: int | None


@dataclass
class _Listing:
    """The photos that are there."""

    photos: list[Photo] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)  # size of each photo's file
    position: dict = field(default_factory=dict)  # key -> position in `photos`, None if missing
    skipped: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, source: Path, named: Iterable[_Named], images: Path | None) -> "_Listing":
        """Look for photos; raises `UserError` if there are some, and not one of them is found."""
        beside = source if source.is_dir() else source.parent
        folders = [*([images] if images else []), beside, beside / "images"]
        named = list(named)
        alike = Counter(_last(name) for name in {one.names[0] for one in named})
        listing, by_path = cls(), {}
        for one in named:
            name = one.names[0]
            if one.key in listing.position:
                listing.skipped.append(f"photo {name}: a second photo of id {one.key!r}")
                continue
            names = [*one.names, *([_last(name)] if alike[_last(name)] == 1 else [])]
            path, size = _found(folders, dict.fromkeys(names))
            if path in by_path:
                first = listing.position[one.key] = by_path[path]
                listing.skipped.append(
                    f"photo {name}: listed again under id {one.key!r}; taken as photo "
                    f"{listing.photos[first].id}"
                )
            elif size:
                by_path[path] = listing.position[one.key] = len(listing.photos)
                listing.photos.append(Photo(one.id, path, one.width, one.height))
                listing.bytes.append(size)
            else:
                listing.position[one.key] = None
                lack = "is not there" if path is None else "is empty"
                listing.skipped.append(f"photo {name}: {lack}; its annotations are left out")
        if named and not listing.photos:
            places = " nor ".join(map(str, folders))
            raise UserError(
                f"none of the {len(named)} photos of {source} is found, the first "
                f"({named[0].names[0]!r}) neither in {places}: say which folder they are in"
            )
        return listing

    def sizes(self) -> np.ndarray:
        """(P, 2) float64: width and height, infinite where not known."""
        sizes = [
            (photo.width, photo.height) if photo.width and photo.height else (np.inf, np.inf)
            for photo in self.photos
        ]
        return np.array(sizes, np.float64).reshape(-1, 2)


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _found(folders: list[Path], names: Iterable[str]) -> tuple[Path | None, int]:
    """The first that is a file, with its size in bytes."""
    for name in names:
        for folder in folders:
            place = os.path.normpath(os.path.join(folder, name))
            try:
                if name and os.path.isfile(place):
                    return Path(place), os.path.getsize(place)
            except (OSError, ValueError):  # a name that no file can have
                continue
    return None, 0


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def _json(path: Path, content: bytes) -> object:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}; "
            "export it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {brief(str(error))}; export it again") from None


_WHOLE = re.compile("-?[0-9]{1,18}")


def _key(value: object) -> int | str | None:
    """An id as annotations are matched by: "7" and 7.0 are 7; None for what is no id."""
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _numbered(keys: list, largest: int) -> list[int]:
    """The ids, with numbers after the largest for those that are not whole numbers."""
    whole = [key if isinstance(key, int) and abs(key) < largest else None for key in keys]
    fresh = count(max((key for key in whole if key is not None), default=0) + 1)
    return [next(fresh) if key is None else key for key in whole]


def _pixels(value: object) -> int | None:
    """A photo's width or height as a number, or None."""
    try:
        pixels = int(float(value)) if isinstance(value, (int, float, str)) else 0
    except (ValueError, OverflowError):
        return None
    return pixels if 0 < pixels <= _LARGEST else None


def _finite(values: object, what: str) -> list:
    if not isinstance(values, list) or not values or not set(map(type, values)) <= {int, float}:
        raise _Bad(f"{what} is not a list of numbers: {brief(values)}")
    # Compared before they are added: an integer may be too large for a float. A NaN, which may
    # slip through the comparison, makes the sum one.
    if not (-1e9 < min(values) and max(values) < 1e9 and isfinite(sum(values))):
        raise _Bad(f"{what} holds a number that is no coordinate: {brief(values)}")
    return values


_SIDE = re.compile("left|right|(?<![a-z])[lr](?![a-z])")
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def _pairs(names: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Landmarks whose names differ only in left and right, or l and r."""
    numbers = {name.lower(): i for i, name in enumerate(names)}
    mirrored = (
        (i, numbers.get(_SIDE.sub(lambda side: _OTHER[side[0]], name)))
        for name, i in numbers.items()
    )
    return tuple(sorted((i, j) for i, j in mirrored if j is not None and i < j))


# --- COCO


def _read_coco(
    source: Path, document: object, images: Path | None, wanted: int | str | None
) -> Annotations:
    parts = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(
        isinstance(document.get(part), list) for part in parts
    ):
        if isinstance(document, dict) and "shapes" in document:
            raise UserError(f"{source} is a LabelMe file: give the folder that it lies in")
        raise UserError(
            f"{source} is not COCO keypoint JSON: it has no lists {', '.join(parts)}; export the "
            "annotations as COCO keypoints"
        )
    found = _Rows()
    listed, rows, kinds = (_objects_of(document, part, found.skipped) for part in parts)
    keys = [_key(row.get("id")) for row in rows]
    items = _numbered(keys, _INT64)
    by_key, known = _coco_categories(source, kinds, rows, found.skipped)
    categories = Categories(by_key.values())
    if wanted is not None:
        categories = Categories([_wanted(categories, wanted)])
    listing = _Listing.of(source, _coco_photos(listed), images)

    seen = set()
    for row, key, item in zip(rows, keys, items):
        name = f"annotation {item if key is None else key}"
        try:
            kind = _key(row.get("category_id"))
            if kind not in known:
                raise _Bad(f"there is no category of id {brief(row.get('category_id'))}")
            category = by_key.get(kind)
            if wanted is not None and (category is None or category.id not in categories):
                continue
            if key is not None and key in seen:
                raise _Bad("a second annotation of that id")
            seen.add(key)
            if row.get("iscrowd") or not row.get("keypoints"):
                found.unlabelled += 1
                continue
            image = _key(row.get("image_id"))
            if image not in listing.position:
                raise _Bad(f"there is no photo of id {brief(row.get('image_id'))}")
            photo = listing.position[image]
            if photo is None:
                continue
            if category is None:
                raise _Bad("its category has no landmarks")
            found.add(
                name,
                photo,
                item,
                category.id,
                _coco_marks(row["keypoints"], category),
                _coco_box(row.get("bbox")),
                _coco_area(row.get("area")),
            )
        except _Bad as reason:
            found.skipped.append(f"{name}: {reason}")
    return Annotations(
        source, categories, tuple(listing.photos), found.index(listing, categories)
    )


def _objects_of(document: dict, part: str, skipped: list[str]) -> list[dict]:
    rows = document[part]
    skipped += [f"{part}: {brief(row)} is not an object" for row in rows if type(row) is not dict]
    return [row for row in rows if type(row) is dict]


def _coco_photos(rows: list[dict]) -> Iterator[_Named]:
    keys = [_key(row.get("id")) for row in rows]
    for row, key, number in zip(rows, keys, _numbered(keys, _INT64)):
        name = row.get("file_name")
        yield _Named(
            number if key is None else key,
            number,
            (PureWindowsPath(name).as_posix() if isinstance(name, str) else "",),
            _pixels(row.get("width")),
            _pixels(row.get("height")),
        )


def _coco_marks(values: object, category: Category) -> list:
    marks = _finite(values, "keypoints")
    if len(marks) != 3 * category.landmarks:
        raise _Bad(
            f"keypoints has {len(marks)} values, not 3 for each of the {category.landmarks} "
            f"landmarks of {category.name}"
        )
    if not (min(marks[2::3]) >= 0 and max(marks[2::3]) <= 2):
        raise _Bad("keypoints has a visibility that is not 0 to 2")
    return marks


def _coco_box(values: object) -> tuple[float, ...] | None:
    if values is None or values == []:
        return None
    box = _finite(values, "bbox")
    if len(box) != 4:
        raise _Bad(f"bbox has {len(box)} values, not x, y, width, height")
    x, y, width, height = box
    if not (width > 0 and height > 0):
        raise _Bad(f"bbox has a width or height that is not above 0: {box}")
    return x, y, x + width, y + height


def _coco_area(value: object) -> float | None:
    if value is None or value == 0:
        return None
    if type(value) not in (int, float) or not 0 < value < 1e18:
        raise _Bad(f"area is not a number above 0: {brief(value)}")
    return float(value)


def _wanted(categories: Categories, key: int | str) -> Category:
    """The category of an id or a name, or of an id as a command line gives it."""
    names = {category.name for category in categories.values()}
    whole = isinstance(key, str) and key not in names and key.isdecimal()
    return categories.find(int(key) if whole else key)


def _coco_categories(
    source: Path, rows: list[dict], annotations: list[dict], skipped: list[str]
) -> tuple[dict[object, Category], set]:
    """The categories with landmarks by their key, and the keys of all categories."""
    keys = [_key(row.get("id")) for row in rows]
    lengths = _lengths(
        annotations, {key for row, key in zip(rows, keys) if not row.get("keypoints")}
    )
    found = {}
    for row, key, number in zip(rows, keys, _numbered(keys, _INT32)):
        if key is None or key in found:
            skipped.append(f"category {brief(row.get('id'))}: no id, or a second one; left out")
            continue
        names = row.get("keypoints")
        names = tuple(map(str, names)) if isinstance(names, list) else ()
        landmarks = len(names) or lengths.get(key, 0)
        if landmarks:
            found[key] = _coco_landmarks(number, row, names, landmarks, skipped)
    if not found:
        raise UserError(
            f"no category of {source} has landmarks: export the annotations as COCO keypoints"
        )
    return found, set(keys) - {None}


def _lengths(annotations: list[dict], categories: set) -> dict[object, int]:
    """How many landmarks most annotations of these categories have."""
    lengths = Counter()
    for row in annotations if categories else ():
        kind, values = _key(row.get("category_id")), row.get("keypoints")
        if kind in categories and isinstance(values, list) and values and len(values) % 3 == 0:
            lengths[kind, len(values) // 3] += 1
    return {kind: number for (kind, number), _ in reversed(lengths.most_common())}


def _coco_landmarks(
    number: int, row: dict, names: tuple[str, ...], landmarks: int, skipped: list[str]
) -> Category:
    name = str(row.get("name") or number)

    def pairs_of(key: str) -> list[list[int]]:
        """Pairs of landmark numbers, none if they are not such."""
        pairs = row.get(key) or []
        fits = isinstance(pairs, list) and all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(type(k) is int and 0 <= k <= landmarks for k in pair)
            for pair in pairs
        )
        if not fits:
            skipped.append(f"category {name}: its {key} is not pairs of landmarks; left out")
        return pairs if fits else []

    edges = pairs_of("skeleton")
    first = 0 if any(0 in edge for edge in edges) else 1
    edges = tuple((a - first, b - first) for a, b in edges if max(a, b) - first < landmarks)
    mirrored = tuple((a, b) for a, b in pairs_of("flip_pairs") if a != b and max(a, b) < landmarks)
    sigmas = row.get("sigmas") or []
    if not (
        isinstance(sigmas, list)
        and len(sigmas) in (0, landmarks)
        and all(type(s) in (int, float) and isfinite(s) and s > 0 for s in sigmas)
    ):
        skipped.append(f"category {name}: its sigmas are not a number a landmark; left out")
        sigmas = []
    numbers = tuple(str(i + 1) for i in range(landmarks))
    return Category(
        id=number,
        name=name,
        landmarks=landmarks,
        pairs=mirrored or _pairs(names),
        edges=edges,
        oks_sigmas=tuple(map(float, sigmas)),
        landmark_names=() if names == numbers else names,
    )


# --- LabelMe and CVAT: photos with shapes


@dataclass(frozen=True)
class _Shape:
    """A point, a box or a polygon of a photo."""

    kind: str  # "point", "box", "polygon"
    label: str
    points: list  # of x, y; a box's are its corners
    visible: int = 2
    group: object = None  # of shapes that make an object
    skeleton: str | None = None  # the label of the skeleton that a point belongs to


@dataclass
class _Object:
    name: str  # to call it by in a line
    skeleton: str | None
    marks: dict = field(default_factory=dict)  # landmark's name -> x, y, v
    boxes: list = field(default_factory=list)  # corners of each, (K, 2)
    polygons: list = field(default_factory=list)  # likewise


# A photo, its shapes, and lines on what is wrong with it; None for a file that is no photo's.
_Read = Iterator[tuple[_Named | None, list[_Shape], list[str]]]


def _from_shapes(
    source: Path, read: _Read, images: Path | None, wanted: int | str | None
) -> Annotations:
    named, objects, found = [], [], _Rows()
    for photo, shapes, lines in read:
        found.skipped += lines
        if photo is not None:
            named.append(photo)
            objects += [(photo.key, one) for one in _objects(photo, shapes, found)]
    if len({photo.id for photo in named}) < len(named):
        named = [replace(photo, id=number) for number, photo in enumerate(named, 1)]
    by_skeleton = dict(_shape_categories(source, [one for _, one in objects], wanted))
    categories = Categories(by_skeleton.values())
    listing = _Listing.of(source, named, images)
    for item, (key, one) in enumerate(objects, 1):
        category, photo = by_skeleton.get(one.skeleton), listing.position[key]
        if category is None or photo is None:
            continue
        marks = [v for name in category.names for v in one.marks.get(name, (0, 0, 0))]
        box, area = _outline(one, found.skipped)
        found.add(one.name, photo, item, category.id, marks, box, area)
    return Annotations(source, categories, tuple(listing.photos), found.index(listing, categories))


def _objects(photo: _Named, shapes: list[_Shape], found: _Rows) -> list[_Object]:
    """The objects of a photo that have points, with the boxes and polygons that are theirs."""
    grouped: dict[object, list[_Shape]] = {}
    for shape in shapes:
        if shape.kind == "point":
            grouped.setdefault(shape.group, []).append(shape)
    objects = {}
    for k, (group, points) in enumerate(grouped.items(), 1):
        name = photo.names[0] + (f": object {k}" if len(grouped) > 1 else "")
        twice = [label for label, n in Counter(p.label for p in points).items() if n > 1]
        if twice:
            found.skipped.append(
                f"{name}: {', '.join(twice)} occurs twice in one object, which is left out; give "
                "each object of a photo a group id of its own"
            )
            continue
        marks = {point.label: (*point.points[0], point.visible) for point in points}
        objects[group] = _Object(name, points[0].skeleton, marks)
    for shape in shapes:
        if shape.kind == "point":
            continue
        corners = np.array(shape.points, np.float64)
        if shape.group is not None:
            owners = [objects[shape.group]] if shape.group in objects else []
        elif len(grouped) == 1:
            owners = list(objects.values())
        else:
            owners = [one for one in objects.values() if _within(one, corners)]
        if len(owners) == 1:
            (owners[0].boxes if shape.kind == "box" else owners[0].polygons).append(corners)
        elif shape.kind == "box" and (shape.group or not grouped) and shape.group not in grouped:
            found.unlabelled += 1  # an object without any landmark
    return list(objects.values())


def _within(one: _Object, corners: np.ndarray) -> bool:
    points = np.array([(x, y) for x, y, v in one.marks.values() if v], np.float64)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return len(points) > 0 and bool(((points >= low) & (points <= high)).all())


def _outline(one: _Object, skipped: list[str]) -> tuple[tuple | None, float | None]:
    """An object's box and area, None where it has none."""
    area = sum(cv2.contourArea(polygon.astype(np.float32)) for polygon in one.polygons) or None
    if len(one.boxes) > 1:
        skipped.append(f"{one.name}: {len(one.boxes)} boxes could be its own, none of them is used")
    elif one.boxes:
        box = _around(one.boxes)
        if box[0] < box[2] and box[1] < box[3]:
            return box, area
        skipped.append(f"{one.name}: its box has no area and is not used")
    return (_around(one.polygons) if area else None), area


def _around(corners: list[np.ndarray]) -> tuple[float, ...]:
    corners = np.concatenate(corners)
    return *corners.min(axis=0), *corners.max(axis=0)


def _shape_categories(
    source: Path, objects: list[_Object], wanted: int | str | None
) -> Iterator[tuple[str | None, Category]]:
    """A category for each skeleton, and one (None) for what is in no skeleton."""
    skeletons: dict[str | None, list[_Object]] = {}
    for one in objects:
        skeletons.setdefault(one.skeleton, []).append(one)
    if not skeletons:
        raise UserError(f"no landmark in {source}: annotate them as points")
    folder = source if source.is_dir() else source.parent
    called = {s: folder.resolve().name or "object" if s is None else s for s in skeletons}
    if wanted is not None and str(wanted) in called.values():
        skeletons = {s: of for s, of in skeletons.items() if called[s] == str(wanted)}
    elif wanted is not None and len(skeletons) == 1:
        called = {s: str(wanted) for s in skeletons}
    elif wanted is not None:
        raise UserError(
            f"unknown category {wanted!r}: {source} has {', '.join(sorted(called.values()))}"
        )
    for number, (skeleton, of) in enumerate(skeletons.items(), 1):
        _check_shared(source, of)
        names = tuple(dict.fromkeys(name for one in of for name in one.marks))
        yield skeleton, Category(
            number, called[skeleton], len(names), pairs=_pairs(names), landmark_names=names
        )


def _check_shared(source: Path, objects: list[_Object]) -> None:
    """Raises `UserError` if some objects share no landmark, not even by way of others."""
    left = {frozenset(one.marks): one for one in reversed(objects)}
    first = objects[0]
    joined = set(first.marks)
    while touching := [names for names in left if names & joined]:
        for names in touching:
            joined |= names
            del left[names]
    if left:
        other = next(one for one in objects if frozenset(one.marks) in left)
        raise UserError(
            f"photos of {source} have no landmark in common: {first.name} has "
            f"{_some(first.marks)}, {other.name} has {_some(other.marks)}; give the same landmark "
            "the same label in all photos"
        )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _truth(value: object) -> bool | None:
    """True or False as JSON or a text gives it; None for neither."""
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
        str(value).strip().lower()
    )


# --- LabelMe


def _read_labelme(folder: Path) -> _Read:
    try:
        paths = sorted(p for p in folder.glob("*.json") if not p.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror or error}") from None
    number, wrong = 0, []
    for path in paths:
        try:
            document = _json(path, _content(path))
        except UserError as error:
            wrong.append(str(error))
            yield None, [], wrong[-1:]
            continue
        said = document if isinstance(document, dict) else {}
        shapes, name = said.get("shapes"), said.get("imagePath")
        if not isinstance(shapes, list) or not isinstance(name, str):
            wrong.append(f"{path.name}: not a LabelMe file, for want of shapes or imagePath")
            yield None, [], wrong[-1:]
            continue
        number += 1
        width, height = _pixels(said.get("imageWidth")), _pixels(said.get("imageHeight"))
        photo = _Named(number, number, (PureWindowsPath(name).as_posix(),), width, height)
        yield photo, *_labelme_shapes(path.name, shapes)
    if not number:
        hint = f" ({wrong[0]}; if it is COCO's, give the file itself)" if wrong else ""
        raise UserError(f"no LabelMe file and no annotations.xml in the folder {folder}{hint}")


def _labelme_shapes(name: str, rows: list) -> tuple[list[_Shape], list[str]]:
    shapes, lines, unread = [], [], set()
    for k, row in enumerate(rows, 1):
        try:
            if not isinstance(row, dict):
                raise _Bad(f"not an object: {brief(row)}")
            points = row.get("points")
            if not isinstance(points, list) or not points:
                raise _Bad("has no points")
            kind = str(row.get("shape_type") or "") or ("point" if len(points) == 1 else "polygon")
            least = {"point": 1, "rectangle": 2, "polygon": 3}.get(kind)
            if least is None:
                unread.add(kind)
                continue
            for point in points:
                if len(_finite(point, "a point")) != 2:
                    raise _Bad(f"a point is not x, y: {brief(point)}")
            if len(points) < least:
                raise _Bad(f"a {kind} of {len(points)} points")
            label = row.get("label")
            if kind == "point" and not (isinstance(label, str) and label.strip()):
                raise _Bad("a point without label")
            group = row.get("group_id")
            shapes.append(
                _Shape(
                    "box" if kind == "rectangle" else kind,
                    str(label).strip(),
                    points,
                    _labelme_visible(row),
                    None if group is None else str(group),
                )
            )
        except _Bad as reason:
            lines.append(f"{name}: shape {k}: {reason}")
    if unread:
        lines.append(f"{name}: shapes that are not read: {', '.join(sorted(unread))}")
    return shapes, lines


def _labelme_visible(row: dict) -> int:
    """1 for a point that its flags, attributes or own keys call occluded, 0 for one outside."""
    said = {}
    for place in (row, row.get("flags"), row.get("attributes")):
        if isinstance(place, dict):
            said |= {str(key).lower(): value for key, value in place.items()}
    if _truth(said.get("outside")):
        return 0
    if type(v := said.get("visibility")) in (int, str) and str(v) in ("0", "1", "2"):
        return int(v)
    hidden = any(_truth(said.get(word)) for word in ("occluded", "hidden", "invisible"))
    return 1 if hidden or _truth(said.get("visible")) is False else 2


# --- CVAT

_AS_IMAGES = 'export the annotations as "CVAT for images 1.1"'


def _read_cvat(path: Path) -> _Read:
    try:
        text = _content(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8: export it from CVAT again") from None
    # A text is parsed as UTF-8 whatever it declares, so that nothing can hide from this search.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UserError(f"{path} declares a document type, which CVAT never does: not read")
    root, number = None, 0
    try:
        for event, element in ElementTree.iterparse(io.StringIO(text), ("start", "end")):
            if root is None:
                root = element
                if root.tag != "annotations":
                    raise UserError(f"{path} starts with <{root.tag}>, not CVAT's: {_AS_IMAGES}")
            elif element.tag == "track":
                raise UserError(f'{path} is "CVAT for video": {_AS_IMAGES}')
            elif event == "end" and element.tag == "image":
                number += 1
                photo = _cvat_photo(element, number)
                yield photo, *_cvat_shapes(photo.names[0], element)
                root.clear()  # what has been read: the file may be large
    except ElementTree.ParseError as error:
        line, column = error.position
        raise UserError(
            f"{path} is not XML: {str(error).split(':')[0]} in line {line}, column {column + 1}; "
            "export it again"
        ) from None
    if not number:
        raise UserError(f"no image in {path}: {_AS_IMAGES}")


def _cvat_photo(element: ElementTree.Element, number: int) -> _Named:
    said = element.attrib
    name, subset = PureWindowsPath(said.get("name", "")).as_posix(), said.get("subset")
    found = _key(said.get("id", ""))
    return _Named(
        number,
        found if isinstance(found, int) else number,
        (name, f"{subset}/{name}") if subset else (name,),
        _pixels(said.get("width")),
        _pixels(said.get("height")),
    )


def _cvat_shapes(name: str, image: ElementTree.Element) -> tuple[list[_Shape], list[str]]:
    lists = (e for e in image.iterfind("points") if ";" in e.get("points", ""))
    several = Counter(e.get("label", "") for e in lists)
    shapes, lines, unread = [], [], set()
    for k, element in enumerate(image, 1):
        tag, label, group = element.tag, element.get("label", ""), element.get("group_id", "0")
        group = None if group == "0" else group
        try:
            if tag == "box":
                shapes.append(_Shape("box", label, _cvat_box(element), group=group))
            elif tag == "polygon":
                shapes.append(_Shape("polygon", label, _cvat_points(element, 3), group=group))
            elif tag == "points":
                # A label's second list of points is another object's.
                alone = group is None and several[label] > 1 and ";" in element.get("points", "")
                shapes += _cvat_landmarks(element, (k,) if alone else group)
            elif tag == "skeleton":
                own = (k,) if group is None else group
                for child in element.iterfind("points"):
                    shapes += _cvat_landmarks(child, own, label)
            elif tag != "tag":
                unread.add(tag)
        except _Bad as reason:
            lines.append(f"{name}: {tag} {label!r}: {reason}")
    if unread:
        lines.append(f"{name}: shapes that are not read: {', '.join(sorted(unread))}")
    return shapes, lines


def _cvat_landmarks(
    element: ElementTree.Element, group: object, skeleton: str | None = None
) -> list[_Shape]:
    """The one landmark of a <points>, or its several, which are numbered."""
    label, points = element.get("label", "").strip(), _cvat_points(element, 1)
    if not label:
        raise _Bad("has no label")
    visible = 2
    if _truth(element.get("outside")):
        visible = 0
    elif _truth(element.get("occluded")):
        visible = 1
    names = [label] if len(points) == 1 else [f"{label}-{i}" for i in range(1, len(points) + 1)]
    return [
        _Shape("point", name, [point], visible, group, skeleton)
        for name, point in zip(names, points)
    ]


def _cvat_points(element: ElementTree.Element, least: int) -> list[list[float]]:
    """The points of "x,y;x,y"."""
    points = [_cvat_numbers(pair.split(",")) for pair in element.get("points", "").split(";")]
    if len(points) < least or any(len(point) != 2 for point in points):
        raise _Bad(f"its points are not x,y;x,y: {brief(element.get('points'))}")
    return points


def _cvat_box(element: ElementTree.Element) -> list[list[float]]:
    """The corners of a box, which may be rotated about its centre."""
    x1, y1, x2, y2, angle = _cvat_numbers(
        [element.get(side, "") for side in ("xtl", "ytl", "xbr", "ybr")]
        + [element.get("rotation", "0")]
    )
    if not angle:
        return [[x1, y1], [x2, y2]]
    centre = (x1 + x2) / 2, (y1 + y2) / 2
    return cv2.boxPoints((centre, (x2 - x1, y2 - y1), angle)).tolist()


def _cvat_numbers(texts: list[str]) -> list[float]:
    try:
        return _finite([float(text) for text in texts], "a place")
    except ValueError:
        raise _Bad(f"not a number: {brief(texts)}") from None
