"""What the commands share of their work: the preset, the data, where results go."""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.commands.options import add_work_options
from benchmarks.commands.overrides import change, with_weights
from benchmarks.engine import store
from benchmarks.engine.experiment import Experiment
from benchmarks.presets import Preset, find_preset
from benchmarks.results.reading import option
from fewshot_landmarks.data.garments import write_garments
from fewshot_landmarks.data.keypoints import write_split
from fewshot_landmarks.data.source import find_source
from fewshot_landmarks.protocol import BENCHMARKS, Benchmark
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.distributed import ALONE, Ranks, local_device
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import advice
from fewshot_landmarks.support.outputs import claim

MARK = ".writable"  # in every folder of finished work


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
    return with_weights(preset, arguments.weights) if arguments.weights else preset


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


def open_experiment(
    arguments: argparse.Namespace,
    preset: Preset,
    files: Sequence[str],
    device: str = "",
    ranks: Ranks = ALONE,
) -> tuple[Path, Experiment]:
    """Where results go, these files, and the experiment that makes them, its data at hand.

    With --dry-run nothing is claimed, drawn or packed.
    """
    out, dry = results(arguments, preset), getattr(arguments, "dry_run", False)
    root = data_folder(arguments, preset)
    if not dry:
        claim([out / file for file in files], arguments.overwrite)
        work_folder(out)  # whether it can be written is known before an hour of work
        if not arguments.data:
            _draw(preset, root, out / "work", arguments.workers)
    device = device or find_device(arguments.device)
    return out, Experiment.of(
        preset,
        root,
        out / "work",
        crops="not" if dry else "",
        strict=getattr(arguments, "strict", False),
        workers=arguments.workers,
        seed=arguments.seed,
        device=local_device(device) if ranks.count > 1 else device,
        ranks=ranks,
    )


def _draw(preset: Preset, root: Path, work: Path, workers: int) -> None:
    """Draw the preset's garments, where they are not there."""
    drawn, undrawn, began = preset.drawn, not is_drawn(preset), time.monotonic()
    write_garments(
        root,
        photos={"train": drawn.train_photos, "validation": drawn.validation_photos},
        minimum={"train": drawn.train_minimum, "validation": drawn.validation_minimum},
        seed=drawn.seed,
        difficulty=drawn.difficulty,
        workers=workers,
    )
    if undrawn:
        cost = store.Cost(time.monotonic() - began, math.nan)
        store.note_cost(work, f"draw {drawn.name}", "draw", "", drawn.name, drawn.seed, cost)


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
