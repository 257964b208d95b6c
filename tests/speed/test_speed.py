"""The speed table: every way computes the same gradient, and what comes out."""

import json
import os
import sys
from dataclasses import asdict

import pandas as pd
import pytest
import torch

from benchmarks.speed import measure as speed
from benchmarks.speed.measure import Case, Measured, problem
from benchmarks.speed.training import main, table
from benchmarks.speed.ways import ARITHMETIC, WAYS
from tests.processes import InThisProcess


def gradients(way: str, network: str = "small", size: int = 16) -> torch.Tensor:
    torch.set_default_dtype(torch.float64)
    try:
        model, support, query = problem(Case(way, network, size, 2, 3, 3, 0.0, "cpu"))
        WAYS[way](model, support, query, 3)
    finally:
        torch.set_default_dtype(torch.float32)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("ours, unrolled", *ARITHMETIC)])
def test_every_way_computes_the_same_gradient(way):
    if way == "TorchOpt":
        pytest.importorskip("torchopt")
    expected = gradients("ours, unrolled")
    assert expected.norm() > 1e-2
    assert (gradients(way) - expected).norm() < 1e-10 * expected.norm()


def test_depthwise_convolutions_change_no_gradient():
    ours, grouped = (
        gradients(way, "efficientnet", 32)
        for way in ("ours, unrolled", "ours, unrolled, torch's depthwise")
    )
    assert grouped.norm() > 1e-2 and (ours - grouped).norm() < 1e-9 * grouped.norm()


def test_ratios_are_of_medians():
    def rows(way, *seconds):
        case = asdict(Case(way, "small", 48, 5, 12, 4, 0.0, "cpu"))
        return [case | asdict(Measured(each, 0.1, 100 * each)) for each in seconds]

    measurements = [*rows("ours, unrolled", 1.0, 9.0, 2.0), *rows("ours, flat", 3.0, 4.0, 5.0)]
    frame = table(pd.DataFrame(measurements))
    assert frame.way.tolist() == ["ours, unrolled", "ours, flat"]
    assert frame.task_ratio.tolist() == [1.0, 2.0] and frame.peak_ratio.tolist() == [1.0, 2.0]
    assert frame.forward_passes.tolist() == pytest.approx([20.0, 40.0])
    assert frame.floor.tolist() == [9 * 4 + 3 * 12 / 5] * 2


def test_the_command_writes_table_figure_and_machine(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "Processes", InThisProcess)
    asked = ["--size", "small:16", "--steps", "1", "--rounds", "1", "--seconds", "0"]
    ways = ["--way", "ours, unrolled", "--way", "ours, flat"]
    assert main([*asked, *ways, "--out", str(tmp_path), "--device", "cpu"]) == 0
    frame = pd.read_csv(tmp_path / "speed.csv")
    assert frame.way.tolist() == ["ours, unrolled", "ours, flat"]
    assert (frame.task_seconds > 0).all() and frame.failed.isna().all()
    assert "ours, flat" in (tmp_path / "speed.md").read_text()
    assert json.loads((tmp_path / "machine.json").read_text())["gpu"] is None
    assert (tmp_path / "speed.png").stat().st_size > 1000
    measured = (tmp_path / "measurements.csv").read_bytes()
    assert main([*asked, *ways, "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert (tmp_path / "measurements.csv").read_bytes() == measured  # nothing is measured again


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_a_measurement_without_memory_says_so():
    case = Case("ours, unrolled", "small", 1024, 4, 8, 4, 0.0, "cpu")
    assert speed.measure_apart(case, memory=4.0).failed == "out of memory"


def test_a_way_that_fails_does_not_stop_the_rest(monkeypatch):
    def broken(*_):
        raise ImportError(name="torchopt")

    monkeypatch.setattr(speed, "Processes", InThisProcess)
    monkeypatch.setattr(speed, "measure", broken)
    failed = speed.measure_apart(Case("TorchOpt", "small", 16, 1, 2, 1, 0.0, "cpu"))
    assert "torchopt" in failed.failed


def test_a_process_that_the_system_ends_does_not_stop_the_rest(monkeypatch):
    monkeypatch.setattr(speed, "limit_memory", os._exit)
    ended = speed.measure_apart(Case("ours, flat", "small", 16, 1, 2, 1, 0.0, "cpu"), memory=1)
    assert ended.failed == "out of memory"


def test_mistakes_are_one_line(capsys):
    assert main(["--size", "tiny:48"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
