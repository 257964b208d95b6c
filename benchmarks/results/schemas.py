"""The files of a results directory: their names, and the columns of those that are tables.

Whoever writes a file and whoever reads it takes both from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.paper.facts import FIGURE5_BENCHMARK, FIGURE5_CATEGORY, TABLE3_SHOTS

RUN = "run.json"  # what a run was given, and what it ran on
HEATMAPS = "heatmaps.npz"  # by "benchmark/category": the arrays of `probes.landmark_heatmaps`


@dataclass(frozen=True)
class Schema:
    """A table: a CSV file, compressed where its name ends in .gz."""

    name: str
    columns: Mapping[str, type]  # str, int, or float, which alone may be missing
    key: tuple[str, ...] = ()  # columns that no two rows agree on
    by: str = "benchmarks.run"  # the command that writes it


EPISODES = Schema(  # errors of the learners, one row an evaluated episode
    "episodes.csv.gz",
    dict(benchmark=str, learner=str, seed=int, category=str, episode=int, shots=int)
    | dict(ne=float, scored=int, left_out=int, landmarks=str),
    key=("benchmark", "learner", "seed", "category", "episode", "shots"),
)
SIMILARITIES = Schema(  # of landmark features before and after tuning, for figure 6
    "similarities.csv",
    dict(benchmark=str, model=str, seed=int, category=str, episode=int, shots=int)
    | dict(before_after=float, between=float),
    key=("benchmark", "model", "seed", "category", "episode", "shots"),
)
CURVES = Schema(  # losses in training
    "curves.csv.gz", dict(benchmark=str, learner=str, seed=int, step=int, loss=float)
)
COSTS = Schema(  # of each piece of work
    "costs.csv", dict(stage=str, benchmark=str, name=str, seed=int, seconds=float, peak_mib=float)
)
CLAIMS = Schema(  # the paper's claims, each with a verdict
    "claims.csv",
    dict(group=str, claim=str, source=str, where=str, paper=str, ours=str)
    | dict(difference=float, ci95=float, by_seed=str, episodes=int, verdict=str),
    by="benchmarks.claims",
)
CALIBRATION = Schema(  # landmarks by their score in ten bins: how many, and the share found
    "calibration.csv",
    dict(benchmark=str, learner=str, landmarks=str, bin=int, count=int, score=float, hits=float),
    by="benchmarks.export",
)
UNSEEN, LABELLED = "unseen", "unseen, labelled"
"""Values of `CALIBRATION`'s "landmarks", both of unseen categories: all, where one that the photo
lacks is not found; or those that the photo shows."""

REHEARSED = ("score", "second", "third")  # a trial's score on each rehearsal
TRIALS = Schema(  # the hyperparameters that tuning tried
    "trials.csv",
    dict(benchmark=str, learner=str, trial=int, chosen=str)
    | dict.fromkeys(REHEARSED, float)
    | dict(parameters=str, seconds=float),
    by="benchmarks.tune",
)
ADEQUACY = Schema(  # what the data allow, apart from which learner is best
    "adequacy.csv",
    dict(measure=str, benchmark=str, categories=str, shots=int)
    | dict(value=float, ci95=float, episodes=int),
    by="benchmarks.adequacy",
)
HORIZON = Schema(  # errors against the number of training tasks
    "horizon.csv",
    dict(benchmark=str, learner=str, tasks=int, error=float),
    by="benchmarks.horizon",
)


def keeps_landmarks(benchmark: str, category: str, shots: int) -> bool:
    """Whether `EPISODES` has the errors of single landmarks: only where figure 5 shows them.

    Elsewhere the column is empty; those of every query are in the work folder of the run.
    """
    return (benchmark, category, shots) == (FIGURE5_BENCHMARK, FIGURE5_CATEGORY, TABLE3_SHOTS)
