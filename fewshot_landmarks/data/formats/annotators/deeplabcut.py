"""DeepLabCut's labels: CollectedData_SCORER.csv, one in each folder of photos.

Rows of its head say the scorer, in some projects the individuals, the body parts, and x or y; each
row below is a photo, by its path in one or three columns. Individuals of the same body parts are
objects of one category. It has neither boxes nor visibility. Its places are counted from the centre
of the first pixel, as napari and Matplotlib show them: half a pixel from the photo's corner. What
is in CollectedData_SCORER.h5 is the same, pickled in part, and not read.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from reprlib import repr as brief

import numpy as np

from fewshot_landmarks.data.categories import Categories, Category
from fewshot_landmarks.data.formats.found import Found, Searched, xml_text
from fewshot_landmarks.data.formats.objects import Object, Photo, Read
from fewshot_landmarks.data.formats.values import Bad, mirrored, numbers, plain
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import read_regular
from fewshot_landmarks.support.names import listed

SUFFIX = ".csv"
HEAD = "scorer", "individuals", "bodyparts", "coords"
CORNER = 0.5  # of the photo, from the centre of its first pixel
_NAME = re.compile(r"CollectedData_.+\.csv")
_FOLDERS = "CollectedData_*.csv", "labeled-data/*/CollectedData_*.csv"  # of photos, of a project


@dataclass(frozen=True)
class _Table:
    index: int  # how many columns a photo's path has
    individuals: dict[
        str, dict[str, dict[str, int]]
    ]  # of each its parts, of each x and y's columns
    rows: list[list[str]]


def collected(folder: Path) -> list[Path]:
    """The labels of a folder of photos, or of a project."""
    return next((there for each in _FOLDERS if (there := sorted(folder.glob(each)))), [])


def is_labels(content: bytes) -> bool:
    """Whether a file starts as one of labels does."""
    return content.removeprefix(b"\xef\xbb\xbf").startswith(b"scorer,")


def read(source: Path, wanted: str | None) -> Read:
    """What a file says, or the files of a folder of photos or of a project.

    Raises `UserError` for what are no labels, and where a folder has those of several scorers.
    """
    files = collected(source) if source.is_dir() else [source]
    for path in files:
        if len(same := [other.name for other in files if other.parent == path.parent]) > 1:
            raise UserError(f"{path.parent} has {listed(same)}: give one of them")
    tables = [_table(path) for path in files]
    folder = source if source.is_dir() else source.parent
    kinds = _categories(tables, folder.resolve().name or "object", wanted)
    found, item = Read({}, [], categories=Categories(kinds.values()), unsized=True), 0
    for table in tables:
        for row in table.rows:
            name, number = "/".join(row[: table.index]), len(found.photos) + 1
            path = Path(PureWindowsPath(name).as_posix())
            found.photos[number] = Photo(number, path, None, None)
            for individual, parts in table.individuals.items():
                item += 1
                called = f"{path}: {individual}" if individual else str(path)
                try:
                    marks = _marks(row, parts)
                except Bad as reason:
                    found.skipped.append(f"{called}: {reason}")
                    continue
                if (kind := kinds.get(tuple(parts))) and any(marks):
                    found.objects.append(Object(called, number, item, kind, marks, None, None))
    return found


def _categories(
    tables: list[_Table], called: str, wanted: str | None
) -> dict[tuple[str, ...], Category]:
    """The category of each set of body parts: the first is called as the folder is, or as it is
    wanted where there is no other; others as their first individual.
    """
    found: dict[tuple[str, ...], Category] = {}
    for table in tables:
        for individual, own in table.individuals.items():
            name, parts = individual if found else called, tuple(own)
            kind = Category(len(found) + 1, name, len(parts), mirrored(parts), (), (), parts)
            found.setdefault(parts, kind)
    if wanted is None:
        return found
    if len(found) == 1:
        return {parts: replace(kind, name=wanted) for parts, kind in found.items()}
    only = Categories(found.values()).find(wanted)
    return {parts: kind for parts, kind in found.items() if kind == only}


def _table(path: Path) -> _Table:
    """What a file says; raises `UserError` where it is none of labels."""
    try:
        text = read_regular(path).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if any(row)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not CSV in UTF-8: {error}") from None
    head = {row[0]: row for row in rows[:4] if row[0] in HEAD}
    if not {"scorer", "bodyparts", "coords"} <= head.keys():
        raise UserError(
            f"{path} has no rows scorer, bodyparts and coords at its head: give DeepLabCut's "
            "CollectedData_SCORER.csv"
        )
    coords, parts = head["coords"], [plain(part) for part in head["bodyparts"]]
    if "likelihood" in coords:
        raise UserError(
            f"{path} has DeepLabCut's predictions, not labels: give CollectedData_SCORER.csv"
        )
    whose = [plain(individual) for individual in head.get("individuals", [""] * len(parts))]
    index = next((k for k, axis in enumerate(coords) if axis in ("x", "y")), 0)
    if not index or not len(coords) == len(parts) == len(whose):
        raise UserError(f"{path}: the rows of its head do not fit each other: export it again")
    own: dict[str, dict[str, dict[str, int]]] = {}
    for k in range(index, len(coords)):
        place = own.setdefault(whose[k], {}).setdefault(parts[k], {})
        if place.setdefault(coords[k], k) != k:
            raise UserError(f"{path}: the columns of {parts[k]} are there twice: export it again")
    for individual in own.values():
        for part, place in individual.items():
            if place.keys() != {"x", "y"}:
                raise UserError(f"{path}: {part} has the columns {listed(place)}, not x and y")
    return _Table(index, own, rows[len(head) :])


def _marks(row: list[str], parts: dict[str, dict[str, int]]) -> list[float]:
    """x, y and visibility of each body part, all 0 of one that is not labelled; raises `Bad`."""
    found: list[float] = []
    for part, place in parts.items():
        texts = [row[k] if k < len(row) else "" for k in (place["x"], place["y"])]
        if all(text.strip().lower() in ("", "nan") for text in texts):
            found += 0, 0, 0
            continue
        try:
            x, y = numbers([float(text) for text in texts], part)
        except ValueError:
            raise Bad(f"{part} is not two numbers: {brief(texts)}") from None
        found += x + CORNER, y + CORNER, 2
    return found


# ------------------------------------------------------------------------------- writing


def check_name(out: Path) -> None:
    """Raise `UserError` for a file that DeepLabCut would not look for."""
    if not _NAME.fullmatch(out.name):
        raise UserError(
            f"--out {out}: call it CollectedData_SCORER.csv, with the scorer of config.yaml, or a new "
            "one beside what that one labelled"
        )


def files(out: Path, photos: Sequence[tuple[Path, str]]) -> list[Path]:
    """One file for the photos of a folder, if there are any; raises `UserError` for several folders."""
    if len(folders := sorted({path.parent for path, _ in photos})) > 1:
        raise UserError(
            f"DeepLabCut has a file for each folder of photos, and these are in {listed(folders)}: "
            "search one folder at a time, or give --format coco"
        )
    return [out] if photos else []


def contents(out: Path, photos: Sequence[Searched]) -> Iterator[tuple[Path, str]]:
    """Where photos have several objects they are individuals, as a multi-animal project has them."""
    if not photos:
        return
    names = photos[0].objects[0].names
    most = max(len(photo.objects) for photo in photos)
    columns = [(f"individual{k + 1}", name, axis)
               for k in range(most) for name in names for axis in "xy"]  # fmt: skip
    own = list(zip(*columns))
    head = {"scorer": [out.stem.partition("_")[2]] * len(columns), "individuals": own[0]}
    head |= {"bodyparts": own[1], "coords": own[2]}
    if most == 1:
        del head["individuals"]
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerows([name, "", "", *values] for name, values in head.items())
    for photo in photos:
        folder = photo.path.parent.resolve().name
        places = [text for one in photo.objects for text in _places(one)]
        places += [""] * (len(columns) - len(places))
        table.writerow(["labeled-data", xml_text(folder), xml_text(Path(photo.name).name), *places])
    yield out, text.getvalue()


def _places(one: Found) -> list[str]:
    """x and y of each landmark, "" of one that is not labelled."""
    known = np.where(one.visible[:, None] > 0, one.points - CORNER, np.nan)
    return ["" if np.isnan(n) else f"{n:.2f}" for n in known.ravel().tolist()]
