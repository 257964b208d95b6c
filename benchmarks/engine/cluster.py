"""Jobs on a Ray cluster: --engine ray, with the extra `fewshot-landmarks[ray]`.

The cluster is the one that RAY_ADDRESS names, or this machine. All its machines must see the data
and the results under the same paths: that is where they find each other's work. A job whose machine
is lost is done again on another, from its last checkpoint, so the bytes are those of a local run.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

from tqdm import tqdm

from benchmarks.engine.experiment import Experiment
from benchmarks.engine.plan import Job
from benchmarks.engine.pool import ALLOCATOR, do, finish, prepare_torch, ready
from benchmarks.engine.store import Cost
from fewshot_landmarks.support.errors import UserError

RETRIES = 5  # of a job whose machine is lost
WAIT = 60.0  # seconds, after which it is looked whether the cluster still has a place for a job


def run(experiment: Experiment, jobs: Sequence[Job]) -> None:
    """Do all jobs, as many at a time as the cluster has room for.

    A job takes a CPU, and a GPU where the device is one. Raises `UserError` as `pool.run` does,
    and where Ray is not installed or the cluster has no room for any job.
    """
    ray = _ray()
    began_here = not ray.is_initialized()
    if began_here:
        try:
            ray.init(log_to_driver=False, logging_level="error", include_dashboard=False)
        except (OSError, RuntimeError, ValueError) as error:
            cause = " ".join(str(error).split())[:120]
            raise UserError(
                f"cannot reach the Ray cluster {os.environ.get('RAY_ADDRESS', 'here')} "
                f"({type(error).__name__}: {cause}): start it, or set RAY_ADDRESS=HOST:PORT"
            ) from None
    try:
        _run(ray, experiment, jobs)
    except ray.exceptions.RayTaskError:
        raise  # a job's own error
    except ray.exceptions.RayError as error:
        cause = " ".join(str(error).split())[:120]
        raise UserError(
            f"the Ray cluster gave up ({type(error).__name__}: {cause}): run the same command "
            "again, it goes on"
        ) from None
    finally:
        if began_here:
            ray.shutdown()


def _ray():
    try:
        import ray
    except ImportError:
        raise UserError(
            "--engine ray needs Ray: pip install 'fewshot-landmarks[ray]' (pip install ray)"
        ) from None
    return ray


def _run(ray, experiment: Experiment, jobs: Sequence[Job]) -> None:
    need = {"num_cpus": 1, "num_gpus": int(experiment.device.startswith("cuda"))}
    _check_room(ray, need)
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {"env_vars": {**ALLOCATOR, "PYTHONPATH": path}}  # for a learner in this folder
    work = ray.remote(**need, max_retries=RETRIES, runtime_env=environment)(_work)
    work_folder, data = experiment.work.resolve(), experiment.data
    data = replace(data, root=data.root.resolve(), cache=data.cache.resolve())
    shared = ray.put(replace(experiment, data=data, work=work_folder))
    waiting, running = list(jobs), {}
    with tqdm(total=len(jobs), unit="job") as bar:
        while waiting or running:
            for job in ready(waiting):  # Ray queues what has no room yet
                waiting.remove(job)
                running[work.remote(shared, job)] = job
            finished, _ = ray.wait(list(running), timeout=WAIT)
            if not finished:
                _check_room(ray, need)  # or Ray waits for ever for a machine
            for reference in finished:
                job = running.pop(reference)
                finish(experiment, job, _result(ray, reference))
                bar.update()


def _check_room(ray, need: dict) -> None:
    there = ray.cluster_resources()
    gpus = there.get("GPU", 0)
    if there.get("CPU", 0) < 1 or gpus < need["num_gpus"]:
        raise UserError(
            f"the Ray cluster has {there.get('CPU', 0):.0f} CPUs and {gpus:.0f} GPUs, a job needs "
            f"1 and {need['num_gpus']}: start more nodes, or choose another --device"
        )


def _result(ray, reference) -> Cost:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from None
        raise


def _work(experiment: Experiment, job: Job) -> Cost:
    """In a process of the cluster."""
    prepare_torch()
    return do(experiment, job, lambda share: None)
