"""The work of `fewshot-landmarks draw`: `parsers.draw` says what it is."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewshot_landmarks.data.categories import Category, deepfashion2
from fewshot_landmarks.data.drawing import (
    check_picture,
    contact_sheet,
    legend,
    note_cell,
    object_cell,
    write_picture,
)
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.formats.predictions import LARGEST, entries_of
from fewshot_landmarks.data.formats.values import is_number
from fewshot_landmarks.data.images import Unreadable, read_photo
from fewshot_landmarks.photos.commands.common import check_out
from fewshot_landmarks.support.errors import UserError

MOST = 1000  # objects on a sheet
SHOWN = 20  # lines on annotations left out


@dataclass(frozen=True, eq=False)
class Drawn:
    """One object to draw; coordinates are in pixels of its photo."""

    photo: Path
    declared: tuple[int, int] | None  # the photo's width and height, as annotated
    title: str
    box: np.ndarray  # (4,): x1, y1, x2, y2
    points: np.ndarray  # (N, 2)
    visible: np.ndarray | None = None  # (N,): 0, 1 or 2
    scores: np.ndarray | None = None  # (N,): 0 to 1
    radii: np.ndarray | None = None  # (N,): pixels; NaN where there is none
    category: Category | None = None


def execute(arguments: argparse.Namespace) -> int:
    """Write the sheet; 1 if none of its photos could be read."""
    check_picture(arguments.out)
    for name, most in (("count", MOST), ("columns", MOST), ("side", 2000)):
        given = getattr(arguments, name)
        if not 1 <= given <= most:
            raise UserError(f"--{name} {given} is impossible: choose 1 to {most}")
    check_out(arguments, arguments.annotations, arguments.predictions)
    read = annotated if arguments.annotations else predicted
    chosen, total = read(arguments)

    cells, shown, skipped = [], {}, {}
    for each in chosen:
        try:
            photo = read_photo(each.photo, each.declared)
        except Unreadable as reason:
            skipped[each.photo] = f"{each.photo}: {reason}"
            cells.append(note_cell(f"not drawn: {reason}", arguments.side))
            continue
        cells.append(
            object_cell(
                photo,
                each.points,
                each.box,
                arguments.side,
                visible=each.visible,
                scores=each.scores,
                radii=each.radii,
                edges=each.category.edges if each.category else (),
            )
        )
        del photo  # or it is still there while the next is decoded
        if each.category and each.category.landmark_names:
            shown[each.category.name] = each.category.landmark_names
    titles = [each.title for each in chosen]
    sheet = contact_sheet(cells, titles, arguments.columns, arguments.side)
    if shown:
        sheet = np.hstack([sheet, legend(shown, len(sheet))])
    write_picture(arguments.out, sheet)
    for line in skipped.values():
        print(f"skipped: {line}", file=sys.stderr)
    print(f"{arguments.out}: {len(chosen)} of {total} objects")
    return int(all(each.photo in skipped for each in chosen))


def annotated(arguments: argparse.Namespace) -> tuple[list[Drawn], int]:
    """Some of the annotated objects, and how many there are."""
    found = read_annotations(
        arguments.annotations, images=arguments.images, category=arguments.category
    )
    index = found.index
    print(*found.notes, sep="\n", end="\n" * bool(found.notes), file=sys.stderr)
    for line in index.skipped[:SHOWN]:
        print(f"skipped: {line}", file=sys.stderr)
    if len(index.skipped) > SHOWN:
        print(f"skipped: {len(index.skipped) - SHOWN} more", file=sys.stderr)
    if index.unlabelled:
        print(f"skipped: {index.unlabelled} crowds or bare of landmarks", file=sys.stderr)

    def drawn(i: int) -> Drawn:
        photo, category = found.photos[index.photo[i]], found.categories[int(index.category[i])]
        points, visible = index.landmarks(i)
        return Drawn(
            photo.path,
            photo.declared,
            f"{photo.name}  {category.name} {index.item[i]}",
            index.box[i],
            points,
            visible=visible,
            category=category,
        )

    return _some(len(index), drawn, arguments)


def predicted(arguments: argparse.Namespace) -> tuple[list[Drawn], int]:
    """Some of the predicted objects, and how many there are."""
    path = arguments.predictions
    if arguments.images is None:
        raise UserError("--predictions needs --images: the folder that holds the photos")
    rows = entries_of(path)
    numbered: list = list(enumerate(rows, start=1))
    if arguments.category is not None:
        kind = deepfashion2(arguments.category)
        numbered = [
            (n, row)
            for n, row in numbered
            if isinstance(row, dict)
            and (
                arguments.category in (str(row.get("category_id")), row.get("category"))
                or (kind and deepfashion2(row.get("category")) == kind)
            )
        ]

    def drawn(i: int) -> Drawn:
        number, row = numbered[i]
        try:
            x, y, width, height = map(float, row["bbox"])
            if not np.isfinite([x, y, width, height]).all():
                raise ValueError("its bbox is not finite")
            marks = np.array(row["keypoints"], np.float64).reshape(-1, 3)
            marks[~marks.any(axis=1), :2] = np.nan  # what predict could not find
            said = row.get("radii") or [None] * len(marks)
            fit = isinstance(said, list) and len(said) == len(marks)
            if not fit or not all(n is None or is_number(n, LARGEST) and n >= 0 for n in said):
                raise ValueError(f"its radii are not {len(marks)} numbers of 0 or more")
            radii = np.array(said, np.float64)
            return Drawn(
                arguments.images / row["file_name"],
                (row.get("width"), row.get("height")),
                f"{row['score']:.2f}  {Path(row['file_name']).name}",
                np.array([x, y, x + width, y + height]),
                marks[:, :2],
                scores=marks[:, 2],
                radii=radii,
            )
        except (KeyError, TypeError, ValueError) as error:
            lack = f"has no {error}" if isinstance(error, KeyError) else f"is broken ({error})"
            raise UserError(
                f"{path}: prediction {number} {lack}: give the file that predict wrote"
            ) from None

    return _some(len(numbered), drawn, arguments)


def _some(
    total: int, drawn: Callable[[int], Drawn], arguments: argparse.Namespace
) -> tuple[list[Drawn], int]:
    """Of `total` objects those to draw, evenly spread, and the total."""
    if not total:
        source = arguments.annotations or arguments.predictions
        kind = f" of the category {arguments.category}" if arguments.category else ""
        raise UserError(f"{source} has no object{kind} to draw")
    chosen = np.unique(np.linspace(0, total - 1, min(arguments.count, total)).round().astype(int))
    return [drawn(int(i)) for i in chosen], total
