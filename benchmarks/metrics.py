"""Metrics beside NE, from stored predictions: python -m benchmarks.metrics --preset mini

Reads what `benchmarks.run` kept of every landmark of every query image, and writes metrics.csv and
metrics.md: NE, PCK at some thresholds, their mean, the area under the PCK curve, and average
precision by object keypoint similarity where a category's sigmas are known (with pycocotools).
Thresholds are in units of NE: the square root of the object's area.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.commands.options import Command
from benchmarks.commands.work import asked_preset, benchmarks_of, open_experiment, results
from benchmarks.engine import store
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import episodes_path, predictions_path
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.metrics.landmarks import auc, mean_pck, pck
from fewshot_landmarks.metrics.oks import NoCoco, oks_ap
from fewshot_landmarks.protocol import SHOTS, Benchmark, benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import is_whole, write_text
from fewshot_landmarks.support.markup import csv_text, markdown, pipes

FILES = TABLE, PAGE = "metrics.csv", "metrics.md"
THRESHOLDS = (0.05, 0.1, 0.2)
KEYS = ("benchmark", "learner", "seed", "shots")
INTRODUCTION = (
    "Means over episodes; ± is 1.96 standard errors. PCK thresholds are in units of NE, the square "
    "root of the object's area; AUC is the area under the PCK curve up to the largest. AP is over "
    "all objects, by object keypoint similarity."
)


@dataclass(frozen=True)
class Stored:
    """A learner's predictions on a category at one number of shots."""

    errors: np.ndarray  # (E, Q, N), NaN where not scored
    heights: np.ndarray  # (E, Q)
    sigmas: tuple[float, ...]  # empty where they are not known


def read(
    experiment: Experiment, place: Benchmark, learner: type[Learner], shots: int
) -> list[Stored] | None:
    """The predictions of all unseen categories; None where some are missing."""
    found = []
    for tested in place.unseen:
        path = predictions_path(episodes_path(experiment, place, learner, tested, shots))
        if not is_whole(path):
            return None
        with np.load(path, allow_pickle=False) as arrays:
            errors, heights = (arrays[name].astype(np.float64) for name in ("errors", "heights"))
        found.append(Stored(errors, heights, experiment.data.source.categories[tested].oks_sigmas))
    return found


def measure(found: Sequence[Stored], thresholds: Sequence[float], precise: bool) -> dict:
    """All metrics of a cell; intervals are 1.96 standard errors over episodes."""
    episodes = [errors for stored in found for errors in stored.errors]
    metrics: dict = {"NE": lambda errors: float(np.nanmean(errors))}
    metrics |= {f"PCK@{t:g}": lambda errors, t=t: pck(errors, t) for t in thresholds}
    metrics["mean PCK"] = lambda errors: mean_pck(errors, thresholds)
    metrics["AUC"] = lambda errors: auc(errors, max(thresholds))
    row = {}
    for name, metric in metrics.items():
        each = [metric(errors) for errors in episodes if np.isfinite(errors).any()]
        row[name], row[f"{name} ci95"] = mean_interval(each)
    if precise:
        row |= average_precision([stored for stored in found if stored.sigmas])
    return row


def average_precision(found: Sequence[Stored]) -> dict[str, float]:
    """OKS-AP, each query image a photo of its own with one object of area 1.

    A landmark's similarity depends on its error in units of the object's size alone, so it is put
    that far from a true one at the origin.
    """
    photos, truth, results = [], [], []
    for category, stored in enumerate(found, 1):
        for errors, height in zip(_flat(stored.errors), stored.heights.ravel()):
            known = np.isfinite(errors)
            if not known.any():
                continue
            same = {"image_id": len(photos) + 1, "category_id": category, "bbox": [0, 0, 1, 1]}
            photos.append({"id": same["image_id"]})
            zero = np.zeros(len(errors))
            truth.append({**same, "area": 1.0, "keypoints": _keypoints(zero, 2.0 * known)})
            answer = _keypoints(np.nan_to_num(errors), zero + 1)
            results.append({**same, "score": float(height), "keypoints": answer})
    sigmas = {category: stored.sigmas for category, stored in enumerate(found, 1)}
    given = {"images": photos, "annotations": truth}
    return {
        name: estimate.value for name, estimate in oks_ap(given, results, sigmas, False).items()
    }


def _flat(errors: np.ndarray) -> np.ndarray:
    return errors.reshape(-1, errors.shape[-1])


def _keypoints(x: np.ndarray, third: np.ndarray) -> list[float]:
    return np.stack([x, np.zeros(len(x)), third], -1).ravel().tolist()


def rows(
    experiment: Experiment,
    places: Sequence[Benchmark],
    thresholds: Sequence[float],
    precise: bool,
) -> Iterator[dict]:
    """A row for each learner, training seed and number of shots that has been run in full."""
    known = store.known(experiment.work)
    cells = [(place, name, seed, k) for place in places for name, seed in known for k in SHOTS]
    for place, name, seed, shots in tqdm(cells, desc="measuring", unit="cell", disable=None):
        found = read(replace(experiment, seed=seed), place, find_learner(name), shots)
        if found:
            key = (place.name, find_learner(name).name, seed, shots)
            yield {**dict(zip(KEYS, key)), **measure(found, thresholds, precise)}


def to_markdown(frame: pd.DataFrame) -> str:
    """A table for each benchmark; NE with its interval, other metrics without."""
    parts = ["# Metrics", INTRODUCTION]
    several = frame["seed"].nunique() > 1
    for (place, shots), part in frame.groupby(["benchmark", "shots"], sort=False):
        names = [name for name in part if name not in KEYS and not name.endswith("ci95")]
        lines = [
            [
                row["learner"] + f", seed {row['seed']}" * several,
                *(_cell(row, name) for name in names),
            ]
            for _, row in part.iterrows()
        ]
        head = markdown(f"{place}, {shots} shot{'s' * (shots > 1)}")
        parts += [f"## {head}", pipes([["", *names], *lines])]
    return "\n\n".join(parts) + "\n"


def _cell(row: Mapping, name: str) -> str:
    value, half = row[name], row.get(f"{name} ci95", math.nan)
    return f"{value:.3f}" if math.isnan(half) else f"{value:.3f} ± {half:.3f}"


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument(
        "--pck",
        type=float,
        nargs="+",
        default=THRESHOLDS,
        metavar="T",
        help=f"thresholds (default: {' '.join(map(str, THRESHOLDS))})",
    )
    parser.add_argument(
        "--learner",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="one of your own that was run, to be measured too; may be repeated",
    )
    parser.add_argument("--no-ap", action="store_true", help="leave average precision out: quicker")


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    preset = asked_preset(arguments, apart=True)
    if bad := [t for t in arguments.pck if not 0 < t < math.inf]:
        raise UserError(f"--pck {bad[0]:g}: thresholds are above 0")
    for name in arguments.learner:
        find_learner(name)  # it is imported: see `store.known`
    known = benchmarks_of(arguments, preset)
    places = [benchmark(name, known) for name in arguments.benchmark] or list(known.values())
    if not (work := results(arguments, preset) / "work").is_dir():
        raise UserError(f"no predictions in {work}: run `python -m benchmarks.run` first")
    out, experiment = open_experiment(arguments, preset, FILES)
    try:
        measured = list(rows(experiment, places, sorted(arguments.pck), not arguments.no_ap))
    except NoCoco as error:
        raise NoCoco(f"{error}, or give --no-ap") from None
    if not measured:
        raise UserError(
            f"no predictions in {experiment.work} that fit the code, the data and the numbers as "
            "they are: run `python -m benchmarks.run` first, or give its --set and --weights too"
        )
    frame = pd.DataFrame(measured)
    write_text(out / TABLE, csv_text(frame.round(5)))
    write_text(out / PAGE, to_markdown(frame))
    print(to_markdown(frame), f"{out / TABLE}, {out / PAGE}", sep="\n")


main = Command(
    "metrics",
    __doc__,
    execute,
    options,
    preset="mini",
    seed_of="training (all that were run are measured)",
    benchmarks="all",
)

if __name__ == "__main__":
    sys.exit(main())
