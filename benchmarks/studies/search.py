"""The search for hyperparameters: trials of a learner on rehearsals, and the best of them.

A study is all trials of a learner on a benchmark, one after another, and then its finalists on the
other rehearsals. Optuna proposes what is tried.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import episodes_key, episodes_path, fit_path, key
from benchmarks.engine.plan import chain
from benchmarks.engine.stages import Report, evaluate, fit
from fewshot_landmarks.learner import Learner
from fewshot_landmarks.protocol import Benchmark
from fewshot_landmarks.support.files import is_whole, remove, write_text

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


def study_path(experiment: Experiment, place: Benchmark, learner: type[Learner]) -> Path:
    """Where the trials of a learner on a benchmark are kept, named by what decides them."""
    default, tuning = trial_experiment(experiment, learner, {}), experiment.preset.tuning
    name = key(
        work="study",
        trials=tuning.trials,
        finalists=tuning.finalists,
        space=learner.search_space,
        first=[
            episodes_key(default, rehearsal, learner, tested, shots)
            for rehearsal in rehearsals(experiment, place)
            for tested in rehearsal.unseen
            for shots in tuning.shots
        ],
    )
    return experiment.work / "studies" / f"{place.name}-{learner.name}-{name}.json"


def rehearsals(experiment: Experiment, place: Benchmark) -> tuple[Benchmark, ...]:
    """Those that finalists are judged on; the first alone, if there is one finalist only."""
    return place.rehearsals if experiment.preset.tuning.finalists > 1 else (place.rehearsal,)


def study(experiment: Experiment, place: Benchmark, learner: type[Learner], report: Report) -> None:
    """All trials of a learner on a benchmark, one after another, and then its finalists again."""
    tuning = experiment.preset.tuning
    path = study_path(experiment, place, learner)
    unfinished = path.with_suffix(".unfinished")
    done = read_trials(unfinished) if is_whole(unfinished) else []
    first, *others = rehearsals(experiment, place)
    defaults = asdict(trial_experiment(experiment, learner, {}).preset.settings_on(first, learner))
    steps = tuning.trials + min(tuning.finalists, tuning.trials) * len(others)

    def tried(trial: Trial, rehearsal: Benchmark) -> Trial:
        began = time.monotonic()
        scores = (*trial.scores, try_out(experiment, rehearsal, learner, trial.parameters))
        seconds = round(trial.seconds + time.monotonic() - began, 2)
        return replace(trial, scores=scores, seconds=seconds)

    def note() -> None:
        write_text(unfinished, json.dumps([asdict(trial) for trial in done], indent=1), True)
        report(sum(len(trial.scores) for trial in done) / steps)

    while len(done) < tuning.trials:
        parameters = propose(learner, defaults, done, (experiment.seed, place.name, learner.name))
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
    draws: dict = {"seed": int(key(seed=seed, trial=len(done)), 16) % 2**32}
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
    kind: Any = (
        optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    )
    return kind(least, greatest, log=True)


def _rounded(parameters: dict[str, float]) -> dict[str, float]:
    """Three digits: what is tried is what is written down."""
    return {
        name: value if isinstance(value, int) else float(f"{value:.3g}")
        for name, value in parameters.items()
    }


def try_out(
    experiment: Experiment, rehearsal: Benchmark, learner: type[Learner], parameters: dict
) -> float:
    """A trial: the mean error of a learner with these parameters on a rehearsal."""
    tried, shots = trial_experiment(experiment, learner, parameters), experiment.preset.tuning.shots
    for link in chain(learner):
        if not is_whole(fit_path(tried, rehearsal, link)):
            fit(tried, rehearsal, link, lambda share: None)
    errors: list[float] = []
    for tested in rehearsal.unseen:
        evaluate(tried, rehearsal, learner, tested, shots, lambda share: None)
        for k in shots:
            errors += pd.read_csv(episodes_path(tried, rehearsal, learner, tested, k))[
                "ne"
            ].tolist()
    mean = sum(errors) / len(errors)
    return round(min(mean, FAILED), 5) if math.isfinite(mean) else FAILED


def trial_experiment(
    experiment: Experiment, learner: type[Learner], parameters: dict
) -> Experiment:
    """An experiment of few episodes: these parameters for a learner and what it starts from."""
    preset, tuning = experiment.preset, experiment.preset.tuning
    own = {link.name: _known(link, parameters) for link in (*chain(learner), learner)}
    learners = {
        name: {**preset.learners.get(name, {}), **own.get(name, {})}
        for name in {*preset.learners, *own}
    }
    return replace(experiment, preset=replace(preset, episodes=tuning.episodes, learners=learners))


def _known(learner: type[Learner], parameters: dict) -> dict:
    fields = learner.Settings.__dataclass_fields__
    return {name: value for name, value in parameters.items() if name in fields}


def read_trials(path: Path) -> list[Trial]:
    """The trials of a study, finished or not."""
    return [Trial(**trial) for trial in json.loads(path.read_text("utf-8"))]
