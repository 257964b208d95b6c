"""A learner as one file, and what it makes of a few annotated photos.

    model = load("CLM")
    finder = model.adapt(images, landmarks, visible)
    found = finder.predict(more_images)

A finder's file holds the learner and its support, and adapts again when it is opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from os.path import isfile
from pathlib import Path

import numpy as np
import torch

from fewshot_landmarks.data.crops import Garment, cut_out, garment, square_out
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.photos import MODELS, stored
from fewshot_landmarks.photos.arguments import Image, annotation, boxes_of, photo_of, several
from fewshot_landmarks.photos.boxes import around, mean_shape, shape_in
from fewshot_landmarks.photos.confidence import Calibration
from fewshot_landmarks.photos.finder import Finder
from fewshot_landmarks.photos.header import CACHE, CROPS, FROZEN, Misfit, check_support
from fewshot_landmarks.photos.locate import MARGIN, window_of
from fewshot_landmarks.photos.stored import Support
from fewshot_landmarks.photos.unlabelled import digest, learnt, teachable
from fewshot_landmarks.protocol import REGISTRY, UNTRAINED
from fewshot_landmarks.samples import collate
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.names import plain

BACKBONE = "tf_efficientnet_lite0"
CROP = 224  # side of a crop, pixels
WHOLE = 10 / 7  # as large is a square crop of a whole photo


@dataclass(frozen=True)
class Model:
    """A learner, trained or not: adapts to any category from a few annotated photos."""

    learner: Learner
    name: str  # the learner's, as `find_learner` takes it
    network: str  # of fenets.FENETS
    network_options: Mapping[str, object]
    size: int  # side of the crops, pixels
    calibration: Calibration | None  # turns signs of trust into probabilities
    about: Mapping[str, object]  # what it was trained on, for a reader

    @property
    def device(self) -> torch.device:
        return self.learner.base.omega.device

    @property
    def whole_size(self) -> int:
        """Side of the crops of whole photos, in which an object is looked for."""
        return round(self.size * WHOLE / 32) * 32 if self.learner.square else self.size

    def cut(
        self, photo: np.ndarray, box: np.ndarray, margin: float, size: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """A box's window in a photo and its crop, as the learner takes them."""
        return (square_out if self.learner.square else cut_out)(photo, box, margin, size)

    def adapt(
        self,
        images: Sequence[Image],
        landmarks: np.ndarray,
        visible: np.ndarray | None = None,
        *,
        boxes: np.ndarray | None = None,
        names: Sequence[str] | None = None,
        category: str = "object",
        unlabelled: Sequence[Image] = (),
    ) -> "Finder":
        """What finds the landmarks of K annotated photos in others.

        images: K photos; landmarks: (K, N, 2), x and y in pixels of each, where pixel i covers
        [i, i + 1); visible: (K, N), 0 or False where a landmark is not labelled (by default where
        its coordinates are NaN); boxes: (K, 4), x1, y1, x2, y2 around the object (by default
        around its landmarks); names: of the N landmarks; category: what the object is called;
        unlabelled: photos that show the object without labels, from which the finder learns where
        that helps (`Finder.unlabelled` says so), of learners that can: CLM.

        Raises `UserError` where shapes do not agree, a photo cannot be read or has no labelled
        landmark inside it, no landmark at all lies in its box, or the learner cannot learn so many.
        """
        images = several(images)
        landmarks, visible = annotation(len(images), landmarks, visible)
        named = range(1, landmarks.shape[1] + 1) if names is None else names
        names = tuple(map(str, named))
        if len(names) != landmarks.shape[1]:
            raise UserError(f"{len(names)} names for {landmarks.shape[1]} landmarks: give each one")
        placed = [None] * len(images) if boxes is None else boxes_of(boxes, len(images))
        shots = [
            self.shot(photo_of(image, i), points, seen, box, f"support photo {i + 1}")
            for i, (image, points, seen, box) in enumerate(zip(images, landmarks, visible, placed))
        ]
        return self.learn(shots, names, category, several(unlabelled))

    def shot(
        self,
        photo: np.ndarray,
        points: np.ndarray,
        seen: np.ndarray,
        box: np.ndarray | None,
        called: str,
    ) -> "Shot":
        """The crops of an object in a photo (H, W, 3): landmarks (N, 2), visible (N,), box (4,).

        Raises `UserError`, which calls the object as it is `called`, where no landmark is in the
        photo, or the box is not.
        """
        height, width = photo.shape[:2]
        seen = seen * ((points >= 0) & (points < (width, height))).all(-1)
        points = np.where(seen[:, None] > 0, points, 0)
        if not seen.any():
            raise UserError(f"{called} has no labelled landmark inside it")
        box = around(points[seen > 0], width, height) if box is None else box
        sides = box[2:] - box[:2]
        crops = []
        whole = np.array([0, 0, width, height], np.float32)
        part = window_of(box, width, height) if self.learner.square else whole
        for frame, window, margin, size in (
            (box, box, MARGIN, self.size),
            (whole, part, 0.0, self.whole_size),
        ):
            cut = self.cut(photo, window, margin, size)
            if cut is None or not (sides > 0).all():
                raise UserError(f"the box of {called} is empty or outside it")
            area = float(sides.prod())
            known: dict = {"box": frame, "area": area, "category": 0, "index": 0}
            crops.append(garment(*cut, points, seen, **known))
        boxed, whole = crops
        (shape,) = shape_in(points[None], box[None])
        return Shot(boxed, whole, np.where(seen[:, None] > 0, shape, np.nan), digest(photo))

    def learn(
        self,
        shots: Sequence["Shot"],
        names: Sequence[str],
        category: str,
        unlabelled: Sequence[Image] = (),
    ) -> "Finder":
        """What finds the N named landmarks of K shots; see `adapt`."""
        self.learner.check(len(names))
        if len(unlabelled):
            teachable(self.learner)
        stride = self.learner.base.fenet.stride
        try:
            check_support(len(shots), len(names), (self.whole_size // stride) ** 2)
        except Misfit as reason:
            raise UserError(f"{category}: {reason}") from None
        boxed, whole = (
            collate([getattr(shot, crops)._replace(index=i) for i, shot in enumerate(shots)])
            for crops in CROPS
        )
        if not boxed.labelled.any():
            raise UserError("no landmark of the support lies in its box: give x1, y1, x2, y2")
        shape = mean_shape(np.stack([shot.shape for shot in shots]))
        names = tuple(map(plain, names))
        finder = Finder(self, Support(plain(category), names, boxed, whole, shape))
        if not len(unlabelled):
            return finder
        boxed, own = boxed.to(self.device), {shot.photo for shot in shots}
        weak, outcome = learnt(self.learner, finder._locator, boxed, unlabelled, own)
        return Finder(self, replace(finder.support, weak=weak), outcome)

    def save(self, path: str | PathLike) -> None:
        """Write the model, whole or not at all."""
        stored.write(Path(path), self)


@dataclass(frozen=True, eq=False)
class Shot:
    """An annotated object, cropped: all that is kept of its photo."""

    boxed: Garment  # around the object
    whole: Garment  # all of the photo
    shape: np.ndarray  # (N, 2): places of the landmarks, 0 to 1 across the box; NaN if not labelled
    photo: str  # the photo's `digest`


def load(
    path: str | PathLike,
    device: str | torch.device = "cpu",
    learner: str | type[Learner] | None = None,
    backbone: str | None = None,
    weights: str | None = None,
) -> Model | Finder:
    """The model or finder of a file; a learner's name alone ("CLM") is this project's model.

    A file holds numbers and names, no code, and none is imported for it: its learner is one of
    this project's, or the one that `learner` names, as "module:Class" or by the class itself. What
    it says is checked before memory is taken for it. A model of an untrained learner names its
    network, with a fingerprint; one whose weights no package carries has to be named here too.

    backbone, weights: of an untrained learner, see `TimmFENet`; by default EfficientNet-Lite0 with
    the weights of its package.

    Raises `UserError` where the file is missing or broken, a pickle, of another kind or of a
    format that this version does not read, or of another learner or other weights.
    """
    if learner is None and str(path) in UNTRAINED:
        return untrained(str(path), backbone, weights, device)
    path = Path(path)
    if not isfile(path) and isfile(MODELS / f"{path}.safetensors"):
        path = MODELS / f"{path}.safetensors"
    told, support = stored.read(path, learner, backbone, weights)
    model = Model(**told)
    model.learner.to(device)
    return Finder(model, support) if support else model


def untrained(
    learner: str = "CLM",
    backbone: str | None = None,
    weights: str | None = None,
    device: str | torch.device = "cpu",
) -> Model:
    """A learner that no task teaches, on the frozen features of a network; see `TimmFENet`.

    By default EfficientNet-Lite0, with the weights of its package.
    """
    options: dict = {"name": backbone or BACKBONE, "weights": weights or "package"}
    kind = find_learner(learner)
    base = BaseModel(FENETS[FROZEN](**options), {})
    return Model(
        learner=kind(base, kind.Settings(feature_cache=CACHE)).to(device).eval(),
        name=REGISTRY.get(learner, learner),
        network=FROZEN,
        network_options=options,
        size=CROP,
        calibration=None,
        about={},
    )
