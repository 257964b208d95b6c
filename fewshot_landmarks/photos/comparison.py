"""Annotated objects that every learner is asked about alike, and what each makes of them."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from fewshot_landmarks.data.crops import Garment, garment, square_out
from fewshot_landmarks.data.formats.annotations import Annotations
from fewshot_landmarks.data.formats.values import aligned, folded
from fewshot_landmarks.data.images import read_photo
from fewshot_landmarks.data.keypoints import Keypoints
from fewshot_landmarks.evaluation import answers
from fewshot_landmarks.learner import Detector, Learner, SamplesDetector, heatmaps_of
from fewshot_landmarks.metrics.landmarks import normalised_error
from fewshot_landmarks.photos.boxes import mean_position, mean_shape, shape_in
from fewshot_landmarks.photos.finder import AT_ONCE
from fewshot_landmarks.photos.stored import adapted
from fewshot_landmarks.samples import Samples, collate
from fewshot_landmarks.support.devices import forget_peak, out_of_memory, peak_mib, release_freed
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.names import listed
from fewshot_landmarks.support.rng import permutation

SHOTS = (1, 3, 5, 8, 10)  # by default, and all there are
CLOSE = 0.1  # of PCK
SAID = 10  # of the lines on what is left out


def counted(objects: int) -> str:
    """So many support objects, in words."""
    return f"{objects} support object" + "s" * (objects > 1)


def same_landmarks(support: Annotations, query: Annotations) -> tuple[list[int], list[str]]:
    """For each landmark of the support its position in the query, or -1; lines on what differs.

    Raises `UserError` where no name is the same.
    """
    kinds = [side.categories[int(side.index.category[0])] for side in (support, query)]
    ours, theirs = (kind.names for kind in kinds)
    order = aligned(ours, theirs)
    unasked = [name for name, place in zip(ours, order) if place < 0]
    unlearnt = [name for i, name in enumerate(theirs) if i not in order]
    sides = (support.source, unasked), (query.source, unlearnt)
    only = "; ".join(f"only {source} has {listed(names)}" for source, names in sides if names)
    if max(order) < 0:
        raise UserError(f"support and query share no landmark: {only}: name both alike")
    lines = list(dict.fromkeys([*support.notes, *query.notes]))
    lines += [f"Landmarks of one side are not scored: {only}."] if only else []
    if folded(kinds[0].name) != folded(kinds[1].name) and not kinds[0].landmark_names:
        lines.append(f"The support's category is {kinds[0].name!r}, the query's {kinds[1].name!r}.")
    common = [place for place in order if place >= 0]
    if common != sorted(common):
        lines.append(f"Landmarks of {query.source} are put in the order of {support.source}.")
    return order, lines


@dataclass(frozen=True, eq=False)
class Crops:
    """Annotated objects of one category, cropped."""

    source: Path
    samples: Samples
    photos: tuple[Path, ...]  # of each object
    items: tuple[int, ...]  # id of each object's annotation
    boxes: np.ndarray  # (n, 4) x1, y1, x2, y2 in pixels of the photos
    notes: tuple[str, ...]  # on what is left out

    @classmethod
    def of(cls, annotations: Annotations, size: int, square: bool = False) -> "Crops":
        """All objects that have a labelled landmark and a photo that can be read.

        square: crops are squares around the boxes, see `Learner.square`; what is labelled in them is
        what is labelled in the boxes' own crops.
        """
        garments = Keypoints(annotations, size=size)
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            garments.pack(folder)  # decodes a photo once for all of its objects
            found = [garments[int(i)] for i in np.flatnonzero(garments.usable)]
        found = [garment for garment in found if garment.inside.any()]
        if not found:
            reason = next(iter(garments.skipped), "no landmark is labelled within its box")
            raise UserError(f"{annotations.source}: no object can be used: {reason}")
        lines = garments.skipped
        notes = [f"{annotations.source}: left out: {line}" for line in lines[:SAID]]
        if len(lines) > SAID:
            notes.append(f"{annotations.source}: left out: {len(lines) - SAID} more")
        if bare := garments.unlabelled + int(garments.usable.sum()) - len(found):
            notes.append(
                f"{annotations.source}: left out: {bare} objects without a labelled landmark in "
                "their box"
            )
        if square:
            found = list(_squared(garments, found))
        photos = [annotations.photos[garments.photos[g.index]].path.resolve() for g in found]
        rows = [g.index for g in found]
        items, boxes = annotations.index.item[rows].tolist(), annotations.index.box[rows]
        said = tuple(photos), tuple(items), boxes, tuple(notes)
        return cls(annotations.source, collate(found), *said)

    @property
    def points(self) -> np.ndarray:
        """(n, N, 2) of the landmarks in pixels of the photos."""
        return self.samples.to_original(self.samples.landmarks).numpy()

    def reordered(self, order: list[int]) -> "Crops":
        """With landmarks in another order; -1 stands for one that nothing labels."""
        part = {name: getattr(self.samples, name)[:, order] for name in _BY_LANDMARK}
        for name in ("labelled", "scored"):
            part[name] = part[name] & (torch.tensor(order) >= 0)
        return replace(self, samples=replace(self.samples, **part))


def _squared(garments: Keypoints, found: Sequence[Garment]) -> Iterator[Garment]:
    """The same objects in square crops; a photo is read once for all of its own that follow."""
    index, photos = garments.annotations.index, garments.annotations.photos
    for number, objects in groupby(found, lambda each: int(garments.photos[each.index])):
        photo = read_photo(photos[number].path, photos[number].declared)
        for old in objects:
            i = old.index
            cut = square_out(photo, index.box[i], garments.margin, garments.size)
            if cut is not None:
                known: dict = {"area": float(old.area), "category": old.category, "index": i}
                new = garment(*cut, *index.landmarks(i), box=index.box[i], **known)
                yield new._replace(inside=old.inside)
        del photo


_BY_LANDMARK = ("landmarks", "labelled", "scored")


@dataclass(frozen=True, eq=False)
class PhotoEpisodes:
    """What every learner is asked, the same for all: an episode for each draw of the support and
    each number of shots.
    """

    support: Crops  # n objects
    query: Crops  # Q objects
    shots: tuple[int, ...]  # ascending
    order: np.ndarray  # (D, n) of the support in each draw: K shots are the first K
    asked: np.ndarray  # (D, Q) bool: query objects that are in no photo of the draw's most shots

    @classmethod
    def of(
        cls, support: Crops, query: Crops, shots: Sequence[int] | None, draws: int, seed: int
    ) -> "PhotoEpisodes":
        """Raises `UserError` for too many shots, or where nothing is left to be asked."""
        n = len(support.items)
        shots = tuple(sorted(set(shots or [*(k for k in SHOTS if k < n), n])))
        if shots[-1] > n:
            raise UserError(
                f"--shots {shots[-1]}: {support.source} has {n} objects; choose at most as many"
            )
        draws = 1 if shots == (n,) else draws
        order = np.stack([permutation(n, seed, draw) for draw in range(draws)])
        taken = [{support.photos[i] for i in chosen[: shots[-1]]} for chosen in order]
        asked = np.array([[photo not in photos for photo in query.photos] for photos in taken])
        if not asked.any(1).all():
            raise UserError(
                f"every object of {query.source} is in a photo of the {shots[-1]} support objects "
                "of a draw: give other photos to --query, or fewer --shots"
            )
        made = cls(support, query, shots, order, asked)
        if not any(made.counts(k).any() for k in shots):
            raise UserError(
                f"no landmark that {support.source} labels is labelled in {query.source}: nothing "
                "can be scored"
            )
        return made

    def draws(self, shots: int) -> range:
        """Draws of so many shots; all objects are drawn but once."""
        return range(1 if shots == len(self.support.items) else len(self.order))

    def scored(self, draw: int, shots: int) -> np.ndarray:
        """(Q, N) bool: landmarks asked, labelled, and labelled by a support object."""
        chosen = self.order[draw, :shots]
        learnable = self.support.samples.labelled[chosen].any(0)
        return (self.query.samples.scored & learnable).numpy() & self.asked[draw, :, None]

    def counts(self, shots: int) -> np.ndarray:
        """(D, Q): scored landmarks of each query object in each draw."""
        return np.stack([self.scored(draw, shots).sum(1) for draw in self.draws(shots)])

    def notes(self) -> Iterator[str]:
        """What a reader has to know of it."""
        out = (~self.asked).sum(1)
        if out.any():
            spread = f"{out.min()} to {out.max()}" if out.min() < out.max() else f"{out[0]}"
            yield (
                f"{spread} of {len(self.query.items)} query objects are in photos of a draw's "
                "support and left out of it."
            )
        for shots in self.shots:
            labelled = self.support.samples.labelled
            missing = [
                (~labelled[self.order[draw, :shots]].any(0)).sum().item()
                for draw in self.draws(shots)
            ]
            if any(missing):
                yield (
                    f"With {counted(shots)}, {np.mean(missing):.3g} of {labelled.shape[1]} "
                    "landmarks are labelled by none (mean over draws): they are not scored."
                )


# ----------------------------------------------------------------------------- measuring


@dataclass(frozen=True, eq=False)
class Adaptation:
    """One learner, or the control, adapted once."""

    shots: int
    draw: int
    sums: np.ndarray  # (Q,) of the errors of an object's scored landmarks; NaN: diverged
    hits: np.ndarray  # (Q,) how many of them are below `CLOSE`
    adapt: float = math.nan  # seconds
    predict: float = math.nan  # seconds an object
    mib: float = math.nan  # the most memory of the adaptation, over what was there before


def measure(
    load: Callable[[], Learner], episodes: PhotoEpisodes, device: str
) -> list[Adaptation] | str:
    """All adaptations of a learner, the most shots first; or why it cannot learn this category."""
    learner = load()
    try:
        with torch.no_grad():  # libraries choose their ways at first
            learner.base.fenet(episodes.support.samples.images[:1].to(device))
        return [
            _adaptation(learner, episodes, draw, shots, device)
            for shots in episodes.shots[::-1]
            for draw in episodes.draws(shots)
        ]
    except UserError as reason:
        return str(reason)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return "memory is not enough"


def measure_mean_position(episodes: PhotoEpisodes) -> list[Adaptation]:
    """The control beside learners, with the most shots first, as `measure` has theirs.

    Each landmark's mean place in the boxes of a draw's support, put into each query object's box.
    It looks at no photo; its time is not measured.
    """
    support, query = episodes.support, episodes.query
    labelled = support.samples.scored.numpy()[..., None]
    shapes = np.where(labelled, shape_in(support.points, support.boxes), np.nan)
    return [
        _scored(
            episodes,
            draw,
            shots,
            mean_position(mean_shape(shapes[episodes.order[draw, :shots]]), query.boxes),
        )
        for shots in episodes.shots[::-1]
        for draw in episodes.draws(shots)
    ]


def _adaptation(
    learner: Learner, episodes: PhotoEpisodes, draw: int, shots: int, device: str
) -> Adaptation:
    query = episodes.query.samples
    support = episodes.support.samples[torch.from_numpy(episodes.order[draw, :shots])].to(device)
    release_freed()
    known = forget_peak(device)
    before, began = peak_mib(device), time.perf_counter()
    detector = adapted(learner, support)
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    ready, peak = time.perf_counter(), peak_mib(device)
    asked = torch.from_numpy(np.flatnonzero(episodes.asked[draw]))
    found = torch.zeros_like(query.landmarks)
    parts = [_find(detector, query[rows], device) for rows in asked.split(AT_ONCE)]
    found[asked] = torch.cat(parts)
    done = time.perf_counter()
    return replace(
        _scored(episodes, draw, shots, found.numpy()),
        adapt=ready - began,
        predict=(done - ready) / len(asked),
        mib=peak - before if known else math.nan,
    )


def _scored(episodes: PhotoEpisodes, draw: int, shots: int, found: np.ndarray) -> Adaptation:
    """The errors of landmarks (Q, N, 2), found in pixels of the photos."""
    query, scored = episodes.query, episodes.scored(draw, shots)
    places, true, asked = map(torch.from_numpy, (found, query.points, scored))
    errors = normalised_error(places, true, asked, query.samples.area).double().numpy()
    sums = np.where(scored, errors, 0).sum(1)
    return Adaptation(shots, draw, sums, hits=(errors < CLOSE).sum(1))


def _find(detector: Detector | SamplesDetector, query: Samples, device: str) -> torch.Tensor:
    """Landmarks (B, N, 2) in pixels of the photos; NaN where a heatmap diverged."""
    with torch.no_grad():
        heatmaps = heatmaps_of(detector, query.to(device)).cpu()
    return query.to_original(answers(heatmaps, query.size))
