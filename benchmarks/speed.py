"""Meta-training speed and memory, side by side: python -m benchmarks.speed

A task is MAML's: gradient steps on the support loss from (theta, omega), the query loss of the
result, and its second-order gradient with respect to (theta, omega). All ways compute the same
gradient. They take turns, round after round, each measurement in a fresh process of one thread, so
that ratios hold on a noisy machine: compare within a run only. Writes speed.csv, speed.md and
figures, with the machine's description.
"""

import argparse
import functools
import json
import math
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

from benchmarks.figures import METADATA, render
from benchmarks.memory import forget_peak, peak_mib
from benchmarks.rendering import pipes
from benchmarks.run import command, device
from fewshot_landmarks.categories import MAX_LANDMARKS
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.files import write_bytes, write_text
from fewshot_landmarks.heatmaps import heatmap_loss
from fewshot_landmarks.inner_loop import inner_loop
from fewshot_landmarks.networks import FENETS, LandmarkModel

SHOTS, QUERIES, RATE = 5, 12, 0.01
STEPS = (1, 4, 12)
SIZES = (("small", 48), ("resnet50", 192), ("resnet50", 384))
OPTIONS = {"small": {"channels": 32, "width": 16}, "resnet50": {"channels": 512, "weights": None}}
Loss = Callable[[nn.Module], torch.Tensor]


# ---------------------------------------------------------------------- ways to the same gradient


def ours(model: nn.Module, support: Loss, query: Loss, steps: int, flat: bool) -> None:
    """This project's inner loop, on `higher`."""
    tuned = inner_loop(model, support, steps=steps, rates=RATE, second_order=True, flat=flat)
    query(tuned).backward()


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
}


# ---------------------------------------------------------------------- one measurement


@dataclass(frozen=True)
class Case:
    """What is measured."""

    way: str
    network: str
    size: int
    steps: int
    seconds: float  # to measure for, at least
    device: str


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
    fenet = FENETS[case.network](**OPTIONS[case.network])
    model = LandmarkModel(fenet, 0.1 * torch.randn(MAX_LANDMARKS, fenet.channels))
    return model.to(case.device), _loss(case, SHOTS), _loss(case, QUERIES)


def _loss(case: Case, images: int) -> Loss:
    photos = torch.rand(images, 3, case.size, case.size, device=case.device)
    landmarks = case.size * torch.rand(images, MAX_LANDMARKS, 2, device=case.device)
    labelled = torch.ones(images, MAX_LANDMARKS, dtype=torch.bool, device=case.device)

    def loss(model: nn.Module) -> torch.Tensor:
        heatmaps = model(photos)
        return heatmap_loss(heatmaps, landmarks, case.size, labelled)

    return loss


def measure(case: Case) -> Measured:
    """Time and memory of one case, in this process."""
    torch.set_num_threads(1)
    model, support, query = problem(case)
    with torch.no_grad():
        support(model)  # libraries choose their ways at first
        forward = min(timed(case.device, lambda: support(model)) for _ in range(3))
    forget_peak(case.device)
    before = peak_mib(case.device)
    times: list[float] = []
    while not times or sum(times) < case.seconds:
        model.zero_grad(set_to_none=True)
        task = functools.partial(WAYS[case.way], model, support, query, case.steps)
        times.append(timed(case.device, task))
    median = sorted(times)[len(times) // 2]
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


def measure_apart(case: Case) -> Measured:
    """`measure` in a fresh process, which may run out of memory."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as process:
        try:
            return process.submit(measure, case).result()
        except (BrokenProcessPool, MemoryError, torch.OutOfMemoryError):
            return Measured(math.nan, math.nan, math.nan, "out of memory")
        except ImportError as error:
            return Measured(math.nan, math.nan, math.nan, f"not installed: {error.name}")


# ---------------------------------------------------------------------- all of them


def floor(steps: int) -> float:
    """Passes over the support images that a task cannot do without.

    A backward pass costs two forward ones. A step is a forward and a backward pass; the sweep back
    through it costs twice as much; the query images want one of each.
    """
    return 9.0 * steps + 3.0 * QUERIES / SHOTS


def table(rows: Sequence[tuple[Case, Measured]]) -> pd.DataFrame:
    """A line a case: medians over rounds, and ratios to ours unrolled."""
    frame = pd.DataFrame([{**asdict(case), **asdict(measured)} for case, measured in rows])
    keys = ["network", "size", "steps", "way"]
    failed = frame.groupby(keys, sort=False)["failed"].first()
    numbers = ["task_seconds", "forward_seconds", "peak_mib"]
    found = frame.groupby(keys, sort=False)[numbers].median()
    found["tasks_a_second"] = 1 / found.task_seconds
    found["forward_passes"] = found.task_seconds / found.forward_seconds
    found["floor"] = [floor(steps) for steps in found.index.get_level_values("steps")]
    first = found.xs("ours, unrolled", level="way")
    for name in ("task_seconds", "peak_mib"):
        ratio = found[name] / first[name].reindex(found.index.droplevel("way")).to_numpy()
        found[name.removesuffix("_seconds").removesuffix("_mib") + "_ratio"] = ratio
    found["failed"] = failed
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
    figure = Figure(figsize=(3.6 * len(kinds), 6), layout="constrained")
    axes = figure.subplots(2, len(kinds), squeeze=False)
    labels = ("seconds a task", "peak memory, MiB")
    for column, ((network, size), part) in enumerate(kinds):
        for row, (value, label) in enumerate(zip(("task_seconds", "peak_mib"), labels)):
            axis = axes[row, column]
            for way, line in part.groupby("way", sort=False):
                axis.plot(line.steps, line[value], marker="o", label=way)
            axis.set(xlabel="inner steps", ylabel=label, title=f"{network}, {size} pixels")
            axis.set_ylim(bottom=0)
    axes[0, 0].legend()
    return figure


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Every case, round after round."""
    sizes = [_size(text) for text in arguments.size] or SIZES
    where = device(arguments.device)
    for _ in range(arguments.rounds):
        for network, size in sizes:
            for steps in arguments.steps or STEPS:
                for way in arguments.way or WAYS:
                    yield Case(way, network, size, steps, arguments.seconds, where)


def _size(text: str) -> tuple[str, int]:
    network, _, size = text.partition(":")
    if network not in FENETS or not size.isdigit():
        raise UserError(f"--size {text}: give NETWORK:PIXELS, such as small:48 or resnet50:192")
    return network, int(size)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser("python -m benchmarks.speed", description=__doc__)
    made.add_argument("--way", action="append", choices=WAYS, default=[], help="default: all")
    made.add_argument("--size", action="append", default=[], metavar="NETWORK:PIXELS")
    made.add_argument("--steps", action="append", type=int, default=[], help=f"default: {STEPS}")
    made.add_argument("--rounds", type=int, default=3, help="default: 3")
    made.add_argument("--seconds", type=float, default=2.0, help="a measurement, at least")
    made.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    made.add_argument("--out", type=Path, default=Path("results/speed"))
    return made


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    wanted = list(cases(arguments))
    rows = [(case, measure_apart(case)) for case in tqdm(wanted, unit="case")]
    frame = table(rows)
    out = arguments.out
    about = machine(wanted[0].device)
    write_text(out / "speed.csv", frame.to_csv(index=False, lineterminator="\n"))
    write_text(out / "machine.json", json.dumps(about, indent=1) + "\n")
    write_text(out / "speed.md", _markdown(frame, about))
    figure = plot(frame)
    for ending in METADATA:
        write_bytes(out / f"speed.{ending}", render(figure, ending))
    print(frame.to_string(index=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see `benchmarks.run.command`."""
    return command(lambda: execute(parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
