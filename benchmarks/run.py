"""Run the benchmark: python -m benchmarks.run --all

Trains and evaluates what is missing, then writes Tables 2, 3 and 4, and with --all the figures, the
claims and the report too. Killed at any moment and run again, it goes on where it was.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import cluster, grid, probes, store
from benchmarks.grid import Cell, Cost, Job
from benchmarks.presets import PRESETS, Preset, change, find_preset
from benchmarks.tables import write_tables
from benchmarks.workshop import Workshop
from fewshot_landmarks.data.garments import write_garments
from fewshot_landmarks.data.keypoints import write_split
from fewshot_landmarks.data.source import find_source
from fewshot_landmarks.devices import find_device
from fewshot_landmarks.errors import UserError
from fewshot_landmarks.files import write_text
from fewshot_landmarks.learner import ABLATIONS, LEARNERS, find_learner
from fewshot_landmarks.networks import FENETS
from fewshot_landmarks.protocol import (
    BENCHMARKS,
    SHOTS,
    TABLE4_SHOTS,
    Benchmark,
    ablated,
    benchmark,
)
from fewshot_landmarks.ranks import Ranks, join, leave, local_device


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser("python -m benchmarks.run", description=__doc__)
    made.add_argument(
        "--all",
        action="store_true",
        help="every cell of Tables 2, 3 and 4, figures, claims and the report",
    )
    made.add_argument(
        "--benchmark", action="append", default=[], metavar="B", help="B-1 to B-4; may be repeated"
    )
    made.add_argument(
        "--learner",
        action="append",
        default=[],
        metavar="L",
        help="a learner's name or module:Class; may be repeated",
    )
    made.add_argument(
        "--shots", type=int, action="append", default=[], metavar="K", help="may be repeated"
    )
    made.add_argument("--preset", default="mini", help=f"{', '.join(PRESETS)} (default: mini)")
    add_work_options(made, seed_of="training")
    made.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where processes run: on this machine, or on a Ray cluster (default: local)",
    )
    made.add_argument("--strict", action="store_true", help="stop at the first bad garment")
    made.add_argument("--dry-run", action="store_true", help="say what is missing, do nothing")
    return made


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
        help="ResNet-50's ImageNet weights, for a machine without network",
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
    made.add_argument("--seed", type=int, default=0, help=f"of {seed_of} (default: 0)")
    made.add_argument("--workers", type=int, default=os.cpu_count(), help="default: all cores")
    made.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


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
    path = out / "work" / "split.json"
    write_split(path, arguments.data, arguments.images, *names)
    arguments.data, arguments.out = path, out
    arguments.seen, arguments.unseen, arguments.images = "", "", None


def work_off(workshop: Workshop, jobs: Sequence[Job], workers: int, engine: str = "local") -> None:
    """Do jobs in processes, and note what each cost.

    engine: "local" for processes of this machine, "ray" for those of a Ray cluster. Under torchrun
    the processes that it started do them.
    """

    def done(job: Job, cost: Cost) -> None:
        store.note_cost(
            workshop.work, job.stage, job.benchmark.name, job.name, job.label, workshop.seed, cost
        )

    if workshop.ranks.count > 1:
        grid.run_together(workshop, jobs, done)
    elif engine == "ray":
        cluster.run(workshop, jobs, done)
    else:
        grid.run(workshop, jobs, workers, done)


def open_workshop(arguments: argparse.Namespace, preset: Preset) -> tuple[Path, Workshop]:
    """Where results go, and the workshop that makes them, its data at hand."""
    out = results(arguments, preset)
    data = prepare(arguments, preset, out)
    where = device(arguments.device)
    return out, Workshop(
        preset, data, out / "work", arguments.seed, where, workers=arguments.workers
    )


def cells(arguments: argparse.Namespace, benchmarks: Mapping[str, Benchmark]) -> list[Cell]:
    """The cells that the arguments ask for, checked. Ablations are run on one benchmark (B-2)."""
    asked = arguments.benchmark or arguments.learner or arguments.shots
    if not (arguments.all or asked):
        raise UserError("nothing to do: give --all, or some of --benchmark, --learner, --shots")
    if strange := sorted(set(arguments.shots) - set(SHOTS)):
        raise UserError(f"--shots {strange[0]} is none of {', '.join(map(str, SHOTS))}")
    shots = tuple(sorted(set(arguments.shots))) or SHOTS
    asked_for = [benchmark(name, benchmarks) for name in arguments.benchmark]
    chosen = asked_for or list(benchmarks.values())
    found = []
    for name in arguments.learner or (*LEARNERS, *ABLATIONS):
        find_learner(name)
        ablation = name in ABLATIONS
        kept = tuple(k for k in shots if k in TABLE4_SHOTS) if ablation else shots
        for place in chosen:
            if kept and (not ablation or place.name == ablated(benchmarks)):
                found.append(Cell(place, name, kept))
    if not found:
        raise UserError(
            "no table has such a cell: ablations are run on "
            f"{ablated(benchmarks)}, from {min(TABLE4_SHOTS)} shots on"
        )
    return found


def prepare(arguments: argparse.Namespace, preset: Preset, out: Path) -> Path:
    """The folder of the data: what --data names, or garments drawn for the preset, once.

    Finds out whether results can be written first: better than after an hour.
    """
    work = out / "work"
    write_text(work / ".writable", "")
    root, drawn = _folder(arguments, preset), preset.drawn
    if arguments.data:
        return root
    undrawn, began = not _drawn(preset), time.monotonic()
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


def _folder(arguments: argparse.Namespace, preset: Preset) -> Path:
    if arguments.data:
        return arguments.data
    if preset.drawn is None:
        raise UserError(
            f"preset {preset.name} wants real data: give --data DIR, a folder that holds "
            "DeepFashion2's train/ and validation/"
        )
    return Path("data") / preset.drawn.name


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    if arguments.workers < 1:
        raise UserError(f"--workers {arguments.workers}: at least 1")
    where = device(arguments.device, arguments.engine)
    if arguments.engine != "local" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(f"--engine {arguments.engine} and torchrun exclude each other: take one")
    ranks = join(where)
    with ranks.in_turn():  # data are drawn, indexed and stored once
        preset, wanted = _asked(arguments, ranks)
        out = results(arguments, preset)
        if arguments.dry_run and not arguments.data and preset.drawn and not _drawn(preset):
            print(f"Would draw {preset.drawn.name}, then do all of {len(wanted)} cells.")
            return
        work = out / "work"
        data = _folder(arguments, preset) if arguments.dry_run else prepare(arguments, preset, out)
        if arguments.dry_run:
            preset = replace(preset, crops="not")
        workshop = Workshop(
            preset,
            data,
            work,
            arguments.seed,
            local_device(where) if ranks.count > 1 else where,
            arguments.strict,
            arguments.workers,
            ranks,
        )
        for split in (workshop.train, workshop.validation):
            _tell_skipped(split)
        for place in {cell.benchmark.name: cell.benchmark for cell in wanted}.values():
            workshop.check(place)
        jobs = [*grid.plan(workshop, wanted), *probes.plan(workshop, wanted)]
    jobs = ranks.gather(jobs)[0]  # what the first has begun to do may be there for others already
    if arguments.dry_run:
        print("\n".join(job.label for job in jobs) or "Nothing is missing.")
        return
    if ranks.first:
        store.remember(work, [cell.learner for cell in wanted], arguments.seed)
    try:
        work_off(workshop, jobs, arguments.workers, arguments.engine)
    finally:
        if ranks.first:
            store.gather(workshop, out)
            probes.gather(workshop, store.seeds(work), out)
    if ranks.first:
        notes, written = write_tables(out), "Tables 2, 3 and 4"
        if arguments.all:
            notes += _write_pages(out)
            written += ", the figures, claims.md and report.html"
        print((out / "table2.md").read_text("utf-8"))
        print(f"{written} are in {out}.", *notes, sep="\n")


def _write_pages(out: Path) -> list[str]:
    """Writes claims, figures and report; returns what is left out.

    Imported here: every process of every command that works through `run` would draw in matplotlib
    and jinja2 otherwise.
    """
    from benchmarks.claims import write_claims
    from benchmarks.figures import write_figures
    from benchmarks.report import write_report

    write_claims(out)
    notes = write_figures(out)
    write_report(out)
    return notes


def _asked(arguments: argparse.Namespace, ranks: Ranks) -> tuple[Preset, list[Cell]]:
    """The preset with its changes, and the cells."""
    preset = asked_preset(arguments)
    if preset.meta_batch < ranks.count:
        raise UserError(
            f"{ranks.count} processes cannot share steps of {preset.meta_batch} tasks: give "
            f"--set meta_batch={ranks.count} or more (results are then those of that meta-batch)"
        )
    return preset, cells(arguments, benchmarks_of(arguments, preset))


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


def benchmarks_of(arguments: argparse.Namespace, preset: Preset) -> Mapping[str, Benchmark]:
    """The paper's, or those of the keypoint set that --data names."""
    _find_data(arguments, results(arguments, preset))
    return find_source(arguments.data).benchmarks if arguments.data else BENCHMARKS


def results(arguments: argparse.Namespace, preset: Preset) -> Path:
    """Where results go: --out, or a folder of the preset's name, and a keypoint set's."""
    keypoints = arguments.data and arguments.data.suffix == ".json"
    name = f"{preset.name}-{arguments.data.stem}" if keypoints else preset.name
    return arguments.out or Path("results") / name


def _with_weights(preset: Preset, path: Path) -> Preset:
    """The preset with its network's weights from a file, which is read once to try."""
    options = {**preset.network_options, "weights": str(path.resolve())}
    if preset.network != "resnet50":
        raise UserError(f"--weights {path}: the network of preset {preset.name} has none to load")
    FENETS[preset.network](**options)
    return replace(preset, network_options=options)


def _drawn(preset: Preset) -> bool:
    return (Path("data") / preset.drawn.name / "generator.json").exists()


def device(name: str, engine: str = "local") -> str:
    """The device that --device asks for; on a Ray cluster it need not be this machine's."""
    return find_device(name) if engine == "local" or name == "auto" else name


def _tell_skipped(garments) -> None:
    if not garments.skipped:
        return
    shown = garments.skipped[:5]
    rest = len(garments.skipped) - len(shown)
    more = [f"... and {rest} more"] if rest else []
    print(f"{garments.split}: skipped {len(garments.skipped)}:", *shown, *more, sep="\n  ")


def command(execute: Callable[[], None]) -> int:
    """Run a command; 0, or 2 after a user's mistake, or 130 when interrupted."""
    try:
        execute()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        leave()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; see `command`."""
    return command(lambda: execute(parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
