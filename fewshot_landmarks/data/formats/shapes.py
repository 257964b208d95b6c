"""Objects from the points, boxes and polygons that LabelMe and CVAT draw in photos.

Points are landmarks, named by their labels; polygons are areas, and boxes where there is no box.
A group makes an object; the points of a photo without a group make one together, or where a label
repeats, those make one that lie in no box but the same. A box or polygon without a group belongs to
the photo's only object, or else to the only one whose landmarks all lie within it. Labels that
differ in case or spaces alone are one, unless an object has both. Each skeleton is a category, with
the union of its objects' landmarks, in order of first appearance; what is in no skeleton is one
more, called as its boxes and polygons are, or by the folder where these have several labels.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from reprlib import repr as brief

import cv2
import numpy as np

from fewshot_landmarks.data.categories import Categories, Category
from fewshot_landmarks.data.formats.objects import Object, Photo, Read
from fewshot_landmarks.data.formats.values import folded, mirrored
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.names import listed


@dataclass(frozen=True)
class Shape:
    kind: str  # "point", "box" or "polygon"
    points: list  # of x, y; a box's are its corners
    group: object = None  # of the shapes that make an object
    label: str = ""
    visible: int = 2
    skeleton: str | None = None  # the label of the skeleton that a point belongs to
    written: str = ""  # a point's label in the file, where `label` is but a part of it


@dataclass
class _Group:
    name: str
    photo: int  # its id
    skeleton: str | None
    marks: dict[str, tuple]  # by landmark: x, y, visibility
    box: list[np.ndarray] = field(default_factory=list)  # corners of each, (K, 2)
    polygon: list[np.ndarray] = field(default_factory=list)

    def within(self, corners: np.ndarray) -> bool:
        points = [(x, y) for x, y, visible in self.marks.values() if visible]
        inside = (corners.min(0) <= points) & (points <= corners.max(0)) if points else False
        return bool(np.all(inside))


def from_shapes(
    source: Path, photos: list[tuple[Photo, list[Shape]]], lines: list[str], wanted: str | None
) -> Read:
    """What photos with shapes say; `wanted` names the category, or the only skeleton to keep.

    Raises `UserError` where there is no point, photos have no landmark in common, or `wanted` is
    none of several skeletons.
    """
    read = Read({photo.id: photo for photo, _ in photos}, lines)
    groups, bare = [], []
    for photo, shapes in photos:
        for group in _groups(photo, _split(photo, shapes, read), read):
            (groups if group.marks else bare).append(group)
    outlines = {shape.label for _, shapes in photos for shape in shapes if shape.kind != "point"}
    _unify(groups, read)
    categories = _categories(source, groups, wanted, outlines, lines)
    read.categories = Categories(categories.values())
    read.unlabelled += len(bare)
    for item, group in enumerate([*groups, *bare], 1):
        if category := categories.get(group.skeleton):
            marks = [v for name in category.names for v in group.marks.get(name, (0, 0, 0))]
            box, area = _outline(group, lines)
            one = Object(group.name, group.photo, item, category, marks, box, area)
            (read.objects if group.marks else read.ignored).append(one)
    return read


def _split(photo: Photo, shapes: list[Shape], read: Read) -> list[Shape]:
    """The shapes with a group for each box, where points without one repeat a label."""
    boxes = [shape for shape in shapes if shape.kind == "box" and shape.group is None]
    points = [shape for shape in shapes if shape.kind == "point" and shape.group is None]
    if len({point.label for point in points}) == len(points) or len(boxes) < 2:
        return shapes
    within = [[k for k, box in enumerate(boxes) if _holds(box, point)] for point in points]
    if not all(len(those) == 1 for those in within):
        return shapes
    read.notes.append(f"{photo.path}: points without a group id are those of the box they lie in")
    group = {id(point): ("box", those[0]) for point, those in zip(points, within)}
    group |= {id(box): ("box", k) for k, box in enumerate(boxes)}
    return [replace(shape, group=group.get(id(shape), shape.group)) for shape in shapes]


def _holds(box: Shape, point: Shape) -> bool:
    corners = np.array(box.points, float)
    return bool(((corners.min(0) <= point.points[0]) & (point.points[0] <= corners.max(0))).all())


def _groups(photo: Photo, shapes: list[Shape], read: Read) -> list[_Group]:
    """The objects of a photo with the boxes and polygons that are theirs; boxes without points."""
    points, groups, bare = defaultdict(list), {}, []
    for shape in shapes:
        if shape.kind == "point":
            points[shape.group].append(shape)
    for k, (key, own) in enumerate(points.items(), 1):
        name = f"{photo.path}: object {k}" if len(points) > 1 else str(photo.path)
        marks = {point.label: (*point.points[0], point.visible) for point in own}
        if len(marks) == len(own):
            groups[key] = _Group(name, photo.id, own[0].skeleton, marks)
        else:
            read.skipped.append(f"{name}: {_twice(own)}; the object is left out")
    for shape in shapes:
        if (
            shape.kind == "box"
            and shape.group not in points
            and (shape.group is not None or not points)
        ):
            bare.append(
                _Group(str(photo.path), photo.id, None, {}, [np.array(shape.points, float)])
            )
        elif shape.kind != "point":
            _give(shape, groups, alone=len(points) == 1)
    return [*groups.values(), *bare]


def _twice(points: list[Shape]) -> str:
    """Why an object cannot have these points, some of one label, and what to do."""
    labels = [point.label for point in points]
    most = max(labels, key=labels.count)
    written = dict.fromkeys(p.written or p.label for p in points if p.label == most)
    if len(written) > 1:
        return (
            f"{listed(map(repr, written))} are all the landmark {most!r}, for the last word says "
            "what is seen of it: give landmarks other names, and objects group ids of their own"
        )
    return f"{most} occurs twice in one object: give each object of a photo a group id of its own"


def _unify(groups: list[_Group], read: Read) -> None:
    """One name for labels that differ in case or spaces alone, where no object has two of them."""
    by_form: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(name for group in groups for name in group.marks):
        by_form[folded(name)].append(name)
    for names in by_form.values():
        if len(names) > 1 and all(len(set(names) & set(group.marks)) < 2 for group in groups):
            read.notes.append(f"landmarks {listed(map(repr, names))} are taken as one")
            for group in groups:
                group.marks = {names[0] if name in names else name: place
                               for name, place in group.marks.items()}  # fmt: skip


def _give(shape: Shape, groups: dict[object, _Group], alone: bool) -> None:
    """A box or polygon, to the one group whose it can be."""
    corners = np.array(shape.points, float)
    if shape.group is None:
        owners = [group for group in groups.values() if alone or group.within(corners)]
    else:
        owners = [groups[shape.group]] if shape.group in groups else []
    if len(owners) == 1:
        getattr(owners[0], shape.kind).append(corners)


def _outline(group: _Group, lines: list[str]) -> tuple[tuple[float, ...] | None, float | None]:
    """An object's box and area, None where it has none."""
    area = sum(cv2.contourArea(corners.astype(np.float32)) for corners in group.polygon) or None
    if len(group.box) > 1:
        lines.append(f"{group.name}: {len(group.box)} boxes could be its own, none of them is used")
    drawn = group.box if len(group.box) == 1 else group.polygon if area else []
    if not drawn:
        return None, area
    corners = np.concatenate(drawn)
    return (*corners.min(0), *corners.max(0)), area


def _categories(
    source: Path, groups: list[_Group], wanted: str | None, outlines: set[str], lines: list[str]
) -> dict[str | None, Category]:
    """The category of each skeleton, and of what is in none (None)."""
    skeletons = defaultdict(list)
    for group in groups:
        skeletons[group.skeleton].append(group)
    if not skeletons:
        left_out = f"; {len(lines)} things are left out, the first {lines[0]}" if lines else ""
        advice = "" if lines else ": annotate them as points"
        raise UserError(f"no landmark in {source}{advice}{left_out}")
    folder = source if source.is_dir() else source.parent
    alone = next(iter(outlines)) if len(outlines) == 1 else ""
    called = alone or folder.resolve().name or "object"
    names = {skeleton: skeleton or called for skeleton in skeletons}
    if wanted is not None and len(skeletons) == 1:
        names = dict.fromkeys(skeletons, wanted)
    elif wanted is not None and wanted not in names.values():
        known = ", ".join(sorted(names.values()))
        raise UserError(f"unknown category {wanted!r}: {source} has {known}")
    kept = [skeleton for skeleton, name in names.items() if wanted in (None, name)]
    return {
        skeleton: _category(source, number, names[skeleton], skeletons[skeleton])
        for number, skeleton in enumerate(kept, 1)
    }


def _category(source: Path, number: int, name: str, groups: list[_Group]) -> Category:
    """Raises `UserError` if some objects share no landmark, not even by way of others."""
    joined, left = set(groups[0].marks), groups
    while touching := [group for group in left if joined & group.marks.keys()]:
        left = [group for group in left if not joined & group.marks.keys()]
        joined.update(*(group.marks for group in touching))
    if left:
        raise UserError(
            f"photos of {source} have no landmark in common: {groups[0].name} has "
            f"{brief(list(groups[0].marks))}, {left[0].name} has {brief(list(left[0].marks))}; "
            "give the same landmark the same label in all photos"
        )
    names = tuple(dict.fromkeys(name for group in groups for name in group.marks))
    return Category(number, name, len(names), pairs=mirrored(names), landmark_names=names)
