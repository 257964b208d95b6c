"""Run the benchmark: python -m benchmarks.run --all

Trains and evaluates what is missing, then writes Tables 2, 3 and 4, and with --all the figures, the
claims and the report too. Killed at any moment and run again, it goes on where it was.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.commands import (
    add_work_options,
    asked_preset,
    benchmarks_of,
    command,
    data_folder,
    device,
    given,
    is_drawn,
    prepare,
    results,
    work_off,
)
from benchmarks.engine import grid, probes, store
from benchmarks.engine.grid import Cell
from benchmarks.engine.workshop import Workshop
from benchmarks.paper.facts import TABLE4_SHOTS, ablated
from benchmarks.presets import PRESETS, Preset
from benchmarks.tables import build as tables
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.protocol import ABLATIONS, LEARNERS, SHOTS, Benchmark, benchmark
from fewshot_landmarks.support.distributed import Ranks, join, local_device
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.outputs import claim


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


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    if arguments.workers < 1:
        raise UserError(f"--workers {arguments.workers}: at least 1")
    where = device(arguments.device, arguments.engine)
    if arguments.engine != "local" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(f"--engine {arguments.engine} and torchrun exclude each other: take one")
    options = given(arguments)
    ranks = join(where)
    with ranks.in_turn():  # data are drawn, indexed and stored once
        preset, wanted = _asked(arguments, ranks)
        out = results(arguments, preset)
        if arguments.dry_run and not arguments.data and preset.drawn and not is_drawn(preset):
            print(f"Would draw {preset.drawn.name}, then do all of {len(wanted)} cells.")
            return
        work = out / "work"
        if not arguments.dry_run:
            claim([out / file for file in _files(arguments.all)], arguments.overwrite)
        data = (
            data_folder(arguments, preset) if arguments.dry_run else prepare(arguments, preset, out)
        )
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
        workshop.check(*{cell.benchmark.name: cell.benchmark for cell in wanted}.values())
        planned = [*grid.plan(workshop, wanted), *probes.plan(workshop, wanted)]
        jobs = list({job.paths: job for job in planned}.values())
    jobs = ranks.gather(jobs)[0]  # what the first has begun to do may be there for others already
    if arguments.dry_run:
        print("\n".join(job.label for job in jobs) or "Nothing is missing.")
        return
    if ranks.first:
        of_run = ["--strict"] * arguments.strict
        of_run += ["--engine", arguments.engine] * (arguments.engine != "local")
        store.remember(work, [cell.learner for cell in wanted], arguments.seed, options, of_run)
    try:
        work_off(workshop, jobs, arguments.workers, arguments.engine)
    finally:
        if ranks.first:
            store.gather(workshop, out)
            probes.gather(workshop, store.seeds(work), out)
    if ranks.first:
        notes, written = tables.write_tables(out), "Tables 2, 3 and 4"
        if arguments.all:
            notes += _write_pages(out)
            written += ", the figures, claims.md and report.html"
        print((out / "table2.md").read_text("utf-8"))
        print(f"{written} are in {out}.", *notes, sep="\n")


def _files(pages: bool) -> list[str]:
    """What a run writes to its results directory."""
    files = [*store.FILES, *probes.FILES, *tables.FILES]
    if pages:
        from benchmarks.claims import build as claims
        from benchmarks.figures import build as figures
        from benchmarks.report import build as report

        files += [*claims.FILES, *figures.FILES, report.FILE]
    return files


def _write_pages(out: Path) -> list[str]:
    """Writes claims, figures and report; returns what is left out.

    Imported here: every process of every command that works through `run` would draw in matplotlib
    and jinja2 otherwise.
    """
    from benchmarks.claims.build import write_claims
    from benchmarks.figures.build import write_figures
    from benchmarks.report.build import write_report

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


def _tell_skipped(garments) -> None:
    if not garments.skipped:
        return
    shown = garments.skipped[:5]
    rest = len(garments.skipped) - len(shown)
    more = [f"... and {rest} more"] if rest else []
    print(f"{garments.split}: skipped {len(garments.skipped)}:", *shown, *more, sep="\n  ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see `benchmarks.commands.command`."""
    return command(execute, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
