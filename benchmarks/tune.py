"""Choose hyperparameters: python -m benchmarks.tune --preset full

Every learner gets the same number of trials on every benchmark, each over its own `search_space`,
the first trial being its default. A trial trains on two thirds of a benchmark's seen categories and
is scored on the others (`Benchmark.rehearsals`): unseen categories play no part. Optuna proposes
the trials by what the first rehearsal says of earlier ones; the best of them, the finalists, are
trained and scored on the other two rehearsals too, where other categories are held out, and the
least mean of the three scores is chosen. The choices go to benchmarks/tuned/, from where the
presets take them; all trials go to trials.csv of the results. Killed at any moment and run again,
it goes on where it was.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.commands.options import Command
from benchmarks.commands.overrides import check_choices
from benchmarks.commands.work import asked_preset, benchmarks_of, open_experiment
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.plan import Job, after, base_jobs, missing, source
from benchmarks.engine.pool import do_jobs
from benchmarks.presets import TUNED, Preset, read_choices
from benchmarks.results.schemas import REHEARSED, TRIALS
from benchmarks.studies.search import Trial, choose, read_trials, rehearsals, study, study_path
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.protocol import ABLATIONS, BENCHMARKS, LEARNERS, Benchmark, benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import alone, is_whole, write_text
from fewshot_landmarks.support.markup import csv_text
from fewshot_landmarks.support.outputs import claim


def plan(experiment: Experiment, places: Sequence[Benchmark], learners: Sequence[str]) -> list[Job]:
    """The studies that are missing, and the base models that they need."""
    jobs, tuning = [], experiment.preset.tuning
    for place, learner in itertools.product(places, map(find_learner, learners)):
        rehearsed, kind = rehearsals(experiment, place), learner.base_kind
        bases = [job for each in rehearsed for job in base_jobs(experiment, each, kind)]
        weight = 10.0 * (tuning.trials + tuning.finalists * (len(rehearsed) - 1))
        where: dict = {"paths": (study_path(experiment, place, learner),), "weight": weight}
        jobs += after(bases, [Job("tune", place, learner.name, study, source(learner), **where)])
    return missing(jobs)


def gather(experiment: Experiment, out: Path, learners: Sequence[str] = LEARNERS) -> dict:
    """Write trials.csv of all finished studies; their choices, by benchmark and learner."""
    rows, chosen = [], {}
    for place in experiment.data.source.benchmarks.values():
        if not place.rehearsable:
            continue
        for name in learners:
            learner = find_learner(name)
            path = study_path(experiment, place, learner)
            if not is_whole(path):
                continue
            trials = read_trials(path)
            best = choose(trials)
            names = (learner.name, *(ABLATIONS if learner.name == "MetaCloth" else ()))
            for same in names:  # the ablations differ from MetaCloth in what they leave out alone
                chosen.setdefault(place.name, {})[same] = best.parameters
            rows += [_row(place, learner, trial, trial is best) for trial in trials]
    frame = pd.DataFrame(rows, columns=list(TRIALS.columns))
    write_text(out / TRIALS.name, csv_text(frame))
    return chosen


def keep(path: Path, chosen: dict) -> list[str]:
    """Write choices over those that a file holds already; which of the file's stay as they were."""
    with alone(path.with_name(f".{path.name}.fewshot-landmarks.lock")):
        before = read_choices(path) if path.exists() else {}
        merged = {
            place: {**before.get(place, {}), **chosen.get(place, {})}
            for place in dict.fromkeys([*BENCHMARKS, *before, *chosen])
            if place in before or place in chosen
        }
        write_text(path, json.dumps(merged, indent=1) + "\n")
    return [
        f"{name} on {place}"
        for place, names in merged.items()
        for name in names
        if name not in chosen.get(place, {})
    ]


def _row(place: Benchmark, learner: type[Learner], trial: Trial, chosen: bool) -> dict:
    return {
        "benchmark": place.name,
        "learner": learner.name,
        "trial": trial.number,
        "chosen": chosen,
        **dict(itertools.zip_longest(REHEARSED, trial.scores)),
        "parameters": json.dumps(trial.parameters),
        "seconds": trial.seconds,
    }


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument("--choices", type=Path, help="default: the file that the presets read")


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    preset: Preset = asked_preset(arguments, own=("episodes",), apart=True)
    if preset.changed:
        raise UserError(
            f"--set {next(iter(preset.changed))}: the search chooses learners' settings; change "
            "numbers of the preset or its network"
        )
    if arguments.choices and arguments.choices.suffix != ".json":
        raise UserError(f"--choices {arguments.choices}: name it TRIALS.name.json")
    if arguments.choices:
        claim([arguments.choices], arguments.overwrite)
        if arguments.choices.exists():
            check_choices(arguments.choices)  # before the search, to which others will be added
    if arguments.set and not arguments.choices:
        raise UserError(
            f"--set {arguments.set[0]}: the choices will be of other numbers than the preset's: "
            "say where to keep them, --choices TRIALS.name.json, and run with --set tuned=TRIALS.name.json"
        )
    if preset.tuning is None:
        raise UserError(f"preset {preset.name} has no budget of trials: give it `tuning`")
    names = arguments.learner or list(LEARNERS)
    if strange := [name for name in names if name in ABLATIONS]:
        raise UserError(f"{strange[0]} takes MetaCloth's choices: tune MetaCloth")
    for name in names:
        find_learner(name)
    known = benchmarks_of(arguments, preset)
    places = [benchmark(name, known) for name in arguments.benchmark] or list(known.values())
    if strange := [place.name for place in places if place.name not in known]:
        raise UserError(f"{strange[0]} is a rehearsal itself: name its benchmark")
    out, experiment = open_experiment(arguments, preset, [TRIALS.name])
    experiment.check(each for place in places for each in rehearsals(experiment, place))
    jobs = plan(experiment, places, names)
    do_jobs(experiment, jobs, arguments.workers)
    chosen = gather(experiment, out, tuple(dict.fromkeys([*LEARNERS, *names])))
    path = arguments.choices or TUNED / f"{preset.tuned}.json"
    kept = keep(path, chosen)
    print(pd.read_csv(out / TRIALS.name).query("chosen").to_string(index=False))
    if kept:
        print(f"Not searched anew, kept as they were: {', '.join(kept)}.")
    print(f"The choices are in {path}, all trials in {out / TRIALS.name}.")


main = Command(
    "tune",
    __doc__,
    execute,
    options,
    preset="full",
    seed_of="training and search",
    benchmarks="all",
    learners="the nine",
)

if __name__ == "__main__":
    sys.exit(main())
