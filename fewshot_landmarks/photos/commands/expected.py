"""What error to expect of a finder: objects of its support left out, and found by the others."""

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
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


def expected(finder: Finder) -> list[str]:
    """Sentences on the error to expect, beside the mean position's, and on single landmarks.

    Errors are those of objects left out in turn, at most ten, in units of the object's size, with
    an interval over objects of Student's t.
    """
    support = finder.support.boxed
    if len(support) < 2:
        return ["What error to expect cannot be told from one annotated object: annotate another."]
    errors = left_out(finder)
    told = np.isfinite(errors).any(0)
    if not told.any():
        return ["What error to expect cannot be told: no landmark is labelled in two objects."]
    ours, control = mean_error(errors), mean_error(of_mean_position(support, len(errors)))
    if (objects := int(np.isfinite(errors).any(1).sum())) > 1:
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
    once = (support.labelled.sum(0) == 1).numpy()
    if once.any():
        alone = [name for name, only in zip(finder.names, once) if only]
        lines.append(f"labelled in one object alone, so that nothing is told: {listed(alone)}")
    return lines


def left_out(finder: Finder) -> np.ndarray:
    """Errors (T, N) of a support's objects left out in turn; NaN where that cannot be told."""
    if finder.left_out is not None:
        return finder.left_out.double().cpu().numpy()
    learner = finder.model.learner
    support = finder.support.boxed.to(finder.model.device)
    rows = []
    for k in range(min(len(support), MOST)):
        others, one = support[[i for i in range(len(support)) if i != k]], support[[k]]
        with torch.no_grad():
            heatmaps = heatmaps_of(adapted(learner, others), one)
        places = one.to_original(answers(heatmaps, one.size))
        told = one.labelled & others.labelled.any(0)
        errors = normalised_error(places, one.to_original(one.landmarks), told, one.area)
        rows.append(errors.double())
    return torch.cat(rows).cpu().numpy()


def of_mean_position(support: Samples, count: int) -> np.ndarray:
    """The same errors (count, N) of the mean position of the other objects' landmarks."""
    points = support.to_original(support.landmarks).numpy()
    boxes = support.to_original(support.box.unflatten(1, (2, 2))).flatten(1).numpy()
    labelled = support.labelled.numpy()[..., None]
    shapes = np.where(labelled, shape_in(points, boxes), np.nan)
    places = np.concatenate([
        mean_position(mean_shape(np.delete(shapes, k, 0)), boxes[[k]]) for k in range(count)
    ])  # fmt: skip
    off = np.where(labelled[:count], places - points[:count], np.nan)
    return np.linalg.norm(off, axis=-1) / np.sqrt(support.area.numpy()[:count, None])


def widened(mean: Estimate, objects: int) -> Estimate:
    """A mean with the interval that so few objects allow, no lower than 0."""
    half = (mean.high - mean.value) * STUDENT[objects - 2] / Z95
    return Estimate(mean.value, max(mean.value - half, 0), mean.value + half)
