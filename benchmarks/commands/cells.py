"""What `python -m benchmarks.run` does: the cells that it is asked for, and their tables."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.commands.work import (
    asked_preset,
    benchmarks_of,
    given,
    is_drawn,
    open_experiment,
)
from benchmarks.engine import plan, probes, store
from benchmarks.engine.plan import Cell
from benchmarks.engine.pool import do_jobs
from benchmarks.paper.facts import TABLE4_SHOTS, ablated
from benchmarks.presets import Preset
from benchmarks.tables import build as tables
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.protocol import (
    ABLATIONS,
    BEYOND,
    LEARNERS,
    SHOTS,
    UNTRAINED,
    Benchmark,
    benchmark,
)
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.distributed import Ranks, join
from fewshot_landmarks.support.errors import UserError


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
    for name in arguments.learner or (*LEARNERS, *ABLATIONS, *UNTRAINED, *BEYOND):
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
    if arguments.engine != "local" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(f"--engine {arguments.engine} and torchrun exclude each other: take one")
    # On a Ray cluster the device need not be this machine's.
    elsewhere = arguments.engine == "ray" and arguments.device != "auto"
    where = arguments.device if elsewhere else find_device(arguments.device)
    ranks = join(where)
    with ranks.in_turn():  # data are drawn, indexed and stored once
        words, preset, wanted = _asked(arguments, ranks)
        if arguments.dry_run and not arguments.data and preset.drawn and not is_drawn(preset):
            print(f"Would draw {preset.drawn.name}, then do all of {len(wanted)} cells.")
            return
        files = _files(arguments.all)
        out, experiment = open_experiment(arguments, preset, files, where, ranks)
        experiment.check(cell.benchmark for cell in wanted)
        jobs = plan.plan(experiment, wanted)
        jobs = plan.missing([*jobs, *probes.plan(experiment, wanted)])
    jobs = ranks.gather(jobs)[0]  # what the first has begun to do may be there for others already
    if arguments.dry_run:
        print("\n".join(job.label for job in jobs) or "Nothing is missing.")
        return
    if ranks.first:
        of_run = ["--strict"] * arguments.strict
        of_run += ["--engine", arguments.engine] * (arguments.engine != "local")
        learners = [cell.learner for cell in wanted]
        store.remember(experiment.work, learners, arguments.seed, words, of_run)
    try:
        do_jobs(experiment, jobs, arguments.workers, arguments.engine)
    finally:
        if ranks.first:
            store.gather(experiment, out)
            probes.gather(experiment, store.seeds(experiment.work), out)
    if ranks.first:
        notes, written = tables.write_tables(out), "The tables"
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


def _asked(arguments: argparse.Namespace, ranks: Ranks) -> tuple[list[str], Preset, list[Cell]]:
    """The options of work as they are given, the preset with its changes, and the cells."""
    words, preset = given(arguments), asked_preset(arguments)
    if preset.meta_batch < ranks.count:
        raise UserError(
            f"{ranks.count} processes cannot share steps of {preset.meta_batch} tasks: give "
            f"--set meta_batch={ranks.count} or more (results are then those of that meta-batch)"
        )
    return words, preset, cells(arguments, benchmarks_of(arguments, preset))
