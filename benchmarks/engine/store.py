"""What a results directory holds, gathered from finished work.

episodes.csv.gz (errors), curves.csv.gz (training losses), costs.csv (seconds, memory) and run.json;
`benchmarks.results.schemas` says what is in them.
"""

import csv
import gzip
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import episodes_path, is_shared
from benchmarks.engine.plan import Job, training_jobs
from benchmarks.results.reading import remembered
from benchmarks.results.schemas import COSTS, CURVES, EPISODES, RUN, keeps_landmarks
from fewshot_landmarks import __version__
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.protocol import REGISTRY, SHOTS, Benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import (
    alone,
    is_whole,
    put_aside,
    read_regular,
    write_bytes,
    write_text,
)
from fewshot_landmarks.support.markup import csv_text, unquoted

FILES = (EPISODES.name, CURVES.name, COSTS.name, RUN)
LOCK = ".lock"  # of learners.json and costs.json, which several runs may change
BINS = 60  # of a learning curve
VERSIONED = ("torch", "torchvision", "learn2learn", "higher", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class Cost:
    """What a piece of work took."""

    seconds: float
    peak_mib: float  # of the process's memory; of the GPU's, on a GPU


def remember(
    work: Path, learners: list[str], seed: int, options: Sequence[str], of_run: Sequence[str]
) -> None:
    """Note which learners and training seeds have been run here, to gather them later.

    And for a command that goes on: the options of work that the last run was given, those of a run
    alone, and where learners are, by name.
    """
    with alone(work / LOCK):
        places = remembered(work.parent).get("learners", {})
        places |= {find_learner(name).name: name for name in learners}
        said = {"options": options, "of_run": of_run, "learners": places}
        write_text(work / "asked.json", json.dumps(said, indent=1), summed=True)
        known = _learners(work)
        known += [[name, seed] for name in dict.fromkeys(learners) if [name, seed] not in known]
        write_text(work / "learners.json", json.dumps(known, indent=1), summed=True)


def known(work: Path) -> list[tuple[str, int]]:
    """The learners and training seeds that have been run here, of those that are trusted.

    A note in a folder runs nobody's code: a learner that is not this project's must have been
    imported already, since a user named it. Of others it is told how to have them back.
    """
    noted = _learners(work)
    trusted = [(name, seed) for name, seed in noted if _trusted(name)]
    for name in dict.fromkeys(name for name, _ in noted):
        if name not in dict(trusted):
            print(f"results of {name} are left out: give --learner {name}", file=sys.stderr)
    return trusted


def _trusted(name: str) -> bool:
    if name not in REGISTRY and name.partition(":")[0] not in sys.modules:
        return False
    try:
        find_learner(name)
    except UserError:
        return False  # it is no learner
    return True


def _learners(work: Path) -> list[list]:
    """Names and seeds as noted; where the note is lost, those of the records."""
    noted = _json(work / "learners.json", None)
    if isinstance(noted, list) and all(map(_is_noted, noted)):
        return noted
    found = {}
    for path in sorted(work.glob("episodes/*/*/*.csv")):
        if is_whole(path):
            row = next(csv.DictReader(path.read_text("utf-8").splitlines()), None)
            found |= {(row["learner"], int(row["seed"])): None} if row else {}
    return [list(one) for one in found]


def _is_noted(one: object) -> bool:
    return isinstance(one, list) and [type(part) for part in one] == [str, int]


def seeds(work: Path) -> list[int]:
    """The training seeds that have been run here."""
    return sorted({seed for _, seed in _learners(work)})


def note_job(experiment: Experiment, job: Job, cost: Cost) -> None:
    """Note what a job took."""
    where = (job.stage, job.benchmark.name, job.name, experiment.seed)
    note_cost(experiment.work, job.label, *where, cost)


def note_cost(
    work: Path, label: str, stage: str, benchmark: str, name: str, seed: int, cost: Cost
) -> None:
    """Note what a piece of work took, by its label and seed."""
    took = (round(cost.seconds, 2), round(cost.peak_mib, 1))
    found = dict(zip(COSTS.columns, (stage, benchmark, name, seed, *took)))
    with alone(work / LOCK):
        noted = _json(work / "costs.json", {}) | {f"{label} {seed}": found}
        write_text(work / "costs.json", json.dumps(noted, indent=1, sort_keys=True), summed=True)


def gather(experiment: Experiment, out: Path) -> None:
    """Write what a results directory holds, from all finished work that is still valid.

    Work whose code, settings or data have changed since has another name, and is not gathered.
    """
    lines, curves, gathered = [], {}, set()
    for name, seed in known(experiment.work):
        learner, seeded = find_learner(name), replace(experiment, seed=seed)
        for place in experiment.data.source.benchmarks.values():
            found = list(_records(seeded, place, learner))
            lines += found
            if found:
                curves |= _curves(seeded, place, learner)
                gathered.add(seed)
    if len(lines) != len(set(lines)):
        raise ValueError("the same episode was gathered twice")
    header = ",".join(EPISODES.columns)
    _write_gzip(out / EPISODES.name, "\n".join([header, *sorted(lines)]) + "\n")
    losses = [row for name in sorted(curves) for row in curves[name]]
    frame = pd.DataFrame(losses, columns=list(CURVES.columns))
    _write_gzip(out / CURVES.name, csv_text(frame))
    write_text(out / COSTS.name, _costs(experiment.work))
    write_text(out / RUN, json.dumps(_run(experiment, sorted(gathered)), indent=1) + "\n")


def _records(experiment: Experiment, place: Benchmark, learner: type[Learner]) -> Iterator[str]:
    """The lines of `EPISODES`, errors of single landmarks only where they are shown.

    Of what is shared by benchmarks a benchmark has what its unseen categories have all.
    """
    shared = is_shared(learner)
    for k in SHOTS:
        paths = {c: episodes_path(experiment, place, learner, c, k) for c in place.unseen}
        whole = {tested: path for tested, path in paths.items() if is_whole(path)}
        for tested, path in whole.items():
            if not shared or len(whole) == len(paths):
                text = _as_of(place, experiment.seed, path) if shared else path.read_text("utf-8")
                lines = text.splitlines()[1:]
                if not keeps_landmarks(
                    place.name, experiment.data.source.categories[tested].name, k
                ):
                    lines = [line[: line.rindex(",") + 1] for line in lines]
                yield from lines


def _as_of(place: Benchmark, seed: int, path: Path) -> str:
    """A record that is that of all benchmarks and training seeds, as that of one of them."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    named = {"benchmark": place.name, "seed": seed, "category": unquoted(frame["category"])}
    return csv_text(frame.assign(**named))


def _write_gzip(path: Path, text: str) -> None:
    write_bytes(path, gzip.compress(text.encode(), mtime=0))


def _curves(experiment: Experiment, place: Benchmark, learner: type[Learner]) -> dict:
    """The training losses behind a learner's records: rows of `CURVES` by what was trained."""
    found = {}
    for job in training_jobs(experiment, place, learner):
        name = f"base {job.name}" if job.stage == "base" else job.name
        where = (place.name, name, experiment.seed)
        if job.stage != "features" and job.made():
            found[where] = [(*where, step, f"{loss:.4f}") for step, loss in _binned(*job.paths)]
    return found


def _binned(path: Path) -> Iterator[tuple[int, float]]:
    """The last step and the mean loss of at most `BINS` stretches of a training."""
    with safe_open(str(path), "pt") as file:
        losses = json.loads((file.metadata() or {}).get("losses", "[]"))
    edges = sorted({round(i * len(losses) / BINS) for i in range(BINS + 1)})
    for first, last in zip(edges, edges[1:]):
        yield last, sum(losses[first:last]) / (last - first)


def _costs(work: Path) -> str:
    """Seconds and peak memory by stage, benchmark, learner and training seed, as CSV."""
    frame = pd.DataFrame(_json(work / "costs.json", {}).values(), columns=list(COSTS.columns))
    by = frame.groupby(["stage", "benchmark", "name", "seed"], as_index=False)
    total = by.agg({"seconds": "sum", "peak_mib": "max"}).round(1)
    return csv_text(total)


def _run(experiment: Experiment, seeds: list[int]) -> dict:
    preset, data, source = experiment.preset, experiment.data, experiment.data.source
    drawn = _json(data.root / "generator.json", None)  # absent in real data
    splits = {"train": data.train, "validation": data.validation}
    return {
        "preset": preset.name,
        "seed": seeds[0] if seeds else experiment.seed,
        "seeds": seeds,
        "version": __version__,
        "data": {
            "name": data.root.name if drawn else source.name,
            "difficulty": drawn["difficulty"] if drawn else "real",
            "fingerprint": "-".join(garments.fingerprint for garments in splits.values()),
            "garments": {split: len(garments) for split, garments in splits.items()},
            "skipped": {split: len(garments.skipped) for split, garments in splits.items()},
        },
        "benchmarks": {
            name: {
                "title": benchmark.title,
                "seen": [source.categories[i].name for i in benchmark.seen],
                "unseen": [source.categories[i].name for i in benchmark.unseen],
            }
            for name, benchmark in source.benchmarks.items()
        },
        "plan": {
            "episodes": preset.episodes,
            "control_episodes": min(preset.episodes, preset.control_episodes),
            "queries": preset.queries,
            "shots": list(SHOTS),
        },
        "numbers": asdict(preset),
        "settings": {
            place: {name: asdict(preset.settings(find_learner(name), place)) for name in REGISTRY}
            for place in source.benchmarks
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in VERSIONED},
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {experiment.device}",
    }


def _json(path: Path, default):
    """What a file of work says, or the default where it is not there, or damaged."""
    if not is_whole(path):
        return default
    try:
        return json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError) as error:  # of no digest
        put_aside(path, str(error))
        return default
