"""Trained learners as models for one's own photos, with scores that mean something.

    python -m benchmarks.export --preset full

writes `models/LEARNER.safetensors`, which the command `fewshot-landmarks` adapts, and
`calibration.csv`: for each learner, how often landmarks of a score are found. What is missing is
trained first, as by `benchmarks.run`.

A score is the probability that a landmark is there and its error below a tenth of the garment's
size. It is a logistic regression on signs of trust (`fewshot_landmarks.photos.confidence`), fitted
on seen categories alone: on those held out in a rehearsal, whose learner was never trained on them,
and on new photos of the others, which tell how high this learner's own peaks are. Unseen categories
are what it is then measured on.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.commands.options import Command
from benchmarks.commands.work import asked_preset, benchmarks_of, open_experiment
from benchmarks.engine import store
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import episodes_key, key
from benchmarks.engine.plan import Job, after, missing, source, training_jobs
from benchmarks.engine.pool import do_jobs
from benchmarks.engine.stages import Report, episodes_of, fitted, seed_episode
from benchmarks.results.reading import calibration_errors
from benchmarks.results.schemas import CALIBRATION, LABELLED, UNSEEN
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.metrics.calibration import reliability
from fewshot_landmarks.metrics.landmarks import normalised_error
from fewshot_landmarks.photos.confidence import THRESHOLD, Calibration, search
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.protocol import LEARNERS, UNTRAINED, Benchmark, benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import is_whole, write_text, written_whole
from fewshot_landmarks.support.markup import csv_text

VERSION = 1  # of what is computed here: raised when it changes
EPISODES = 20  # a category, the first of those that learners meet
QUERIES = 12
SHOTS = (1, 3, 5, 10)


def held_out(place: Benchmark) -> Benchmark:
    """The first rehearsal of a benchmark, with the hyperparameters of the benchmark itself."""
    return replace(place.rehearsal, name=f"{place.name}h", like=place.name)


def groups(place: Benchmark) -> dict[str, list[tuple[Benchmark, int]]]:
    """What is measured of a learner: the training and the tested category."""
    fitted_on = [(place, c) for c in place.seen]
    if place.rehearsable:
        rehearsal = held_out(place)
        fitted_on += [(rehearsal, c) for c in rehearsal.unseen]
    return {"fitted on": fitted_on, UNSEEN: [(place, c) for c in place.unseen]}


# ------------------------------------------------------------------------------ the work


def signs_path(
    experiment: Experiment, place: Benchmark, learner: type[Learner], tested: int
) -> Path:
    """Where the signs of a learner on a category are kept, named by what decides them."""
    name = key(
        work="signs",
        episodes=[episodes_key(experiment, place, learner, tested, k) for k in SHOTS],
        version=VERSION,
    )
    return experiment.work / "signs" / f"{name}.npz"


def make_signs(
    experiment: Experiment, place: Benchmark, learner: type[Learner], tested: int, report: Report
) -> None:
    """Store signs of trust, and whether a landmark was found, of a learner on a category."""
    model = fitted(experiment, place, learner)
    tasks = episodes_of(experiment, tested)
    parts: list[dict] = []
    for number in range(count := min(EPISODES, len(tasks))):
        task = tasks[number].to(experiment.device)
        query = task.query[:QUERIES]
        for k in SHOTS:
            support = task.support[:k]
            seed_episode(experiment, number, k)
            with torch.no_grad():
                landmarks, shown = search(model.adapt(support), query, support)
            true, answer = query.to_original(query.landmarks), query.to_original(landmarks)
            errors = normalised_error(answer, true, query.scored, query.area)
            asked = landmarks.isfinite().all(-1) & task.learnable(k)
            parts.append(
                {
                    "signs": shown[asked].cpu().numpy(),
                    "hit": (errors < THRESHOLD)[asked].cpu().numpy(),
                    "labelled": query.scored[asked].cpu().numpy(),
                }
            )
        report((number + 1) / count)
    arrays: dict = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    with written_whole(signs_path(experiment, place, learner, tested), summed=True) as file:
        np.savez(file, **arrays)


def plan(
    experiment: Experiment, places: Sequence[Benchmark], learners: Sequence[type[Learner]]
) -> list[Job]:
    """The jobs whose files are missing."""
    jobs = []
    for place, learner in itertools.product(places, learners):
        for trained, tested in itertools.chain(*groups(place).values()):
            first = training_jobs(experiment, trained, learner)
            if trained is places[0]:
                jobs += first  # models are of it, and need its weights
            name = experiment.data.source.categories[tested].name
            path = signs_path(experiment, trained, learner, tested)
            where: dict = {"tested": name, "paths": (path,), "weight": 10.0}
            signs = Job(
                "probe", trained, learner.name, make_signs, source(learner), (tested,), **where
            )
            jobs += after(first, [signs])
    return missing(jobs)


# ----------------------------------------------------------------------------- its outcome


def read_signs(
    experiment: Experiment, learner: type[Learner], those: Sequence[tuple[Benchmark, int]]
) -> dict[str, np.ndarray]:
    """The stored arrays of some trainings and categories, one after another."""
    parts = [dict(np.load(signs_path(experiment, place, learner, c))) for place, c in those]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measured(
    experiment: Experiment, places: Iterable[Benchmark], asked: Sequence[str]
) -> Iterator[tuple[Benchmark, type[Learner]]]:
    """All that is measured, now or before, by the code, data and settings as they are."""
    names = [*LEARNERS, *(name for name, _ in store.known(experiment.work)), *asked]
    for place in places:
        for learner in dict.fromkeys(map(find_learner, names)):
            those = [one for own in groups(place).values() for one in own]
            if all(is_whole(signs_path(experiment, one, learner, c)) for one, c in those):
                yield place, learner


def calibrate(signs: np.ndarray, hit: np.ndarray) -> Calibration:
    """Logistic regression of hits (L,) on signs (L, F), whatever their units."""
    scaler, regression = StandardScaler(), LogisticRegression(max_iter=1000)
    make_pipeline(scaler, regression).fit(signs, hit)
    weights = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_[0] - (weights * scaler.mean_).sum()
    return Calibration(tuple(map(float, weights)), float(bias))


def calibration_of(experiment: Experiment, place: Benchmark, learner: type[Learner]) -> Calibration:
    """A learner's calibration on a benchmark, by its seen categories."""
    fitted_on = read_signs(experiment, learner, groups(place)["fitted on"])
    return calibrate(fitted_on["signs"], fitted_on["hit"])


def reliability_rows(
    experiment: Experiment, place: Benchmark, learner: type[Learner], calibration: Calibration
) -> Iterator[tuple]:
    """Rows of calibration.csv: unseen categories, all landmarks and those that are labelled."""
    measured = read_signs(experiment, learner, groups(place)[UNSEEN])
    scores = calibration(torch.from_numpy(measured["signs"])).numpy()
    everything = np.ones(len(scores), bool)
    for name, which in ((UNSEEN, everything), (LABELLED, measured["labelled"])):
        bins = reliability(scores[which], measured["hit"][which])
        for number, (count, score, hits) in enumerate(zip(*bins)):
            yield place.name, learner.name, name, number, count, round(score, 4), round(hits, 4)


def export(
    experiment: Experiment, place: Benchmark, learner: type[Learner], calibration: Calibration
) -> Model:
    """A trained learner as a model."""
    preset, categories = experiment.preset, experiment.data.source.categories
    return Model(
        learner=fitted(experiment, place, learner),
        name=source(learner),
        network=preset.network,
        network_options=preset.network_options,
        size=preset.size,
        calibration=calibration,
        about={
            "preset": preset.name,
            "set": list(preset.asked),
            "benchmark": place.name,
            "seen": [categories[c].name for c in place.seen],
            "data": experiment.data.root.name,
            "fingerprint": experiment.data.train.fingerprint,
            "seed": experiment.seed,
        },
    )


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    preset = asked_preset(arguments, apart=True)
    known = benchmarks_of(arguments, preset)
    places = [benchmark(name, known) for name in arguments.benchmark or list(known)[:1]]
    learners = arguments.learner or LEARNERS
    if control := next((name for name in learners if name in UNTRAINED), ""):
        raise UserError(f"{control} is trained on nothing: fewshot-landmarks adapt has it as it is")
    wanted = [find_learner(name) for name in learners]
    paths = {learner: f"models/{learner.name}.safetensors" for learner in wanted}
    out, experiment = open_experiment(arguments, preset, [CALIBRATION.name, *paths.values()])
    do_jobs(experiment, plan(experiment, places, wanted), arguments.workers)
    rows = []
    for place, learner in measured(experiment, known.values(), learners):
        calibration = calibration_of(experiment, place, learner)
        rows += reliability_rows(experiment, place, learner, calibration)
        if place is places[0] and learner in paths:
            export(experiment, place, learner, calibration).save(out / paths[learner])
    frame = pd.DataFrame(rows, columns=list(CALIBRATION.columns))
    write_text(out / CALIBRATION.name, csv_text(frame))
    print(calibration_errors(frame).to_string())
    print(f"Models of {places[0].name} are in {out / 'models'}.")


main = Command(
    "export",
    __doc__,
    execute,
    preset="full",
    seed_of="training",
    benchmarks="the data set's first; models are of the first given, scores of all are measured",
    learners="the nine",
)

if __name__ == "__main__":
    sys.exit(main())
