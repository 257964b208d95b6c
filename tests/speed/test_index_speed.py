"""The benchmark of data at scale, on a small tree."""

import pandas as pd

from benchmarks import index_speed as index
from benchmarks.index_speed import main
from tests.processes import InThisProcess


def test_index_and_tasks_are_timed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(index, "Processes", InThisProcess)
    assert main(["--photos", "1000", "--out", str(tmp_path)]) == 0
    frame = pd.read_csv(tmp_path / "data.csv")
    assert len(frame) == 4 and (frame.seconds > 0).all() and (frame.photos == 1000).all()
    assert main(["--data", str(tmp_path), "--out", str(tmp_path)]) == 2  # not its own tree
    assert "other files" in capsys.readouterr().err.splitlines()[-1]
    assert main(["--photos", "5", "--out", str(tmp_path)]) == 2
    assert "--photos 5" in capsys.readouterr().err.splitlines()[-1]
