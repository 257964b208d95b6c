"""From the cells that are asked for to jobs: what is missing, and what must be there before."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.engine import stages
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import (
    FEATURES,
    SPLITS,
    base_path,
    episodes_path,
    feature_paths,
    fit_path,
    is_shared,
    predictions_path,
)
from fewshot_landmarks.learner import Learner, find_learner, fits
from fewshot_landmarks.protocol import Benchmark
from fewshot_landmarks.support.files import is_whole


@dataclass(frozen=True)
class Cell:
    """A learner on a benchmark, at some numbers of shots."""

    benchmark: Benchmark
    learner: str
    shots: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """A piece of work for one process, which makes the files `paths`.

    function: is called with the experiment, the benchmark, the learner's class or the kind of base
        model, `arguments`, and a function to report the share that is done; picklable.
    """

    stage: str  # "features", "base", "fit", "tune", "evaluate" or "probe"
    benchmark: Benchmark
    name: str  # the learner's name, or the kind of base model
    function: Callable[..., None]
    learner: str = ""  # where its class is, "module:Class"; none for a base model
    arguments: tuple = ()
    tested: str = ""  # category of "evaluate" and "probe"
    paths: tuple[Path, ...] = ()
    needs: tuple[Path, ...] = ()  # files that must be there first
    weight: float = 1.0  # expected seconds, for the order and the progress bar

    @property
    def label(self) -> str:
        """What a user is told of it."""
        return f"{self.stage} {self.benchmark.name} {self.name} {self.tested}".rstrip()

    def made(self) -> bool:
        """Whether all its files are there and whole; each that is damaged is named."""
        return all([is_whole(path) for path in self.paths])


def plan(experiment: Experiment, cells: Iterable[Cell]) -> list[Job]:
    """The jobs whose files are missing or damaged, each once, what others need first."""
    jobs = []
    for cell in cells:
        learner = find_learner(cell.learner)
        tests = evaluations(experiment, cell.benchmark, learner, cell.shots)
        jobs += after(training_jobs(experiment, cell.benchmark, learner), tests)
    return missing(jobs)


def training_jobs(
    experiment: Experiment, benchmark: Benchmark, learner: type[Learner]
) -> list[Job]:
    """All that makes a learner what is tested, first things first, whether it is there or not."""
    links, jobs = chain(learner), base_jobs(experiment, benchmark, learner.base_kind)
    for link in links:
        paths = (fit_path(experiment, benchmark, link),)
        cost = 0.2 * experiment.preset.settings_on(benchmark, link).tasks
        job = Job("fit", benchmark, link.name, stages.fit, source(link), paths=paths, weight=cost)
        jobs.append(replace(job, needs=_paths(jobs)))
    return jobs


def base_jobs(experiment: Experiment, benchmark: Benchmark, kind: str) -> list[Job]:
    """Training of a base model, and what its network's frozen layers make of the data before.

    None of one that is not trained.
    """
    if kind == "untrained":
        return []
    path, weight = base_path(experiment, benchmark, kind), 8.0 * experiment.preset.base_epochs
    first = [job for split in SPLITS for job in feature_jobs(experiment, benchmark, split)]
    needs = _paths(first)
    base = Job("base", benchmark, kind, stages.train_base, paths=(path,), weight=weight)
    return [*first, replace(base, needs=needs)]


def feature_jobs(experiment: Experiment, benchmark: Benchmark, split: str) -> list[Job]:
    """What frozen layers make of all crops of a split, some at a time."""
    found: dict = {"function": stages.make_features, "weight": FEATURES / 150}
    return [
        Job("features", benchmark, f"{split} {i}", arguments=(split, i), paths=(path,), **found)
        for i, path in enumerate(feature_paths(experiment, split))
    ]


def chain(learner: type[Learner]) -> list[type[Learner]]:
    """The learners with a stage of their own on the way to this one, first things first."""
    before = chain(learner.starts_from) if learner.starts_from else []
    return [*before, learner] if fits(learner) else before


def source(learner: type[Learner]) -> str:
    """A learner as `find_learner` takes it, in any process."""
    return f"{learner.__module__}:{learner.__qualname__}"


def evaluations(
    experiment: Experiment, benchmark: Benchmark, learner: type[Learner], shots: Iterable[int]
) -> Iterator[Job]:
    """A job for each unseen category, with the numbers of shots that have no record yet."""
    each = 1.0 if is_shared(learner) else 0.1  # seconds
    for tested in benchmark.unseen:
        files = {k: episodes_path(experiment, benchmark, learner, tested, k) for k in shots}
        files = {k: (path, predictions_path(path)) for k, path in files.items()}
        lacking = [k for k, pair in files.items() if not all([is_whole(path) for path in pair])]
        yield Job(
            "evaluate",
            benchmark,
            learner.name,
            stages.evaluate,
            source(learner),
            (tested, tuple(lacking)),
            experiment.data.source.categories[tested].name,
            paths=tuple(path for k in lacking for path in files[k]),
            weight=each * experiment.preset.episodes_of(learner) * len(lacking),
        )


def after(first: list[Job], jobs: Iterable[Job]) -> list[Job]:
    """Those of some jobs that are missing, behind `first`, whose files they need.

    Nothing where none is missing, unless a file of `first` is damaged.
    """
    lacking = [replace(job, needs=_paths(first)) for job in jobs if not job.made()]
    damaged = [path for path in _paths(first) if path.exists() and not is_whole(path)]
    return [*first, *lacking] if lacking or damaged else []


def missing(jobs: Iterable[Job]) -> list[Job]:
    """The jobs whose files are not all there and whole, each once."""
    found: dict[tuple[Path, ...], Job] = {}
    for job in jobs:
        if not job.made():
            found.setdefault(job.paths, job)
    return list(found.values())


def _paths(jobs: Iterable[Job]) -> tuple[Path, ...]:
    return tuple(path for job in jobs for path in job.paths)
