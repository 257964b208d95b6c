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
import functools
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path

import optuna
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
from benchmarks.engine.grid import Job, chain, source
from benchmarks.engine.keys import key
from benchmarks.engine.workshop import Report, Workshop
from benchmarks.presets import TUNED, Preset, read_choices
from benchmarks.results.schemas import REHEARSED, TRIALS
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.protocol import ABLATIONS, BENCHMARKS, LEARNERS, Benchmark, benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import is_whole, remove, write_text
from fewshot_landmarks.support.locks import alone
from fewshot_landmarks.support.markup import csv_text
from fewshot_landmarks.support.outputs import claim

optuna.logging.set_verbosity(optuna.logging.ERROR)
FAILED = 1.0  # the score of a trial whose learner diverged: an error of a garment's size


@dataclass(frozen=True)
class Trial:
    """One setting of a learner's hyperparameters and what it scored."""

    number: int
    parameters: dict
    scores: Sequence[float]  # on each rehearsal: mean normalised error over episodes and shots
    seconds: float

    @property
    def first(self) -> float:
        """Its score on the first rehearsal, which all trials have."""
        return self.scores[0]

    @property
    def mean(self) -> float:
        """Its mean score on the rehearsals that it was tried on."""
        return round(math.fsum(self.scores) / len(self.scores), 7)


def study_path(workshop: Workshop, place: Benchmark, learner: type[Learner]) -> Path:
    """Where the trials of a learner on a benchmark are kept, named by what decides them."""
    default, tuning = trial_workshop(workshop, learner, {}), workshop.preset.tuning
    name = key(
        work="study",
        trials=tuning.trials,
        finalists=tuning.finalists,
        space=learner.search_space,
        first=[
            default.episodes_key(rehearsal, learner, tested, shots)
            for rehearsal in rehearsals(workshop, place)
            for tested in rehearsal.unseen
            for shots in tuning.shots
        ],
    )
    return workshop.work / "studies" / f"{place.name}-{learner.name}-{name}.json"


def rehearsals(workshop: Workshop, place: Benchmark) -> tuple[Benchmark, ...]:
    """Those that finalists are judged on; the first alone, if there is one finalist only."""
    return place.rehearsals if workshop.preset.tuning.finalists > 1 else (place.rehearsal,)


def study(place: Benchmark, learner_source: str, workshop: Workshop, report: Report) -> None:
    """All trials of a learner on a benchmark, one after another, and then its finalists again."""
    learner, tuning = find_learner(learner_source), workshop.preset.tuning
    path = study_path(workshop, place, learner)
    unfinished = path.with_suffix(".unfinished")
    done = _read(unfinished) if is_whole(unfinished) else []
    first, *others = rehearsals(workshop, place)
    defaults = asdict(trial_workshop(workshop, learner, {}).settings(first, learner))
    steps = tuning.trials + min(tuning.finalists, tuning.trials) * len(others)

    def tried(trial: Trial, rehearsal: Benchmark) -> Trial:
        began = time.monotonic()
        scores = (*trial.scores, try_out(workshop, rehearsal, learner, trial.parameters))
        seconds = round(trial.seconds + time.monotonic() - began, 2)
        return replace(trial, scores=scores, seconds=seconds)

    def note() -> None:
        write_text(unfinished, json.dumps([asdict(trial) for trial in done], indent=1), True)
        report(sum(len(trial.scores) for trial in done) / steps)

    while len(done) < tuning.trials:
        parameters = propose(learner, defaults, done, (workshop.seed, place.name, learner.name))
        done.append(tried(Trial(len(done), parameters, (), 0.0), first))
        note()
    for number in finalists(done, tuning.finalists):
        for rehearsal in others[len(done[number].scores) - 1 :]:
            done[number] = tried(done[number], rehearsal)
            note()
    write_text(path, json.dumps([asdict(trial) for trial in done], indent=1), summed=True)
    remove(unfinished)


def finalists(trials: Sequence[Trial], count: int) -> list[int]:
    """The numbers of the best on the first rehearsal, best first; of equal ones the earlier."""
    return [trial.number for trial in sorted(trials, key=lambda trial: trial.first)[:count]]


def choose(trials: Sequence[Trial]) -> Trial:
    """The best in the mean of those tried on the most rehearsals; of equal ones the earlier."""
    most = max(len(trial.scores) for trial in trials)
    judged = [trial for trial in trials if len(trial.scores) == most]
    return min(judged, key=lambda trial: trial.mean)


def propose(
    learner: type[Learner], defaults: dict, done: Sequence[Trial], seed: object
) -> dict[str, float]:
    """The next trial's parameters, a function of the earlier trials and the seed (plain data).

    The first are the defaults; others by a Gaussian process over the logarithms of what was tried.
    """
    if not done or not learner.search_space:
        return {}
    space = {name: _distribution(*ends) for name, ends in learner.search_space.items()}
    draws = {"seed": int(key(seed=seed, trial=len(done)), 16) % 2**32}
    search = optuna.create_study(sampler=optuna.samplers.GPSampler(n_startup_trials=3, **draws))
    tried = [{name: {**defaults, **trial.parameters}[name] for name in space} for trial in done]
    for parameters, trial in zip(tried, done, strict=True):
        search.add_trial(
            optuna.trial.create_trial(params=parameters, distributions=space, value=trial.first)
        )
    proposed = _rounded(search.ask(space).params)
    if proposed in tried:  # as happens at a bound, where another trial would say nothing new
        search.sampler = optuna.samplers.RandomSampler(**draws)
        proposed = _rounded(search.ask(space).params)
    return proposed


def _distribution(least: float, greatest: float):
    whole = isinstance(least, int) and isinstance(greatest, int)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    return kind(least, greatest, log=True)


def _rounded(parameters: dict[str, float]) -> dict[str, float]:
    """Three digits: what is tried is what is written down."""
    return {
        name: value if isinstance(value, int) else float(f"{value:.3g}")
        for name, value in parameters.items()
    }


def try_out(
    workshop: Workshop, rehearsal: Benchmark, learner: type[Learner], parameters: dict
) -> float:
    """A trial: the mean error of a learner with these parameters on a rehearsal."""
    tried = trial_workshop(workshop, learner, parameters)
    for link in chain(learner):
        if not is_whole(tried.fit_path(rehearsal, link)):
            tried.fit(rehearsal, link, lambda share: None)
    errors: list[float] = []
    for tested in rehearsal.unseen:
        shots = workshop.preset.tuning.shots
        tried.evaluate(rehearsal, learner, tested, shots, lambda share: None)
        for k in shots:
            path = tried.episodes_path(rehearsal, learner, tested, k)
            errors += pd.read_csv(path)["ne"].tolist()
    mean = sum(errors) / len(errors)
    return round(min(mean, FAILED), 5) if math.isfinite(mean) else FAILED


def trial_workshop(workshop: Workshop, learner: type[Learner], parameters: dict) -> Workshop:
    """A workshop of few episodes: these parameters for a learner and what it starts from."""
    preset, tuning = workshop.preset, workshop.preset.tuning
    own = {link.name: _known(link, parameters) for link in (*chain(learner), learner)}
    tried = replace(
        workshop,
        preset=replace(
            preset,
            episodes=tuning.episodes,
            learners={
                name: {**preset.learners.get(name, {}), **own.get(name, {})}
                for name in {*preset.learners, *own}
            },
        ),
    )
    for split in ("train", "validation"):  # read once
        if split in vars(workshop):
            vars(tried)[split] = vars(workshop)[split]
    return tried


def _known(learner: type[Learner], parameters: dict) -> dict:
    fields = learner.Settings.__dataclass_fields__
    return {name: value for name, value in parameters.items() if name in fields}


# ---------------------------------------------------------------------- the command


def plan(workshop: Workshop, places: Sequence[Benchmark], learners: Sequence[str]) -> Iterator[Job]:
    """The studies that are missing, and the base models that they need."""
    bases = set()
    for place in places:
        for name in learners:
            learner = find_learner(name)
            path = study_path(workshop, place, learner)
            if is_whole(path):
                continue
            needs = []
            for rehearsal in rehearsals(workshop, place):
                job = grid.base_job(workshop, rehearsal, learner.base_kind)
                needs += job.paths
                if job.paths not in bases and not is_whole(job.paths[0]):
                    bases.add(job.paths)
                    yield job
            do = functools.partial(study, place, source(learner))
            tuning = workshop.preset.tuning
            weight = 10.0 * (tuning.trials + tuning.finalists * (len(needs) - 1))
            yield Job("tune", place, learner.name, do, "", (path,), tuple(needs), weight)


def gather(workshop: Workshop, out: Path, learners: Sequence[str] = LEARNERS) -> dict:
    """Write trials.csv of all finished studies; their choices, by benchmark and learner."""
    rows, chosen = [], {}
    for place in workshop.source.benchmarks.values():
        if not place.rehearsable:
            continue
        for name in learners:
            learner = find_learner(name)
            path = study_path(workshop, place, learner)
            if not is_whole(path):
                continue
            trials = _read(path)
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
    with alone(path.with_name(f".{path.name}.lock")):
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
        **dict(zip_longest(REHEARSED, trial.scores)),
        "parameters": json.dumps(trial.parameters),
        "seconds": trial.seconds,
    }


def _read(path: Path) -> list[Trial]:
    return [Trial(**trial) for trial in json.loads(path.read_text("utf-8"))]


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser("python -m benchmarks.tune", description=__doc__)
    made.add_argument("--preset", default="full", help="default: full")
    made.add_argument("--benchmark", action="append", default=[], metavar="B", help="default: all")
    made.add_argument(
        "--learner", action="append", default=[], metavar="L", help="default: the nine"
    )
    made.add_argument("--choices", type=Path, help="default: the file that the presets read")
    add_work_options(made, seed_of="training and search")
    return made


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
            read_choices(arguments.choices)  # before the search, to which others will be added
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
    out, workshop = open_workshop(arguments, preset, [TRIALS.name])
    for place in places:
        for rehearsal in rehearsals(workshop, place):
            workshop.check(rehearsal)
    jobs = list(plan(workshop, places, names))
    work_off(workshop, jobs, arguments.workers)
    chosen = gather(workshop, out, tuple(dict.fromkeys([*LEARNERS, *names])))
    path = arguments.choices or TUNED / f"{preset.tuned}.json"
    kept = keep(path, chosen)
    print(pd.read_csv(out / TRIALS.name).query("chosen").to_string(index=False))
    if kept:
        print(f"Not searched anew, kept as they were: {', '.join(kept)}.")
    print(f"The choices are in {path}, all trials in {out / TRIALS.name}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see `benchmarks.commands.command`."""
    return command(execute, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
