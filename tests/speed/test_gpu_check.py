"""The GPU check, on the CPU: what it measures, and what it says without a GPU."""

import pandas as pd
import pytest
import torch

from benchmarks.gpu_check import LEARNERS, main

SMALL = ["--preset", "smoke", "--tasks", "1", "--device", "cpu"]


def test_every_learner_is_measured(tmp_path, capsys):
    assert main([*SMALL, "--out", str(tmp_path)]) == 0
    frame = pd.read_csv(tmp_path / "gpu_check.csv")
    assert tuple(frame.learner) == LEARNERS
    assert (frame.seconds > 0).all() and (frame.peak_gib > 0).all()
    assert (frame.disagreement == 0).all()  # of the CPU with itself
    assert "24 GiB" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line(capsys):
    assert main([]) == 2
    assert "no GPU" in capsys.readouterr().err
