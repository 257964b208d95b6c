"""CVAT's "for images 1.1" XML. A document type or entity, which CVAT never writes, is refused."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath
from reprlib import repr as brief
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import cv2

from fewshot_landmarks.data.formats.found import Found, Searched, distinct_names, xml_text
from fewshot_landmarks.data.formats.objects import Photo, Read
from fewshot_landmarks.data.formats.shapes import Shape, from_shapes
from fewshot_landmarks.data.formats.values import (
    Bad,
    key_of,
    numbered,
    numbers,
    parsed_xml,
    pixels,
    plain,
    said_true,
)
from fewshot_landmarks.support.errors import UserError

SUFFIX = ".xml"
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
        root = parsed_xml(source, content)
    except Bad as reason:
        raise UserError(str(reason)) from None
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


# ------------------------------------------------------------------------------- writing


def files(out: Path, photos: Sequence[tuple[Path, str]]) -> list[Path]:
    """One file for all photos."""
    return [out]


def contents(out: Path, photos: Sequence[Searched]) -> Iterator[tuple[Path, str]]:
    """An object is a skeleton and a box of one group; the labels that CVAT's task needs for both
    stand in the file's head.
    """
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for kind, one in {one.kind: one for photo in photos for one in photo.objects}.items():
        _label(labels, kind, "skeleton")
        for name in one.names:
            _label(labels, name, "points", kind)
        _label(labels, _box_of(kind), "rectangle")
    group = 0
    for photo, name in zip(photos, distinct_names(photos)):
        size = {"width": str(photo.width), "height": str(photo.height)}
        # CVAT counts photos from 0 and goes by that where it knows none of the name; results of a
        # folder count from 1, and those of boxes as their annotations do.
        number = photo.id - all(one.item is None for one in photo.objects)
        image = _element(root, "image", id=str(number), name=name, **size)
        for one in photo.objects:
            group += 1
            _object(image, one, {"z_order": "0", "group_id": str(group)})
    ElementTree.indent(root)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    yield out, head + ElementTree.tostring(root, encoding="unicode") + "\n"


def _object(image: Element, one: Found, common: dict[str, str]) -> None:
    x1, y1, x2, y2 = one.corners
    source = {"source": "manual" if one.score is None else "auto"}
    common = source | common
    skeleton = _element(image, "skeleton", label=one.kind, **common)
    for name, (x, y), score, visible in zip(one.names, one.points, one.scores, one.visible):
        if not visible:  # a skeleton of CVAT's has all its points
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
        seen = {"outside": "0" if visible else "1", "occluded": "0"} | source
        point = _element(skeleton, "points", label=name, points=f"{x:.2f},{y:.2f}", **seen)
        _score(point, None if one.score is None else score)
    _score(skeleton, one.score)
    sides = {side: f"{n:.2f}" for side, n in zip(("xtl", "ytl", "xbr", "ybr"), one.corners)}
    _score(
        _element(image, "box", label=_box_of(one.kind), occluded="0", **sides, **common), one.score
    )


def _score(element: Element, score: float | None) -> None:
    if score is not None:
        SubElement(element, "attribute", name="score").text = f"{score:g}"


def _box_of(kind: str) -> str:
    """The label of a category's boxes: one of CVAT's is a skeleton's or a rectangle's alone."""
    return f"{kind} box"


def _label(labels: Element, name: str, form: str, parent: str = "") -> None:
    label = SubElement(labels, "label")
    said = {"name": name, "type": form, **({"parent": parent} if parent else {})}
    for tag, text in said.items():
        SubElement(label, tag).text = xml_text(text)
    attribute = SubElement(SubElement(label, "attributes"), "attribute")
    number = {"name": "score", "mutable": "True", "input_type": "number", "default_value": "0",
              "values": "0\n1\n0.0001"}  # fmt: skip
    for tag, text in number.items():
        SubElement(attribute, tag).text = text


def _element(parent: Element, tag: str, **said: str) -> Element:
    return SubElement(parent, tag, {key: xml_text(text) for key, text in said.items()})
