"""What every command that does work shares: its options, the data, processes, how it ends."""

import argparse
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.engine import cluster, grid, store
from benchmarks.engine.grid import Cost, Job
from benchmarks.engine.workshop import Workshop
from benchmarks.presets import Preset, change, find_preset
from benchmarks.results.reading import option
from fewshot_landmarks.data.garments import write_garments
from fewshot_landmarks.data.keypoints import write_split
from fewshot_landmarks.data.source import find_source
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.protocol import BENCHMARKS, Benchmark
from fewshot_landmarks.support.console import answer
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.distributed import leave
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import advice
from fewshot_landmarks.support.outputs import add_overwrite, claim

MARK = ".writable"  # in every folder of finished work


def add_work_options(made: argparse.ArgumentParser, seed_of: str) -> None:
    """What every command that does work asks for."""
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a number of the preset or a learner's setting; may be repeated",
    )
    made.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="ImageNet weights of ResNet-50, or of EfficientNet-Lite0 as .pth",
    )
    made.add_argument(
        "--data",
        type=Path,
        help="DeepFashion2's folder, or a split file of a COCO keypoint set; without it, garments "
        "are drawn",
    )
    made.add_argument("--images", type=Path, metavar="DIR", help="photos of a COCO file in --data")
    for side in ("seen", "unseen"):
        made.add_argument(
            f"--{side}", default="", metavar="NAMES", help="categories of a COCO file, by commas"
        )
    made.add_argument("--out", type=Path, help="default: results/PRESET")
    add_overwrite(made)
    made.add_argument("--seed", type=int, default=0, help=f"of {seed_of} (default: 0)")
    made.add_argument("--workers", type=int, default=os.cpu_count(), help="default: all cores")
    made.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def given(arguments: argparse.Namespace) -> list[str]:
    """The options of work, but seed and place, that a command was given: for the next one."""
    made, words = argparse.ArgumentParser(), []
    add_work_options(made, "")
    for name, usual in vars(made.parse_args([])).items():
        value = getattr(arguments, name)
        if name in ("out", "seed") or value == usual:
            continue
        for one in value if isinstance(value, list) else [value]:
            words += option(f"--{name}", one.resolve() if isinstance(one, Path) else one)
    return words


def asked_preset(
    arguments: argparse.Namespace, own: Sequence[str] = (), apart: bool = False
) -> Preset:
    """The preset that --preset names, with what --set and --weights change.

    own: numbers that the command has of its own, so that --set would change nothing.
    apart: results of other numbers need a place of their own, --out.
    """
    for text in arguments.set:
        if text.partition("=")[0].rpartition(".")[2] in own:
            raise UserError(f"--set {text}: this command has its own; see its --help")
        if apart and not arguments.out:
            raise UserError(
                f"--set {text}: {results(arguments, find_preset(arguments.preset))} is for the "
                "preset as it is: give the --out of the run that --set changed"
            )
    preset = change(find_preset(arguments.preset), arguments.set)
    return _with_weights(preset, arguments.weights) if arguments.weights else preset


def _with_weights(preset: Preset, path: Path) -> Preset:
    """The preset with its network's weights from a file, which is read once to try."""
    options = {**preset.network_options, "weights": str(path.resolve())}
    if not FENETS[preset.network].pretrained:
        raise UserError(f"--weights {path}: the network of preset {preset.name} has none to load")
    FENETS[preset.network](**options)
    return replace(preset, network_options=options)


def benchmarks_of(arguments: argparse.Namespace, preset: Preset) -> Mapping[str, Benchmark]:
    """The paper's, or those of the keypoint set that --data names."""
    _find_data(arguments, results(arguments, preset))
    return find_source(arguments.data).benchmarks if arguments.data else BENCHMARKS


def _find_data(arguments: argparse.Namespace, out: Path) -> None:
    """Let --data name a split file where it names a COCO file and --seen its seen categories."""
    if not arguments.seen:
        if arguments.unseen or arguments.images:
            raise UserError("--images and --unseen go with --seen, and with a COCO file in --data")
        return
    if not arguments.data or not arguments.data.is_file():
        raise UserError("--seen names categories of a COCO keypoint file: give it by --data FILE")
    names = [
        [name.strip() for name in given.split(",") if name.strip()]
        for given in (arguments.seen, arguments.unseen)
    ]
    path = work_folder(out) / "split.json"
    write_split(path, arguments.data, arguments.images, *names)
    arguments.data, arguments.out = path, out
    arguments.seen, arguments.unseen, arguments.images = "", "", None


def results(arguments: argparse.Namespace, preset: Preset) -> Path:
    """Where results go: --out, or a folder of the preset's name, and a keypoint set's."""
    keypoints = arguments.data and arguments.data.suffix == ".json"
    name = f"{preset.name}-{arguments.data.stem}" if keypoints else preset.name
    return arguments.out or Path("results") / name


def check_garments(arguments: argparse.Namespace) -> None:
    """Raise `UserError` where a command of the paper's benchmarks alone is given other data."""
    if arguments.seen or (arguments.data and arguments.data.is_file()):
        raise UserError(
            f"--data {arguments.data}: this command is for the paper's benchmarks, give the folder "
            "of DeepFashion2"
        )


def open_workshop(
    arguments: argparse.Namespace, preset: Preset, files: Sequence[str]
) -> tuple[Path, Workshop]:
    """Where results go, these files, and the workshop that makes them, its data at hand."""
    out = results(arguments, preset)
    claim([out / file for file in files], arguments.overwrite)
    data = prepare(arguments, preset, out)
    where = device(arguments.device)
    return out, Workshop(
        preset, data, out / "work", arguments.seed, where, workers=arguments.workers
    )


def prepare(arguments: argparse.Namespace, preset: Preset, out: Path) -> Path:
    """The folder of the data: what --data names, or garments drawn for the preset, once.

    Finds out whether results can be written first: better than after an hour.
    """
    work = work_folder(out)
    root, drawn = data_folder(arguments, preset), preset.drawn
    if arguments.data:
        return root
    undrawn, began = not is_drawn(preset), time.monotonic()
    write_garments(
        root,
        photos={"train": drawn.train_photos, "validation": drawn.validation_photos},
        minimum={"train": drawn.train_minimum, "validation": drawn.validation_minimum},
        seed=drawn.seed,
        difficulty=drawn.difficulty,
        workers=arguments.workers,
    )
    if undrawn:
        cost = Cost(time.monotonic() - began, math.nan)
        store.note_cost(work, "draw", "", drawn.name, f"draw {drawn.name}", drawn.seed, cost)
    return root


def work_folder(out: Path) -> Path:
    """Where finished work is kept; it is there afterwards, and a mark of ours in it.

    Raises `UserError` where it holds files of others, or cannot be written.
    """
    work = out / "work"
    try:
        if work.exists() and any(work.iterdir()) and not (work / MARK).exists():
            raise UserError(f"{work} holds what no run wrote: choose another folder, --out")
        work.mkdir(parents=True, exist_ok=True)
        (work / MARK).touch()
    except OSError as error:
        raise UserError(f"cannot write to {work}, see --out: {advice(error)}") from None
    return work


def data_folder(arguments: argparse.Namespace, preset: Preset) -> Path:
    """Where the data are: what --data names, or a folder of the preset's name under data/."""
    if arguments.data:
        return arguments.data
    if preset.drawn is None:
        raise UserError(
            f"preset {preset.name} wants real data: give --data DIR, a folder that holds "
            "DeepFashion2's train/ and validation/"
        )
    return Path("data") / preset.drawn.name


def is_drawn(preset: Preset) -> bool:
    """Whether the preset's garments have been drawn, all of them."""
    return (Path("data") / preset.drawn.name / "generator.json").exists()


def device(name: str, engine: str = "local") -> str:
    """The device that --device asks for; on a Ray cluster it need not be this machine's."""
    return find_device(name) if engine == "local" or name == "auto" else name


def work_off(workshop: Workshop, jobs: Sequence[Job], workers: int, engine: str = "local") -> None:
    """Do jobs in processes, and note what each cost.

    engine: "local" for processes of this machine, "ray" for those of a Ray cluster. Under torchrun
    the processes that it started do them.
    """

    def done(job: Job, cost: Cost) -> None:
        store.note_cost(
            workshop.work, job.stage, job.benchmark.name, job.name, job.label, workshop.seed, cost
        )

    grid.clear_checkpoints(workshop.work)
    if workshop.ranks.count > 1:
        grid.run_together(workshop, jobs, done)
    elif engine == "ray":
        cluster.run(workshop, jobs, done)
    else:
        grid.run(workshop, jobs, workers, done)


def command(
    execute: Callable[[argparse.Namespace], None],
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
) -> int:
    """Run a command; see `fewshot_landmarks.support.console.answer`."""
    asked = parser.parse_args(arguments)
    try:
        return answer(execute, asked, "stopped; the same command goes on from here")
    finally:
        leave()
