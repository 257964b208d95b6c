"""Meta-training speed and memory, side by side: python -m benchmarks.speed

A task is MAML's: gradient steps on the support loss from (theta, omega), the query loss of the
result, and its second-order gradient with respect to (theta, omega). All ways compute the same
gradient, in bfloat16 but roughly. They take turns, round after round, each measurement in a fresh
process of one thread, so that ratios hold on a noisy machine: compare within a run only. Writes
speed.csv, speed.md and figures, with the machine's description. Every measurement is kept as soon
as it is made; stopped and run again, the same command goes on.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.commands.options import Command
from benchmarks.figures.build import METADATA, render
from benchmarks.speed.measure import Case, machine, measure_apart
from benchmarks.speed.ways import ARITHMETIC, WAYS, grouped
from fewshot_landmarks.networks import fenets
from fewshot_landmarks.support.console import positive
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_bytes, write_text
from fewshot_landmarks.support.markup import csv_text, pipes
from fewshot_landmarks.support.outputs import add_overwrite, claim

STEPS = (1, 4, 12)
SIZES = {  # support and query images of a task: a CPU has time for few of the large ones
    ("small", 48): (5, 12),
    ("efficientnet", 64): (5, 12),
    ("resnet50", 192): (2, 4),
    ("resnet50", 384): (1, 2),
}
MACHINE, MEASURED = "machine.json", "measurements.csv"
TABLES = "speed.csv", "speed.md"
FILES = (MACHINE, MEASURED, *TABLES, *(f"speed.{ending}" for ending in METADATA))
NUMBERS = ("task_seconds", "forward_seconds", "peak_mib")


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


def _size(text: str) -> tuple[str, int]:
    network, _, size = text.partition(":")
    if network not in fenets.FENETS or not size.isdigit():
        raise UserError(f"--size {text}: give NETWORK:PIXELS, such as small:48 or resnet50:192")
    return network, int(size)


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument(
        "--way",
        action="append",
        choices=WAYS,
        default=[],
        metavar="WAY",
        help=f"{'; '.join(WAYS)}; may be repeated (default: all)",
    )
    parser.add_argument("--size", action="append", default=[], metavar="NETWORK:PIXELS")
    parser.add_argument(
        "--steps", action="append", type=positive, default=[], help=f"default: {STEPS}"
    )
    parser.add_argument("--rounds", type=positive, default=3, help="default: 3")
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
