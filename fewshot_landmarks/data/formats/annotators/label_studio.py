"""Label Studio: a list of tasks, exported as JSON or JSON-MIN, or pre-annotations to import.

Points (keypointlabels) that a rectangle or polygon is the parent of, or is in a relation with, are
an object's. Where rectangles have several labels these are categories. Of a task's annotations the
one of ground truth is read, or else the last one. Predictions are read where no task has an
annotation, for beside these they are what nobody has looked at. Places are per cents of the photo.
Where a task has several photos, each region's is the one that its `source`, the labelling interface
beside the file (NAME-config.xml), or the name of its `to_name` says.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from math import cos, radians, sin
from pathlib import Path, PureWindowsPath
from reprlib import repr as brief
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from fewshot_landmarks.data.formats.found import Found, Searched, xml_text
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
    whole,
)
from fewshot_landmarks.data.images import SUFFIXES
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import SMALL, read_regular
from fewshot_landmarks.support.names import listed

SUFFIX = ".json"
KINDS = {"keypointlabels": "point", "rectanglelabels": "box", "polygonlabels": "polygon"}
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # what it puts before the name of an uploaded photo
_EXPORT = "export the project as JSON"


def is_a_task(document: object) -> bool:
    """Whether an object of JSON is a single task."""
    results = {"annotations", "predictions"}
    return isinstance(document, dict) and "data" in document and bool(results & document.keys())


def read(source: Path, document: object, wanted: str | None) -> Read:
    """What the tasks of a file say; raises `UserError` where there is none."""
    entries = document if isinstance(document, list) else [document]
    tasks = [task for task in entries if isinstance(task, dict)]
    if not any(map(_is_used, tasks)):
        results = any(isinstance(each, dict) and "image_id" in each for each in entries)
        why = "COCO results, not annotations" if results else "a list, but not of tasks"
        raise UserError(f"{source} is {why} of Label Studio's: {_EXPORT}")
    lines = [f"{brief(each)}: not a task" for each in entries if not isinstance(each, dict)]
    notes: list[str] = []
    annotated = any(_annotations(task) for task in tasks)
    told = [_results(task, annotated, notes) for task in tasks]
    labels = {label for each in told for r in each if _kind(r) == "box" for label in _labels(r)}
    shown, each, photos = _Shown(source, tasks, told), [], []
    for task, results in zip(tasks, told):
        try:
            parts = shown.by_photo(task, results)
            key = key_of(task.get("id")) if len(parts) == 1 else None
            each += [(key, name, own) for name, own in parts.items()]
        except Bad as reason:
            lines.append(f"task {brief(task.get('id'))}: {reason}")
    ids = [key for key, *_ in each]
    for (key, name, results), number in zip(each, numbered(ids)):
        keys = () if key is None else (key,)
        sizes = [_size(r) for r in results if _kind(r)]
        width, height = next((size for size in sizes if all(size)), (None, None))
        shapes = _shapes(name, results, len(labels) > 1, lines)
        photos.append((Photo(number, name, width, height, keys), shapes))
    found = from_shapes(source, photos, lines, wanted)
    found.notes += notes
    return found


def _is_used(task: dict) -> bool:
    """Whether it is a task, or one of JSON-MIN's, in which what was labelled stands beside the photo."""
    return is_a_task(task) or any(map(_least, task.values()))


def _least(value: object) -> list[dict]:
    """The results of JSON-MIN's in a value, if they are such."""
    rows = value if isinstance(value, list) else []
    return [row for row in rows if isinstance(row, dict) and KINDS.keys() & row.keys()]


def _annotations(task: dict) -> list[dict]:
    """What people labelled in a task, and JSON-MIN alone says."""
    if not is_a_task(task):
        rows = [(name, row) for name, value in task.items() for row in _least(value)]
        return [{"result": [{"value": row, "from_name": name} | row for name, row in rows]}]
    said = task.get("annotations")
    rows = [row for row in said if isinstance(row, dict)] if isinstance(said, list) else []
    return [row for row in rows if not (row.get("was_cancelled") or row.get("skipped"))]


def _results(task: dict, annotated: bool, notes: list[str]) -> list[dict]:
    """The results of the annotation of a task that is read, or of its prediction."""
    those = _annotations(task)
    if len(those) > 1:
        notes.append(
            f"task {brief(task.get('id'))} has {len(those)} annotations: the one of ground truth, "
            "or else the last, is read"
        )
    if not annotated:
        said = task.get("predictions")
        those = [row for row in said if isinstance(row, dict)] if isinstance(said, list) else []
    if not those:
        return []
    said = sorted(those, key=_rank)[-1].get("result")
    return [row for row in said if isinstance(row, dict)] if isinstance(said, list) else []


def _rank(annotation: dict) -> tuple[bool, str]:
    when = annotation.get("updated_at") or annotation.get("created_at") or ""
    return annotation.get("ground_truth") is True, str(when)


class _Shown:
    """Which photos the regions of a file's tasks are on."""

    def __init__(self, source: Path, tasks: list[dict], told: list[list[dict]]) -> None:
        self.config = _config(source)
        self.alone = len({str(r.get("to_name")) for each in told for r in each if _kind(r)}) < 2
        needed = not self.alone or any(len(_photos(_data(task))) > 1 for task in tasks)
        self.interface = _interface(self.config) if needed else {}

    def by_photo(self, task: dict, results: list[dict]) -> dict[Path, list[dict]]:
        """The results by the names of the photos that they are on; without any region, of a task's
        first photo. Raises `Bad` where nothing says which photo a region is on.
        """
        found: dict[Path, list[dict]] = {}
        data = _data(task)
        for r in filter(_kind, results):
            found.setdefault(self._photo(data, r), []).append(r)
        if not found:
            found[next((names[0] for names in _photos(data).values()), Path("."))] = []
        others = [r for r in results if not _kind(r)]
        return {name: own + others for name, own in found.items()}

    def _photo(self, data: dict[str, list[Path]], result: dict) -> Path:
        photos = _photos(data)
        to, by, source = (str(result.get(key) or "") for key in ("to_name", "from_name", "source"))
        only = next(iter(photos), "") if self.alone or len(data) == 1 else ""
        told = source.removeprefix("$"), self.interface.get(to), self.interface.get(by)
        key = next((each for each in told if each in data), to if to in photos else None)
        if key is None and not (only and len(photos) == 1):
            raise Bad(
                f"nothing says which of {listed(photos)} its regions on {to or by!r} are on: save "
                f"the project's labelling interface beside it as {self.config.name}"
            )
        names, index = data[only if key is None else key], result.get("item_index")
        number = 0 if index is None and len(names) == 1 else whole(index)
        if number is None or not 0 <= number < len(names):
            raise Bad(
                f"a region's item_index is {brief(index)}, and its photos are {len(names)}: {_EXPORT}"
            )
        return names[number]


def _data(task: dict) -> dict[str, list[Path]]:
    """The names that a task's values may be of photos, by key: of lists several; `image` first."""
    data = task["data"] if is_a_task(task) else task
    data = data if isinstance(data, dict) else {}
    found = {}
    for key in sorted(data, key="image".__ne__):
        said = data[key] if isinstance(data[key], list) else [data[key]]
        if said and all(isinstance(each, str) and not each.startswith("data:") for each in said):
            found[key] = [_named(each) for each in said]
    return found


def _photos(data: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Those of the values that are called as photos are, or else that are places, or else all."""
    called = {key: names for key, names in data.items()
              if any(name.suffix.lower() in SUFFIXES for name in names)}  # fmt: skip
    placed = {key: names for key, names in data.items() if any(len(n.parts) > 1 for n in names)}
    return called or placed or data


def _interface(config: Path) -> dict[str, str]:
    """The key of what each tag of a labelling interface shows or labels, by the tag's name."""
    try:
        tags = list(parsed_xml(config, read_regular(config, SMALL)).iter())
    except OSError:
        return {}
    except Bad as reason:
        raise UserError(str(reason)) from None
    values = {tag.get("name", ""): tag.get("value") or tag.get("valueList") or ""
              for tag in tags if not tag.get("toName")}  # fmt: skip
    shown = {name: value[1:] for name, value in values.items() if value.startswith("$")}
    labelled = {tag.get("name", ""): shown.get(tag.get("toName", ""), "") for tag in tags}
    return labelled | shown


def _named(place: str) -> Path:
    """The name of a photo from where Label Studio has it."""
    try:
        split = urlsplit(place)
        asked = parse_qs(split.query, errors="surrogateescape").get("d", [])
    except ValueError:
        return Path(place)
    if asked and split.path.rstrip("/").endswith("/data/local-files"):
        place = f"/{asked[-1]}"
    elif "://" in place:
        place = split.path
    name = Path(PureWindowsPath(place).as_posix())
    if "upload" in name.parts and (uploaded := _UPLOADED.fullmatch(name.name)):
        return name.with_name(uploaded[1])
    return name


def _kind(result: dict) -> str:
    """What a result draws, "" for what is not read."""
    said = result.get("value")
    return next((KINDS[key] for key in KINDS if isinstance(said, dict) and key in said), "")


def _labels(result: dict) -> list[str]:
    said = next(result["value"][key] for key in KINDS if key in result["value"])
    return [plain(label) for label in said if label] if isinstance(said, list) else []


def _size(result: dict) -> tuple[int | None, int | None]:
    return pixels(result.get("original_width")), pixels(result.get("original_height"))


def _shapes(name: Path, results: list[dict], several: bool, lines: list[str]) -> list[Shape]:
    """What a photo's results draw; several: whether the labels of rectangles are categories."""
    if any(r.get("image_rotation") for r in results if _kind(r)):
        lines.append(f"{name}: was turned in Label Studio: turn it back there, or save it turned")
        return []
    owners = {str(r.get("id")): r for r in results if _kind(r) not in ("", "point")}
    parents = dict(_parents(results, owners))
    shapes = []
    for r in results:
        if not (kind := _kind(r)):
            continue
        own = str(r.get("id"))
        group = parents.get(own) if kind == "point" else own if own in parents.values() else None
        try:
            (label,) = _labels(r) or [""]
            if kind == "point" and not label:
                raise Bad("a point without label")
            skeleton = None
            if several and kind == "point" and group in owners:
                skeleton = next(iter(_labels(owners[group])), None)
            points = _points(kind, r)
            shapes.append(Shape(kind, points, group, label, _visible(r, points), skeleton))
        except ValueError:
            lines.append(f"{name}: a {kind} has several labels: {', '.join(_labels(r))}")
        except Bad as reason:
            lines.append(f"{name}: {reason}")
    return shapes


def _visible(result: dict, points: list[list[float]]) -> int:
    """Label Studio has no visibility of its own, but its import of COCO's hides what is not seen."""
    return 2 if result["value"].get("hidden") is not True else 1 if any(points[0]) else 0


def _parents(results: list[dict], owners: Mapping[str, dict]) -> Iterator[tuple[str, str]]:
    """The ids of points, each with that of what it belongs to."""
    for r in results:
        ends = [str(r.get("from_id")), str(r.get("to_id"))]
        if r.get("type") == "relation" and (ends[0] in owners) != (ends[1] in owners):
            yield (ends[1], ends[0]) if ends[0] in owners else (ends[0], ends[1])
    for r in results:
        if _kind(r) == "point" and isinstance(parent := r.get("parentID"), (str, int)) and parent:
            yield str(r.get("id")), str(parent)


def _points(kind: str, result: dict) -> list[list[float]]:
    """The points of a result, in pixels; raises `Bad`."""
    value, size = result["value"], _size(result)
    if not all(size):
        raise Bad("a result without original_width and original_height")
    if kind == "polygon":
        said = value.get("points")
        said = (
            [numbers(pair, "a point", count=2) for pair in said] if isinstance(said, list) else []
        )
    else:
        said = [numbers([value.get("x"), value.get("y")], "a place")]
    points = [[n / 100 * side for n, side in zip(pair, size)] for pair in said]  # type: ignore
    if kind == "polygon" and len(points) < 3:
        raise Bad("a polygon of less than three points")
    if kind != "box":
        return points
    sides = [value.get("width"), value.get("height"), value.get("rotation") or 0]
    *shares, angle = numbers(sides, "a rectangle")
    width, height = (n / 100 * side for n, side in zip(shares, size))  # type: ignore[operator]
    (x, y), turn = points[0], radians(angle)  # about its first corner
    corners = ((0, 0), (width, 0), (width, height), (0, height))
    return [[x + a * cos(turn) - b * sin(turn), y + a * sin(turn) + b * cos(turn)]
            for a, b in corners]  # fmt: skip


# ------------------------------------------------------------------------------- writing


def files(out: Path, photos: Sequence[tuple[Path, str]]) -> list[Path]:
    """The tasks, and the labelling configuration that their predictions are shown by."""
    return [out, _config(out)]


def contents(out: Path, photos: Sequence[Searched]) -> Iterator[tuple[Path, str]]:
    """A task a photo with its objects as a prediction, or as an annotation where somebody annotated
    them: a rectangle is the parent of its points.

    A photo's place is that in a storage of local files, from the folder in which that of the photos
    lies.
    """
    tasks, root = [], _root(photos)
    for photo in photos:
        results = [r for number, one in enumerate(photo.objects, 1)
                   for r in _written(str(number), one, photo)]  # fmt: skip
        embedded = photo.path.suffix.lower() == ".json"
        place = photo.name if embedded else os.path.relpath(os.path.abspath(photo.path), root)
        image = f"/data/local-files/?d={quote(os.fsencode(Path(place).as_posix()))}"
        task = {"id": photo.id, "data": {"image": image}}
        scores = [one.score for one in photo.objects if one.score is not None]
        if scores:
            about = {"model_version": "fewshot-landmarks", "score": max(scores)}
            tasks.append(task | {"predictions": [about | {"result": results}]})
        else:
            tasks.append(task | {"annotations": [{"result": results}]})
    yield out, json.dumps(tasks, indent=1) + "\n"
    yield _config(out), _configuration(photos)


def _root(photos: Sequence[Searched]) -> str:
    """The folder in which those of all photos lie."""
    folders = {os.path.dirname(os.path.dirname(os.path.abspath(photo.path))) for photo in photos}
    return os.path.commonpath(folders) if folders else ""


def _config(out: Path) -> Path:
    return out.with_name(f"{out.stem}-config.xml")


def _written(number: str, one: Found, photo: Searched) -> Iterator[dict]:
    """An object's rectangle and points."""
    size = photo.width, photo.height
    common = {"to_name": "image", "original_width": size[0], "original_height": size[1]}
    common |= {"image_rotation": 0}
    found = one.score is not None

    def share(*pixels: float) -> list[float]:
        return [round(100 * n / side, 6) for n, side in zip(pixels, size)]

    x1, y1, x2, y2 = photo.box_within(one)
    (x, y), (width, height) = share(x1, y1), share(x2 - x1, y2 - y1)
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
    about: dict = {"id": number, "type": "rectanglelabels", "from_name": "box"}
    about |= {"score": one.score} if found else {}
    yield about | common | {"value": value | {"rectanglelabels": [one.kind]}}
    each = zip(one.names, one.points.tolist(), one.scores.tolist(), one.visible)
    for k, (name, point, score, visible) in enumerate(each, 1):
        if visible:
            x, y = share(*point)
            value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]}
            about = {"id": f"{number}.{k}", "parentID": number}
            about |= {"score": score} if found else {}
            about |= {"type": "keypointlabels", "from_name": "landmark"}
            yield about | common | {"value": value}


def _configuration(photos: Sequence[Searched]) -> str:
    """What a project's labelling interface has to have for the results to be shown."""
    view = Element("View")
    SubElement(view, "Image", name="image", value="$image")
    every = [one for photo in photos for one in photo.objects]
    boxes = SubElement(view, "RectangleLabels", name="box", toName="image")
    for kind in dict.fromkeys(one.kind for one in every):
        SubElement(boxes, "Label", value=xml_text(kind))
    points = SubElement(view, "KeyPointLabels", name="landmark", toName="image")
    for k, name in enumerate(dict.fromkeys(name for one in every for name in one.names)):
        # Its exports to COCO and YOLO ask for the order of landmarks.
        SubElement(points, "Label", value=xml_text(name), model_index=str(k))
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"
