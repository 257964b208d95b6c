"""The work of `fewshot-landmarks suggest`: `parsers.suggest` says what it is."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from fewshot_landmarks.data.formats import writing
from fewshot_landmarks.data.formats.predictions import LARGEST, entries_of
from fewshot_landmarks.data.formats.values import Bad, is_number, numbers, pixels, whole
from fewshot_landmarks.data.images import Unreadable, read_photo
from fewshot_landmarks.data.video import SUFFIXES
from fewshot_landmarks.photos.commands.common import check_out, outside, spare_threads
from fewshot_landmarks.photos.errors.outlook import outlook
from fewshot_landmarks.photos.errors.suggest import choose, doubts_of, likeness
from fewshot_landmarks.photos.finder import Finder
from fewshot_landmarks.photos.model import load
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_text
from fewshot_landmarks.support.outputs import claim

MOST = 4000  # objects that are compared; of more, as many evenly spread ones
FEW = 8  # photos: of fewer no progress is shown


class Object(NamedTuple):
    """What was found in a photo."""

    row: dict  # of the results
    photo: str  # its name
    box: np.ndarray  # (4,): x1, y1, x2, y2
    doubt: float  # the mean error that scores tell, in units of the object's size
    size: tuple[int, int]  # width and height of the photo as it was searched


def execute(arguments: argparse.Namespace) -> int:
    """Say which photos to label next, and what error to expect before and after."""
    form, out, folder = arguments.format, arguments.out, arguments.images
    if not folder.is_dir():
        raise UserError(f"--images {folder} is no folder: give that of the photos")
    if form and not out:
        raise UserError(f"--format {form}: give --out too, where the annotations are written")
    if form in writing.FOLDERS:
        out = writing.check_folder(form, out, None)
    elif form:
        check_out(arguments, arguments.predictions, kind=writing.check_file(form, out))
    elif out:
        check_out(arguments, arguments.model, arguments.predictions)
    on = arguments.backbone, arguments.weights
    finder = load(arguments.model, find_device(arguments.device), arguments.learner, *on)
    if not isinstance(finder, Finder):
        raise UserError(
            f"{arguments.model} is a learner that knows no category yet: give what `adapt` wrote"
        )
    spare_threads(finder.model)
    objects = read_objects(arguments.predictions)
    if not set(finder.names) & {name for one in objects for name in one.row["keypoint_names"]}:
        raise UserError(
            f"{arguments.predictions} has none of the model's landmarks: give what `predict` found "
            "with this model"
        )
    if form in writing.FOLDERS:
        objects = [one for one in objects if not _written(form, out, folder / one.photo)]
        if not objects:
            raise UserError(f"all photos of {arguments.predictions} have a file in {out}")
    if len(objects) > MOST:
        print(f"{len(objects)} objects: {MOST} of them, evenly spread, are compared")
        objects = [objects[i] for i in np.linspace(0, len(objects) - 1, MOST).round().astype(int)]
    kept, looks = [], []
    for one, look in _seen(finder, objects, folder):
        kept.append(one)
        looks.append(look)
    if not kept:
        raise UserError(
            f"no photo of {arguments.predictions} is left: in {folder} none can be read, or all are "
            "labelled already"
        )
    pool, known = np.stack(looks), finder.support_looks
    doubts = np.array([one.doubt for one in kept])
    order = choose(likeness(pool, pool), likeness(pool, known), doubts, len(kept))
    names = list(dict.fromkeys(kept[i].photo for i in order))[: arguments.count]
    print(*outlook(finder, doubts, len(names)), sep="\n")
    for place, name in enumerate(names, 1):
        print(f"{place}. {name}")
    if form:
        _write(form, out, folder, [[o for o in kept if o.photo == name] for name in names])
        print(f"what was found in them is in {out}, to be corrected")
    elif out:
        write_text(out, "".join(f"{name}\n" for name in names))
    return 0


def _written(form: str, out: Path, photo: Path) -> bool:
    """Whether there are annotations of a photo in a folder of a form."""
    return any(path.exists() for path in writing.files(form, out, [(photo, photo.name)])
               if path.stem == photo.stem)  # fmt: skip


def _write(form: str, out: Path, folder: Path, chosen: Sequence[Sequence[Object]]) -> None:
    """Write what was found in each chosen photo as an annotator opens it."""
    photos = []
    for number, objects in enumerate(chosen, 1):
        name = objects[0].photo
        photo = writing.Searched(number, folder / name, name, *objects[0].size)
        for one in objects:
            photo.add(one.row, str(one.row.get("category") or "object"))
        photos.append(photo)
    named = [(photo.path, photo.name) for photo in photos]
    kinds = dict.fromkeys((one.kind, one.names) for photo in photos for one in photo.objects)
    writing.check_names(form, list(kinds))
    claim(writing.files(form, out, named), None)
    writing.write(form, out, photos, named)


def read_objects(path: Path) -> list[Object]:
    """The objects of a results file; raises `UserError` for one that is not `predict`'s."""
    entries = entries_of(path)
    if not entries:
        raise UserError(f"{path} is no list of predictions, but empty: predict photos first")
    found = []
    for number, entry in enumerate(entries):
        try:
            found.append(_object(entry))
        except Bad as reason:
            raise UserError(f"{path}, prediction {number}: {reason}") from None
    return found


def _object(entry: object) -> Object:
    if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
        raise Bad("it names no photo (file_name)")
    name = entry["file_name"]
    if "frame" in entry and Path(name).suffix.lower() in SUFFIXES:
        raise Bad("it is of a clip's frame: predict with --frames DIR, and give --images DIR here")
    x, y, width, height = numbers(entry.get("bbox"), "bbox", LARGEST, 4)
    told = np.array(numbers(entry.get("keypoints"), "keypoints", LARGEST), np.float32)
    names = entry.get("keypoint_names")
    if len(told) % 3 or not isinstance(names, list) or len(names) != len(told) // 3:
        raise Bad("keypoints is no list of x, y and score of each of keypoint_names")
    if not all(isinstance(each, str) for each in names) or not is_number(entry.get("score"), 1e9):
        raise Bad("its score or keypoint_names are not as predict writes them")
    size = pixels(entry.get("width")), pixels(entry.get("height"))
    if not all(size) or whole(entry.get("category_id")) is None:
        raise Bad("it lacks width, height or category_id, which predict writes")
    if not ((told[2::3] >= 0) & (told[2::3] <= 1)).all():
        raise Bad("a score is not from 0 to 1")
    doubt = float(doubts_of(told[None, 2::3])[0])
    box = np.array([x, y, x + width, y + height], np.float32)
    return Object(entry, name, box, doubt, size)  # type: ignore[arg-type]


def _seen(finder: Finder, objects: list[Object], folder: Path) -> Iterator[tuple]:
    """Each object that can be seen, and what it looks like; a line on those that cannot."""
    bar = tqdm(objects, "comparing", unit="object", disable=len(objects) < FEW)
    for name, of in groupby(bar, lambda one: one.photo):
        try:
            photo = read_photo(folder / name)
        except Unreadable as reason:
            print(f"left out: {folder / name}: {reason}", file=sys.stderr)
            continue
        height, width = photo.shape[:2]
        if finder.learnt_from(photo):
            continue
        for one in of:
            if one.size != (width, height):
                print(
                    f"left out: {folder / name}: it has {width} x {height} pixels, and was searched "
                    f"with {one.size[0]} x {one.size[1]}",
                    file=sys.stderr,
                )
            elif outside(one.box, photo):
                print(f"left out: {folder / name}: a box lies outside it", file=sys.stderr)
            else:
                yield one, finder.looks([photo], one.box[None])[0]
