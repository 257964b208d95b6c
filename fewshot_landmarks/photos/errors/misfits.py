"""Landmarks that do not fit what others teach: swapped, or far off.

Some objects of a category teach a learner where its landmarks lie, and it is asked about others, so
that no object is compared with what was learnt from it or from a photo like it. Where exchanged
landmarks fit far better, they were swapped; one that fits far worse than in other photos is far off.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from fewshot_landmarks.data.crops import garment
from fewshot_landmarks.data.formats.objects import Annotations
from fewshot_landmarks.evaluation import answers
from fewshot_landmarks.learner import Detector, SamplesDetector, least_expected
from fewshot_landmarks.photos.locate import MARGIN
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.photos.stored import adapted
from fewshot_landmarks.samples import Samples, collate
from fewshot_landmarks.support.rng import permutation

SWAPPED, FAR = "swapped", "far off"
FEWEST = 4  # photos of a category whose landmarks are compared
TEACHERS = 4  # detectors of a category
TAUGHT_BY = 20  # objects that teach one of them, at most
ASKED = 2  # detectors that are asked about an object, at most
SHARP = 2.0  # scores that are no densities: their log, where scores have deviation 1
ALIKE = 0.95  # correlation of two crops: if it is greater they are of one moment
THUMB = 32  # side of the pictures by which photos and crops are compared
GAIN = 3.0  # log densities that exchanged landmarks have more than as they are
WORSE = 5.0  # robust deviations of log densities below the median
AWAY = 0.1  # of the object's size: no landmark that is less far from where it is expected is off


@dataclass(frozen=True)
class Mistake:
    """What does not fit in one object."""

    row: int  # of the annotations
    kind: str  # `SWAPPED`, `FAR`, or another of `mistakes`
    landmarks: tuple[int, ...]
    sure: float  # greater is surer
    why: str


@dataclass
class Crops:
    """M annotated objects of N landmarks, cropped around their boxes."""

    rows: list[int] = field(default_factory=list)  # of the annotations
    photos: list[int] = field(default_factory=list)
    windows: list[np.ndarray] = field(default_factory=list)  # (4,)
    images: list[np.ndarray] = field(default_factory=list)  # (S, S, 3) uint8
    boxes: list[np.ndarray] = field(default_factory=list)  # (4,) in their photos, as are
    points: list[np.ndarray] = field(default_factory=list)  # (N, 2)
    seen: list[np.ndarray] = field(default_factory=list)  # (N,) bool

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, annotations: Annotations, row: int, photo: np.ndarray, model: Model) -> None:
        """Add an object of the annotations, unless its box lies outside its photo (H, W, 3)."""
        index = annotations.index
        cut = model.cut(photo, index.box[row], MARGIN, model.size)
        if cut is None:
            return
        points, visible = index.landmarks(row)
        new = row, int(index.photo[row]), *cut, index.box[row], points, visible > 0
        for column, value in zip(vars(self).values(), new):
            column.append(value)

    def samples(self, which: Sequence[int]) -> Samples:
        """Some of them as a batch."""
        return collate([
            garment(
                *(self.windows[i], self.images[i], self.points[i], self.seen[i]),
                box=self.boxes[i], area=self.size(i) ** 2, category=0, index=i,
            )
            for i in which
        ])  # fmt: skip

    def size(self, i: int) -> float:
        """An object's: the square root of its box's area."""
        return float(np.sqrt(np.prod(self.boxes[i][2:] - self.boxes[i][:2])))

    def moments(self) -> np.ndarray:
        """(M,) a number for all objects of a photo, or of photos like it."""
        thumbs = np.stack([thumbnail(image) for image in self.images]).reshape(len(self), -1)
        thumbs = thumbs - thumbs.mean(1, keepdims=True)
        thumbs /= np.maximum(np.linalg.norm(thumbs, axis=1, keepdims=True), 1e-6)
        own, photos = np.arange(len(self)), np.array(self.photos)
        for i in range(1, len(self)):
            near = (thumbs[:i] @ thumbs[i] > ALIKE) | (photos[:i] == photos[i])
            own[np.isin(own, [i, *own[:i][near]])] = min([i, *own[:i][near]])
        return own if len(np.unique(own)) > 1 else photos


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) of any size as one of few cells, float32."""
    return cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)


def log_densities(model: Model, crops: Crops) -> Iterator[tuple[int, Samples, torch.Tensor]]:
    """Of each object that others tell something of: itself, and log densities (1, N, h, w) of its
    landmarks, NaN of those that they do not label."""
    own, order = crops.moments(), permutation(len(crops), 1)
    kinds = np.unique(own)
    parts = np.zeros(len(crops), int)
    for number, kind in enumerate(kinds[permutation(len(kinds), 0)]):
        parts[own == kind] = number % TEACHERS
    detectors = []
    for k in tqdm(range(min(TEACHERS, len(kinds))), "learning", unit="detector", leave=False):
        which = np.sort(order[parts[order] != k][:TAUGHT_BY])
        if len(which):
            support = crops.samples(which.tolist()).to(model.device)
            known = support.labelled.any(0)[None, :, None, None]
            detectors.append((adapted(model.learner, support), known, own[which]))
    for i in tqdm(range(len(crops)), "comparing", unit="object", leave=False):
        query, told = crops.samples([i]).to(model.device), []
        for detector, known, taught_by in detectors:
            if own[i] not in taught_by and len(told) < ASKED:
                told.append(densities_of(detector, query).where(known, torch.nan))
        if told:
            yield i, query, torch.stack(told).nanmean(0)


def densities_of(detector: Detector | SamplesDetector, query: Samples) -> torch.Tensor:
    """Log densities (B, N, h, w); scores of learners that have none are taken for such."""
    with torch.no_grad():
        if isinstance(detector, SamplesDetector):
            maps = detector.of(query)
        else:
            maps = detector(query.images)
            maps = SHARP * maps / maps.flatten(2).std(-1).clamp(min=1e-9)[..., None, None]
    return maps.flatten(2).log_softmax(-1).view_as(maps)


@dataclass(frozen=True)
class Evidence:
    """What the others say of M objects, those that they say something of, in the same order."""

    which: np.ndarray  # (M,) of the crops
    labelled: np.ndarray  # (M, N) bool, where others label the landmark, too
    fit: np.ndarray  # (M, N, N) log density of landmark a at the place of b
    most: np.ndarray  # (M, N) the greatest log density of a
    off: np.ndarray  # (M, N, N) from where a is expected to the place of b, of the object's size

    @classmethod
    def of(cls, crops: Crops, model: Model) -> "Evidence":
        which, columns = [], []
        for i, query, maps in log_densities(model, crops):
            which.append(i)
            columns.append(each.cpu().numpy() for each in _told(maps, query))
        seen = np.stack(crops.seen)
        fit, most, off = map(np.stack, zip(*columns))
        labelled = (seen & (seen.sum(0) >= FEWEST))[which] & np.isfinite(most)
        return cls(np.array(which), labelled, fit, most, off)


def _told(maps: torch.Tensor, query: Samples) -> tuple[torch.Tensor, ...]:
    """Of one crop with maps (1, N, h, w) `Evidence`'s fit, most and off."""
    size, cells = query.size, maps.shape[-1]
    near = F.max_pool2d(maps, 3, 1, 1)[0]
    column, row = (query.landmarks[0] / size * cells).long().clamp(0, cells - 1).unbind(-1)
    fit = near[:, row, column]
    inside = ((query.landmarks[0] >= 0) & (query.landmarks[0] < size)).all(-1)
    fit = torch.where(inside, fit, near.flatten(1).amin(1, keepdim=True))
    expected = query.to_original(answers(least_expected(maps, query), size))[0]
    places = query.to_original(query.landmarks)[0]
    return fit, near.flatten(1).amax(1), torch.cdist(expected, places) / query.area.sqrt()


def misplaced(crops: Crops, evidence: Evidence) -> list[Mistake]:
    """Landmarks that were swapped or are far off."""
    found = []
    fit, off = _diagonal(evidence.fit).copy(), _diagonal(evidence.off).copy()
    for k, a, b, gain in swaps(evidence):
        ways = evidence.off[k, [a, b], [b, a]], off[k, [a, b]].max()
        fit[k, [a, b]], off[k, [a, b]] = evidence.fit[k, [a, b], [b, a]], ways[0]
        why = (f"exchanged they are {ways[0].max():.2f} of the object's size from where others have "
               f"them, {ways[1]:.2f} as they are")  # fmt: skip
        found.append(Mistake(k, SWAPPED, (a, b), gain / GAIN, why))
    deviations = robust(np.where(evidence.labelled, evidence.most - fit, np.nan))
    for k, n in np.argwhere((deviations > WORSE) & (off > AWAY)).tolist():
        why = f"{off[k, n]:.2f} of the object's size from where others have it"
        found.append(Mistake(k, FAR, (n,), deviations[k, n] / WORSE, why))
    return [replace(each, row=crops.rows[evidence.which[each.row]]) for each in found]


def swaps(evidence: Evidence) -> Iterator[tuple[int, int, int, float]]:
    """Objects, two landmarks of each, and the log density that is gained by exchanging these, where
    that is beyond what it is in other objects, or both fit far worse than there; no landmark twice,
    those that gain most first."""
    own, (count, n) = _diagonal(evidence.fit), evidence.labelled.shape
    gains = evidence.fit + evidence.fit.transpose(0, 2, 1) - own[:, None] - own[:, :, None]
    pairs = np.triu(evidence.labelled[:, None] & evidence.labelled[:, :, None], 1)
    gains = np.where(pairs, gains, np.nan)
    unusual = robust(gains.reshape(count, -1)).reshape(count, n, n) > WORSE
    worse = robust(np.where(evidence.labelled, evidence.most - own, np.nan)) > WORSE
    unusual |= worse[:, None] & worse[:, :, None]
    away = _diagonal(evidence.off)
    exchanged = evidence.off + evidence.off.transpose(0, 2, 1)
    unusual &= exchanged < away[:, None] + away[:, :, None]  # they come nearer, too
    chosen, done = np.argwhere(unusual & (gains > GAIN)).tolist(), set()
    for k, a, b in sorted(chosen, key=lambda which: -gains[tuple(which)]):
        if not {(k, a), (k, b)} & done:
            done |= {(k, a), (k, b)}
            yield k, a, b, float(gains[k, a, b])


def _diagonal(values: np.ndarray) -> np.ndarray:
    return np.diagonal(values, axis1=1, axis2=2)


def robust(values: np.ndarray) -> np.ndarray:
    """Values (M, N) in deviations from each landmark's median, by the median absolute deviation."""
    masked = np.ma.masked_invalid(values)
    centre = np.ma.median(masked, 0)
    spread = 1.4826 * np.ma.median(abs(masked - centre), 0)
    return ((masked - centre) / np.maximum(spread, 1.0)).filled(np.nan)
