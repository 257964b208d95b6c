"""The work of `fewshot-landmarks predict`: `parsers.predict` says what it is."""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from fewshot_landmarks import __version__
from fewshot_landmarks.data.drawing import draw_landmarks
from fewshot_landmarks.data.formats import writing
from fewshot_landmarks.photos.commands.common import check_out, outside, spare_threads
from fewshot_landmarks.photos.errors.radius import Promise
from fewshot_landmarks.photos.model import Finder, load
from fewshot_landmarks.photos.stored import Support
from fewshot_landmarks.photos.wanted import Wanted, wanted_of
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import (
    advice,
    beside,
    read_regular,
    sum_line,
    summed_lines,
    write_bytes,
    write_text,
)
from fewshot_landmarks.support.names import percent
from fewshot_landmarks.support.outputs import claim, unchanged

SHORTEST, LONGEST = 640, 1024  # longer side of the pictures, pixels
FRAME = (64, 224, 255)  # colour of boxes, RGB
FINE = 95  # quality of frames that are written as photos
AT_ONCE = 8  # photos, which are held whole: fewer where they are large, or have several objects


def execute(arguments: argparse.Namespace) -> int:
    """Predict what is not predicted yet; write results once all are there."""
    objects = arguments.objects
    if objects > 1 and arguments.boxes:
        raise UserError(
            f"--objects {objects} and --boxes cannot both be: each box is one object's; leave one out"
        )
    form, own = arguments.format, arguments.format == "results"
    _check_out(arguments, arguments.overwrite if own else None)
    device = find_device(arguments.device)
    on = arguments.backbone, arguments.weights
    finder = load(arguments.model, device, arguments.learner, *on)
    if not isinstance(finder, Finder):
        raise UserError(
            f"{arguments.model} is a learner that knows no category yet: run `fewshot-landmarks "
            "adapt` with it first, and give what that writes"
        )
    spare_threads(finder.model)
    finder.predict([], objects=objects)  # or a line why it cannot, before anything is written
    promise = None
    if arguments.level:
        promise = finder.promise(arguments.level, boxes=arguments.boxes is not None)
    searched = wanted_of(arguments, finder.names)
    wanted, named = searched.wanted, _named(searched.wanted)
    if not own:
        kinds = dict.fromkeys((each.kind, each.names) for each in wanted)
        category, own_names = finder.support.category, finder.names
        writing.check_names(form, [(k or category, names or own_names) for k, names in kinds])
        claim(writing.files(form, arguments.out, named), None)
    called = arguments.out.name if form in writing.FOLDERS else arguments.out.stem
    drawings = arguments.drawings or arguments.out.with_name(f"{called}-drawn")
    drawings = None if arguments.no_drawings else drawings
    if drawings:
        _check_drawings(drawings, arguments.out, wanted)
    claim(_pictures(wanted, drawings, arguments.frames), arguments.overwrite)
    unfinished = beside(arguments.out.with_name(f".{arguments.out.name}"), "unfinished")
    asked = device, str(drawings), objects, arguments.level, searched.told
    done = _resume(unfinished, _digest(arguments.model, asked))
    try:
        with unfinished.open("a", encoding="utf-8") as file:
            for batch in searched.batches(done, max(1, AT_ONCE // objects)):
                made = _pictures([each for each, _ in batch], drawings, arguments.frames)
                unchanged(made, arguments.overwrite)
                for each, photo in batch:
                    if arguments.frames and not isinstance(photo, str):
                        _write_picture(each.path, photo, FINE)
                for line in _predict(finder, batch, drawings, objects, promise):
                    if (key := tuple(line["key"])) not in done:
                        done[key] = line
                        _note(file, line)
    except OSError as error:
        raise UserError(f"cannot write {unfinished}: {advice(error)}") from None
    wanted = searched.wanted
    lines = [done[each.key] for each in wanted]
    found = [result for line in lines for result in line.get("results", ())]
    if own:
        unchanged([arguments.out], arguments.overwrite)
        write_text(arguments.out, json.dumps(found) + "\n")
    else:
        writing.write(form, arguments.out, _searched(wanted, lines, finder.support), _named(wanted))
    unfinished.unlink(missing_ok=True)
    skipped = [line["skipped"] for line in lines if "skipped" in line]
    skipped += [searched.broken] * bool(searched.broken)
    said = "1 object" if len(found) == 1 else f"{len(found)} objects"
    print(f"{said} in {arguments.out}" + (f", drawn in {drawings}" * bool(drawings)))
    if found and arguments.level:
        print(_promised(promise, arguments.level))
    if skipped:
        print(f"skipped {len(skipped)}:", *skipped, sep="\n  ")
    return 0 if found else 1


def _check_out(arguments: argparse.Namespace, overwrite: bool | None) -> None:
    """`check_out`, or `check_folder` where --out is a folder."""
    form, out, boxes = arguments.format, arguments.out, arguments.boxes
    if form in writing.FOLDERS:
        arguments.out = writing.check_folder(form, out, boxes)
    else:
        kind = ".json" if form == "results" else writing.check_file(form, out)
        asked = argparse.Namespace(out=out, overwrite=overwrite)
        check_out(asked, arguments.model, boxes, arguments.images, kind=kind)
        if arguments.frames and arguments.frames.resolve() == out.resolve():
            raise UserError(f"--out {out} would be the frames' folder too: choose another name")


def _named(wanted: Iterable[Wanted]) -> list[tuple[Path, str]]:
    """Paths and names of photos, as forms of annotations ask for them."""
    return [(each.path, each.name or each.path.name) for each in wanted]


def _pictures(wanted: Iterable[Wanted], drawings: Path | None, frames: Path | None) -> list[Path]:
    """What is written of each that is searched, beside the results."""
    drawn = [drawings / each.picture for each in wanted] if drawings else []
    return drawn + [each.path for each in wanted] if frames else drawn


def _check_drawings(folder: Path, out: Path, wanted: Sequence[Wanted]) -> None:
    if folder.resolve() == out.resolve():
        raise UserError(f"--out {out} would be the pictures' folder too: give --drawings DIR")
    if folder.resolve() in {each.path.parent.resolve() for each in wanted}:
        raise UserError(
            f"pictures would be written to {folder}, among the photos and over them: give "
            "--drawings DIR, or --no-drawings"
        )


def _digest(model: Path, asked: object) -> str:
    """What decides the predictions and their pictures."""
    said = json.dumps([__version__, asked])
    return hashlib.sha256(model.read_bytes() + said.encode()).hexdigest()[:16]


def _resume(path: Path, digest: str) -> dict[tuple, dict]:
    """The finished lines of an earlier call for the same, by their keys; of another, none."""
    try:
        content = read_regular(path).decode("utf-8")
        first, *rest = content.split("\n")[:-1]  # the last was cut short, or is ""
    except (OSError, ValueError):
        first, rest = "", []
    rest = rest if first == digest else []
    texts = list(summed_lines(rest))
    if lost := len(rest) - len(texts):
        print(f"{path} is damaged: {lost} lines of it are searched again", file=sys.stderr)
    write_text(path, "\n".join([digest, *map(sum_line, texts)]) + "\n")
    return {tuple(line["key"]): line for line in map(json.loads, texts)}


def _note(file: TextIO, line: dict) -> None:
    file.write(sum_line(json.dumps(line)) + "\n")
    file.flush()


def _predict(
    finder: Finder,
    batch: Sequence[tuple[Wanted, np.ndarray | str]],
    drawings: Path | None,
    objects: int,
    promise: Promise | None,
) -> Iterator[dict]:
    """A line for each wanted of a batch, with a result for each object that is found of it."""
    good: list = []
    for wanted, photo in batch:
        reason = photo if isinstance(photo, str) else _outside(wanted, photo)
        if reason:
            yield {"key": wanted.key, "skipped": reason}
        else:
            good.append((wanted, photo))
    if not good:
        return
    boxes = None if good[0][0].box is None else np.array([wanted.box for wanted, _ in good])
    level = promise.level if promise else None
    found = finder.predict([photo for _, photo in good], boxes, objects=objects, level=level)
    for i, (wanted, photo) in enumerate(good):
        own = found.images == i
        each = found.landmarks[own], found.scores[own], found.boxes[own], found.radii[own]
        if drawings:
            _draw(drawings, wanted, photo, *each)
        # In whose pixels it is: EXIF may turn the photo, or not.
        size = {"width": photo.shape[1], "height": photo.shape[0]}
        size |= {"radius_level": round(level, 4)} if level else {}
        results = [_result(wanted, finder.support, *one) | size for one in zip(*each, strict=True)]
        stamp = {"stamp": wanted.stamp} if wanted.stamp else {}
        yield {"key": wanted.key, "results": results} | stamp


def _outside(wanted: Wanted, photo: np.ndarray) -> str:
    if wanted.box is None or not outside(wanted.box, photo):
        return ""
    return f"{wanted.path}: the box of annotation {wanted.annotation_id} lies outside it"


def _result(
    wanted: Wanted,
    support: Support,
    landmarks: np.ndarray,
    scores: np.ndarray,
    box: np.ndarray,
    radii: np.ndarray,
) -> dict:
    """An object in COCO's results format. A landmark that cannot be found is 0, 0 with score 0.

    Each entry has the support's mean position (x and y a landmark, 0 to 1 across the box, null
    where no support photo labels it): readers of COCO results take a list of objects alone. It has
    radii in pixels (null of landmarks that cannot be found) where these were asked.
    """
    x1, y1, x2, y2 = map(float, box)
    known, mean, shape = np.nan_to_num(landmarks), float(scores.mean()), support.shape
    if wanted.order:
        there = np.array(wanted.order) >= 0
        known = np.where(there[:, None], known[list(wanted.order)], 0)
        scores = np.where(there, scores[list(wanted.order)], 0)
        radii = np.where(there, radii[list(wanted.order)], np.nan)
        shape = np.where(there[:, None], shape[list(wanted.order)], np.nan)
    keypoints = [
        round(float(value), digits)
        for (x, y), score in zip(known, scores)
        for value, digits in ((x, 2), (y, 2), (score, 4))
    ]
    result = {
        "image_id": wanted.image_id,
        "category_id": wanted.category_id,
        "category": support.category,
        "keypoint_names": list(wanted.names or support.names),
        "keypoints": keypoints,
        "mean_position": _finite(shape.ravel(), 4),
        "score": round(mean, 4),
        "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
        "file_name": wanted.name or wanted.path.name,
    }
    if np.isfinite(radii).any():
        result["radii"] = _finite(radii, 2)
    if wanted.frame is not None:
        result["frame"] = wanted.frame
    if wanted.annotation_id is not None:
        result["annotation_id"] = wanted.annotation_id
    return result


def _finite(values: np.ndarray, digits: int) -> list[float | None]:
    return [round(n, digits) if math.isfinite(n) else None for n in values.tolist()]


def _promised(promise: Promise | None, asked: float) -> str:
    """A sentence on what radii are worth."""
    if promise is None:
        return "no radii: these are told by annotated photos left out, and there are not two"
    said = (
        f"each landmark of a photo like the annotated ones lies within its radius with a probability "
        f"of {percent(promise.level)}"
    )
    if promise.level < asked:
        said += f" (so few annotated photos cannot promise {percent(asked)})"
    return said


def _searched(
    wanted: Sequence[Wanted], lines: Sequence[dict], support: Support
) -> list[writing.Searched]:
    """The photos that were read, with the objects that the lines have found in them."""
    photos: dict[int, writing.Searched] = {}
    for each, line in zip(wanted, lines):
        kind = each.kind or support.category or "object"
        for row in line.get("results", ()):
            size = row["width"], row["height"]
            photo = writing.Searched(each.image_id, each.path, row["file_name"], *size)
            photos.setdefault(each.image_id, photo).add(row, kind, each.edges)
    return list(photos.values())


def _draw(
    folder: Path,
    wanted: Wanted,
    photo: np.ndarray,
    landmarks: np.ndarray,
    scores: np.ndarray,
    boxes: np.ndarray,
    radii: np.ndarray,
) -> None:
    """Write the photo with the landmarks (M, N, 2) of M objects and their radii (M, N), at a size
    at which these can be told; where there are several, with their boxes (M, 4) too, which tell
    whose landmarks are whose."""
    longest = max(photo.shape[:2])
    ratio = np.clip(longest, SHORTEST, LONGEST) / longest
    sides = [max(1, round(side * ratio)) for side in photo.shape[1::-1]]
    way = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(photo, sides, interpolation=way)
    for box in boxes if len(boxes) > 1 else ():
        start, end = np.rint(box * ratio).astype(int).reshape(2, 2).tolist()
        cv2.rectangle(picture, start, end, FRAME)
    for points, sure, far in zip(landmarks, scores, radii):
        picture = draw_landmarks(picture, points * ratio, scores=sure, radii=far * ratio)
    _write_picture(folder / wanted.picture, picture, 90)


def _write_picture(path: Path, pixels: np.ndarray, quality: int) -> None:
    coded, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if coded:
        write_bytes(path, data.tobytes())
