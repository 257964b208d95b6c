"""One measurement of a way to MAML's gradient, in a process of its own, and the machine."""

import functools
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck

from benchmarks.engine import pool
from benchmarks.speed.ways import ARITHMETIC, WAYS, Loss
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.heatmaps import query_loss, support_loss
from fewshot_landmarks.networks import fenets
from fewshot_landmarks.networks.heads import LandmarkModel
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.support.devices import forget_peak, limit_memory, out_of_memory, peak_mib
from fewshot_landmarks.support.processes import Processes

CATEGORY = 4  # long sleeve outwear, with the most landmarks: 39
OPTIONS: dict[str, dict] = {
    "small": {"channels": 32, "width": 16},
    "resnet50": {"channels": 512, "weights": None},
    "efficientnet": {"channels": 64, "weights": None},
}


@dataclass(frozen=True)
class Case:
    """What is measured."""

    way: str
    network: str
    size: int
    shots: int
    queries: int
    steps: int
    seconds: float  # to measure for, at least
    device: str
    round: int = 0


@dataclass(frozen=True)
class Measured:
    """What a case took."""

    task_seconds: float  # median over tasks
    forward_seconds: float  # of one pass of the support images
    peak_mib: float  # more than before the first task
    failed: str = ""


def problem(case: Case) -> tuple[nn.Module, Loss, Loss]:
    """A model, and the losses of random support and query images."""
    torch.manual_seed(0)
    fenet = fenets.FENETS[case.network](**OPTIONS[case.network], **ARITHMETIC.get(case.way, {}))
    tame(fenet, case.size)
    task = random_task(case.size, case.shots, case.queries).to(case.device)
    model = LandmarkModel(fenet, 0.05 * torch.randn(task.landmarks, fenet.channels))
    return (
        model.to(case.device),
        lambda model: support_loss(model(task.support.images), task.support),
        lambda model: query_loss(model(task.query.images), task),
    )


def random_task(size: int, shots: int, queries: int) -> Task:
    """A task of noise: time and memory do not depend on what is seen."""
    torch.manual_seed(0)
    landmarks = category(CATEGORY).landmarks

    def samples(count: int) -> Samples:
        known = torch.ones(count, landmarks, dtype=torch.bool)
        return Samples(
            images=torch.rand(count, 3, size, size),
            landmarks=size * torch.rand(count, landmarks, 2),
            labelled=known,
            scored=known,
            origin=torch.zeros(count, 2),
            scale=torch.ones(count, 2),
            box=torch.tensor([[0.0, 0.0, size, size]]).expand(count, 4),
            area=torch.full((count,), float(size**2)),
            categories=torch.full((count,), CATEGORY),
            indices=torch.arange(count),
        )

    return Task(CATEGORY, samples(shots), samples(queries))


def tame(fenet: nn.Module, size: int) -> None:
    """Make a random ResNet behave like a trained one.

    With small residual branches and batch norm's statistics of its own: otherwise its activations
    grow from block to block, and rounding errors in its gradients with them.
    """
    norms = [layer for layer in fenet.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        return
    for block in fenet.modules():
        if isinstance(block, Bottleneck):
            nn.init.constant_(block.bn3.weight, 0.2)
    for norm in norms:
        norm.momentum = None  # the mean over what it meets
        norm.train()
    with torch.no_grad():
        fenet(torch.rand(4, 3, min(size, 192), min(size, 192)))
    for norm in norms:
        norm.eval()


def measure(case: Case) -> Measured:
    """Time and memory of one case, in this process.

    The first task is not timed: it is the one that gets memory from the system.
    """
    torch.set_num_threads(1)
    model, support, query = problem(case)
    with torch.no_grad():
        support(model)  # libraries choose their ways at first
        forward = min(timed(case.device, lambda: support(model)) for _ in range(3))
    forget_peak(case.device)
    before = peak_mib(case.device)
    task = functools.partial(WAYS[case.way], model, support, query, case.steps)
    times: list[float] = []
    while len(times) < 2 or sum(times[1:]) < case.seconds:
        model.zero_grad(set_to_none=True)
        times.append(timed(case.device, task))
    median = statistics.median(times[1:])
    return Measured(median, forward, peak_mib(case.device) - before)


def timed(device: str, work: Callable[[], object]) -> float:
    """Seconds that some work takes, to its end on the device."""
    _settle(device)
    began = time.perf_counter()
    work()
    _settle(device)
    return time.perf_counter() - began


def _settle(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def measure_apart(case: Case, memory: float | None = None) -> Measured:
    """`measure` in a fresh process, which may run out of the memory (GiB) it is given."""
    pool.use_allocator()
    with Processes(1, limit_memory, memory, main=True) as process:
        try:
            return process.submit(measure, case).result()
        except ImportError as error:
            return Measured(math.nan, math.nan, math.nan, f"not installed: {error.name}")
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, BrokenProcessPool) or out_of_memory(error)):
                raise
            return Measured(math.nan, math.nan, math.nan, "out of memory")


def machine(where: str) -> dict:
    """The machine and the versions, without names."""

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    packages = ("torch", "higher", "learn2learn", "torchopt")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(where) if where.startswith("cuda") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        **{package: installed(package) for package in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
