"""Landmark annotations of one's own photos: COCO keypoint JSON, LabelMe, CVAT "for images".

All become one `Index`, as DeepFashion2's. Coordinates are continuous: pixel i covers [i, i + 1).
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewshot_landmarks.data import coco, cvat, labelme
from fewshot_landmarks.data.coco import write_coco
from fewshot_landmarks.data.index import Index
from fewshot_landmarks.data.objects import Annotations, Bad, Object, Photo, Read
from fewshot_landmarks.errors import UserError

__all__ = ["Annotations", "Photo", "read_annotations", "write_coco"]

HULL_MARGIN = 0.1  # by how much of its longer side the landmarks' hull grows to make a box


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
            without its first folders where no other photo's name ends in the same.
        category: id or name of the only category to keep. For LabelMe and CVAT: what to call it,
            or which skeleton of CVAT's to keep.

    What is not fit for use is left out with a line in `index.skipped`: photos that are missing or
    empty, annotations that are wrong, given twice, or have their box outside the photo, and
    labels outside the photo. Crowds and objects without any label are counted, `unlabelled`.

    An object without a box has the hull of its landmarks, grown by `HULL_MARGIN` of its longer
    side, or the whole photo where they all lie in one place; without an area, its box's.

    Raises `UserError` where nothing can be read: no such file, another format, no landmarks, an
    unknown category, photos that share no landmark's name, or no annotation fit for use.
    """
    source = Path(source)
    if images is not None and not Path(images).is_dir():
        raise UserError(f"no folder {images}: give the folder that holds the photos")
    exported = source / "annotations.xml"
    source = exported if exported.is_file() else source
    read = _read(source, None if category is None else str(category))
    photos, place = _find_photos(source, read, images)
    rows = [row for one in read.objects if (row := _row(one, photos, place, read)) is not None]
    if not rows:
        why = [f"{read.unlabelled} objects have no labelled landmark"]
        if read.skipped:
            why += [f"{len(read.skipped)} things are wrong, the first {read.skipped[0]}"]
        raise UserError(f"no annotation fit for use in {source}: {'; '.join(why)}")
    return Annotations(source, read.categories, tuple(photos), _index(rows, photos, read))


def _read(source: Path, category: str | None) -> Read:
    if source.is_dir():
        return labelme.read(source, category)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror or error}") from None
    if content.startswith(b"\x80"):
        raise UserError(f"{source} is a pickle, which is never opened: give JSON or XML")
    if content.startswith(b"PK"):
        raise UserError(f"{source} is a zip file: unpack it and give what is in it")
    is_xml = content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    return (cvat if is_xml else coco).read(source, content, category)


def _find_photos(
    source: Path, read: Read, images: str | os.PathLike | None
) -> tuple[list[Photo], dict[object, int]]:
    """The photos that are there, and where among them each of `read.photos` is."""
    beside = source if source.is_dir() else source.parent
    folders = [Path(images)] if images else [beside, beside / "images"]
    names = {photo.path for photo in read.photos.values()}
    alike = Counter(ending for name in names for ending in _endings(name))
    photos, place, by_path = [], {}, {}
    for key, photo in read.photos.items():
        endings = [e for e in _endings(photo.path) if e == photo.path or alike[e] == 1]
        path = _first_file(folder / ending for ending in endings for folder in folders)
        if path is None:
            why = "is not there, or empty; its annotations are left out"
            read.skipped.append(f"photo {photo.path}: {why}")
            continue
        if path in by_path:
            first = photos[by_path[path]].id
            read.skipped.append(f"photo {photo.path}: listed again; taken as photo {first}")
        else:
            by_path[path] = len(photos)
            photos.append(replace(photo, path=path))
        place[key] = by_path[path]
    if names and not photos:
        raise UserError(
            f"none of the {len(read.photos)} photos of {source} is found, among them "
            f"{min(names)}: they are not in {' or '.join(map(str, folders))}; say which folder they "
            "are in, by --images (compare: --support-images, --query-images)"
        )
    return photos, place


def _endings(path: Path) -> list[Path]:
    """The path, and what is left of it without its first folders."""
    return [Path(*path.parts[k:]) for k in range(len(path.parts))]


def _first_file(paths: Iterable[Path]) -> Path | None:
    """The first that is a file and not empty."""
    there = (os.path.normpath(path) for path in paths if os.path.isfile(path))
    return next((Path(path) for path in there if os.path.getsize(path)), None)


def _row(one: Object, photos: list[Photo], place: dict[object, int], read: Read) -> tuple | None:
    """An object's photo, item, category, box, area, points and visibility, if fit for use."""
    if one.photo not in place:
        return None
    photo = photos[place[one.photo]]
    said = (photo.width, photo.height) if photo.width and photo.height else (np.inf, np.inf)
    size = np.array(said, float)
    marks = np.array(one.marks).reshape(-1, 3)
    points, visible = marks[:, :2], np.ceil(marks[:, 2]).astype(np.uint8)
    outside = (visible > 0) & ((points < 0) | (points > size)).any(axis=1)
    if outside.any():
        names = ", ".join(one.category.names[k] for k in np.flatnonzero(outside))
        read.skipped.append(f"{one.name}: outside its photo and taken as not labelled: {names}")
    visible[outside] = 0
    points[visible == 0] = 0
    if not visible.any():
        read.unlabelled += 1
        return None
    try:
        box = _box(one, points[visible > 0], size)
    except Bad as reason:
        read.skipped.append(f"{one.name}: {reason}")
        return None
    area = one.area or (box[2] - box[0]) * (box[3] - box[1])
    return place[one.photo], one.item, one.category.id, box, area, points, visible


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
    photo, item, category, box, area, points, visible = zip(*sorted(rows, key=lambda row: row[:2]))
    sizes = np.array([os.path.getsize(photo.path) for photo in photos], np.int64)
    return Index(
        photo=np.array(photo, np.int32),
        item=np.array(item, np.int64),
        category=np.array(category, np.int32),
        box=np.array(box, np.float32),
        area=np.array(area, np.float32),
        image_bytes=sizes[np.array(photo)],
        start=np.cumsum([0, *map(len, visible)], dtype=np.int64),
        points=np.concatenate(points, dtype=np.float32),
        visible=np.concatenate(visible),
        skipped=tuple(read.skipped),
        unlabelled=read.unlabelled,
    )
