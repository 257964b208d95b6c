"""Would more training help? python -m benchmarks.horizon --preset full

The error of meta-trained learners against the number of their training tasks, on first rehearsals,
so on seen categories alone, with the hyperparameters that tuning chose, otherwise as in tuning.
Every point is a training of its own, since the outer rate falls at its end. Writes horizon.csv.
Killed at any moment and run again, it goes on where it was.
"""

import argparse
import functools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.commands import (
    add_work_options,
    asked_preset,
    benchmarks_of,
    command,
    open_workshop,
    work_off,
)
from benchmarks.engine import grid
from benchmarks.engine.grid import Job, source
from benchmarks.engine.keys import key
from benchmarks.engine.workshop import Report, Workshop
from benchmarks.results.schemas import HORIZON
from benchmarks.tune import trial_workshop, try_out
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.protocol import Benchmark, benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import is_whole, write_text
from fewshot_landmarks.support.markup import csv_text

TASKS = (150, 300, 600, 1200)
LEARNERS = ("PROTO", "MAML", "PROTO-MA", "PAML", "MetaCloth")


def point_path(workshop: Workshop, place: Benchmark, learner: type[Learner], tasks: int) -> Path:
    """Where the error after so many tasks is kept, named by what decides it."""
    tried = trial_workshop(workshop, learner, parameters(workshop, place, learner, tasks))
    rehearsal, shots = place.rehearsal, workshop.preset.tuning.shots
    name = key(
        work="horizon",
        episodes=[
            tried.episodes_key(rehearsal, learner, tested, k)
            for tested in rehearsal.unseen
            for k in shots
        ],
    )
    return workshop.work / "horizon" / f"{place.name}-{learner.name}-{tasks}-{name}.json"


def parameters(workshop: Workshop, place: Benchmark, learner: type[Learner], tasks: int) -> dict:
    """What tuning chose, and so many tasks."""
    return {**workshop.preset.chosen(learner.name, place.name), "tasks": tasks}


def measure(
    place: Benchmark, learner_source: str, tasks: int, workshop: Workshop, report: Report
) -> None:
    """Train for so many tasks and store the error on the first rehearsal."""
    learner = find_learner(learner_source)
    chosen = parameters(workshop, place, learner, tasks)
    error = try_out(workshop, place.rehearsal, learner, chosen)
    write_text(point_path(workshop, place, learner, tasks), json.dumps(error), summed=True)


def plan(workshop: Workshop, points: Sequence[tuple]) -> Iterator[Job]:
    """The points that are missing, and the base models that they need."""
    bases = set()
    for place, learner, tasks in points:
        path = point_path(workshop, place, learner, tasks)
        if is_whole(path):
            continue
        base = workshop.base_path(place.rehearsal, learner.base_kind)
        if base not in bases and not is_whole(base):
            bases.add(base)
            yield grid.base_job(workshop, place.rehearsal, learner.base_kind)
        do = functools.partial(measure, place, source(learner), tasks)
        name = f"{learner.name} {tasks} tasks"
        yield Job("tune", place, name, do, "", (path,), (base,), 0.2 * tasks)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser("python -m benchmarks.horizon", description=__doc__)
    made.add_argument("--preset", default="full", help="default: full")
    made.add_argument("--benchmark", action="append", default=[], metavar="B", help="default: all")
    made.add_argument(
        "--learner", action="append", default=[], metavar="L", help=f"default: {LEARNERS}"
    )
    made.add_argument("--tasks", action="append", type=int, default=[], help=f"default: {TASKS}")
    add_work_options(made, seed_of="training")
    return made


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
    out, workshop = open_workshop(arguments, preset, [HORIZON.name])
    work_off(workshop, list(plan(workshop, points)), arguments.workers)
    rows = [
        (place.name, learner.name, tasks, json.loads(path.read_text("utf-8")))
        for place, learner, tasks in points
        for path in (point_path(workshop, place, learner, tasks),)
    ]
    frame = pd.DataFrame(rows, columns=list(HORIZON.columns))
    write_text(out / HORIZON.name, csv_text(frame))
    print(frame.pivot(index=["benchmark", "learner"], columns="tasks", values="error").to_string())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see `benchmarks.commands.command`."""
    return command(execute, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
