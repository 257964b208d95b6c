"""Training shared by processes: the same as alone but for rounding, also after one has died."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.commands.cells import _asked
from benchmarks.run import main
from fewshot_landmarks.support.distributed import ALONE
from fewshot_landmarks.support.errors import UserError
from tests.processes import wait_for
from tests.ranked import train

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
SOME = ["--preset", "smoke", "--benchmark", "B-2", "--learner", "PROTO", "--shots", "1"]


def run_together(*arguments, **options):
    return subprocess.run(
        [*TORCHRUN, *arguments], capture_output=True, text=True, check=True, **options
    )


def test_two_processes_train_what_one_does(tmp_path):
    """In double precision: base model by batches, then tasks three a step, the last step short."""
    run_together("-m", "tests.ranked", str(tmp_path / "two.safetensors"))
    saved = load_file(tmp_path / "two.safetensors")
    shared, resumed = (
        {name.removeprefix(how): value for name, value in saved.items() if name.startswith(how)}
        for how in ("whole ", "resumed ")
    )
    assert (tmp_path / "two.unfinished").exists()  # it went on from there
    for name, value in shared.items():
        if name != "losses":
            assert torch.equal(resumed[name], value), name
    alone, untrained = train(ALONE), train(ALONE, steps=False)
    assert set(shared) == set(alone)
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-11, atol=1e-13)
    assert len(alone["losses"]) == 2 * 6 + 3  # of 24 garments four a step, of 8 tasks three a step
    moved = [name for name, value in untrained.items() if not torch.equal(value, alone[name])]
    assert {"omega", "fenet.head.weight", "losses"} <= set(moved)


def test_a_run_by_two_processes_of_which_one_dies_is_a_run(in_smoke_folder):
    """Killed in the midst of training and run again: the weights are those of one process."""
    out, alone = in_smoke_folder / "together", in_smoke_folder / "alone"
    command = [*SOME, "--set", "meta_batch=2", "--out"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen([*TORCHRUN, "-m", "benchmarks.run", *command, str(out)], **pipes)
    wait_for(lambda: list(out.glob("work/weights/base-*")), 300)
    told = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    )
    os.kill(int(told.stdout.split()[1]), signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    run_together("-m", "benchmarks.run", *command, str(out))
    assert main([*command, str(alone)]) == 0
    weights = sorted(path.name for path in (alone / "work" / "weights").glob("*.safetensors"))
    others = (out / "work" / "weights").glob("*.safetensors")
    assert weights == sorted(path.name for path in others)
    assert len(weights) == 2
    for name in weights:
        one, two = (load_file(each / "work" / "weights" / name) for each in (alone, out))
        for parameter, value in one.items():
            torch.testing.assert_close(two[parameter], value, rtol=1e-3, atol=1e-4)
    tables = [pd.read_csv(each / "table2.csv") for each in (alone, out)]
    assert len(tables[0]) == len(tables[1]) == 1


def test_a_step_has_a_task_for_each_process():
    with pytest.raises(UserError, match="--set meta_batch=2"):
        _asked(main.parser().parse_args(SOME), SimpleNamespace(count=2))
