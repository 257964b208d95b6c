"""LabelMe: a folder of JSON files, one a photo. (Its own reader needs Qt.)

A photo that is embedded (imageData) is read from there, as LabelMe does. Where two files name one
photo, it is that of the file of its name; the other's is the photo of its own name, if there is
one. A landmark's label may end in what is seen of it: "cuff-occluded".
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath
from reprlib import repr as brief

from fewshot_landmarks.data.formats.found import Searched, a_file_each, between
from fewshot_landmarks.data.formats.objects import Photo, Read
from fewshot_landmarks.data.formats.shapes import Shape, from_shapes
from fewshot_landmarks.data.formats.values import (
    Bad,
    key_of,
    numbers,
    parsed,
    pixels,
    plain,
    said_true,
    whole,
)
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import read_regular

SUFFIX = ""
VERSION = "5.5.0"  # of LabelMe, whose layout is written
KINDS = {"point": ("point", 1), "rectangle": ("box", 2), "polygon": ("polygon", 3)}  # least points
SEEN = re.compile(r"(.+)[-_ ](visible|occluded|hidden|invisible)", re.IGNORECASE)  # in a label


def read(folder: Path, wanted: str | None) -> Read:
    """What the folder's files say; raises `UserError` where none is LabelMe's."""
    files, lines = [], []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            files.append(_photo(path, len(files) + 1, lines))
        except (OSError, Bad) as reason:
            lines.append(str(reason))
    if not files:
        hint = f" ({lines[0]}; if it is COCO's, give the file itself)" if lines else ""
        raise UserError(
            f"no LabelMe file, annotations.xml, data.yaml or CollectedData_*.csv in {folder}{hint}"
        )
    return from_shapes(folder, files, lines, wanted)


def are_in(folder: Path) -> bool:
    """Whether a folder has files of LabelMe's."""
    for path in folder.glob("[!.]*.json"):
        try:
            if b'"shapes"' in read_regular(path):
                return True
        except OSError:
            continue
    return False


def _photo(path: Path, number: int, lines: list[str]) -> tuple[Photo, list[Shape]]:
    document, shapes = parsed(path, read_regular(path)), []
    said = document if isinstance(document, dict) else {}
    if not (isinstance(said.get("shapes"), list) and isinstance(said.get("imagePath"), str)):
        raise Bad(f"{path.name}: not a LabelMe file, for want of shapes or imagePath")
    for k, row in enumerate(said["shapes"], 1):
        try:
            shapes.append(_shape(row))
        except Bad as reason:
            lines.append(f"{path.name}: shape {k}: {reason}")
    size = pixels(said.get("imageWidth")), pixels(said.get("imageHeight"))
    name = Path(PureWindowsPath(said["imagePath"]).as_posix())
    if said.get("imageData"):
        return Photo(number, path, *size, called=name.name, stem=path.stem), shapes
    return Photo(number, name, *size, stem=path.stem), shapes


def _shape(row: object) -> Shape:
    if not isinstance(row, dict) or not isinstance(row.get("points"), list):
        raise Bad(f"has no points: {brief(row)}")
    points, label, group = row["points"], row.get("label"), row.get("group_id")
    drawn = str(row.get("shape_type") or ("point" if len(points) == 1 else "polygon"))
    if drawn not in KINDS:
        raise Bad(f"a {drawn} is not read: annotate landmarks as points")
    (kind, least), visible = KINDS[drawn], _visible(row)
    points = points if visible else [[0.0, 0.0]] * least
    if len(points) < least or any(len(numbers(point, "a point")) != 2 for point in points):
        raise Bad(f"not the points of a {drawn}: {brief(points)}")
    if kind == "point" and not (isinstance(label, str) and label.strip()):
        raise Bad("a point without label")
    label = written = plain(label)
    if kind == "point" and (told := SEEN.fullmatch(label)):
        label, visible = told[1], visible if told[2].lower() == "visible" else min(visible, 1)
    return Shape(kind, points, key_of(group), label, visible, written=written)


def _visible(row: dict) -> int:
    """1 for a point that its flags, attributes or own keys call occluded, 0 for one outside."""
    said = {}
    for place in (row, row.get("flags"), row.get("attributes")):
        if isinstance(place, dict):
            said |= {str(key).lower(): value for key, value in place.items()}
    if said_true(said.get("outside")):
        return 0
    if (told := whole(said.get("visibility"))) in (0, 1, 2):  # type: ignore[operator]
        return told
    hidden = any(said_true(said.get(word)) for word in ("occluded", "hidden", "invisible"))
    return 1 if hidden or not said_true(said.get("visible", True)) else 2


# ------------------------------------------------------------------------------- writing


def files(out: Path, photos: Sequence[tuple[Path, str]]) -> list[Path]:
    """A file a photo, called as the photo is."""
    return a_file_each("LabelMe", photos, lambda photo, _: _file(out, photo))


def contents(out: Path, photos: Sequence[Searched]) -> Iterator[tuple[Path, str]]:
    """An object's points and its rectangle have one group."""
    for photo in photos:
        yield _file(out, photo.path), json.dumps(_document(photo, out), indent=2) + "\n"


def _file(folder: Path, photo: Path) -> Path:
    return folder / f"{photo.stem}.json"


def _document(photo: Searched, folder: Path) -> dict:
    shapes = []
    for group, one in enumerate(photo.objects, 1):
        x1, y1, x2, y2 = one.corners
        shapes.append(_drawn("rectangle", one.kind, [[x1, y1], [x2, y2]], group, one.score))
        each = zip(one.names, one.points.tolist(), one.scores.tolist(), one.visible)
        for name, point, score, visible in each:
            if visible:  # of a name that says what is seen, the reader takes the last word
                label = f"{name}-visible" if SEEN.fullmatch(name) else name
                said = None if one.score is None else score
                shapes.append(_drawn("point", label, [point], group, said))
    embedded = photo.path.suffix.lower() == ".json"
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": photo.name if embedded else between(folder, photo.path),
        "imageData": _data(photo.path) if embedded else None,
        "imageHeight": photo.height,
        "imageWidth": photo.width,
    }


def _drawn(
    kind: str, label: str, points: list[list[float]], group: int, score: float | None
) -> dict:
    # Where LabelMe has the scores of models of its own.
    said = "" if score is None else json.dumps({"score": score})
    return {
        "label": label,
        "points": points,
        "group_id": group,
        "description": said,
        "shape_type": kind,
        "flags": {},
    }


def _data(file: Path) -> str:
    """The photo that one of LabelMe's files embeds, as the next one has to."""
    try:
        return json.loads(read_regular(file))["imageData"].rpartition(",")[2]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"{file} has changed since its photo was read: run it again") from None
