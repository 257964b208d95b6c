"""Found landmarks as annotators open them: COCO keypoint annotations, LabelMe, CVAT "for images".

`read_annotations` reads them again with the same names, boxes and places. A landmark without a
place in its photo is one that is not labelled: 0, 0, 0 in COCO, none in LabelMe, outside in CVAT.
Coordinates are continuous, as everywhere: the first pixel's centre is 0.5, 0.5.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from fewshot_landmarks.data.formats.coco import annotation_row, category_row, image_row
from fewshot_landmarks.data.formats.labelme import SEEN
from fewshot_landmarks.data.formats.values import repeated
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import read_regular, write_text
from fewshot_landmarks.support.names import listed

LABELME = "5.5.0"  # the version of LabelMe whose layout is written
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, eq=False)
class Found:
    """An object that was found in a photo."""

    category: int
    kind: str  # what its category is called
    names: tuple[str, ...]  # of its N landmarks
    points: np.ndarray  # (N, 2) pixels
    scores: np.ndarray  # (N,) 0 to 1
    visible: np.ndarray  # (N,) 2 where it has a place in the photo, else 0
    box: tuple[float, float, float, float]  # x, y, width, height
    score: float
    edges: tuple[tuple[int, int], ...] = ()  # the category's skeleton, as far as it is known
    item: int | None = None  # the id of the annotation whose box was searched

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Its box's x1, y1, x2, y2, to a hundredth of a pixel."""
        x, y, width, height = self.box
        return x, y, round(x + width, 2), round(y + height, 2)


@dataclass(frozen=True, eq=False)
class Searched:
    """A photo, and what was found in it."""

    id: int
    path: Path  # its file, or LabelMe's that embeds it
    name: str
    width: int  # of the photo as it was searched, which EXIF may turn
    height: int
    objects: list[Found] = field(default_factory=list)

    def add(self, row: dict, kind: str, edges: tuple[tuple[int, int], ...] = ()) -> None:
        """Add an entry of `predict`'s results, of a category that is called so."""
        marks = np.array(row["keypoints"], float).reshape(-1, 3)
        points, scores = marks[:, :2], marks[:, 2]
        inside = ((points >= 0) & (points <= (self.width, self.height))).all(1)
        visible = np.where(marks.any(1) & inside, 2, 0)
        names, item = tuple(row["keypoint_names"]), row.get("annotation_id")
        about = row["category_id"], kind, names, points, scores, visible
        self.objects.append(Found(*about, tuple(row["bbox"]), row["score"], edges, item))


def check_folder(out: Path, read: Path | None) -> Path:
    """The folder for LabelMe's files, with a name of its own; `read` are annotations that are read.

    Raises `UserError` where `out` is no folder or holds these annotations.
    """
    if out.suffix in (".json", ".xml") or (out.exists() and not out.is_dir()):
        raise UserError(f"--out {out}: LabelMe has a file a photo; give the name of a folder")
    if read and read.exists() and out.exists() and out.samefile(read):
        raise UserError(f"--out {out} holds the annotations that are read: choose another folder")
    named = out if out.name not in ("", "..") else Path(os.path.abspath(out))
    if not named.name:
        raise UserError(f"--out {out}: give the name of a folder in it")
    return named


def files(form: str, out: Path, photos: Iterable[Path]) -> list[Path]:
    """Which files are written for some photos: `out` itself, or LabelMe's in it, one a photo.

    Raises `UserError` where two photos would have one file.
    """
    if form != "labelme":
        return [out]
    owners: dict[str, tuple[Path, Path]] = {}
    for photo in photos:
        file = out / f"{photo.stem}.json"
        _, owner = owners.setdefault(file.name.casefold(), (file, photo))
        if owner != photo:
            raise UserError(
                f"LabelMe has a file a photo, and {file} would be that of both {owner} and {photo}: "
                "search one folder of photos at a time, or give --format coco or cvat"
            )
    return [file for file, _ in owners.values()]


def check_names(form: str, kind: str, names: Sequence[str]) -> None:
    """Raise `UserError` where a form, other than COCO's, cannot tell landmarks by their names."""
    same = repeated(names)
    if form != "coco" and (same or "" in names):
        why = f"share the names {listed(same)}" if same else "have an empty name"
        raise UserError(
            f"--format {form}: landmarks of {kind} {why}, and names alone tell them apart there: "
            "give --format coco"
        )


def write(form: str, out: Path, photos: Sequence[Searched]) -> None:
    """Write the photos' objects as "coco" or "cvat" to a file, or as "labelme" to a folder."""
    if form == "coco":
        write_text(out, json.dumps(_coco(photos)) + "\n")
    elif form == "cvat":
        write_text(out, _cvat(photos))
    else:
        for photo, (file,) in ((each, files(form, out, [each.path])) for each in photos):
            write_text(file, json.dumps(_labelme(photo, out), indent=2) + "\n")


def _names(photos: Sequence[Searched]) -> list[str]:
    """The photos' names; the whole path of one whose name another has, too."""
    times = Counter(photo.name for photo in photos)
    return [
        photo.name if times[photo.name] == 1 else Path(os.path.abspath(photo.path)).as_posix()
        for photo in photos
    ]


# ---------------------------------------------------------------------------------- COCO


def _coco(photos: Sequence[Searched]) -> dict:
    images, rows, kinds = [], [], {}
    for photo, name in zip(photos, _names(photos)):
        images.append(image_row(photo.id, name, photo.width, photo.height))
        for one in photo.objects:
            skeleton = [(a + 1, b + 1) for a, b in one.edges]
            kinds[one.category] = category_row(one.category, one.kind, one.names, skeleton)
            points = np.where(one.visible[:, None] > 0, one.points, 0)
            item = len(rows) + 1 if one.item is None else one.item
            ids = {"id": item, "image_id": photo.id, "category_id": one.category}
            area = round(one.box[2] * one.box[3], 2)
            scores = {"score": one.score, "keypoint_scores": one.scores.tolist()}
            rows.append(ids | annotation_row(points, one.visible, one.box, area) | scores)
    return {"images": images, "annotations": rows, "categories": list(kinds.values())}


# ------------------------------------------------------------------------------- LabelMe


def _labelme(photo: Searched, folder: Path) -> dict:
    shapes = []
    for group, one in enumerate(photo.objects, 1):
        x1, y1, x2, y2 = one.corners
        shapes.append(_shape("rectangle", one.kind, [[x1, y1], [x2, y2]], group, one.score))
        each = zip(one.names, one.points.tolist(), one.scores.tolist(), one.visible)
        for name, point, score, visible in each:
            if visible:  # of a name that says what is seen, the reader takes the last word
                label = f"{name}-visible" if SEEN.fullmatch(name) else name
                shapes.append(_shape("point", label, [point], group, score))
    embedded = photo.path.suffix.lower() == ".json"
    return {
        "version": LABELME,
        "flags": {},
        "shapes": shapes,
        "imagePath": photo.name if embedded else _beside(folder, photo.path),
        "imageData": _data(photo.path) if embedded else None,
        "imageHeight": photo.height,
        "imageWidth": photo.width,
    }


def _shape(kind: str, label: str, points: list[list[float]], group: int, score: float) -> dict:
    return {
        "label": label,
        "points": points,
        "group_id": group,
        "description": json.dumps({"score": score}),  # where LabelMe has its own models' scores
        "shape_type": kind,
        "flags": {},
    }


def _beside(folder: Path, photo: Path) -> str:
    """The way from a folder to a photo."""
    place = photo.parent.resolve() / photo.name
    try:
        return Path(os.path.relpath(place, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return place.as_posix()


def _data(file: Path) -> str:
    """The photo that one of LabelMe's files embeds, as the next one has to."""
    try:
        return json.loads(read_regular(file))["imageData"].rpartition(",")[2]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"{file} has changed since its photo was read: run it again") from None


# ---------------------------------------------------------------------------------- CVAT


def _cvat(photos: Sequence[Searched]) -> str:
    """An object is a skeleton and a box of one group; the labels that CVAT's task needs for both
    stand in the file's head.
    """
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    kinds = {one.kind: one for photo in photos for one in photo.objects}
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for kind, one in kinds.items():
        _label(labels, kind, "skeleton")
        for name in one.names:
            _label(labels, name, "points", kind)
        _label(labels, _box_of(kind), "rectangle")
    group = 0
    for photo, name in zip(photos, _names(photos)):
        size = {"width": str(photo.width), "height": str(photo.height)}
        # CVAT counts photos from 0 and goes by that where it knows none of the name; results of a
        # folder count from 1, and those of boxes as their annotations do.
        number = photo.id - all(one.item is None for one in photo.objects)
        image = _element(root, "image", id=str(number), name=name, **size)
        for one in photo.objects:
            group += 1
            _object(image, one, {"source": "auto", "z_order": "0", "group_id": str(group)})
    ElementTree.indent(root)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return head + ElementTree.tostring(root, encoding="unicode") + "\n"


def _object(image: Element, one: Found, common: dict[str, str]) -> None:
    x1, y1, x2, y2 = one.corners
    skeleton = _element(image, "skeleton", label=one.kind, **common)
    for name, (x, y), score, visible in zip(one.names, one.points, one.scores, one.visible):
        if not visible:  # a skeleton of CVAT's has all its points
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
        seen = {"outside": "0" if visible else "1", "occluded": "0", "source": "auto"}
        point = _element(skeleton, "points", label=name, points=f"{x:.2f},{y:.2f}", **seen)
        _score(point, score)
    _score(skeleton, one.score)
    sides = {side: f"{n:.2f}" for side, n in zip(("xtl", "ytl", "xbr", "ybr"), one.corners)}
    _score(
        _element(image, "box", label=_box_of(one.kind), occluded="0", **sides, **common), one.score
    )


def _score(element: Element, score: float) -> None:
    SubElement(element, "attribute", name="score").text = f"{score:g}"


def _box_of(kind: str) -> str:
    """The label of a category's boxes: one of CVAT's is a skeleton's or a rectangle's alone."""
    return f"{kind} box"


def _label(labels: Element, name: str, form: str, parent: str = "") -> None:
    label = SubElement(labels, "label")
    said = {"name": name, "type": form, **({"parent": parent} if parent else {})}
    for tag, text in said.items():
        SubElement(label, tag).text = _NOT_XML.sub(" ", text)
    attribute = SubElement(SubElement(label, "attributes"), "attribute")
    number = {"name": "score", "mutable": "True", "input_type": "number", "default_value": "0",
              "values": "0\n1\n0.0001"}  # fmt: skip
    for tag, text in number.items():
        SubElement(attribute, tag).text = text


def _element(parent: Element, tag: str, **said: str) -> Element:
    return SubElement(parent, tag, {key: _NOT_XML.sub(" ", text) for key, text in said.items()})
