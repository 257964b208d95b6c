"""LabelMe: a folder of JSON files, one a photo. (Its own reader needs Qt.)"""

from pathlib import Path, PureWindowsPath
from reprlib import repr as brief

from fewshot_landmarks.data.objects import Bad, Photo, Read, numbers, parsed, pixels
from fewshot_landmarks.data.shapes import Shape, from_shapes, said_true
from fewshot_landmarks.errors import UserError

KINDS = {"point": ("point", 1), "rectangle": ("box", 2), "polygon": ("polygon", 3)}  # least points


def read(folder: Path, wanted: str | None) -> Read:
    """What the folder's files say; raises `UserError` where none is LabelMe's."""
    photos, lines = [], []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            photos.append(_photo(path, len(photos) + 1, lines))
        except (OSError, Bad) as reason:
            lines.append(str(reason))
    if not photos:
        hint = f" ({lines[0]}; if it is COCO's, give the file itself)" if lines else ""
        raise UserError(f"no LabelMe file and no annotations.xml in the folder {folder}{hint}")
    return from_shapes(folder, photos, lines, wanted)


def _photo(path: Path, number: int, lines: list[str]) -> tuple[Photo, list[Shape]]:
    document, shapes = parsed(path, path.read_bytes()), []
    said = document if isinstance(document, dict) else {}
    if not (isinstance(said.get("shapes"), list) and isinstance(said.get("imagePath"), str)):
        raise Bad(f"{path.name}: not a LabelMe file, for want of shapes or imagePath")
    for k, row in enumerate(said["shapes"], 1):
        try:
            shapes.append(_shape(row))
        except Bad as reason:
            lines.append(f"{path.name}: shape {k}: {reason}")
    size = pixels(said.get("imageWidth")), pixels(said.get("imageHeight"))
    return Photo(number, Path(PureWindowsPath(said["imagePath"]).as_posix()), *size), shapes


def _shape(row: object) -> Shape:
    if not isinstance(row, dict) or not isinstance(row.get("points"), list):
        raise Bad(f"has no points: {brief(row)}")
    points, label, group = row["points"], row.get("label"), row.get("group_id")
    drawn = str(row.get("shape_type") or ("point" if len(points) == 1 else "polygon"))
    if drawn not in KINDS:
        raise Bad(f"a {drawn} is not read")
    kind, least = KINDS[drawn]
    if len(points) < least or any(len(numbers(point, "a point")) != 2 for point in points):
        raise Bad(f"not the points of a {drawn}: {brief(points)}")
    if kind == "point" and not (isinstance(label, str) and label.strip()):
        raise Bad("a point without label")
    group = None if group is None else str(group)
    return Shape(kind, points, group, str(label).strip(), _visible(row))


def _visible(row: dict) -> int:
    """1 for a point that its flags, attributes or own keys call occluded, 0 for one outside."""
    said = {}
    for place in (row, row.get("flags"), row.get("attributes")):
        if isinstance(place, dict):
            said |= {str(key).lower(): value for key, value in place.items()}
    if said_true(said.get("outside")):
        return 0
    if str(said.get("visibility")) in ("0", "1", "2"):
        return int(said["visibility"])
    hidden = any(said_true(said.get(word)) for word in ("occluded", "hidden", "invisible"))
    return 1 if hidden or not said_true(said.get("visible", True)) else 2
