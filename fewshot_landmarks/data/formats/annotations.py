"""Landmark annotations of one's own photos: COCO keypoint JSON, and what annotators write.

All become one `Index`, as DeepFashion2's. Coordinates are continuous: pixel i covers [i, i + 1).
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewshot_landmarks.data.formats import coco
from fewshot_landmarks.data.formats.annotators import (
    cvat,
    deeplabcut,
    label_studio,
    labelme,
    sleap,
    yolo,
)
from fewshot_landmarks.data.formats.columns import Labelled, compacted
from fewshot_landmarks.data.formats.objects import Annotations, Ignored, Object, Photo, Read
from fewshot_landmarks.data.formats.places import find_photos
from fewshot_landmarks.data.formats.values import Bad, parsed, repeated
from fewshot_landmarks.data.index import Index
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import LIMIT, open_regular, read_regular
from fewshot_landmarks.support.names import listed

__all__ = ["Annotations", "Photo", "read_annotations"]

LARGEST = 2**32  # bytes of a JSON file: DeepFashion2's training annotations in COCO are 1.7 GB
HULL_MARGIN = 0.1  # by how much of its longer side the landmarks' hull grows to make a box


def read_annotations(
    source: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    category: int | str | None = None,
    photos_needed: bool = True,
    labelled: Labelled | None = None,
) -> Annotations:
    """The objects with landmarks of a file or folder of annotations.

    Args:
        source: a file, or a folder, that is told by what is in it, not by what it is called. Of
            COCO keypoints or Label Studio's tasks: JSON. LabelMe: a folder of JSON files, one a
            photo. CVAT "for images 1.1": XML, or a folder that holds it as annotations.xml. YOLO
            pose: its data.yaml, or the folder that holds it. DeepLabCut: a CollectedData_*.csv, or
            a folder of photos or of a project that holds such. SLEAP: a .slp.
        images: folder of the photos. Without it they are looked for beside the annotations, and
            in the folders `images` and `image` beside them. Their names are those that the
            annotations give; see `places` for the forms that are tried.
        category: id or name of the only category to keep. Where annotators' files have a single
            one without a name of its own: what to call it.
        photos_needed: whether annotations of photos that are not there are left out.
        labelled: `labelled` of another COCO file of the same categories, whose landmarks shall be
            the same; see `columns` for what landmarks a category has.

    What is not fit for use is left out with a line in `index.skipped`: photos that are missing,
    empty, or of another size than is said of them; annotations that are wrong, given twice, or
    have their box outside the photo; and labels outside the photo. Crowds and objects without any
    label are counted, `unlabelled`, and where they are is kept, `ignored`. Landmarks of one
    category that share a name are told apart by their order, with a line in `notes`.

    An object without a box has the hull of its landmarks, grown by `HULL_MARGIN` of its longer
    side, or the whole photo where they all lie in one place; without an area, its box's.

    Raises `UserError` where nothing can be read: no such file, another format, no landmarks, an
    unknown category, photos that share no landmark's name, or no annotation fit for use.
    """
    source = Path(source)
    if images is not None and not os.path.isdir(images):
        raise UserError(f"no folder {images}: give the folder that holds the photos")
    exported = source / "annotations.xml"
    source = exported if os.path.isfile(exported) else source
    read = _read(source, None if category is None else str(category), labelled)
    photos, place = find_photos(source, read, images, photos_needed)
    rows = [row for one in read.objects if (row := _row(one, photos, place, read)) is not None]
    ignored = [_ignored(one, photos, place) for one in read.ignored]
    if not rows:
        raise UserError(f"no annotation fit for use in {source}: {_why_none(read)}")
    for kind in read.categories.values():
        if names := repeated(kind.names):
            read.notes.append(
                f"category {kind.name}: landmarks share the names {listed(names)}; those are told "
                "apart by their order"
            )
    return Annotations(
        source,
        read.categories,
        tuple(photos),
        _index(rows, photos, read),
        tuple(one for one in ignored if one is not None),
        tuple(read.notes),
        read.labelled,
    )


def _why_none(read: Read) -> str:
    why = []
    if read.skipped:
        why += [f"{len(read.skipped)} things are wrong, the first {read.skipped[0]}"]
    if read.unlabelled:
        why += [f"{read.unlabelled} objects have no labelled landmark"]
    return "; ".join(why) or "it has no annotation"


def _read(source: Path, category: str | None, labelled: Labelled | None) -> Read:
    if os.path.isdir(source):
        collected, config = deeplabcut.collected(source), yolo.configured(source)
        # LabelMe's first: of these three they alone cannot be told by the name of a file.
        if (collected or config) and not labelme.are_in(source):
            return yolo.read(config, category) if config else deeplabcut.read(source, category)
        return labelme.read(source, category)
    try:
        with open_regular(source) as file:
            start = file.read(len(sleap.MAGIC))
        if start == sleap.MAGIC:
            return sleap.read(source, category)
        content = read_regular(source, LARGEST if source.suffix == ".json" else LIMIT)
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror or error}") from None
    if content.startswith(b"\x80"):
        raise UserError(f"{source} is a pickle, which is never opened: give JSON or XML")
    if content.startswith(b"PK"):
        raise UserError(f"{source} is a zip file: unpack it and give what is in it")
    start = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        return cvat.read(source, content, category)
    is_csv = source.suffix == deeplabcut.SUFFIX and start not in (b"[", b"{")
    if is_csv or deeplabcut.is_labels(content):
        return deeplabcut.read(source, category)
    if source.suffix in yolo.ENDINGS:
        return yolo.read(source, category)
    if source.suffix == ".txt" and start not in (b"[", b"{"):
        raise UserError(f"{source} is text: of YOLO's labels give the data.yaml, or its folder")
    try:
        document = parsed(source, content, compacted)
    except Bad as reason:
        raise UserError(str(reason)) from None
    if isinstance(document, list) or label_studio.is_a_task(document):
        return label_studio.read(source, document, category)
    return coco.read(source, document, category, labelled)


def _row(one: Object, photos: list[Photo], place: dict[object, int], read: Read) -> tuple | None:
    """An object's photo, item, category, box, area, points and visibility, if fit for use."""
    if one.photo not in place:
        return None
    size = _size(photos[place[one.photo]])
    if read.relative:
        one = _in_pixels(one, size)
    marks = np.array(one.marks).reshape(-1, 3)
    points, visible = marks[:, :2], np.ceil(marks[:, 2]).astype(np.uint8)
    outside = (visible > 0) & ((points < 0) | (points > size)).any(axis=1)
    if outside.any():
        names = listed(one.category.names[k] for k in np.flatnonzero(outside))
        read.skipped.append(f"{one.name}: outside its photo and taken as not labelled: {names}")
    visible[outside] = 0
    points[visible == 0] = 0
    if not visible.any():
        read.unlabelled += 1
        read.ignored.append(one)
        return None
    try:
        box = _box(one, points[visible > 0], size)
    except Bad as reason:
        read.skipped.append(f"{one.name}: {reason}")
        read.ignored.append(replace(one, box=None))
        return None
    return place[one.photo], one.item, one.category.id, box, _area(one, box), points, visible


def _in_pixels(one: Object, size: np.ndarray) -> Object:
    """An object whose places are shares of its photo's sides."""
    marks = np.array(one.marks).reshape(-1, 3) * [*size, 1]
    box = None if one.box is None else tuple((np.array(one.box) * [*size, *size]).tolist())
    return replace(one, marks=marks.ravel().tolist(), box=box)


def _ignored(one: Object, photos: list[Photo], place: dict[object, int]) -> Ignored | None:
    """An object that counts in no metric, if it has a place."""
    if one.photo not in place:
        return None
    points = np.array(one.marks).reshape(-1, 3)
    points = points[points[:, 2] > 0, :2]
    if one.box is None and not len(points):
        return None
    try:
        box = _box(one, points, _size(photos[place[one.photo]]))
    except Bad:
        return None
    area, marks = _area(one, box), tuple(one.marks if one.crowd else [0] * len(one.marks))
    return Ignored(place[one.photo], one.category.id, box, area, one.crowd, marks)


def _size(photo: Photo) -> np.ndarray:
    """Width and height, infinite where they are not said."""
    return np.array(photo.declared or (np.inf, np.inf), float)


def _area(one: Object, box: tuple[float, ...]) -> float:
    return one.area or (box[2] - box[0]) * (box[3] - box[1])


def _box(one: Object, points: np.ndarray, size: np.ndarray) -> tuple[float, ...]:
    """An object's box, or one around its landmarks, cut off at the photo; raises `Bad`."""
    if one.box is None:
        low, high = points.min(axis=0), points.max(axis=0)
        grown = HULL_MARGIN * (high - low).max()
        if grown:
            return *np.maximum(low - grown, 0), *np.minimum(high + grown, size)
        if np.isinf(size).any():
            raise Bad("has no box, and its landmarks all lie in one place")
        return 0, 0, *size
    x1, y1, x2, y2 = one.box
    shown = f"its bbox from {x1:g}, {y1:g} to {x2:g}, {y2:g}"
    if not (x1 < x2 and y1 < y2):
        raise Bad(f"{shown} has no width or height")
    if not (x1 < size[0] and y1 < size[1] and x2 > 0 and y2 > 0):
        raise Bad(f"{shown} lies outside its photo of {size[0]:g} x {size[1]:g}")
    return one.box


def _index(rows: list[tuple], photos: list[Photo], read: Read) -> Index:
    """The rows in order of photo and item."""
    sizes = [_bytes(photo.path) for photo in photos]
    ordered = [(*row[:5], sizes[row[0]], *row[5:]) for row in sorted(rows, key=lambda row: row[:2])]
    return Index.of(ordered, read.skipped, read.unlabelled, item=np.int64, category=np.int32)


def _bytes(path: Path) -> int:
    return os.path.getsize(path) if path.is_file() else 0
