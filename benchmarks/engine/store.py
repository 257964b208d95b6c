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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from benchmarks.engine.grid import Cost, chain
from benchmarks.engine.workshop import Workshop
from benchmarks.results.reading import remembered
from benchmarks.results.schemas import COSTS, CURVES, EPISODES, RUN, keeps_landmarks
from fewshot_landmarks import __version__
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.protocol import REGISTRY, SHOTS, Benchmark
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import (
    is_whole,
    put_aside,
    read_regular,
    write_bytes,
    write_text,
)
from fewshot_landmarks.support.locks import alone
from fewshot_landmarks.support.markup import csv_text

FILES = (EPISODES.name, CURVES.name, COSTS.name, RUN)
LOCK = ".lock"  # of learners.json and costs.json, which several runs may change
BINS = 60  # of a learning curve
VERSIONED = ("torch", "torchvision", "learn2learn", "higher", "numpy", "pandas", "scipy")


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
    """The learners and training seeds that have been run here, of those that can be found."""
    return [(name, seed) for name, seed in _learners(work) if _there(name)]


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


def _there(name: str) -> bool:
    try:
        find_learner(name)
    except UserError:
        return False  # its module is gone; its records have no name any more
    return True


def seeds(work: Path) -> list[int]:
    """The training seeds that have been run here."""
    return sorted({seed for _, seed in _learners(work)})


def note_cost(
    work: Path, stage: str, benchmark: str, name: str, label: str, seed: int, cost: Cost
) -> None:
    """Note what a piece of work took."""
    found = {
        "stage": stage,
        "benchmark": benchmark,
        "name": name,
        "seed": seed,
        "seconds": round(cost.seconds, 2),
        "peak_mib": round(cost.peak_mib, 1),
    }
    with alone(work / LOCK):
        noted = _json(work / "costs.json", {}) | {f"{label} {seed}": found}
        write_text(work / "costs.json", json.dumps(noted, indent=1, sort_keys=True), summed=True)


def gather(workshop: Workshop, out: Path) -> None:
    """Write what a results directory holds, from all finished work that is still valid.

    Work whose code, settings or data have changed since has another name, and is not gathered.
    """
    lines, curves, gathered = [], {}, set()
    for name, seed in known(workshop.work):
        learner, seeded = find_learner(name), replace(workshop, seed=seed)
        for place in workshop.source.benchmarks.values():
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
    write_text(out / COSTS.name, _costs(workshop.work))
    write_text(out / RUN, json.dumps(_run(workshop, sorted(gathered)), indent=1) + "\n")


def _records(workshop: Workshop, place: Benchmark, learner: type[Learner]) -> Iterator[str]:
    """The lines of `EPISODES`, errors of single landmarks only where they are shown."""
    for tested in place.unseen:
        for k in SHOTS:
            path = workshop.episodes_path(place, learner, tested, k)
            if is_whole(path):
                lines = path.read_text("utf-8").splitlines()[1:]
                if not keeps_landmarks(place.name, workshop.source.categories[tested].name, k):
                    lines = [line[: line.rindex(",") + 1] for line in lines]
                yield from lines


def _write_gzip(path: Path, text: str) -> None:
    write_bytes(path, gzip.compress(text.encode(), mtime=0))


def _curves(workshop: Workshop, place: Benchmark, learner: type[Learner]) -> dict:
    """The training losses behind a learner's records: rows of `CURVES` by what was trained."""
    kind = learner.base_kind
    paths = {f"base {kind}": workshop.base_path(place, kind)}
    paths |= {link.name: workshop.fit_path(place, link) for link in chain(learner)}
    return {
        (place.name, name, workshop.seed): [
            (place.name, name, workshop.seed, step, f"{loss:.4f}") for step, loss in _binned(path)
        ]
        for name, path in paths.items()
        if is_whole(path)
    }


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


def _run(workshop: Workshop, seeds: list[int]) -> dict:
    preset = workshop.preset
    drawn = _json(workshop.data / "generator.json", None)  # absent in real data
    source = workshop.source
    return {
        "preset": preset.name,
        "seed": seeds[0] if seeds else workshop.seed,
        "seeds": seeds,
        "version": __version__,
        "data": {
            "name": workshop.data.name if drawn else source.name,
            "difficulty": drawn["difficulty"] if drawn else "real",
            "fingerprint": f"{workshop.train.fingerprint}-{workshop.validation.fingerprint}",
            "garments": {split: len(getattr(workshop, split)) for split in ("train", "validation")},
            "skipped": {
                split: len(getattr(workshop, split).skipped) for split in ("train", "validation")
            },
        },
        "benchmarks": {
            name: {
                "title": benchmark.title,
                "seen": [source.categories[i].name for i in benchmark.seen],
                "unseen": [source.categories[i].name for i in benchmark.unseen],
            }
            for name, benchmark in source.benchmarks.items()
        },
        "plan": {"episodes": preset.episodes, "queries": preset.queries, "shots": list(SHOTS)},
        "numbers": asdict(preset),
        "settings": {
            place: {name: asdict(preset.settings(find_learner(name), place)) for name in REGISTRY}
            for place in source.benchmarks
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in VERSIONED},
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {workshop.device}",
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
