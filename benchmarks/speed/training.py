"""Meta-training speed and memory, side by side: python -m benchmarks.speed

A task is MAML's: gradient steps on the support loss from (theta, omega), the query loss of the
result, and its second-order gradient with respect to (theta, omega). All ways compute the same
gradient, in bfloat16 but roughly. They take turns, round after round, each measurement in a fresh
process of one thread, so that ratios hold on a noisy machine: compare within a run only. Writes
speed.csv, speed.md and figures, with the machine's description. Every measurement is kept as soon
as it is made; stopped and run again, the same command goes on.
"""

import argparse
import functools
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn
from torchvision.models.resnet import Bottleneck
from tqdm import tqdm

from benchmarks.commands import Command
from benchmarks.engine import pool
from benchmarks.figures.build import METADATA, render
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.heatmaps import query_loss, support_loss
from fewshot_landmarks.inner_loop import inner_loop
from fewshot_landmarks.networks import efficientnet, fenets
from fewshot_landmarks.networks.heads import LandmarkModel
from fewshot_landmarks.samples import Samples, Task
from fewshot_landmarks.support.devices import (
    find_device,
    forget_peak,
    limit_memory,
    out_of_memory,
    peak_mib,
)
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_bytes, write_text
from fewshot_landmarks.support.markup import csv_text, pipes
from fewshot_landmarks.support.outputs import add_overwrite, claim
from fewshot_landmarks.support.processes import Processes

CATEGORY = 4  # long sleeve outwear, with the most landmarks: 39
RATE = 0.01
STEPS = (1, 4, 12)
SIZES = {  # support and query images of a task: a CPU has time for few of the large ones
    ("small", 48): (5, 12),
    ("efficientnet", 64): (5, 12),
    ("resnet50", 192): (2, 4),
    ("resnet50", 384): (1, 2),
}
OPTIONS = {
    "small": {"channels": 32, "width": 16},
    "resnet50": {"channels": 512, "weights": None},
    "efficientnet": {"channels": 64, "weights": None},
}
Loss = Callable[[nn.Module], torch.Tensor]


# ---------------------------------------------------------------------- ways to the same gradient


def ours(model: nn.Module, support: Loss, query: Loss, steps: int, flat: bool) -> None:
    """This project's inner loop, on `higher`."""
    tuned = inner_loop(model, support, steps=steps, rates=RATE, second_order=True, flat=flat)
    query(tuned).backward()


def grouped(model: nn.Module, support: Loss, query: Loss, steps: int) -> None:
    """Ours, with torch's own depthwise convolution."""

    def depthwise(images, filters, stride, padding):
        return F.conv2d(images, filters, None, stride, padding, groups=len(filters))

    with mock.patch.object(efficientnet, "depthwise", depthwise):
        ours(model, support, query, steps, flat=False)


def learn2learn(model: nn.Module, support: Loss, query: Loss, steps: int) -> None:
    """learn2learn's MAML wrapper."""
    from learn2learn.algorithms import MAML

    tuned = MAML(model, lr=RATE).clone()
    for _ in range(steps):
        tuned.adapt(support(tuned))
    query(tuned).backward()


def torchopt(model: nn.Module, support: Loss, query: Loss, steps: int) -> None:
    """TorchOpt's differentiable SGD."""
    import torchopt

    start = torchopt.extract_state_dict(model, by="reference")
    optimiser = torchopt.MetaSGD(model, lr=RATE)
    for _ in range(steps):
        optimiser.step(support(model))
    query(model).backward()
    torchopt.recover_state_dict(model, start)


def torch_func(model: nn.Module, support: Loss, query: Loss, steps: int) -> None:
    """torch.func alone."""
    start = dict(model.named_parameters())

    def loss_of(loss: Loss, values: dict) -> torch.Tensor:
        return loss(functools.partial(torch.func.functional_call, model, values))

    def adapted(values: dict) -> torch.Tensor:
        for _ in range(steps):
            gradients = torch.func.grad(functools.partial(loss_of, support))(values)
            values = {name: value - RATE * gradients[name] for name, value in values.items()}
        return loss_of(query, values)

    for name, gradient in torch.func.grad(adapted)(start).items():
        start[name].grad = gradient


WAYS: dict[str, Callable] = {
    "ours, unrolled": functools.partial(ours, flat=False),
    "ours, flat": functools.partial(ours, flat=True),
    "learn2learn": learn2learn,
    "TorchOpt": torchopt,
    "torch.func": torch_func,
    "ours, unrolled, torch's depthwise": grouped,
    "ours, flat, channels last": functools.partial(ours, flat=True),
    "ours, flat, channels last, bfloat16": functools.partial(ours, flat=True),
}
ARITHMETIC = {  # of the network, for ways that do not take it as it is
    "ours, flat, channels last": {"channels_last": True},
    "ours, flat, channels last, bfloat16": {"channels_last": True, "precision": "bfloat16"},
}


# ---------------------------------------------------------------------- one measurement


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


# ---------------------------------------------------------------------- all of them


def floor(case: pd.Series) -> float:
    """Passes over the support images that a task cannot do without.

    A backward pass costs two forward ones. A step is a forward and a backward pass; the sweep back
    through it costs twice as much; the query images want one of each.
    """
    return 9.0 * case.steps + 3.0 * case.queries / case.shots


def table(measurements: pd.DataFrame) -> pd.DataFrame:
    """A line a case: medians over rounds, and ratios to ours unrolled."""
    keys = ["network", "size", "shots", "queries", "steps", "way"]
    by = measurements.groupby(keys, sort=False)
    found = by[["task_seconds", "forward_seconds", "peak_mib"]].median()
    found["rounds"] = by.size()
    found["tasks_a_second"] = 1 / found.task_seconds
    found["forward_passes"] = found.task_seconds / found.forward_seconds
    found["floor"] = found.reset_index().apply(floor, axis=1).to_numpy()
    first = found.xs("ours, unrolled", level="way")
    one_step = found.xs(min(measurements.steps), level="steps").peak_mib
    for name in ("task_seconds", "peak_mib"):
        ratio = found[name] / first[name].reindex(found.index.droplevel("way")).to_numpy()
        found[name.removesuffix("_seconds").removesuffix("_mib") + "_ratio"] = ratio
    found["peak_to_fewest_steps"] = (
        found.peak_mib / one_step.reindex(found.index.droplevel("steps")).to_numpy()
    )
    found["failed"] = by["failed"].first()
    return found.drop(columns="forward_seconds").reset_index()


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


def _markdown(frame: pd.DataFrame, about: dict) -> str:
    rounded = frame.assign(
        **{name: frame[name].map("{:.3g}".format) for name in frame.select_dtypes("float")}
    )
    lines = [list(rounded.columns), *rounded.astype(str).to_numpy().tolist()]
    machine_line = ", ".join(f"{name} {value}" for name, value in about.items() if value)
    return f"# Meta-training speed\n\n{machine_line}\n\n{pipes(lines)}\n"


def plot(frame: pd.DataFrame) -> Figure:
    """Time and memory a task against inner steps, a column a network."""
    kinds = list(frame.groupby(["network", "size"], sort=False))
    figure = Figure(figsize=(max(3.6 * len(kinds), 9), 6.6), layout="constrained")
    axes = figure.subplots(2, len(kinds), squeeze=False)
    labels = ("seconds a task", "peak memory, MiB")
    ways = list(frame.way.unique())
    for column, ((network, size), part) in enumerate(kinds):
        for row, (value, label) in enumerate(zip(("task_seconds", "peak_mib"), labels)):
            axis = axes[row, column]
            for way, line in part.groupby("way", sort=False):
                colour = f"C{ways.index(way)}"
                axis.plot(line.steps, line[value], marker="o", color=colour, label=way)
            axis.set(xlabel="inner steps", ylabel=label, title=f"{network}, {size} pixels")
            axis.set_ylim(bottom=0)
    lines = {line.get_label(): line for axis in axes.flat for line in axis.lines}
    handles = [lines[way] for way in ways]  # no network has all
    figure.legend(handles, ways, loc="outside lower center", ncols=4)
    return figure


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Every case, round after round."""
    sizes = [_size(text) for text in arguments.size] or SIZES
    where = find_device(arguments.device)
    for number in range(arguments.rounds):
        for network, size in sizes:
            shots, queries = SIZES.get((network, size), (1, 2))
            for steps in arguments.steps or STEPS:
                for way in arguments.way or WAYS:
                    if way in ARITHMETIC and network != "resnet50":
                        continue  # others have their channels last anyway
                    if WAYS[way] is grouped and network != "efficientnet":
                        continue  # others have no depthwise convolutions
                    seconds = arguments.seconds
                    yield Case(way, network, size, shots, queries, steps, seconds, where, number)


def measure_all(wanted: Sequence[Case], kept: Path, memory: float | None) -> pd.DataFrame:
    """A line a measurement; those that `kept` has are not made again."""
    done = pd.read_csv(kept, keep_default_na=False).to_dict("records") if kept.exists() else []
    rows = {_name(row): row for row in done if "not installed" not in row["failed"]}
    for case in tqdm(wanted, unit="case"):
        about = asdict(case)
        if _name(about) not in rows:
            rows[_name(about)] = {**about, **asdict(measure_apart(case, memory))}
            write_text(kept, csv_text(pd.DataFrame(rows.values())))
    frame = pd.DataFrame([row for row in rows.values() if row["device"] == wanted[0].device])
    return frame.assign(**{name: pd.to_numeric(frame[name], "coerce") for name in NUMBERS})


def _name(row: dict) -> tuple[str, ...]:
    return tuple(str(row[field.name]) for field in fields(Case))


MACHINE, MEASURED = "machine.json", "measurements.csv"
TABLES = "speed.csv", "speed.md"
FILES = (MACHINE, MEASURED, *TABLES, *(f"speed.{ending}" for ending in METADATA))
NUMBERS = ("task_seconds", "forward_seconds", "peak_mib")


def _size(text: str) -> tuple[str, int]:
    network, _, size = text.partition(":")
    if network not in fenets.FENETS or not size.isdigit():
        raise UserError(f"--size {text}: give NETWORK:PIXELS, such as small:48 or resnet50:192")
    return network, int(size)


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument("--way", action="append", choices=WAYS, default=[], help="default: all")
    parser.add_argument("--size", action="append", default=[], metavar="NETWORK:PIXELS")
    parser.add_argument("--steps", action="append", type=int, default=[], help=f"default: {STEPS}")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--memory", type=float, metavar="GIB", help="a CPU measurement may take")
    parser.add_argument("--seconds", type=float, default=2.0, help="a measurement, at least")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--out", type=Path, default=Path("results/speed"))
    add_overwrite(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    wanted = list(cases(arguments))
    out = arguments.out
    claim([out / file for file in FILES], arguments.overwrite)
    about = machine(wanted[0].device)
    _refuse_another(out / MACHINE, about)
    write_text(out / MACHINE, json.dumps(about, indent=1) + "\n")
    frame = table(measure_all(wanted, out / MEASURED, arguments.memory))
    write_text(out / TABLES[0], csv_text(frame))
    write_text(out / TABLES[1], _markdown(frame, about))
    figure = plot(frame)
    for ending in METADATA:
        write_bytes(out / f"speed.{ending}", render(figure, ending))
    print(frame.to_string(index=False))


def _refuse_another(path: Path, about: dict) -> None:
    """Raise `UserError` where measurements are of another machine or of other versions."""
    if path.exists() and json.loads(path.read_text()) != about:
        raise UserError(
            f"{path.parent} holds measurements of another machine or other versions: give another "
            "--out, or delete them"
        )


main = Command("speed", __doc__, execute, options)
