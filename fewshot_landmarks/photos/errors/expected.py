"""What error to expect of a finder: objects of its support left out, and found by the others."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from fewshot_landmarks.evaluation import answers
from fewshot_landmarks.learner import heatmaps_of
from fewshot_landmarks.metrics.intervals import Z95, Estimate, mean_error
from fewshot_landmarks.metrics.landmarks import normalised_error
from fewshot_landmarks.photos.boxes import mean_position, mean_shape, shape_in
from fewshot_landmarks.photos.model import Finder
from fewshot_landmarks.photos.stored import adapted
from fewshot_landmarks.samples import Samples
from fewshot_landmarks.support.names import listed

MOST = 10  # objects left out
UNSETTLED = 0.2  # a landmark's error, in units of the object's size, that is as good as not found
SHOWN, WORST = 12, 5  # landmarks: all of so few, or the worst ones
# Quantile 0.975 of Student's t by degrees of freedom, for two objects left out to `MOST`.
Folds: TypeAlias = Sequence[tuple[list[int], int]]
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


def expected(finder: Finder) -> list[str]:
    """Sentences on the error to expect, beside the mean position's, and on single landmarks.

    Errors are those of objects left out in turn, those of one moment together, at most ten times, in
    units of the object's size, with an interval of Student's t over these times.
    """
    support = finder.support.boxed
    if len(support) < 2:
        return ["What error to expect cannot be told from one annotated object: annotate another."]
    errors, folds = left_out(finder)
    told = np.isfinite(errors).any(0)
    if not told.any():
        return ["What error to expect cannot be told: no landmark is labelled in two objects."]
    position = np.where(np.isfinite(errors), of_mean_position(support, folds), np.nan)
    together = by_fold(errors, folds)
    ours, control = mean_error(together), mean_error(position)
    if (objects := int(np.isfinite(together).any(1).sum())) > 1:
        ours = widened(ours, objects)
    interval = "" if np.isnan(ours.low) else f" ({ours.low:.3f} to {ours.high:.3f})"
    all_ = f"{len(errors)}" + f" of {len(support)}" * (len(errors) < len(support))
    lines = [
        f"error to expect: {ours.value:.3f}{interval} of the object's size, of {all_} annotated "
        f"objects left out in turn; the mean position, which looks at no photo, has "
        f"{control.value:.3f}",
        "a rough guide: objects unlike these have larger errors",
    ]
    if finder.support.weak is not None:
        lines.append("photos without labels have no part in these errors")
    if ours.value >= control.value:
        lines.append(
            "that is no better than the mean position: look at the annotations with "
            "`fewshot-landmarks draw`, or annotate more photos"
        )
    each = {i: float(np.nanmean(errors[:, i])) for i in np.flatnonzero(told)}
    worst = sorted(each, key=lambda i: -each[i])
    chosen = list(each) if len(each) <= SHOWN else worst[:WORST]
    title = "by landmark" if len(each) <= SHOWN else f"the worst {WORST} of {len(each)} landmarks"
    lines.append(f"{title}: " + ", ".join(f"{finder.names[i]} {each[i]:.3f}" for i in chosen))
    if unsettled := [finder.names[i] for i in worst if each[i] > UNSETTLED]:
        lines.append(
            f"not settled by these photos, with errors above {UNSETTLED}: {listed(unsettled)}"
        )
    silent = support.labelled.any(0).numpy() & ~told
    if silent.any():
        alone = [name for name, only in zip(finder.names, silent) if only]
        lines.append(
            f"labelled in one object alone, or in objects that are left out together because their "
            f"photos are of one moment, so that nothing is told: {listed(alone)}"
        )
    return lines


def left_out(finder: Finder) -> tuple[np.ndarray, Folds]:
    """Errors (T, N) of a support's objects left out in turn, NaN where that cannot be told; and
    which objects were kept and left out."""
    if finder.left_out is not None:
        errors, folds = finder.left_out
        return errors.double().cpu().numpy(), folds
    learner = finder.model.learner
    support = finder.support.boxed.to(finder.model.device)
    every, rows, folds = range(len(support)), [], []
    for k in every[:MOST]:
        kept = [i for i in every if i != k]
        others, one = support[kept], support[[k]]
        with torch.no_grad():
            heatmaps = heatmaps_of(adapted(learner, others), one)
        places = one.to_original(answers(heatmaps, one.size))
        told = one.labelled & others.labelled.any(0)
        errors = normalised_error(places, one.to_original(one.landmarks), told, one.area)
        rows.append(errors.double())
        folds.append((kept, k))
    return torch.cat(rows).cpu().numpy(), folds


def of_mean_position(support: Samples, folds: Folds) -> np.ndarray:
    """The same errors (T, N) of the mean position of the landmarks of the objects that were kept."""
    points = support.to_original(support.landmarks).numpy()
    boxes = support.to_original(support.box.unflatten(1, (2, 2))).flatten(1).numpy()
    labelled = support.labelled.numpy()[..., None]
    shapes = np.where(labelled, shape_in(points, boxes), np.nan)
    places = np.concatenate(
        [mean_position(mean_shape(shapes[kept]), boxes[[k]]) for kept, k in folds]
    )
    out = [k for _, k in folds]
    off = np.where(labelled[out], places - points[out], np.nan)
    return np.linalg.norm(off, axis=-1) / np.sqrt(support.area.numpy()[out, None])


def by_fold(errors: np.ndarray, folds: Folds) -> np.ndarray:
    """Errors (T, N) with those of objects left out together in one row, NaN where a row has fewer."""
    rows: dict[tuple[int, ...], list[np.ndarray]] = {}
    for (kept, _), each in zip(folds, errors):
        rows.setdefault(tuple(kept), []).append(each)
    together = [np.concatenate(each) for each in rows.values()]
    widest = max(map(len, together))
    return np.stack(
        [np.pad(row, (0, widest - len(row)), constant_values=np.nan) for row in together]
    )


def widened(mean: Estimate, objects: int) -> Estimate:
    """A mean with the interval that so few objects allow, no lower than 0."""
    half = (mean.high - mean.value) * STUDENT[objects - 2] / Z95
    return Estimate(mean.value, max(mean.value - half, 0), mean.value + half)
