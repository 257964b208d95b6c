"""Training shared by processes: the same as alone but for rounding, also after one has died."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from fewshot_landmarks.support.distributed import ALONE
from tests.ranked import train

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
SOME = ["-m", "benchmarks.run", "--preset", "smoke", "--benchmark", "B-2", "--learner", "MetaCloth"]


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


@pytest.fixture(scope="module")
def whole(smoke_folder):
    out = smoke_folder / "together"
    run_together(*SOME, "--set", "meta_batch=2", "--out", str(out), cwd=smoke_folder)
    return out


def test_a_run_by_two_processes_is_a_run(smoke_folder, whole):
    alone = smoke_folder / "alone"
    command = [sys.executable, *SOME, "--set", "meta_batch=2", "--out", str(alone)]
    subprocess.run(command, cwd=smoke_folder, check=True, capture_output=True)
    weights = sorted(path.name for path in (alone / "work" / "weights").glob("*.safetensors"))
    others = (whole / "work" / "weights").glob("*.safetensors")
    assert weights == sorted(path.name for path in others)
    assert len(weights) == 3
    for name in weights:
        one, two = (load_file(out / "work" / "weights" / name) for out in (alone, whole))
        for parameter, value in one.items():
            torch.testing.assert_close(two[parameter], value, rtol=1e-3, atol=1e-4)


def test_a_process_that_dies_loses_nothing(smoke_folder, whole):
    out = smoke_folder / "died"
    arguments = [*TORCHRUN, *SOME, "--set", "meta_batch=2", "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(arguments, cwd=smoke_folder, **pipes)
    while not list(out.glob("work/weights/base-*")):  # in the midst of training
        time.sleep(0.05)
        assert process.poll() is None
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    ).stdout.split()
    os.kill(int(children[1]), signal.SIGKILL)
    told, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    run_together(*SOME, "--set", "meta_batch=2", "--out", str(out), cwd=smoke_folder)
    for name in ("table2.csv", "episodes.csv.gz", "curves.csv.gz"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_mistakes_are_one_line_in_each_process(smoke_folder):
    told = subprocess.run(
        [*TORCHRUN, *SOME, "--out", "none"], cwd=smoke_folder, capture_output=True, text=True
    )
    errors = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
    assert told.returncode != 0 and errors  # torchrun may stop the second before it speaks
    assert all("--set meta_batch=2" in line for line in errors)
