"""Photos without labels: what a finder learns from them, where that helps.

The finder looks for its object in each of them, and its learner takes those landmarks for labels
("weak labels") of which it is sure. Annotated photos left out in turn say whether they help; where
they do not, the finder stays as it is.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from tqdm import tqdm

from fewshot_landmarks.data.images import Unreadable, read_photo
from fewshot_landmarks.learner import Detector, Learner, SamplesDetector
from fewshot_landmarks.metrics.intervals import Z95, mean_error
from fewshot_landmarks.photos.arguments import Image
from fewshot_landmarks.photos.header import WEAK
from fewshot_landmarks.photos.locate import MARGIN, THERE, Locator, crop_of
from fewshot_landmarks.samples import Samples
from fewshot_landmarks.support.errors import UserError

SHOWN = 5  # photos that are left out, each with a line
BAR = 8  # photos: of fewer no progress is shown


class Lesson(Protocol):
    """What a learner makes of crops without labels; see `baselines.untrained.weak.Taught`."""

    @property
    def weak(self) -> Samples:
        """The crops that have a weak label."""

    @property
    def without(self) -> torch.Tensor:
        """Errors (K, N) of labelled crops left out, in units of the object's size; NaN where that
        cannot be told, and K is 0 where none can be left out."""

    @property
    def taught(self) -> torch.Tensor:
        """The same of what learnt from weak labels, too."""


@runtime_checkable
class Teachable(Protocol):
    """A learner that learns from crops without labels, too; see `baselines.untrained.clm.CLM`."""

    def teach(self, support: Samples, crops: Samples) -> Lesson: ...

    def adapt_with(self, support: Samples, weak: Samples) -> Detector | SamplesDetector: ...


@dataclass(frozen=True)
class Outcome:
    """What came of photos without labels."""

    given: int  # photos
    photos: int  # of them, that were looked at: not all of many, and none that cannot be used
    labelled: int  # of them, that have landmarks which are taken as labels
    landmarks: int  # taken as labels
    without: float  # mean error of annotated photos left out, in units of the object's size; NaN
    # where it cannot be told
    taught: float  # the same with these labels
    noise: float  # the standard error of their difference, over photos; NaN where there is none
    left_out: tuple[str, ...]  # a sentence on each photo that could not be used

    @property
    def kept(self) -> bool:
        """Whether the finder learnt from them: the error is not higher by more than the noise."""
        return self.told and self.taught - self.without <= self.noise

    @property
    def told(self) -> bool:
        """Whether annotated photos left out say anything: labels changed what is found in them."""
        return self.landmarks > 0 and self.noise > 0

    def lines(self) -> list[str]:
        """Sentences for a reader."""
        lines = list(self.left_out[:SHOWN])
        if len(self.left_out) > SHOWN:
            lines.append(f"... and {len(self.left_out) - SHOWN} more")
        of = f" of {self.given}" if self.given > self.photos else ""
        said = (
            f"{self.photos}{of} photos without labels: {self.landmarks} landmarks in "
            f"{self.labelled} of them taken as labels"
        )
        if not self.landmarks:
            return [*lines, f"{said}, so nothing is learnt from them"]
        if not self.told:
            return [*lines, f"{said}; whether they help cannot be told from these annotated "
                    "photos, so nothing is learnt from them"]  # fmt: skip
        verdict = "kept" if self.kept else "not kept, for they do harm"
        return [*lines, f"{said}; error of annotated photos left out {self.taught:.4f} with them, "
                f"{self.without:.4f} without (give or take {self.noise:.4f}): {verdict}"]  # fmt: skip


def teachable(learner: Learner) -> Teachable:
    """The learner; raises `UserError` where it learns nothing from photos without labels."""
    if not isinstance(learner, Teachable):
        raise UserError(
            f"{learner.name} learns nothing from photos without labels: leave them out, or choose "
            "CLM"
        )
    return learner


def learnt(
    learner: Learner,
    locator: Locator | None,
    support: Samples,
    images: Sequence[Image],
    own: Collection[str],
) -> tuple[Samples | None, Outcome]:
    """Crops with weak labels of photos without labels, None where they do not help; and what came
    of them.

    support: K crops around annotated objects, whose photos have the digests `own`; images: as
    `Model.adapt` takes them, of which at most `WEAK` are looked at, evenly chosen. One is read at a
    time. Raises `UserError` where no object can be looked for, or no photo can be used.
    """
    if locator is None:
        raise UserError(
            "photos without labels teach nothing here, for an object is found by its shape: "
            "annotate two landmarks or more in a photo, or leave them out"
        )
    chosen = np.linspace(0, len(images) - 1, min(len(images), WEAK)).round().astype(int).tolist()
    left_out, crops = [], []
    with tqdm(chosen, "photos without labels", unit="photo", disable=len(chosen) < BAR) as bar:
        for i in bar:
            name = images[i] if isinstance(images[i], (str, PathLike)) else f"image {i + 1}"
            try:
                photo = read_photo(images[i])
            except Unreadable as reason:
                left_out.append(f"left out: {name}: {reason}")
                continue
            if digest(photo) in own:
                left_out.append(f"left out: {name}: it is among the annotated photos")
                continue
            crops.append(_crop(locator, photo, support))
            del photo  # or it is still there while the next is decoded
    if not crops:
        raise UserError(
            f"none of {len(chosen)} photos without labels can be used; {left_out[0]}"
            if left_out else "no photos without labels: give some, or leave them out"
        )  # fmt: skip
    there = [crop for crop in crops if crop is not None]
    if not there:
        nan = float("nan")
        return None, Outcome(len(images), len(crops), 0, 0, nan, nan, nan, tuple(left_out))
    with torch.no_grad():
        columns = ([getattr(crop, field.name) for crop in there] for field in fields(Samples))
        together = Samples(*map(torch.cat, columns))
        lesson = teachable(learner).teach(support, together.to(support.images.device))
    without, taught = (each.double().cpu().numpy() for each in (lesson.without, lesson.taught))
    more = mean_error(taught - without)
    outcome = Outcome(
        given=len(images),
        photos=len(crops),
        labelled=len(lesson.weak),
        landmarks=int(lesson.weak.labelled.sum()),
        without=mean_error(without).value,
        taught=mean_error(taught).value,
        noise=(more.high - more.value) / Z95,
        left_out=tuple(left_out),
    )
    return lesson.weak.to("cpu") if outcome.kept else None, outcome


def _crop(locator: Locator, photo: np.ndarray, support: Samples) -> Samples | None:
    """The crop around the object of a photo, like the support's, if one seems to be there."""
    first, *_ = replace(locator, crops=True)(photo)
    if first.likeness < THERE:
        return None
    return crop_of(photo, first.box, MARGIN, support.size, support.landmarks.shape[1])


def digest(photo: np.ndarray) -> str:
    """What tells a photo (H, W, 3) from others, whatever file it is in."""
    content = hashlib.blake2b(np.ascontiguousarray(photo).data, digest_size=16)
    return f"{photo.shape} {content.hexdigest()}"
