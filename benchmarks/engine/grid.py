"""The grid of cells: which work is missing, and doing it in processes, in a sensible order."""

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.engine.workshop import Report, Workshop
from fewshot_landmarks.learner import Learner, find_learner, fits
from fewshot_landmarks.protocol import Benchmark
from fewshot_landmarks.support.devices import forget_peak, out_of_memory, peak_mib
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import is_whole, remove
from fewshot_landmarks.support.processes import Processes, tell


@dataclass(frozen=True)
class Cell:
    """A learner on a benchmark, at some numbers of shots."""

    benchmark: Benchmark
    learner: str
    shots: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """A piece of work for one process."""

    stage: str  # "base", "fit", "tune", "evaluate" or "probe"
    benchmark: Benchmark
    name: str  # the learner's name, or the kind of base model
    do: Callable[[Workshop, Report], None]  # picklable
    tested: str = ""  # category of "evaluate" and "probe"
    paths: tuple[Path, ...] = ()  # what it makes
    needs: tuple[Path, ...] = ()  # what must be there first
    weight: float = 1.0  # expected seconds, for the order and the progress bar

    @property
    def label(self) -> str:
        return f"{self.stage} {self.benchmark.name} {self.name} {self.tested}".rstrip()


@dataclass(frozen=True)
class Cost:
    """What a piece of work took."""

    seconds: float
    peak_mib: float  # of the process's memory; of the GPU's, on a GPU


def plan(workshop: Workshop, cells: Iterable[Cell]) -> list[Job]:
    """The jobs whose files are missing or damaged, each once, what others need first."""
    jobs: dict[tuple[Path, ...], Job] = {}
    preset = workshop.preset

    def add(job: Job) -> None:
        if not all(map(is_whole, job.paths)):
            jobs.setdefault(job.paths, job)

    for cell in cells:
        benchmark, learner = cell.benchmark, find_learner(cell.learner)
        missing = _missing(workshop, benchmark, learner, cell.shots)
        training = training_jobs(workshop, benchmark, learner)
        needs = tuple(path for job in training for path in job.paths)
        damaged = [path for path in needs if path.exists() and not is_whole(path)]
        if not (missing or damaged):
            continue
        for job in training:
            add(job)
        for tested, shots in missing.items():
            paths = [workshop.episodes_path(benchmark, learner, tested, k) for k in shots]
            paths += map(workshop.predictions_path, paths[:])
            cost = 0.1 * preset.episodes * len(shots)
            do = functools.partial(_evaluate, benchmark, source(learner), tested, shots)
            name = workshop.source.categories[tested].name
            add(Job("evaluate", benchmark, learner.name, do, name, tuple(paths), needs, cost))
    return list(jobs.values())


def training_jobs(workshop: Workshop, benchmark: Benchmark, learner: type[Learner]) -> list[Job]:
    """All that makes a learner what is tested, first things first, whether it is there or not."""
    jobs = [base_job(workshop, benchmark, learner.base_kind)]
    for link in chain(learner):
        needs = tuple(path for job in jobs for path in job.paths)
        path = workshop.fit_path(benchmark, link)
        cost = 0.2 * workshop.settings(benchmark, link).tasks
        do = functools.partial(_fit, benchmark, source(link))
        jobs.append(Job("fit", benchmark, link.name, do, "", (path,), needs, cost))
    return jobs


def base_job(workshop: Workshop, benchmark: Benchmark, kind: str) -> Job:
    """Training of a base model."""
    do = functools.partial(_train_base, benchmark, kind)
    path, weight = workshop.base_path(benchmark, kind), 8.0 * workshop.preset.base_epochs
    return Job("base", benchmark, kind, do, paths=(path,), weight=weight)


def _missing(
    workshop: Workshop, benchmark: Benchmark, learner: type[Learner], shots: Iterable[int]
) -> dict[int, tuple[int, ...]]:
    """The shots that have no record yet, for each unseen category that lacks some."""
    missing = {}
    for tested in benchmark.unseen:
        lacking = tuple(k for k in shots if not workshop.evaluated(benchmark, learner, tested, k))
        if lacking:
            missing[tested] = lacking
    return missing


def chain(learner: type[Learner]) -> list[type[Learner]]:
    """The learners with a stage of their own on the way to this one, first things first."""
    links = [learner]
    while links[-1].starts_from:
        links.append(links[-1].starts_from)
    return [link for link in reversed(links) if fits(link)]


def source(learner: type[Learner]) -> str:
    """A learner as `find_learner` takes it, in any process."""
    return f"{learner.__module__}:{learner.__qualname__}"


def _train_base(benchmark: Benchmark, kind: str, workshop: Workshop, report: Report) -> None:
    workshop.train_base(benchmark, kind, report)


def _fit(benchmark: Benchmark, learner: str, workshop: Workshop, report: Report) -> None:
    workshop.fit(benchmark, find_learner(learner), report)


def _evaluate(
    benchmark: Benchmark,
    learner: str,
    tested: int,
    shots: tuple[int, ...],
    workshop: Workshop,
    report: Report,
) -> None:
    workshop.evaluate(benchmark, find_learner(learner), tested, shots, report)


ALLOCATOR = {  # glibc gives large tensors back at once: page faults took 5 to 7% of an episode
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}


def use_allocator() -> None:
    """Let processes that are spawned from now on keep the memory of large tensors."""
    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)


def run(
    workshop: Workshop,
    jobs: Sequence[Job],
    workers: int,
    done: Callable[[Job, Cost], None],
) -> None:
    """Do all jobs in `workers` processes of one thread each; `done(job, cost)` after each.

    Raises `UserError` for a user's mistake in a job, or where a process dies. What is finished
    stays; jobs under way leave their last checkpoint.
    """
    use_allocator()
    waiting, running, progress = list(jobs), {}, _Progress(jobs)
    try:
        with Processes(workers, _start_worker, workshop, main=True) as processes:
            while waiting or running:
                for job in ready(waiting)[: workers - len(running)]:
                    waiting.remove(job)
                    running[processes.submit(_work, job)] = job
                finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for label, share in processes.told():
                    progress.share(label, share)
                for future in finished:
                    job = running.pop(future)
                    cost = future.result()
                    check_made(job)
                    done(job, cost)
                    progress.finish(job)
                progress.show(running.values())
    finally:
        progress.close()


def clear_checkpoints(work: Path) -> None:
    """Remove what was kept of unfinished work that is finished now: of a run killed in between."""
    for left in work.rglob("*.unfinished"):
        if any(left.with_suffix(ending).exists() for ending in (".safetensors", ".json")):
            remove(left)


def run_together(
    workshop: Workshop, jobs: Sequence[Job], done: Callable[[Job, Cost], None]
) -> None:
    """Do all jobs in the processes that torchrun started, which all call this.

    What is trained, they train together, one after another; the rest they share. `done` is
    called in the first process alone. Raises `UserError` as `run` does.
    """
    prepare_torch()
    ranks = workshop.ranks
    trained = [job for job in jobs if job.stage in ("base", "fit")]
    shared = [job for job in jobs if job.stage not in ("base", "fit")]
    waiting = list(trained)
    with tqdm(total=len(jobs), unit="job", disable=not ranks.first) as bar:
        while waiting:
            job = ready(waiting)[0]
            waiting.remove(job)
            bar.set_postfix_str(job.label)
            cost = do(workshop, job, lambda share: None)
            ranks.gather(None)  # its files are there for all
            check_made(job)
            if ranks.first:
                done(job, cost)
            bar.update()
        for start in range(0, len(shared), ranks.count):
            those = shared[start : start + ranks.count]
            own = those[ranks.rank] if ranks.rank < len(those) else None
            costs = ranks.gather(do(workshop, own, lambda share: None) if own else None)
            for job, cost in zip(those, costs):
                check_made(job)
                if ranks.first:
                    done(job, cost)
            bar.update(len(those))


def do(workshop: Workshop, job: Job, report: Report) -> Cost:
    """Do a job in this process; what it took. Raises `UserError` where memory is too small."""
    began = time.monotonic()
    forget_peak(workshop.device)
    try:
        job.do(workshop, report)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            f"out of memory in {job.label}: {_SMALLER}; what is finished, and the last checkpoint, "
            "are kept"
        ) from None
    return Cost(time.monotonic() - began, peak_mib(workshop.device))


_SMALLER = (
    "--set flat=True keeps one inner step's memory whatever their number, --set micro_batch=4 a "
    "part of a base batch's, with the same results; --set train_queries or size to less, or --set "
    "precision=bfloat16, lower it too; so do fewer --workers"
)


def check_made(job: Job) -> None:
    """A process names its work from the files as it finds them: they may have changed."""
    if not all(path.exists() for path in job.paths):
        raise UserError(
            f"the code or the data changed during the run ({job.label}): run the same command again"
        )


def ready(waiting: Iterable[Job]) -> list[Job]:
    """Jobs whose needs are met: what others wait for first, then the longest."""
    order = ("base", "fit", "tune", "evaluate", "probe")
    ready = [job for job in waiting if all(path.exists() for path in job.needs)]
    return sorted(ready, key=lambda job: (order.index(job.stage), -job.weight))


class _Progress:
    """One bar over all jobs, by their expected seconds, with the time left."""

    def __init__(self, jobs: Sequence[Job]):
        self._weights = {job.label: job.weight for job in jobs}
        self._shares = dict.fromkeys(self._weights, 0.0)
        self._finished = 0
        self._bar = tqdm(
            total=100.0,
            smoothing=0.05,  # jobs come and go: the time left follows the average pace
            bar_format="{percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left{postfix}",
            disable=not jobs,
        )

    def share(self, label: str, share: float) -> None:
        self._shares[label] = share

    def finish(self, job: Job) -> None:
        self._shares[job.label] = 1.0
        self._finished += 1

    def show(self, running: Iterable[Job]) -> None:
        total = sum(self._weights.values()) or 1.0
        gone = sum(self._weights[label] * share for label, share in self._shares.items())
        self._bar.set_postfix_str(
            f"{self._finished}/{len(self._weights)} jobs; "
            + ", ".join(job.label for job in running),
            refresh=False,
        )
        self._bar.update(min(100.0, 100 * gone / total) - self._bar.n)

    def close(self) -> None:
        self._bar.close()


# ---------------------------------------------------------------------- in a worker process

_worker: dict = {}


def _start_worker(workshop: Workshop) -> None:
    prepare_torch()
    _worker.update(workshop=workshop)


def prepare_torch() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


def _work(job: Job) -> Cost:
    """Do a job; what it took."""
    return do(_worker["workshop"], job, functools.partial(_report, job.label, [0.0]))


def _report(label: str, last: list[float], share: float) -> None:
    """Tell the parent, some times a second at the most."""
    now = time.monotonic()
    if now - last[0] > 0.5:
        last[0] = now
        tell((label, share))
