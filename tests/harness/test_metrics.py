import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.metrics import Stored, average_precision, main, measure, to_markdown


def test_metrics_by_hand():
    errors = np.array([[[0.02, 0.3, np.nan], [0.08, 0.15, np.nan]], [[0.04, 0.04, 0.04]] * 2])
    row = measure([Stored(errors, np.zeros((2, 2)), ())], (0.05, 0.1), precise=False)
    assert row["NE"] == pytest.approx((0.55 / 4 + 0.04) / 2)
    assert row["PCK@0.05"] == pytest.approx((0.25 + 1) / 2)
    assert row["PCK@0.1"] == pytest.approx((0.5 + 1) / 2)
    assert row["mean PCK"] == pytest.approx((0.375 + 1) / 2)
    assert row["AUC"] == pytest.approx(((0.8 + 0.2) / 4 + 0.6) / 2)
    half = 1.96 * np.std([0.25, 1], ddof=1) / math.sqrt(2)
    assert row["PCK@0.05 ci95"] == pytest.approx(half)
    assert "AP" not in row


def test_average_precision_is_that_of_the_similarities():
    sigma = 0.05
    exact, far = 0.0, 2 * sigma * math.sqrt(2 * math.log(1 / 0.6))  # similarities 1 and 0.6
    sure = Stored(np.array([[[exact], [far]]]), np.array([[2.0, 1.0]]), (sigma,))
    found = average_precision([sure])
    assert found["AP50"] == pytest.approx(1.0)
    assert found["AP75"] == pytest.approx(51 / 101)  # half of the objects, the surest first
    unsure = Stored(sure.errors, np.array([[1.0, 2.0]]), (sigma,))
    assert average_precision([unsure])["AP75"] == pytest.approx(51 / 101 / 2)


def test_a_run_is_measured(unbroken, in_smoke_folder, capsys):
    arguments = ["--preset", "smoke", "--benchmark", "B-2", "--out", str(unbroken), "--no-ap"]
    assert main(arguments) == 0
    capsys.readouterr()
    found = pd.read_csv(unbroken / "metrics.csv").set_index(["learner", "shots"])
    episodes = pd.read_csv(unbroken / "episodes.csv.gz")
    means = episodes.groupby(["learner", "shots"])["ne"].mean()
    assert set(found.index) == set(means.index)
    # stored in half precision, and pooled over landmarks as the episodes' errors are
    np.testing.assert_allclose(found["NE"], means[found.index], rtol=2e-3)
    assert (found["PCK@0.05"] <= found["PCK@0.2"]).all()


def test_trainings_are_told_apart():
    row = {"benchmark": "B-1", "learner": "PROTO", "seed": 0, "shots": 1, "NE": 0.1}
    assert "| PROTO |" in to_markdown(pd.DataFrame([row]))
    both = to_markdown(pd.DataFrame([row, {**row, "seed": 1}]))
    assert "| PROTO, seed 0 |" in both and "| PROTO, seed 1 |" in both


def test_nothing_to_measure_is_said(in_smoke_folder, capsys):
    assert main(["--preset", "smoke", "--out", "nothing-here", "--no-ap"]) == 2
    assert "benchmarks.run" in capsys.readouterr().err
    assert main(["--preset", "full", "--out", "nothing-here"]) == 2  # and no garment is drawn
    assert "nothing-here" in capsys.readouterr().err and not Path("data/garments-full").exists()
    assert main(["--preset", "smoke", "--pck", "-1"]) == 2
    assert main(["--preset", "smoke", "--benchmark", "B-9"]) == 2
