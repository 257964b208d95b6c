"""What fitted models show beyond their errors, for the paper's figures 4 and 6.

Measured once after training and stored, so that figures need neither models nor data.
"""

import io
import itertools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import episodes_key, key
from benchmarks.engine.plan import Cell, Job, after, source, training_jobs
from benchmarks.engine.stages import Report, episodes_of, fitted, seed_episode
from benchmarks.paper.facts import FIGURE4, FIGURE6_BENCHMARK, FIGURE6_LEARNERS, TABLE3_SHOTS
from benchmarks.results.schemas import HEATMAPS, SIMILARITIES
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.heatmaps import decode, labelmaps, landmark_features, spatial_softmax
from fewshot_landmarks.inner_loop import Adapted
from fewshot_landmarks.learner import Learner, find_learner, heatmaps_of
from fewshot_landmarks.metacloth import BaseFEN
from fewshot_landmarks.protocol import Benchmark
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.support.files import is_whole, write_bytes, write_text
from fewshot_landmarks.support.markup import csv_text

FILES = SIMILARITIES.name, HEATMAPS
VERSION = 1  # of what is computed here: raised when it changes
EPISODES = 20  # a category, in figure 6
DATE = (1980, 1, 1, 0, 0, 0)  # of every file in an archive: its bytes say nothing of the day

# ---------------------------------------------------------------------- figure 6


def make_similarities(
    experiment: Experiment, place: Benchmark, learner: type[BaseFEN], tested: int, report: Report
) -> None:
    """Store `tuning_similarities` of a learner of MetaCloth's family on a category."""
    model, tasks = fitted(experiment, place, learner), episodes_of(experiment, tested)
    name, rows = experiment.data.source.categories[tested].name, []
    for number in range(count := min(EPISODES, len(tasks))):
        measured = tuning_similarities(model, tasks[number].to(experiment.device), TABLE3_SHOTS)
        where = (place.name, learner.name, experiment.seed, name, number, TABLE3_SHOTS)
        rows.append(dict(zip(SIMILARITIES.columns, (*where, *measured), strict=True)))
        report((number + 1) / count)
    path = probe_path(experiment, place, learner, tested, make_similarities)
    write_text(path, similarities_csv(rows), summed=True)


def tuning_similarities(model: BaseFEN, task: Task, shots: int) -> tuple[float, float]:
    """How alike landmark features are after the extractor is tuned on the first `shots` garments.

    A landmark feature is the extractor's vector in the cell of a landmark's true place, in a query
    garment that labels it inside the crop. "Before" is the initialisation theta (the base model's
    theta0 for Base-FEN), "after" is theta' of Algorithm 2, line 5. The paper defines its figure 6
    no further, so here

    - the first number is the cosine similarity of a landmark's features before and after, mean
      over all labelled landmarks of all query garments;
    - the second is the cosine similarity of two different landmarks' mean features after tuning
      (mean over query garments), mean over all pairs of labelled landmarks.

    NaN where queries label no landmark, or no two.
    """
    tuned = _tuned(model, task.support[:shots])
    with torch.no_grad():
        before, after = (_at_landmarks(extractor, task.query) for extractor in (model.fenet, tuned))
        labelled = task.query.labelled
        before_after = F.cosine_similarity(before, after, dim=-1)[labelled].mean()
        weight = labelled.unsqueeze(-1).to(after.dtype)
        means = ((after * weight).sum(0) / weight.sum(0).clamp(min=1))[labelled.any(0)]
        each = F.normalize(means, dim=-1)
        alike = each @ each.T
        between = alike[~torch.eye(len(alike), dtype=torch.bool, device=alike.device)].mean()
    return before_after.item(), between.item()


def _tuned(model: BaseFEN, support: Samples) -> Adapted:
    """Theta' of Algorithm 2, lines 2 to 5."""
    with torch.no_grad():
        cloth = model.base_features(support.images)
        maps = labelmaps(support.landmarks, support.size, cloth.shape[-2:])
        omega = model.ppnet(landmark_features(cloth, maps, support.labelled))
    return model.tune(support, omega, second_order=False)


def _at_landmarks(extractor: Callable, samples: Samples) -> torch.Tensor:
    """Feature vectors (B, N, C) in the cells of the true landmarks."""
    features = extractor(samples.images)
    maps = labelmaps(samples.landmarks, samples.size, features.shape[-2:])
    return torch.einsum("bnhw,bchw->bnc", maps.to(features.dtype), features).double()


def similarities_csv(rows: Sequence[dict]) -> str:
    """Rows of `similarities` as CSV."""
    frame = pd.DataFrame(rows, columns=list(SIMILARITIES.columns))
    numbers = {name: frame[name].map("{:.6f}".format) for name in ("before_after", "between")}
    return csv_text(frame.assign(**numbers))


# ---------------------------------------------------------------------- figure 4


def make_heatmaps(
    experiment: Experiment, place: Benchmark, learner: type[Learner], tested: int, report: Report
) -> None:
    """Store `landmark_heatmaps` of a learner on the first episode of a category."""
    model = fitted(experiment, place, learner)
    task = episodes_of(experiment, tested)[0].to(experiment.device)
    seed_episode(experiment, 0, TABLE3_SHOTS)
    found = landmark_heatmaps(model, task, TABLE3_SHOTS)
    name = f"{place.name}/{experiment.data.source.categories[tested].name}"
    path = probe_path(experiment, place, learner, tested, make_heatmaps)
    write_bytes(path, heatmaps_npz({name: found}), summed=True)


def landmark_heatmaps(model: Learner, task: Task, shots: int) -> dict[str, np.ndarray]:
    """One query garment and the heatmaps of a learner adapted to the first `shots` garments.

    The garment is the first of those with the most labelled landmarks. Of S x S pixels, N
    landmarks and h x w cells:

    - image: (S, S, 3) uint8;
    - landmarks: (N, 2) float32, true places in crop pixels;
    - labelled: (N,) bool, labelled and inside the crop;
    - learnable: (N,) bool, labelled in the support: others have heatmaps without a meaning;
    - heatmaps: (N, h, w) float16, softmax over the cells;
    - predicted: (N, 2) float32, decoded places in crop pixels.
    """
    chosen = int(task.query.labelled.sum(1).argmax())
    garment = task.query[chosen : chosen + 1]
    with torch.no_grad():
        scores = heatmaps_of(model.adapt(task.support[:shots]), garment)
        arrays = {
            "image": (garment.images[0].movedim(0, -1) * 255).round().to(torch.uint8),
            "landmarks": garment.landmarks[0].float(),
            "labelled": garment.labelled[0],
            "learnable": task.learnable(shots),
            "heatmaps": spatial_softmax(scores)[0].half(),
            "predicted": decode(scores, garment.size)[0].float(),
        }
    return {name: value.cpu().numpy() for name, value in arrays.items()}


def heatmaps_npz(found: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Arrays of `landmark_heatmaps` by "benchmark/category" as an .npz, the same bytes each time.

    Its keys are like "B-1/trousers/image".
    """
    return _npz(
        {f"{place}/{name}": array for place, each in found.items() for name, array in each.items()}
    )


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            file = io.BytesIO()
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, file.getvalue())
    return content.getvalue()


# ---------------------------------------------------------------------- as jobs


def plan(experiment: Experiment, cells: Iterable[Cell]) -> Iterator[Job]:
    """The probes that are missing, of learners and benchmarks that are run anyway.

    And the training that they need, where its weights are gone.
    """
    for cell in cells:
        learner, place = find_learner(cell.learner), cell.benchmark
        if TABLE3_SHOTS not in cell.shots:
            continue
        for make, tested in _wanted(place, learner):
            path = probe_path(experiment, place, learner, tested, make)
            name = experiment.data.source.categories[tested].name
            where: dict = {"tested": name, "paths": (path,), "weight": 5.0}
            job = Job("probe", place, learner.name, make, source(learner), (tested,), **where)
            yield from after(training_jobs(experiment, place, learner), [job])


def probe_path(
    experiment: Experiment,
    benchmark: Benchmark,
    learner: type[Learner],
    tested: int,
    make: Callable,
) -> Path:
    """Where a probe's result is kept, named by what decides it."""
    name = key(
        work=make.__name__,
        episodes=episodes_key(experiment, benchmark, learner, tested, TABLE3_SHOTS),
        version=VERSION,
    )
    return experiment.work / "probes" / f"{name}.{'csv' if make is make_similarities else 'npz'}"


def _wanted(place: Benchmark, learner: type[Learner]) -> Iterator[tuple[Callable, int]]:
    """What is to be measured of a learner on a benchmark: how, and on which categories."""
    if learner.name in FIGURE6_LEARNERS and place.name == FIGURE6_BENCHMARK:
        yield from ((make_similarities, tested) for tested in place.unseen)
    if learner.name == "MetaCloth":
        for name, places in FIGURE4.items():
            if place.name in places:
                yield make_heatmaps, category(name).id


def gather(experiment: Experiment, seeds: Sequence[int], out: Path) -> None:
    """Write similarities.csv and heatmaps.npz of a results directory, where there are any.

    The heatmaps are of the first training seed that has them.
    """
    rows, maps = [], {}
    for seed in seeds:
        seeded = replace(experiment, seed=seed)
        for place, learner in itertools.product(
            experiment.data.source.benchmarks.values(), map(find_learner, FIGURE6_LEARNERS)
        ):
            for make, tested in _wanted(place, learner):
                path = probe_path(seeded, place, learner, tested, make)
                if not is_whole(path):
                    continue
                if make is make_similarities:
                    rows += path.read_text("utf-8").splitlines()[1:]
                else:
                    with np.load(path) as arrays:
                        maps = {name: arrays[name] for name in arrays} | maps
    if rows:
        header = ",".join(SIMILARITIES.columns)
        write_text(out / SIMILARITIES.name, "\n".join([header, *rows]) + "\n")
    if maps:
        write_bytes(out / HEATMAPS, _npz(maps))
