"""Would more training help? python -m benchmarks.horizon --preset full

The error of meta-trained learners against the number of their training tasks, on first rehearsals,
so on seen categories alone, with the hyperparameters that tuning chose, otherwise as in tuning.
Every point is a training of its own, since the outer rate falls at its end. Writes horizon.csv.
Killed at any moment and run again, it goes on where it was.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.commands.options import Command
from benchmarks.commands.work import asked_preset, benchmarks_of, open_experiment
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import episodes_key, key
from benchmarks.engine.plan import Job, after, base_jobs, missing, source
from benchmarks.engine.pool import do_jobs
from benchmarks.engine.stages import Report
from benchmarks.results.schemas import HORIZON
from benchmarks.studies.search import trial_experiment, try_out
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.protocol import Benchmark, benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_text
from fewshot_landmarks.support.markup import csv_text

TASKS = (150, 300, 600, 1200)
LEARNERS = ("PROTO", "MAML", "PROTO-MA", "PAML", "MetaCloth")


def point_path(
    experiment: Experiment, place: Benchmark, learner: type[Learner], tasks: int
) -> Path:
    """Where the error after so many tasks is kept, named by what decides it."""
    tried = trial_experiment(experiment, learner, parameters(experiment, place, learner, tasks))
    rehearsal, shots = place.rehearsal, experiment.preset.tuning.shots
    name = key(
        work="horizon",
        episodes=[
            episodes_key(tried, rehearsal, learner, tested, k)
            for tested in rehearsal.unseen
            for k in shots
        ],
    )
    return experiment.work / "horizon" / f"{place.name}-{learner.name}-{tasks}-{name}.json"


def parameters(
    experiment: Experiment, place: Benchmark, learner: type[Learner], tasks: int
) -> dict:
    """What tuning chose, and so many tasks."""
    return {**experiment.preset.chosen(learner.name, place.name), "tasks": tasks}


def measure(
    experiment: Experiment, place: Benchmark, learner: type[Learner], tasks: int, report: Report
) -> None:
    """Train for so many tasks and store the error on the first rehearsal."""
    chosen = parameters(experiment, place, learner, tasks)
    error = try_out(experiment, place.rehearsal, learner, chosen)
    write_text(point_path(experiment, place, learner, tasks), json.dumps(error), summed=True)


def plan(experiment: Experiment, points: Sequence[tuple]) -> list[Job]:
    """The points that are missing, and the base models that they need."""
    jobs = []
    for place, learner, tasks in points:
        bases = base_jobs(experiment, place.rehearsal, learner.base_kind)
        point = Job(
            "tune",
            place,
            f"{learner.name} {tasks} tasks",
            measure,
            source(learner),
            (tasks,),
            paths=(point_path(experiment, place, learner, tasks),),
            weight=0.2 * tasks,
        )
        jobs += after(bases, [point])
    return missing(jobs)


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument("--tasks", action="append", type=int, default=[], help=f"default: {TASKS}")


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    preset = asked_preset(arguments, own=("tasks", "episodes"), apart=True)
    if preset.tuning is None:
        raise UserError(f"preset {preset.name} has no trials to measure as: give it `tuning`")
    if strange := [tasks for tasks in arguments.tasks if tasks < 1]:
        raise UserError(f"--tasks {strange[0]}: at least 1")
    known = benchmarks_of(arguments, preset)
    points = [
        (place, find_learner(name), tasks)
        for place in [benchmark(b, known) for b in arguments.benchmark] or known.values()
        for name in arguments.learner or LEARNERS
        for tasks in arguments.tasks or TASKS
    ]
    out, experiment = open_experiment(arguments, preset, [HORIZON.name])
    do_jobs(experiment, plan(experiment, points), arguments.workers)
    rows = [
        (place.name, learner.name, tasks, json.loads(path.read_text("utf-8")))
        for place, learner, tasks in points
        for path in (point_path(experiment, place, learner, tasks),)
    ]
    frame = pd.DataFrame(rows, columns=list(HORIZON.columns))
    write_text(out / HORIZON.name, csv_text(frame))
    print(frame.pivot(index=["benchmark", "learner"], columns="tasks", values="error").to_string())


main = Command(
    "horizon",
    __doc__,
    execute,
    options,
    preset="full",
    seed_of="training",
    benchmarks="all",
    learners=", ".join(LEARNERS),
)

if __name__ == "__main__":
    sys.exit(main())
