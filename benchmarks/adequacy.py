"""Where the data stand: python -m benchmarks.adequacy --preset full

The paper's situation is one in which fixed features carry over to new categories that resemble
seen ones, fail on those that do not, and tuning on ten images has something to give. This measures
it on the base model alone, not on who wins: a predictor that ignores the image,
fixed features on seen and on unseen categories, and features tuned on the support set. Writes
adequacy.csv.
"""

import argparse
import sys
from dataclasses import replace

import pandas as pd

from benchmarks.commands.options import Command
from benchmarks.commands.work import asked_preset, check_garments, open_experiment
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import episodes_path
from benchmarks.engine.plan import Cell, plan, source
from benchmarks.engine.pool import do_jobs
from benchmarks.results.schemas import ADEQUACY
from benchmarks.studies.controls import CONTROLS, TunedFeatures
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.protocol import BENCHMARKS, SHOTS, Benchmark
from fewshot_landmarks.support.files import write_text
from fewshot_landmarks.support.markup import csv_text

EPISODES = 20  # a category, the first of those that learners meet
MOST = SHOTS[-1]
LOWER = ("shorts", "trousers", "skirt")


def seen_again(benchmark: Benchmark) -> Benchmark:
    """The same training, tested on new photos of the seen categories."""
    return Benchmark(f"{benchmark.name}s", "seen categories", benchmark.seen, benchmark.seen)


def cells() -> list[Cell]:
    """Every control on the unseen and on the seen categories of every benchmark."""
    places = [*BENCHMARKS.values(), *map(seen_again, BENCHMARKS.values())]
    return [
        Cell(place, source(control), _shots(control)) for place in places for control in CONTROLS
    ]


def _shots(control) -> tuple[int, ...]:
    """Tuning is measured where it has the most to learn from."""
    return (MOST,) if issubclass(control, TunedFeatures) else SHOTS


def measure(experiment: Experiment) -> pd.DataFrame:
    """A row for each control, benchmark, group of categories and number of shots."""
    rows = []
    for place in BENCHMARKS.values():
        for control in CONTROLS:
            unseen = _records(experiment, place, control)
            seen = _records(experiment, seen_again(place), control)
            for group, frame in {"seen": seen, **_groups(unseen)}.items():
                for shots in _shots(control):
                    errors = frame[frame.shots == shots]["ne"].dropna()
                    value, ci95 = mean_interval(errors)
                    row = (control.name, place.name, group, shots)
                    rows.append((*row, round(value, 4), round(ci95, 4), len(errors)))
    return pd.DataFrame(rows, columns=list(ADEQUACY.columns))


def _records(experiment: Experiment, place: Benchmark, control) -> pd.DataFrame:
    paths = [
        episodes_path(experiment, place, control, tested, shots)
        for tested in place.unseen
        for shots in _shots(control)
    ]
    return pd.concat([pd.read_csv(path) for path in paths])


def _groups(unseen: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Unseen categories together, and by the part of the body that they cover."""
    dress = unseen.category.str.contains("dress")
    lower = unseen.category.isin(LOWER)
    groups = {
        "unseen": unseen,
        "unseen, upper body": unseen[~dress & ~lower],
        "unseen, lower body": unseen[lower],
        "unseen, dresses": unseen[dress],
    }
    return {name: frame for name, frame in groups.items() if len(frame)}


def summary(frame: pd.DataFrame) -> str:
    """The table at ten shots, and the ratios that the paper's situation stands on."""
    ten = frame[frame.shots == MOST]
    table = ten.pivot_table(index=["benchmark", "categories"], columns="measure", values="value")
    unseen = frame[frame.categories == "unseen"]
    mean = unseen.groupby(["measure", "benchmark"])["value"].mean()["fixed-features"]
    unseen = table.xs("unseen", level="categories")
    gains = {
        control.name: unseen[control.name] / unseen["fixed-features"] - 1
        for control in CONTROLS
        if issubclass(control, TunedFeatures)
    }
    return "\n".join(
        [
            f"Normalised error at {MOST} shots:",
            table.to_string(),
            f"Fixed features, B-2 over B-1, mean of shots: {mean['B-2'] / mean['B-1']:.2f}",
            *(
                f"{name}: tuning on {MOST} garments changes the error on unseen categories by "
                + ", ".join(f"{change:+.1%} on {place}" for place, change in gain.items())
                for name, gain in gains.items()
            ),
        ]
    )


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    preset = asked_preset(arguments, apart=True)
    preset = replace(preset, episodes=min(EPISODES, preset.episodes))
    check_garments(arguments)
    out, experiment = open_experiment(arguments, preset, [ADEQUACY.name])
    wanted = cells()
    experiment.check(cell.benchmark for cell in wanted)
    do_jobs(experiment, plan(experiment, wanted), arguments.workers)
    measured = measure(experiment)
    write_text(out / ADEQUACY.name, csv_text(measured))
    print(summary(measured))


main = Command("adequacy", __doc__, execute, preset="full", seed_of="the base models")

if __name__ == "__main__":
    sys.exit(main())
