"""Whether the paper's scale fits a GPU: python -m benchmarks.gpu_check

Meta-trains each learner with an inner loop for a few tasks of random images, with every number of
the paper preset; tells the time of a task and the peak of memory against 24 GiB, as it would be
trained, and then, without the GPU's 19-bit floats (TF32), how far its meta-gradients are from the
CPU's. Says so where there is no GPU.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.commands.options import Command
from benchmarks.commands.overrides import change
from benchmarks.presets import Preset, find_preset
from benchmarks.speed.measure import machine, random_task, tame, timed
from fewshot_landmarks.data.categories import DEEPFASHION2
from fewshot_landmarks.learner import Learner, find_learner
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.protocol import BENCHMARKS, SHOTS
from fewshot_landmarks.samples import Task
from fewshot_landmarks.support.devices import find_device, forget_peak, out_of_memory, peak_mib
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_text
from fewshot_landmarks.support.markup import csv_text
from fewshot_landmarks.support.outputs import add_overwrite, claim

LEARNERS = ("MAML", "PROTO-MA", "PAML", "MetaCloth")
PLACE = BENCHMARKS["B-2"]
FILES = MACHINE, TABLE = "machine.json", "gpu_check.csv"
LIMIT = 24.0  # GiB


def build(preset: Preset, name: str, device: str) -> Learner:
    """A learner as it begins its meta-training, from a base model that has not been trained."""
    torch.manual_seed(0)
    learner = find_learner(name)
    options = dict(preset.network_options)
    if FENETS[preset.network].pretrained:
        options.setdefault("weights", None)  # time and memory do not depend on them
    fenet = FENETS[preset.network](**options)
    tame(fenet, preset.size)
    seen, most = DEEPFASHION2.landmarks(PLACE.seen), DEEPFASHION2.most_landmarks
    base = BaseModel(fenet, seen, learner.base_kind, most)
    return learner(base, preset.settings(learner, PLACE.name)).to(device)


def _task(preset: Preset, shots: int, device: str) -> Task:
    return random_task(preset.size, shots, preset.train_queries).to(device)


def measure(preset: Preset, name: str, tasks: int, device: str) -> dict:
    """Seconds a task after the first, and the peak of memory, with the most shots."""
    try:
        model, task = build(preset, name, device), _task(preset, max(SHOTS), device)
        forget_peak(device)
        times = [timed(device, lambda: _meta_gradient(model, task)) for _ in range(tasks + 1)]
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return {"learner": name, "seconds": float("nan"), "peak_gib": float("inf")}
    return {
        "learner": name,
        "seconds": sorted(times[1:])[tasks // 2],
        "peak_gib": peak_mib(device) / 2**10,
    }


def _meta_gradient(model: Any, task: Task) -> None:
    model.zero_grad(set_to_none=True)
    model.meta_loss(task).backward()


def disagreement(preset: Preset, name: str, device: str) -> float:
    """Relative distance of the meta-gradients of a small task on the device and on the CPU.

    Convolutions in TF32, which is torch's default on a GPU, round to 10 bits: they are left out.
    """
    found = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for where in ("cpu", device):
            model: Any = build(preset, name, where)
            model.meta_loss(_task(preset, 2, where)).backward()
            gradients = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
            found.append(torch.cat(gradients).double())
    return ((found[1] - found[0]).norm() / found[0].norm()).item()


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument("--preset", default="paper", help="default: paper")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--learner", action="append", default=[], metavar="L")
    parser.add_argument("--tasks", type=int, default=3, help="measured, after one (default: 3)")
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--out", type=Path, default=Path("results/gpu_check"))
    add_overwrite(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    device = find_device(arguments.device)
    if arguments.tasks < 1:
        raise UserError(f"--tasks {arguments.tasks}: at least 1")
    preset = change(find_preset(arguments.preset), arguments.set)
    small = replace(preset, size=min(preset.size, 96), train_queries=2)
    small = change(small, ["inner_steps=2", "inner_rate=1e-4"])  # rounding grows with steps
    names = arguments.learner or LEARNERS
    if without := [name for name in names if not hasattr(find_learner(name), "meta_loss")]:
        raise UserError(f"{without[0]} has no inner loop in training: choose of {LEARNERS}")
    claim([arguments.out / file for file in FILES], arguments.overwrite)
    write_text(arguments.out / MACHINE, json.dumps(machine(device), indent=1) + "\n")
    rows = []
    for name in names:
        rows.append(measure(preset, name, arguments.tasks, device))
        frame = _write(rows, arguments.out)
        print(rows[-1], flush=True)
    for row, name in zip(rows, names):  # the CPU's part takes the longest
        row["disagreement"] = disagreement(small, name, device)
        frame = _write(rows, arguments.out)
    worst = frame.peak_gib.max()
    print(frame.to_string(index=False))
    print(f"Peak {worst:.1f} GiB: {'within' if worst <= LIMIT else 'more than'} {LIMIT:.0f} GiB.")


def _write(rows: Sequence[dict], out: Path) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    write_text(out / TABLE, csv_text(frame))
    return frame


main = Command("gpu_check", __doc__, execute, options)

if __name__ == "__main__":
    sys.exit(main())
