"""What a learner makes of a few annotated photos: it finds their landmarks in others."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from fewshot_landmarks.data.crops import Garment, unlabelled
from fewshot_landmarks.data.images import together
from fewshot_landmarks.learner import Detector, SamplesDetector
from fewshot_landmarks.photos import stored
from fewshot_landmarks.photos.arguments import Image, boxes_of, photo_of, several
from fewshot_landmarks.photos.boxes import box_of
from fewshot_landmarks.photos.confidence import find
from fewshot_landmarks.photos.errors.radius import LEVEL, Promise, left_out_singly
from fewshot_landmarks.photos.errors.suggest import described
from fewshot_landmarks.photos.locate import MARGIN, Locator
from fewshot_landmarks.photos.stored import Support, adapted
from fewshot_landmarks.photos.unlabelled import Outcome
from fewshot_landmarks.samples import Samples, collate
from fewshot_landmarks.support.errors import UserError

if TYPE_CHECKING:
    from fewshot_landmarks.photos.model import Model

AT_ONCE = 32  # crops
SAME = 0.5 / 255  # mean difference of pixels, 0 to 1, of one photo's crops
LeftOut: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Found:
    """Landmarks of B objects. Those that no support photo labels are NaN, with a score of 0."""

    landmarks: np.ndarray  # (B, N, 2) float32: x, y in pixels of each image
    scores: np.ndarray  # (B, N) float32, 0 to 1: how probable it is that the landmark is there and
    # its error below a tenth of the object's size (calibrated where the model is)
    boxes: np.ndarray  # (B, 4) float32: x1, y1, x2, y2 that were searched
    images: np.ndarray  # (B,) int64: which image each is in
    radii: np.ndarray  # (B, N) float32: pixels of each image within which the landmark lies with
    # the probability that was asked; NaN where none was, or cannot be told


@dataclass(frozen=True)
class Finder:
    """A learner adapted to a category."""

    model: "Model"
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

    def promise(self, level: float = LEVEL, *, boxes: bool = True) -> Promise | None:
        """What can be promised of radii of a probability, in photos that are searched with boxes or
        without; None where nothing can: by one photo. See `errors.radius`."""
        whole = not boxes and self._locator is not None and not self._locator.crops
        errors, expected, _ = self._singly_whole if whole else self.singly
        return Promise.of(errors, expected, level)

    def predict(
        self,
        images: Sequence[Image],
        boxes: np.ndarray | None = None,
        *,
        objects: int = 1,
        level: float | None = None,
    ) -> Found:
        """The landmarks in B images: of any size each, see `Model.adapt`.

        boxes: (B, 4), x1, y1, x2, y2 around each object. Without them it is found first: landmarks
        in the whole photo tell where the box is. objects: how many are looked for in an image
        without boxes; there is a first one in each, with low scores where there is none, and
        others follow it where they look like the support's. level: the probability with which
        landmarks are to lie within their radii, 0.9 for example; `promise` says which can be.

        Raises `UserError` where an image cannot be read or a box lies outside it, and where several
        objects are asked with boxes or of a learner that fits no shape.
        """
        images = several(images)
        if objects != 1:
            self._check_several(objects, boxes)
        if level is not None and not 0 < level < 1:
            raise UserError(f"level {level}: radii hold with a probability between 0 and 1")
        boxes = None if boxes is None else boxes_of(boxes, len(images))
        promise = level and self.promise(level, boxes=boxes is not None)
        parts = [
            self._predict(
                [photo_of(image, i) for i, image in enumerate(images[part], part.start)],
                None if boxes is None else boxes[part],
                objects,
                part.start,
                promise or None,
            )
            for part in together(images, self._at_once)
        ]
        n = len(self.names)
        shapes = (n, 2), (n,), (4,)
        places, scores, none = (np.zeros((0, *shape), np.float32) for shape in shapes)
        empty = Found(places, scores, none, np.zeros(0, np.int64), scores)
        columns = [field.name for field in fields(Found)]
        return Found(*(np.concatenate([getattr(p, c) for p in [empty, *parts]]) for c in columns))

    def looks(self, images: Sequence[Image], boxes: np.ndarray) -> np.ndarray:
        """What objects in B images and boxes look like, (B, D): see `errors.suggest.likeness`.

        Raises `UserError` where an image cannot be read, or a box lies outside it.
        """
        images, boxes = several(images), boxes_of(boxes, len(images))
        seen = [np.zeros((0, self.support_looks.shape[1]), np.float32)]
        for i, (image, box) in enumerate(zip(images, boxes)):
            one = self._garment(photo_of(image, i), box, box, self.model.size, MARGIN)
            crop = collate([one]).to(self.model.device)
            seen.append(described(self.model.learner, crop.images))
        return np.concatenate(seen)

    def learnt_from(self, photo: np.ndarray) -> bool:
        """Whether a photo (H, W, 3) is one of the support: the crop of a support's box in it is the
        support's."""
        boxed = self.support.boxed
        frames = boxed.to_original(boxed.box.unflatten(1, (2, 2))).flatten(1).numpy()
        for frame, image in zip(frames, boxed.images):
            cut = self.model.cut(photo, frame, MARGIN, boxed.size)
            if cut is not None and cut[1].shape[:2] == image.shape[1:]:
                off = np.abs(cut[1].astype(np.float32) / 255 - image.permute(1, 2, 0).numpy())
                if off.mean() < SAME:
                    return True
        return False

    @cached_property
    def support_looks(self) -> np.ndarray:
        """The same of the support's K objects, (K, D)."""
        images = self.support.boxed.images.to(self.model.device)
        return described(self.model.learner, images)

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
        self,
        photos: Sequence[np.ndarray],
        boxes: np.ndarray | None,
        objects: int,
        first: int,
        promise: Promise | None,
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
            places, scores, _ = self._find(self._whole, self.support.whole, photos, whole, 0.0)
            boxes = np.array([box_of(points, sure, self.support.shape, *size)
                              for points, sure, size in zip(places, scores, sizes)], np.float32)  # fmt: skip
        if frames is not None:
            found = self._find(self._whole, self.support.whole, photos, frames, 0.0, boxes)
        else:
            found = self._find(self._boxed, self.support.boxed, photos, boxes, MARGIN)
        places, scores, expected = found
        radii = np.full_like(expected, np.nan)
        if promise:
            sizes = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], 1, keepdims=True))
            radii = promise.radii(expected).astype(np.float32) * sizes
        radii[np.isnan(places[..., 0])] = np.nan
        return Found(places, scores * presence[:, None], boxes, which + first, radii)

    def _find(
        self,
        detector: Detector | SamplesDetector,
        support: Samples,
        photos: Sequence[np.ndarray],
        frames: np.ndarray,
        margin: float,
        boxes: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Landmarks (B, N, 2) in pixels of the photos, their scores (B, N) and the errors (B, N) to
        expect, in units of the object's size, in crops of frames (B, 4), which are the boxes of the
        objects where these (B, 4) are not given."""
        crops = [
            self._garment(photo, frame, box, support.size, margin)
            for photo, frame, box in zip(photos, frames, frames if boxes is None else boxes)
        ]
        query = collate(crops).to(self.model.device)
        with torch.no_grad():
            support = support.to(self.model.device)
            found = find(detector, query, support, self.model.calibration)
        nothing = found.scores.unsqueeze(-1) == 0
        places = query.to_original(found.places).masked_fill(nothing, float("nan"))
        return places.cpu().numpy(), found.scores.cpu().numpy(), found.expected.cpu().numpy()

    def _garment(
        self, photo: np.ndarray, frame: np.ndarray, box: np.ndarray, size: int, margin: float
    ) -> Garment:
        """The crop of a frame (4,) of a photo, in which an object has a box (4,)."""
        cut = self.model.cut(photo, frame, margin, size)
        if cut is None:
            raise UserError(f"box {np.round(frame).tolist()} lies outside its photo")
        return unlabelled(*cut, frame, len(self.names), box)

    @cached_property
    def _boxed(self) -> Detector | SamplesDetector:
        support, weak = self.support.boxed, self.support.weak
        weak = None if weak is None else weak.to(self.model.device)
        return adapted(self.model.learner, support.to(self.model.device), weak)

    @cached_property
    def _whole(self) -> Detector | SamplesDetector:
        return adapted(self.model.learner, self.support.whole.to(self.model.device))

    @cached_property
    def singly(self) -> LeftOut:
        """Errors, expected errors (in units of the object's size) and scores (T, N) of support
        photos left out one by one; errors are NaN where they cannot be told."""
        return self._left_out(self._boxed, self.support.boxed)

    @cached_property
    def _singly_whole(self) -> LeftOut:
        return self._left_out(self._whole, self.support.whole)

    def _left_out(self, detector: Detector | SamplesDetector, support: Samples) -> LeftOut:
        model = self.model
        return left_out_singly(model.learner, detector, support.to(model.device), model.calibration)

    @cached_property
    def _locator(self) -> Locator | None:
        if not self.model.learner.square:
            return None
        return Locator.of(self._whole, self._boxed, self.support, self.model.device)

    def save(self, path: str | PathLike) -> None:
        """Write the learner and its support, whole or not at all."""
        stored.write(Path(path), self.model, self.support)
