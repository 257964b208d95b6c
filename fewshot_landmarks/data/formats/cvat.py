"""CVAT's "for images 1.1" XML. A document type or entity, which CVAT never writes, is refused."""

from collections import Counter
from pathlib import Path, PureWindowsPath
from reprlib import repr as brief
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import cv2

from fewshot_landmarks.data.formats.objects import Photo, Read
from fewshot_landmarks.data.formats.shapes import Shape, from_shapes
from fewshot_landmarks.data.formats.values import (
    Bad,
    key_of,
    numbered,
    numbers,
    pixels,
    plain,
    said_true,
)
from fewshot_landmarks.support.errors import UserError

_AS_IMAGES = 'export the annotations as "CVAT for images 1.1"'


def read(source: Path, content: bytes, wanted: str | None) -> Read:
    """What the file says; raises `UserError` for what is not CVAT's."""
    images, photos, lines = _images(source, content), [], []
    keys = [key_of(image.get("id")) for image in images]
    if len(set(keys)) < len(keys):  # they start anew in each part of a project
        keys = [None] * len(keys)
    for image, key, number in zip(images, keys, numbered(keys)):
        name = Path(PureWindowsPath(image.get("subset", ""), image.get("name", "")).as_posix())
        size = pixels(image.get("width")), pixels(image.get("height"))
        photos.append(
            (Photo(number, name, *size, () if key is None else (key,)), _shapes(name, image, lines))
        )
    return from_shapes(source, photos, lines, wanted)


def _images(source: Path, content: bytes) -> list[Element]:
    try:
        text = content.decode("utf-8-sig")
        # A text is parsed as UTF-8 whatever it declares, so that nothing can hide from this search.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise UserError(f"{source} declares a document type, which CVAT never does: not read")
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise UserError(f"{source} is not XML in UTF-8: {error}; export it again") from None
    if root.tag != "annotations":
        raise UserError(f"{source} starts with <{root.tag}>, not CVAT's: {_AS_IMAGES}")
    if root.find("track") is not None:
        raise UserError(f'{source} is "CVAT for video": {_AS_IMAGES}')
    return root.findall("image")


def _shapes(name: Path, image: Element, lines: list[str]) -> list[Shape]:
    lists, shapes = Counter(e.get("label") for e in image if _is_list(e)), []
    skeletons = Counter(e.get("group_id") for e in image if e.tag == "skeleton")
    for k, element in enumerate(image, 1):
        try:
            # A label's second list of points is another object's, and each skeleton is one.
            alone = _is_list(element) and lists[element.get("label")] > 1
            own = (k,) if alone or element.tag == "skeleton" else None
            several = skeletons[element.get("group_id")] > 1
            group = None if several else key_of(element.get("group_id", "0"))
            shapes += _drawn(element, group or own)
        except Bad as reason:
            lines.append(f"{name}: {element.tag} {element.get('label', '')!r}: {reason}")
    return shapes


def _is_list(element: Element) -> bool:
    return element.tag == "points" and ";" in element.get("points", "")


def _drawn(element: Element, group: object) -> list[Shape]:
    """What an element draws, for a group."""
    if element.tag in ("box", "polygon"):
        points = _box(element) if element.tag == "box" else _points(element, 3)
        return [Shape(element.tag, points, group, plain(element.get("label", "")))]
    if element.tag == "points":
        return _landmarks(element, group)
    if element.tag == "skeleton":
        label = plain(element.get("label", ""))
        return [s for part in element.iterfind("points") for s in _landmarks(part, group, label)]
    if element.tag == "tag":
        return []
    raise Bad("not read")


def _landmarks(element: Element, group: object, skeleton: str | None = None) -> list[Shape]:
    """The one landmark of a <points>, or its several, which are numbered."""
    label = plain(element.get("label", ""))
    if not label:
        raise Bad("has no label")
    visible = 1 if said_true(element.get("occluded")) else 2
    if said_true(element.get("outside")):  # not there: where it says it is, is stale
        points, visible = [[0.0, 0.0]] * (element.get("points", "").count(";") + 1), 0
    else:
        points = _points(element, 1)
    names = [label] if len(points) == 1 else [f"{label}-{i + 1}" for i in range(len(points))]
    return [Shape("point", [p], group, name, visible, skeleton) for name, p in zip(names, points)]


def _points(element: Element, least: int) -> list[list[float]]:
    """The points of "x,y;x,y"."""
    points = [_numbers(pair.split(",")) for pair in element.get("points", "").split(";")]
    if len(points) < least or any(len(point) != 2 for point in points):
        raise Bad(f"its points are not x,y;x,y: {brief(element.get('points'))}")
    return points


def _box(element: Element) -> list[list[float]]:
    """The corners of a box, which may be rotated about its centre."""
    sides = [element.get(side, "") for side in ("xtl", "ytl", "xbr", "ybr")]
    x1, y1, x2, y2, angle = _numbers([*sides, element.get("rotation", "0")])
    if not angle:
        return [[x1, y1], [x2, y2]]
    centre = (x1 + x2) / 2, (y1 + y2) / 2
    return cv2.boxPoints((centre, (x2 - x1, y2 - y1), angle)).tolist()


def _numbers(texts: list[str]) -> list[float]:
    try:
        return numbers([float(text) for text in texts], "a place")
    except ValueError:
        raise Bad(f"not a number: {brief(texts)}") from None
