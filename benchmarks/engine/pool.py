"""Doing jobs: in processes of this machine or of torchrun, in a sensible order."""

import functools
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.engine.experiment import Experiment
from benchmarks.engine.plan import Job
from benchmarks.engine.stages import Report
from benchmarks.engine.store import Cost, note_job
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.support.devices import forget_peak, out_of_memory, peak_mib
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import remove
from fewshot_landmarks.support.processes import Processes, tell

ALLOCATOR = {  # glibc gives large tensors back at once: page faults took 5 to 7% of an episode
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}


def use_allocator() -> None:
    """Let processes that are spawned from now on keep the memory of large tensors."""
    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)


def do_jobs(
    experiment: Experiment, jobs: Sequence[Job], workers: int, engine: str = "local"
) -> None:
    """Do jobs, and note what each took.

    engine: "local" for processes of this machine, "ray" for those of a Ray cluster. Under torchrun
    the processes that it started do them.
    """
    clear_checkpoints(experiment.work)
    if experiment.ranks.count > 1:
        run_together(experiment, jobs)
    elif engine == "ray":
        from benchmarks.engine import cluster  # it does a job as is done here

        cluster.run(experiment, jobs)
    else:
        run(experiment, jobs, workers)


def run(experiment: Experiment, jobs: Sequence[Job], workers: int) -> None:
    """Do all jobs in `workers` processes of one thread each.

    Raises `UserError` for a user's mistake in a job, or where a process dies. What is finished
    stays; jobs under way leave their last checkpoint.
    """
    use_allocator()
    waiting, running, progress = list(jobs), {}, _Progress(jobs)
    try:
        with Processes(workers, _start_worker, experiment, main=True) as processes:
            while waiting or running:
                for job in ready(waiting)[: workers - len(running)]:
                    waiting.remove(job)
                    running[processes.submit(_work, job)] = job
                finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for label, share in processes.told():
                    progress.share(label, share)
                for future in finished:
                    job = running.pop(future)
                    finish(experiment, job, future.result())
                    progress.finish(job)
                progress.show(running.values())
    finally:
        progress.close()


def clear_checkpoints(work: Path) -> None:
    """Remove what was kept of unfinished work that is finished now: of a run killed in between."""
    for left in work.rglob("*.unfinished"):
        if any(left.with_suffix(ending).exists() for ending in (".safetensors", ".json")):
            remove(left)


def run_together(experiment: Experiment, jobs: Sequence[Job]) -> None:
    """Do all jobs in the processes that torchrun started, which all call this.

    What is trained, they train together, one after another; the rest they share. The first alone
    notes what it took. Raises `UserError` as `run` does.
    """
    prepare_torch()
    ranks = experiment.ranks
    first = ("features", "base", "fit")
    trained = [job for job in jobs if job.stage in first]
    shared = [job for job in jobs if job.stage not in first]
    waiting = list(trained)
    with tqdm(total=len(jobs), unit="job", disable=not ranks.first) as bar:
        while waiting:
            job = ready(waiting)[0]
            waiting.remove(job)
            bar.set_postfix_str(job.label)
            cost = do(experiment, job, lambda share: None)
            ranks.gather(None)  # its files are there for all
            finish(experiment, job, cost)
            bar.update()
        for start in range(0, len(shared), ranks.count):
            those = shared[start : start + ranks.count]
            own = those[ranks.rank] if ranks.rank < len(those) else None
            costs = ranks.gather(do(experiment, own, lambda share: None) if own else None)
            for job, cost in zip(those, costs):
                finish(experiment, job, cost)
            bar.update(len(those))


def do(experiment: Experiment, job: Job, report: Report) -> Cost:
    """Do a job in this process; what it took. Raises `UserError` where memory is too small."""
    subject = find_learner(job.learner) if job.learner else job.name  # imported here, if need be
    began = time.monotonic()
    forget_peak(experiment.device)
    try:
        job.function(experiment, job.benchmark, subject, *job.arguments, report)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            f"out of memory in {job.label}: {_SMALLER}; what is finished, and the last checkpoint, "
            "are kept"
        ) from None
    return Cost(time.monotonic() - began, peak_mib(experiment.device))


_SMALLER = (
    "--set flat=True keeps one inner step's memory whatever their number, --set micro_batch=4 a "
    "part of a base batch's, with the same results; --set train_queries or size to less, or --set "
    "precision=bfloat16, lower it too; so do fewer --workers"
)


def finish(experiment: Experiment, job: Job, cost: Cost) -> None:
    """Note what a job took, if its files are there.

    A process names its work from the files as it finds them, which may have changed since.
    """
    if not all(path.exists() for path in job.paths):
        raise UserError(
            f"the code or the data changed during the run ({job.label}): run the same command again"
        )
    if experiment.ranks.first:
        note_job(experiment, job, cost)


def ready(waiting: Iterable[Job]) -> list[Job]:
    """Jobs whose needs are met: what others wait for first, then the longest."""
    order = ("features", "base", "fit", "tune", "evaluate", "probe")
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


def _start_worker(experiment: Experiment) -> None:
    prepare_torch()
    _worker.update(experiment=experiment)


def prepare_torch() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


def _work(job: Job) -> Cost:
    """Do a job; what it took."""
    return do(_worker["experiment"], job, functools.partial(_report, job.label, [0.0]))


def _report(label: str, last: list[float], share: float) -> None:
    """Tell the parent, some times a second at the most."""
    now = time.monotonic()
    if now - last[0] > 0.5:
        last[0] = now
        tell((label, share))
