"""The set on disk: whole, or not there."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from fewshot_landmarks.data.formats.coco import category_row, image_row
from fewshot_landmarks.data.jointed.drawing import draw_photo
from fewshot_landmarks.data.jointed.shapes import SHAPES, Shape
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import (
    SMALL,
    advice,
    alone,
    is_whole,
    put_aside,
    read_regular,
    write_text,
)

VERSION = 1  # to be raised whenever the drawing changes
PHOTOS = {"train": 1600, "test": 800}
MOST = 999_999  # photos: their names have six digits
SIGMA = 0.05  # of every keypoint, for COCO's object keypoint similarity


def write_jointed(
    out: str | os.PathLike,
    *,
    photos: Mapping[str, int] = PHOTOS,
    seed: int = 0,
    size: int = 160,
    categories: int = 20,
    progress: bool = True,
) -> dict:
    """Write the set to the folder `out`: whole, or not at all.

    Args:
        photos: how many of "train" and of "test", `size` x `size` pixels each.
        seed: the same seed, the same set.
        categories: how many of the 20 shapes; the last three in ten are the unseen ones.

    Returns the content of `generator.json`: the arguments, and how many photos of each file each
    category is in. A set that is there already is kept.

    Raises `UserError` for impossible arguments, for a folder with other content, and for a disk
    that cannot be written.
    """
    out = Path(out).resolve()  # the folder itself, or it could not be replaced in the end
    if not (2 <= categories <= len(SHAPES) and seed >= 0 and size >= 32):
        raise UserError(
            f"categories {categories}, seed {seed}, size {size}: choose 2 to {len(SHAPES)} "
            "categories, a seed of 0 or more, 32 pixels or more"
        )
    photos = {name: int(photos[name]) for name in PHOTOS}
    if min(photos.values()) < categories:
        raise UserError(
            f"{photos['train']} photos for training and {photos['test']} for testing: "
            f"{categories} categories need {categories} or more of each"
        )
    if sum(photos.values()) > MOST:
        raise UserError(f"{sum(photos.values())} photos: their names have room for {MOST}")
    asked = {"name": "jointed", "version": VERSION, "seed": int(seed), "size": int(size),
             "categories": int(categories), "photos": photos}  # fmt: skip
    if (done := _finished(out, asked)) is not None:
        return done
    try:
        with alone(out.with_name(f".{out.name[-60:]}.fewshot-landmarks.lock")):
            if (done := _finished(out, asked)) is not None:  # by another process, in the meantime
                return done
            unfinished = out.with_name(f".{out.name[-60:]}.fewshot-landmarks.partial")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            try:
                record = _write(unfinished, asked, progress)
                if out.is_dir():
                    out.rmdir()  # it is empty
                os.replace(unfinished, out)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot write shapes to {out}: {advice(error)}") from None
    return record


_OWN = {
    *(f"{name}.json" for name in (*PHOTOS, "split", "generator")),
    "generator.json.sum",
    "images",
}


def _finished(out: Path, asked: dict) -> dict | None:
    """The record of an equal set at `out`; None where there is nothing yet."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    record = out / "generator.json"
    own = {path.name for path in out.iterdir()} <= _OWN if out.is_dir() else False
    if record.is_file() and not is_whole(record) and own:
        put_aside(out, "what was drawn is not known")
        return None
    try:
        record = json.loads(read_regular(record, SMALL))
    except (OSError, ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or {key: record.get(key) for key in asked} != asked:
        raise UserError(
            f"{out} holds something else, or shapes drawn with other settings: "
            "choose another folder or delete it"
        )
    return record


def _write(folder: Path, asked: dict, progress: bool) -> dict:
    shapes, first, record = SHAPES[: asked["categories"]], 1, asked | {"photos_of": {}}
    folder.mkdir(parents=True)  # not a link, nor a folder of somebody's
    (folder / "images").mkdir()
    with tqdm(
        total=sum(asked["photos"].values()), desc="shapes", unit="photo", disable=not progress
    ) as bar:
        for name, count in asked["photos"].items():
            leads = _generator(asked["seed"], 0, first).permutation(np.arange(count) % len(shapes))
            coco = _empty_coco(shapes, asked)
            for number, lead in enumerate(leads, start=first):
                _add_photo(coco, folder / "images", number, shapes[lead], shapes, asked)
                bar.update()
            first += count
            _write_json(folder / f"{name}.json", coco)
            pairs = {(a["category_id"], a["image_id"]) for a in coco["annotations"]}
            photos = Counter(number for number, _ in pairs)
            record["photos_of"][name] = {s.name: photos[i] for i, s in enumerate(shapes, start=1)}
    names = [shape.name for shape in shapes]
    seen = len(names) - max(1, len(names) * 3 // 10)
    title = f"{seen} seen shapes, {len(names) - seen} unseen"
    split = {
        "name": "jointed",
        "train": "train.json",
        "test": "test.json",
        "images": "images",
        "benchmarks": {"J-1": {"title": title, "seen": names[:seen], "unseen": names[seen:]}},
    }
    _write_json(folder / "split.json", split)
    os.sync()  # all photos at once
    write_text(folder / "generator.json", json.dumps(record) + "\n", summed=True)
    return record


def _empty_coco(shapes: Sequence[Shape], asked: dict) -> dict:
    categories = []
    for number, shape in enumerate(shapes, start=1):
        names = [joint.name for joint in shape.joints]
        row = category_row(number, shape.name, names, shape.skeleton, "jointed")
        categories.append(row | {"sigmas": [SIGMA] * len(names)})
    info = {"description": "drawn jointed shapes", **asked}
    return {"info": info, "images": [], "annotations": [], "categories": categories}


def _add_photo(coco: dict, images: Path, number: int, lead, shapes, asked: dict) -> None:
    picture, found = draw_photo(lead, shapes, asked["size"], _generator(asked["seed"], 1, number))
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    name, (height, width) = f"{number:06d}.jpg", picture.shape[:2]
    (images / name).write_bytes(data.tobytes())
    coco["images"].append(image_row(number, name, width, height))
    for k, (shape, described) in enumerate(found):
        ids = {"id": 10 * number + k, "image_id": number, "category_id": shapes.index(shape) + 1}
        coco["annotations"].append(ids | described)


def _generator(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(s) for s in seed])))


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value) + "\n", "utf-8", newline="\n")
