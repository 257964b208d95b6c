"""What several commands ask for and do."""

import argparse
import math
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from fewshot_landmarks.data.crops import crop_window
from fewshot_landmarks.data.formats.annotations import Annotations, read_annotations
from fewshot_landmarks.data.images import Unreadable, find_photos, read_photo
from fewshot_landmarks.data.index import Index
from fewshot_landmarks.learner import find_learner, fits
from fewshot_landmarks.metrics.intervals import Estimate
from fewshot_landmarks.photos import MODELS
from fewshot_landmarks.photos.model import (
    MARGIN,
    Finder,
    Model,
    Shot,
    load,
    untrained,
)
from fewshot_landmarks.photos.unlabelled import teachable
from fewshot_landmarks.protocol import UNTRAINED
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.outputs import claim

DEFAULT = "CLM"  # the learner of adapt and page
MEAN_POSITION = "mean position (control)"  # what tables call it


def check_out(asked: argparse.Namespace, *read: Path | None, kind: str = "") -> None:
    """`claim` of --out, unless it is what is read, or called like a file of another kind."""
    out = asked.out
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: give the name of a file")
    if any(path and path.exists() and out.exists() and out.samefile(path) for path in read):
        raise UserError(f"--out {out} would be written over what is read: choose another name")
    if kind and out.suffix != kind:
        raise UserError(f"--out {out}: call it {out.stem}{kind}")
    claim([out], asked.overwrite)


def model_file(path: Path, learner: str | None) -> Path:
    """The file itself, or the learner's (MetaCloth's) in a folder."""
    if path.is_dir():
        learner = stem(learner or "MetaCloth")
        there = sorted(found.stem for found in path.glob("*.safetensors"))
        if learner not in there:
            has = f"has {', '.join(there)}, not {learner}" if there else "has no model"
            if needs_no_model(learner):
                raise UserError(f"{path} {has}, which needs none: leave --model out")
            raise UserError(f"{path} {has}: choose another, or give --model FILE")
        path = path / f"{learner}.safetensors"
    return path


def stem(learner: str) -> str:
    """What a learner's file is called, without ending."""
    return find_learner(learner).name if ":" in learner else learner


def needs_no_model(learner: str) -> bool:
    """Whether a learner is untrained, or one of somebody's own that has nothing to train."""
    own = ":" in learner and not (MODELS / f"{stem(learner)}.safetensors").exists()
    return learner in UNTRAINED or (own and not fits(find_learner(learner)))


def open_model(
    path: Path | None,
    learner: str | None,
    device: str,
    backbone: str | None = None,
    weights: str | None = None,
) -> Model:
    """A learner's model: of a file or a folder (see `model_file`), by default of the package; an
    untrained learner needs none, and stands on a backbone (see `TimmFENet`)."""
    if path is None and needs_no_model(learner or DEFAULT):
        return untrained(learner or DEFAULT, backbone, weights, device)
    found = load(model_file(path or MODELS, learner), device, learner, backbone, weights)
    model = found.model if isinstance(found, Finder) else found
    spare_threads(model)
    return model


def spare_threads(model: Model) -> None:
    """One thread for a small network: more are slower, by far where other work runs."""
    if model.network == "small":
        torch.set_num_threads(1)


def adapt_to(
    path: Path,
    images: Path | None,
    category: str | None,
    model: Model,
    unlabelled: Path | None = None,
) -> Finder:
    """What finds the landmarks of a category's annotated objects, with a printed line for each of
    these that cannot be used. Their crops are kept, not their photos.

    unlabelled: a folder of photos without labels, to learn from, too.

    Raises `UserError` where there are several categories to choose from, or nothing is left.
    """
    more = find_photos(unlabelled) if unlabelled else []
    if more:
        teachable(model.learner)
    annotations = one_category(read_annotations(path, images=images, category=category))
    for line in annotations.lines:
        print(line)
    shots, total = list(_shots(annotations, model)), len(annotations.index)
    if not shots:
        raise UserError(f"{path}: none of its photos can be read, or of its objects be used")
    if len(shots) < total:
        print(f"skipped {total - len(shots)} of {total} annotated objects")
    kind = annotations.categories.find(int(annotations.index.category[0]))
    return model.learn(shots, kind.names, kind.name, more)


def one_category(annotations: Annotations) -> Annotations:
    """The annotations, if they are of one category."""
    found = sorted({int(number) for number in annotations.index.category})
    if len(found) > 1:
        names = ", ".join(repr(annotations.categories[number].name) for number in found)
        raise UserError(f"{annotations.source} has the categories {names}: choose one, --category")
    return annotations


def _shots(annotations: Annotations, model: Model) -> Iterator[Shot]:
    """Each object that can be used; a photo is read once, and one is there at a time."""
    index = annotations.index
    for number, objects in groupby(range(len(index)), index.photo.item):
        photo = annotations.photos[number]
        try:
            pixels = read_photo(photo.path, photo.declared)
        except Unreadable as reason:
            print(f"skipped: {photo.path}: {reason}")
            continue
        for i in objects:
            called = f"annotation {index.item[i]} of {photo.path}"
            if why := _unfit(index, i, pixels):
                print(f"skipped: {photo.path}: annotation {index.item[i]}: {why}")
            else:
                yield model.shot(pixels, *index.landmarks(i), index.box[i], called)
        del pixels  # or it is still there while the next is decoded


def _unfit(index: Index, i: int, photo: np.ndarray) -> str:
    """Why nothing can be learnt of an object, or ""; as `compare` has it."""
    if outside(index.box[i], photo):
        return "its box is empty or outside the photo"
    height, width = photo.shape[:2]
    window = np.reshape(crop_window(index.box[i], MARGIN, width, height), (2, 2))
    points, seen = index.landmarks(i)
    there = (points >= window[0]) & (points < window[1])
    return "" if (there.all(-1) & (seen > 0)).any() else "no landmark is labelled within its box"


def outside(box: Sequence[float], photo: np.ndarray) -> bool:
    """Whether a box has no part in a photo (H, W, 3)."""
    height, width = photo.shape[:2]
    x1, y1, x2, y2 = box
    return not (x1 < width and y1 < height and x2 > max(x1, 0) and y2 > max(y1, 0))


def numbers(found: Estimate, mark: str = "") -> str:
    """A value, between marks, with its interval where it has one."""
    ends = "" if math.isnan(found.low) else f" ({found.low:.4f} to {found.high:.4f})"
    return f"{mark}{found.value:.4f}{mark}{ends}"


def beside_control(who: str, control: Estimate, more: Estimate) -> str:
    """A sentence on the mean position's error, and by how much someone's is `more` than that."""
    said = (
        f"The mean position, a control that looks at no photo, has an error of {numbers(control)} "
        f"on the same landmarks; that of {who} "
    )
    if math.isnan(more.low):
        return f"{said}differs by {numbers(more)}, which may be chance."
    if more.low <= 0 <= more.high:
        return (
            f"{said}is not distinguishable from it, for the difference may be 0: {numbers(more)}."
        )
    if more.low > 0:
        return f"{said}is higher, by {numbers(more)}: worse than without a look at the photos."
    return f"{said}is lower, by {numbers(Estimate(-more.value, -more.high, -more.low))}."


def png(figure) -> bytes:
    """A figure of matplotlib's as PNG, the same each time."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=150, metadata={"Software": None})
    return content.getvalue()
