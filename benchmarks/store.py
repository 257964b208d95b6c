"""What a results directory holds: episodes.csv.gz and run.json, gathered from finished work."""

import gzip
import importlib.metadata
import json
import os
import platform
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.workshop import COLUMNS, Workshop
from fewshot_landmarks import __version__
from fewshot_landmarks.categories import category
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.files import write_bytes, write_text
from fewshot_landmarks.learner import REGISTRY, find_learner
from fewshot_landmarks.protocol import BENCHMARKS, SHOTS

VERSIONED = ("torch", "torchvision", "learn2learn", "higher", "numpy", "pandas", "scipy")


def remember(work: Path, learners: list[str], seed: int) -> None:
    """Note which learners and training seeds have been run here, to gather them later."""
    known = _json(work / "learners.json", [])
    known += [[name, seed] for name in dict.fromkeys(learners) if [name, seed] not in known]
    write_text(work / "learners.json", json.dumps(known, indent=1))


def note_seconds(work: Path, label: str, seconds: float) -> None:
    """Note how long a piece of work took."""
    noted = _json(work / "seconds.json", {})
    noted[label] = round(seconds, 2)
    write_text(work / "seconds.json", json.dumps(noted, indent=1, sort_keys=True))


def gather(workshop: Workshop, out: Path) -> None:
    """Write episodes.csv.gz and run.json from all finished work that is still valid.

    Work whose code, settings or data have changed since has another name, and is not gathered.
    """
    known = _json(workshop.work / "learners.json", [])
    lines = []
    for name, seed in known:
        try:
            learner = find_learner(name)
        except UserError:
            continue  # its module is gone; its records have no name any more
        seeded = replace(workshop, seed=seed)
        for benchmark in BENCHMARKS.values():
            for tested in benchmark.unseen:
                for k in SHOTS:
                    path = seeded.episodes_path(benchmark, learner, tested, k)
                    if path.exists():
                        lines += path.read_text("utf-8").splitlines()[1:]
    text = "\n".join([",".join(COLUMNS), *sorted(lines)]) + "\n"
    write_bytes(out / "episodes.csv.gz", gzip.compress(text.encode(), mtime=0))
    seeds = sorted({seed for _, seed in known})
    write_text(out / "run.json", json.dumps(_run(workshop, seeds), indent=1) + "\n")


def _run(workshop: Workshop, seeds: list[int]) -> dict:
    preset = workshop.preset
    drawn = _json(workshop.data / "generator.json", None)  # absent in real data
    return {
        "preset": preset.name,
        "seed": seeds[0],
        "seeds": seeds,
        "version": __version__,
        "data": {
            "name": workshop.data.name if drawn else "DeepFashion2",
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
                "seen": [category(i).name for i in benchmark.seen],
                "unseen": [category(i).name for i in benchmark.unseen],
            }
            for name, benchmark in BENCHMARKS.items()
        },
        "plan": {"episodes": preset.episodes, "queries": preset.queries, "shots": list(SHOTS)},
        "numbers": asdict(preset),
        "settings": {name: asdict(preset.settings(find_learner(name))) for name in REGISTRY},
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in VERSIONED},
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {workshop.device}",
        "seconds": _seconds(workshop.work),
    }


def _seconds(work: Path) -> dict[str, float]:
    """Seconds of work by stage and learner, over all processes."""
    total: Counter = Counter()
    for label, seconds in _json(work / "seconds.json", {}).items():
        stage, *rest = label.split()
        total[" ".join([stage, *rest[1:2]])] += seconds
    return {name: round(seconds, 1) for name, seconds in sorted(total.items())}


def _json(path: Path, default):
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise UserError(f"{path} is broken ({error}): delete it and run again") from None
