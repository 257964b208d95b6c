"""Errors on rehearsals against the number of training tasks."""

import pandas as pd

from benchmarks import horizon
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.stages import train_base
from benchmarks.presets import SMOKE
from benchmarks.studies.search import try_out
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.protocol import BENCHMARKS

PROTO = find_learner("PROTO")


def test_a_point_is_a_trial_with_so_many_tasks(in_smoke_folder, capsys, tmp_path):
    asked = ["--preset", "smoke", "--benchmark", "B-1", "--learner", "PROTO", "--workers", "2"]
    assert horizon.main([*asked, "--tasks", "1", "--tasks", "3"]) == 0
    frame = pd.read_csv("results/smoke/horizon.csv")
    assert list(frame.tasks) == [1, 3] and set(frame.benchmark) == {"B-1"}
    data = in_smoke_folder / "data" / SMOKE.drawn.name
    experiment = Experiment.of(SMOKE, data, tmp_path / "work")
    place = BENCHMARKS["B-1"]
    train_base(experiment, place.rehearsal, "linear", lambda share: None)
    chosen = horizon.parameters(experiment, place, PROTO, 3)
    assert frame.error[1] == try_out(experiment, place.rehearsal, PROTO, chosen)

    before = capsys.readouterr().out
    assert horizon.main([*asked, "--tasks", "3"]) == 0  # kept from the first time
    assert pd.read_csv("results/smoke/horizon.csv").error[0] == frame.error[1]
    assert "PROTO" in before


def test_mistakes_are_one_line(capsys):
    for asked in (["--preset", "mini"], ["--preset", "smoke", "--tasks", "0"]):
        assert horizon.main(asked) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
