"""benchmarks.labels: rows of each draw, the same bytes when it is stopped and goes on."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import labels
from tests.colours import model as colours_model
from tests.photos.test_predict import annotate

pytestmark = pytest.mark.usefixtures("colours")


@pytest.fixture
def run(tmp_path, monkeypatch):
    photos = annotate(tmp_path / "photos", range(30))
    made = colours_model()
    monkeypatch.setattr(labels, "model", lambda: made)

    def call(out, *more):
        ask = ["--annotations", str(photos), "--rounds", "1", "--out", str(out)]
        return labels.main([*ask, *map(str, more)])

    return call


def test_draws_are_rows_and_a_stopped_call_goes_on_to_the_same_bytes(run, tmp_path, monkeypatch):
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert run(whole, "--draws", 2) == 0
    frame = pd.read_csv(whole / "labels.csv")
    assert len(frame) == 2 * 3 * 2
    first = frame[frame["labels"] == 5]
    assert (first.groupby("draw")["error"].nunique() == 1).all(), "all ways begin alike"
    assert first["then"].notna().all() and frame[frame["labels"] == 10]["then"].isna().all()
    assert frame["within"].between(0, 1).all() and (frame["error"] > 0).all()
    assert run(part, "--draws", 1) == 0
    assert run(part, "--draws", 2) == 0
    for name in labels.FILES:
        assert (whole / name).read_bytes() == (part / name).read_bytes(), name


def test_what_the_tables_say_by_hand():
    """Two draws, of which the second's outlook does not hold."""
    rows = [
        {"draw": draw, "way": way, "labels": count, "error": error, "median": 0.1, "level": 0.9,
         "within": 0.9, "radius": 0.3, "now": 0.2, "now_low": 0.1, "now_high": 0.3, "then": 0.1,
         "then_low": 0.05, "then_high": 0.12 if count == 5 else np.nan}
        for draw, fall in ((0, 0.1), (1, 0.05))
        for way in labels.WAYS
        for count, error in ((5, 0.2), (10, 0.2 - fall))
    ]  # fmt: skip
    text = labels.summary(pd.DataFrame(rows))
    assert "| 10     | 0.1250 | 0.1250       | 0.1250  | 0.0000 (0.0000 to 0.0000)" in text
    assert "| 5      | suggest      | 1.00             | 0.50  " in text
    assert "0.1000, 0.1250" in text and "| 3.0" in text


def test_too_few_objects_are_one_line(run, tmp_path, capsys):
    assert run(tmp_path / "out", "--rounds", 3) == 2
    assert "30 objects of blobs: 50 are needed" in capsys.readouterr().err
