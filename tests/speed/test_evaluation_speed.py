"""The benchmark of evaluation: both ways find the same errors, and are timed."""

import pandas as pd

from benchmarks.evaluation_speed import main


def test_both_ways_are_timed(in_smoke_folder, tmp_path):
    asked = ["--preset", "smoke", "--episodes", "1", "--rounds", "1", "--device", "cpu"]
    assert (
        main([*asked, "--learner", "PROTO", "--learner", "MetaCloth", "--out", str(tmp_path)]) == 0
    )
    frame = pd.read_csv(tmp_path / "evaluation.csv")
    assert frame.learner.tolist() == ["PROTO", "MetaCloth"]
    assert main([*asked, "--learner", "NONE"]) == 2
    assert (frame[["episodes_a_second", "one_by_one", "ratio"]] > 0).all(axis=None)
