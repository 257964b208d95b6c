"""The work of `fewshot-landmarks evaluate`: `parsers.evaluate` says what it is."""

import argparse
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fewshot_landmarks.data.formats.annotations import Annotations, read_annotations
from fewshot_landmarks.data.formats.predictions import (
    IGNORED,
    RESIZED,
    UNMATCHED,
    Prediction,
    match,
    read_predictions,
)
from fewshot_landmarks.data.index import Index
from fewshot_landmarks.metrics.calibration import Bins, calibration_error, reliability
from fewshot_landmarks.metrics.intervals import Estimate, mean_error, mean_interval, resampled
from fewshot_landmarks.metrics.landmarks import auc, mean_pck, pck
from fewshot_landmarks.metrics.oks import NoCoco, oks_ap
from fewshot_landmarks.photos.commands.common import MEAN_POSITION, beside_control, png
from fewshot_landmarks.photos.errors.matched import CLOSE, Matched, answered, compare
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_bytes, write_text
from fewshot_landmarks.support.markup import Markdown, csv_text, items, pipes
from fewshot_landmarks.support.names import listed, percent
from fewshot_landmarks.support.outputs import claim

FILES = ("metrics.csv", "landmarks.csv", "metrics.md", "reliability.png")
CONTROL = ("control", "control_low", "control_high")  # columns of the mean position
UNITS = {"area": "the square root of the object's area", "side": "the longer side of its box"}


def execute(arguments: argparse.Namespace) -> int:
    """Print the tables, and write them where `--out` says."""
    if arguments.out:
        claim([arguments.out / name for name in FILES], arguments.overwrite)
    annotations = read_annotations(
        arguments.annotations,
        images=arguments.images,
        category=arguments.category,
        photos_needed=False,
    )
    predictions, others = read_predictions(arguments.predictions, annotations)
    objects = match(predictions, annotations)
    resized = (
        f"{count} predictions are of photos of another size, or turned otherwise, than was "
        "annotated: they match none. Predict with --boxes, which reads photos as annotated."
        if (count := sum(one.image == RESIZED for one in predictions))
        else ""
    )
    if (objects < 0).all():
        raise UserError(
            f"none of the {len(predictions)} predictions of {arguments.predictions} matches an "
            f"object of {arguments.annotations}: "
            + (resized or "are image_id and annotation_id those of that file?")
        )
    learnt = answered(predictions)
    matched = compare(predictions, objects, annotations, arguments.by, learnt)
    if np.isnan(matched.scores).all():
        raise UserError(
            f"no prediction of {arguments.predictions} that matches an object has a landmark: all "
            "are 0, 0 with a score of 0; were photos predicted that show the object?"
        )
    precision, notes = average_precision(predictions, annotations, learnt)
    metrics = pd.DataFrame([*score(matched, arguments.pck), *precision])
    landmarks = by_landmark(matched)

    total, skipped = len(annotations.index), annotations.index.skipped
    notes += [
        f"{total - len(matched.error)} of {total} annotated objects have no prediction: errors are "
        "without them.",
        f"{(objects == UNMATCHED).sum()} of {len(predictions)} predictions match no object.",
        *annotations.notes,
    ]
    if ignored := (objects == IGNORED).sum():
        notes.append(
            f"{ignored} predictions are of crowds or of objects without labelled landmarks: they "
            "count neither way."
        )
    notes += [resized] * bool(resized)
    for number, known in learnt.items():
        names = [name for name, yes in zip(annotations.categories[number].names, known) if not yes]
        if names:
            notes.append(f"No prediction has {listed(names)}: left out, as not learnt.")
    if matched.calibration is None:
        notes.append("Calibration is left out: keypoints' scores are not all from 0 to 1.")
    if others:
        notes.append(f"{others} predictions of other categories are left out.")
    if unlabelled := annotations.index.unlabelled:
        notes.append(f"{unlabelled} annotated objects without labelled landmarks are left out.")
    if skipped:
        notes.append(f"{len(skipped)} faults in the annotations, the first: {skipped[0]}")
    text = report(metrics, landmarks, beside_mean_position(matched), notes, arguments.by)
    if arguments.out:
        write_text(arguments.out / "metrics.csv", to_csv(metrics))
        write_text(arguments.out / "landmarks.csv", to_csv(landmarks))
        write_text(arguments.out / "metrics.md", text)
        if matched.calibration:
            write_bytes(arguments.out / "reliability.png", draw(reliability(*matched.calibration)))
    print(text, end="")
    return 0


# ------------------------------------------------------------------------------- scoring


def score(matched: Matched, thresholds: Sequence[float]) -> list[dict]:
    """A row for each metric over all matched objects, with its interval over objects; those of
    errors with the control's beside them.
    """
    error = matched.error
    beside = {} if matched.uncontrolled else of_errors(matched.control, thresholds)
    rows = [
        _row(name, one, *_counts(error), beside.get(name))
        for name, one in of_errors(error, thresholds).items()
    ]
    known = ~np.isnan(matched.similarity)
    if known.any():
        mean, half = mean_interval(matched.similarity[known])
        one = Estimate(mean, mean - half, mean + half)
        rows.append(_row("mean OKS", one, *_counts(error[known])))
    if (told := ~np.isnan(matched.within)).any():
        held = mean_error(matched.within)
        levels = np.unique(matched.levels[told.any(1)])  # one, unless results were put together
        name = "share within radii" + (f" of {percent(levels[0])}" if len(levels) == 1 else "")
        rows.append(_row(name, held, *_counts(matched.within)))
    if matched.calibration:  # of its error's resamples most lie above it: no interval
        gap = Estimate(calibration_error(*matched.calibration))
        rows.append(_row("expected calibration error", gap, *_counts(matched.scores)))
    return rows


def of_errors(error: np.ndarray, thresholds: Sequence[float]) -> dict[str, Estimate]:
    """The metrics that errors (M, N) have, by name."""
    limit = max(thresholds)

    def shares(rows) -> list[float]:
        each = [pck(error[rows], threshold) for threshold in thresholds]
        return [*each, mean_pck(error[rows], thresholds), auc(error[rows], limit)]

    names = [*(f"PCK@{threshold:g}" for threshold in thresholds), "mean PCK", f"AUC to {limit:g}"]
    ends = resampled(shares, len(error))
    estimates = {"mean NE": mean_error(error)}
    for name, *three in zip(names, shares(slice(None)), *ends, strict=True):
        estimates[name] = Estimate(*three)
    return estimates


def beside_mean_position(matched: Matched) -> str:
    """What the mean position gives on the same landmarks, or why that cannot be shown."""
    cannot = (
        "What the mean position of the support would give, a control that looks at no photo, cannot "
        "be shown: "
    )
    if np.isnan(matched.error).all():
        return f"{cannot}no landmark is scored."
    if lacking := matched.uncontrolled:
        return (
            f"{cannot}{lacking} of {len(matched.error)} matched predictions do not say it for all "
            "scored landmarks. It is `mean_position`, which `predict` writes."
        )
    more = mean_error(matched.error - matched.control)
    return (
        beside_control("the predictions", mean_error(matched.control), more)
        + " It is each landmark's mean place in the support's boxes, put into the annotated box of "
        "each object, which predictions made without `--boxes` were not given."
    )


def average_precision(
    predictions: Sequence[Prediction], annotations: Annotations, learnt: Mapping[int, np.ndarray]
) -> tuple[list[dict], list[str]]:
    """Rows of OKS-AP over all objects and predictions of categories with sigmas; notes on it."""
    index, categories = annotations.index, annotations.categories
    present = {int(number) for number in np.unique(index.category)}
    sigmas = {number: categories[number].oks_sigmas for number in sorted(present)}
    without = [categories[number].name for number, values in sigmas.items() if not values]
    sigmas = {number: values for number, values in sigmas.items() if values}
    if not sigmas:
        return [], ["OKS-AP is left out: no sigmas are known."]
    notes = [f"OKS-AP is without {listed(without)}: no sigmas are known."] if without else []
    known = [i for i in range(len(index)) if int(index.category[i]) in sigmas]
    truth = {
        "images": [{"id": photo.id} for photo in annotations.photos],
        "annotations": [
            {
                "image_id": annotations.photos[index.photo[i]].id,
                "category_id": int(index.category[i]),
                "keypoints": _labelled(index, i, learnt).ravel().tolist(),
                "area": float(index.area[i]),
                "bbox": (index.box[i] - [0, 0, *index.box[i, :2]]).tolist(),
            }
            for i in known
        ]
        + [
            {
                "image_id": annotations.photos[one.photo].id,
                "category_id": one.category,
                "keypoints": list(one.marks),
                "area": one.area,
                "bbox": [*one.box[:2], one.box[2] - one.box[0], one.box[3] - one.box[1]],
                "iscrowd": int(one.crowd),
            }
            for one in annotations.ignored
            if one.category in sigmas
        ],
    }
    results = [
        {
            "image_id": one.image,
            "category_id": one.category,
            "keypoints": np.column_stack([one.points, one.scores]).ravel().tolist(),
            "score": one.score,
        }
        for one in predictions
    ]
    try:
        found = oks_ap(truth, results, sigmas)
    except NoCoco as lacking:
        return [], [*notes, f"OKS-AP is left out: {lacking}."]
    marks = int(sum(np.count_nonzero(_labelled(index, i, learnt)[:, 2]) for i in known))
    return [_row(f"OKS-{name}", one, len(known), marks) for name, one in found.items()], notes


def _labelled(index: Index, i: int, learnt: Mapping[int, np.ndarray]) -> np.ndarray:
    """Object i's x, y, visibility (N, 3); landmarks that were not learnt count as not labelled."""
    points, visible = index.landmarks(i)
    return np.column_stack([points, visible * learnt.get(int(index.category[i]), True)])


def by_landmark(matched: Matched) -> pd.DataFrame:
    """Errors of each landmark of each category, over the objects where it is scored."""
    rows = []
    for category in sorted(set(matched.categories), key=lambda category: category.id):
        own = np.array([one.id == category.id for one in matched.categories])
        for name, errors in zip(category.names, matched.error[own].T, strict=False):
            errors = errors[~np.isnan(errors)]
            mean, half = mean_interval(errors)
            rows.append(
                {
                    "category": category.name,
                    "landmark": name,
                    "NE": mean,
                    "low": mean - half,
                    "high": mean + half,
                    f"PCK@{CLOSE}": pck(errors, CLOSE),
                    "objects": len(errors),
                }
            )
    return pd.DataFrame(rows)


def _row(
    metric: str, estimate: Estimate, objects: int, landmarks: int, control: Estimate | None = None
) -> dict:
    beside = zip(CONTROL, control or Estimate(math.nan))
    return {
        "metric": metric,
        **estimate._asdict(),
        **dict(beside),
        "objects": objects,
        "landmarks": landmarks,
    }


def _counts(values: np.ndarray) -> tuple[int, int]:
    """How many objects, and landmarks that are not NaN."""
    return len(values), int(np.count_nonzero(~np.isnan(values)))


# ------------------------------------------------------------------------------- writing


def report(
    metrics: pd.DataFrame, landmarks: pd.DataFrame, control: str, notes: Sequence[str], by: str
) -> str:
    """All of it as Markdown."""
    parts = [
        f"Errors are in units of {UNITS[by]}; intervals are 95%, over objects (of OKS-AP: over "
        "photos).",
        to_markdown(metrics),
        Markdown(control),
        to_markdown(landmarks),
        items(notes),
    ]
    return "\n\n".join(parts) + "\n"


def to_markdown(frame: pd.DataFrame) -> str:
    """A table, the two ends of an interval in one column; without a control where none is known."""
    shown: dict[str, list[str]] = {}
    for name in frame:
        if name in CONTROL and frame[CONTROL[0]].isna().all():
            continue
        if name.endswith("low"):
            ends = zip(frame[name], frame[name.replace("low", "high")], strict=True)
            shown[name] = ["" if math.isnan(a) else f"{a:.4f} to {b:.4f}" for a, b in ends]
        elif not name.endswith("high"):
            shown[name] = [_cell(value) for value in frame[name]]
    heads = {"low": "95% interval", "control": MEAN_POSITION, "control_low": "95% interval"}
    return pipes([[heads.get(name, name) for name in shown], *zip(*shown.values(), strict=True)])


def _cell(value) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    return str(value)


def to_csv(frame: pd.DataFrame) -> str:
    return csv_text(frame, float_format="%.6f")


def draw(bins: Bins) -> bytes:
    """A reliability diagram as PNG: share of hits by score, and how many have that score."""
    figure = Figure(figsize=(4, 5), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    width = 1 / len(bins.count)
    centres = (np.arange(len(bins.count)) + 0.5) * width
    upper.plot([0, 1], [0, 1], color="#888888", linewidth=1, label="calibrated")
    upper.bar(centres, bins.hits, 0.9 * width, color="#77AADD")
    upper.plot(bins.score, bins.hits, "o", color="#000000", markersize=4, label="mean score")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share there and close")
    upper.legend(loc="upper left")
    lower.bar(centres, bins.count, 0.9 * width, color="#888888")
    lower.set(xlabel="score", ylabel="landmarks")
    return png(figure)
