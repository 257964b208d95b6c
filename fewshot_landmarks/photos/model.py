"""A learner as one file, and what it makes of a few annotated photos.

    model = load("CLM")
    finder = model.adapt(images, landmarks, visible)
    found = finder.predict(more_images)

A finder's file holds the learner and its support, and adapts again when it is opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from numbers import Integral
from os import PathLike
from os.path import isfile
from pathlib import Path

import numpy as np
import torch

from fewshot_landmarks.data.crops import Garment, cut_out, garment, square_out, unlabelled
from fewshot_landmarks.data.images import together
from fewshot_landmarks.learner import Detector, Learner, SamplesDetector, find_learner
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.photos import MODELS, stored
from fewshot_landmarks.photos.arguments import Image, annotation, boxes_of, photo_of, several
from fewshot_landmarks.photos.boxes import around, box_of, mean_shape, shape_in
from fewshot_landmarks.photos.confidence import Calibration, find
from fewshot_landmarks.photos.header import CACHE, CROPS, FROZEN, Misfit, check_support
from fewshot_landmarks.photos.locate import MARGIN, Locator, window_of
from fewshot_landmarks.photos.stored import Support, adapted
from fewshot_landmarks.photos.unlabelled import Outcome, digest, learnt, teachable
from fewshot_landmarks.protocol import REGISTRY, UNTRAINED
from fewshot_landmarks.samples import Samples, collate
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.names import plain

BACKBONE = "tf_efficientnet_lite0"
CROP = 224  # side of a crop, pixels
WHOLE = 10 / 7  # as large is a square crop of a whole photo
AT_ONCE = 32  # crops


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


@dataclass(frozen=True)
class Found:
    """Landmarks of B objects. Those that no support photo labels are NaN, with a score of 0."""

    landmarks: np.ndarray  # (B, N, 2) float32: x, y in pixels of each image
    scores: np.ndarray  # (B, N) float32, 0 to 1: how probable it is that the landmark is there and
    # its error below a tenth of the object's size (calibrated where the model is)
    boxes: np.ndarray  # (B, 4) float32: x1, y1, x2, y2 that were searched
    images: np.ndarray  # (B,) int64: which image each is in


@dataclass(frozen=True)
class Finder:
    """A learner adapted to a category."""

    model: Model
    support: Support
    unlabelled: Outcome | None = None  # of photos without labels, where these were given to `adapt`

    @property
    def names(self) -> tuple[str, ...]:
        """Of the N landmarks."""
        return self.support.names

    @property
    def left_out(self) -> tuple[torch.Tensor, Sequence[tuple[list[int], int]]] | None:
        """Errors (T, N) of T left-out support photos, in units of the object's size, NaN where that
        cannot be told; of each the photos kept, and itself. None of learners that leave none out."""
        errors = getattr(self._boxed, "left_out", None)
        return None if errors is None else (errors, self._boxed.folds)  # type: ignore[union-attr]

    def predict(
        self, images: Sequence[Image], boxes: np.ndarray | None = None, *, objects: int = 1
    ) -> Found:
        """The landmarks in B images: of any size each, see `Model.adapt`.

        boxes: (B, 4), x1, y1, x2, y2 around each object. Without them it is found first: landmarks
        in the whole photo tell where the box is. objects: how many are looked for in an image
        without boxes; there is a first one in each, with low scores where there is none, and
        others follow it where they look like the support's.

        Raises `UserError` where an image cannot be read or a box lies outside it, and where several
        objects are asked with boxes or of a learner that fits no shape.
        """
        images = several(images)
        if objects != 1:
            self._check_several(objects, boxes)
        boxes = None if boxes is None else boxes_of(boxes, len(images))
        parts = [
            self._predict(
                [photo_of(image, i) for i, image in enumerate(images[part], part.start)],
                None if boxes is None else boxes[part],
                objects,
                part.start,
            )
            for part in together(images, self._at_once)
        ]
        n = len(self.names)
        shapes = (n, 2), (n,), (4,)
        places, scores, none = (np.zeros((0, *shape), np.float32) for shape in shapes)
        empty = Found(places, scores, none, np.zeros(0, np.int64))
        columns = [field.name for field in fields(Found)]
        return Found(*(np.concatenate([getattr(p, c) for p in [empty, *parts]]) for c in columns))

    @property
    def _at_once(self) -> int:
        """Crops that a network takes together: fewer where they or their heatmaps are large."""
        size, stride = self.model.size, self.model.learner.base.fenet.stride
        return max(
            1, min(AT_ONCE, 2**23 // size**2, 2**24 // len(self.names) // (size // stride) ** 2)
        )

    def _check_several(self, objects: int, boxes: np.ndarray | None) -> None:
        """Raise `UserError` where so many objects of a photo cannot be looked for."""
        if not isinstance(objects, Integral) or objects < 1 or boxes is not None:
            what = f"{objects!r} objects a photo cannot be"
            raise UserError(f"{what}: give 1 or more, and no boxes, each of which is one object's")
        if not (self._locator and self._locator.crops):
            raise UserError(
                f"{self.model.learner.name} finds no boxes by shapes here, so it looks for one object "
                "a photo: adapt CLM to more photos of two landmarks or more, or give boxes"
            )

    def _predict(
        self, photos: Sequence[np.ndarray], boxes: np.ndarray | None, objects: int, first: int
    ) -> Found:
        which, presence = np.arange(len(photos)), np.ones(len(photos), np.float32)
        frames = None
        if boxes is None and self._locator:
            seen = [self._locator(photo, objects) for photo in photos]
            which = np.repeat(which, [len(each) for each in seen])
            every = [one for each in seen for one in each]
            boxes = np.array([one.box for one in every], np.float32)
            if not self._locator.crops:
                frames = np.array([one.frame for one in every], np.float32)
            presence = np.array([one.presence for one in every], np.float32)
            photos = [photos[i] for i in which.tolist()]
        elif boxes is None:
            sizes = [(photo.shape[1], photo.shape[0]) for photo in photos]
            whole = np.array([(0, 0, *size) for size in sizes], np.float32)
            found = zip(*self._find(self._whole, self.support.whole, photos, whole, 0.0), sizes)
            boxes = np.array([box_of(points, scores, self.support.shape, *size)
                              for points, scores, size in found], np.float32)  # fmt: skip
        if frames is not None:
            found = self._find(self._whole, self.support.whole, photos, frames, 0.0, boxes)
        else:
            found = self._find(self._boxed, self.support.boxed, photos, boxes, MARGIN)
        return Found(found[0], found[1] * presence[:, None], boxes, which + first)

    def _find(
        self,
        detector: Detector | SamplesDetector,
        support: Samples,
        photos: Sequence[np.ndarray],
        frames: np.ndarray,
        margin: float,
        boxes: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks (B, N, 2) in pixels of the photos, and their scores (B, N), in crops of frames
        (B, 4), which are the boxes of the objects where these (B, 4) are not given."""
        crops = []
        for photo, frame, box in zip(photos, frames, frames if boxes is None else boxes):
            cut = self.model.cut(photo, frame, margin, support.size)
            if cut is None:
                raise UserError(f"box {np.round(frame).tolist()} lies outside its photo")
            crops.append(unlabelled(*cut, frame, len(self.names), box))
        query = collate(crops).to(self.model.device)
        with torch.no_grad():
            support = support.to(self.model.device)
            found, scores = find(detector, query, support, self.model.calibration)
        places = query.to_original(found).masked_fill(scores.unsqueeze(-1) == 0, float("nan"))
        return places.cpu().numpy(), scores.cpu().numpy()

    @cached_property
    def _boxed(self) -> Detector | SamplesDetector:
        support, weak = self.support.boxed, self.support.weak
        weak = None if weak is None else weak.to(self.model.device)
        return adapted(self.model.learner, support.to(self.model.device), weak)

    @cached_property
    def _whole(self) -> Detector | SamplesDetector:
        return adapted(self.model.learner, self.support.whole.to(self.model.device))

    @cached_property
    def _locator(self) -> Locator | None:
        if not self.model.learner.square:
            return None
        return Locator.of(self._whole, self._boxed, self.support, self.model.device)

    def save(self, path: str | PathLike) -> None:
        """Write the learner and its support, whole or not at all."""
        stored.write(Path(path), self.model, self.support)


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
