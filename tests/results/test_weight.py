"""What is kept of runs: errors of landmarks where a figure shows them, and few bytes."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.results.reading import read_episodes
from benchmarks.results.schemas import keeps_landmarks

ROOT = Path(__file__).parents[2]
A_FOLDER, IN_ALL = 3_000_000, 8_000_000  # bytes


def test_committed_results_are_light():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "results"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a clone")
    weights = Counter()
    for name in filter(None, listed.stdout.split("\0")):
        weights[Path(name).parts[1]] += (ROOT / name).stat().st_size
    assert max(weights.values()) <= A_FOLDER and weights.total() <= IN_ALL


def test_landmarks_are_kept_where_figure_5_shows_them():
    assert keeps_landmarks("B-2", "trousers", 8)
    for other in (("B-1", "trousers", 8), ("B-2", "skirt", 8), ("B-2", "trousers", 5)):
        assert not keeps_landmarks(*other)
    episodes = read_episodes(ROOT / "results" / "stated")
    where = episodes[["benchmark", "category", "shots"]].itertuples(index=False)
    assert list(episodes["landmarks"] != "") == [keeps_landmarks(*one) for one in where]
