"""Figures from records: heights and lines by hand, what is left out, and the same bytes twice."""

import gzip
import io
import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import BarContainer

from benchmarks.engine import probes
from benchmarks.figures import build as figures
from benchmarks.figures.curves import figure_curves, figure_shots, figure_trust
from benchmarks.figures.landmarks import figure4, figure5, figure6, group_errors
from benchmarks.figures.style import OTHER
from benchmarks.results.reading import read_heatmaps, read_table
from benchmarks.results.schemas import CALIBRATION, CURVES, LABELLED, SIMILARITIES, UNSEEN
from fewshot_landmarks.data.categories import category
from fewshot_landmarks.metrics.intervals import mean_interval
from fewshot_landmarks.support.errors import UserError

TROUSERS = category("trousers")
RUN = {
    "preset": "smoke",
    "plan": {"episodes": 2, "shots": [1, 3, 5, 8, 10]},
    "benchmarks": {name: {"seen": ["vest"], "unseen": ["trousers"]} for name in ("B-1", "B-2")},
}


OTHER_RUN = {
    **RUN,
    "benchmarks": {"J-1": {"title": "$x and \\frac$", "seen": ["hand"], "unseen": ["trousers"]}},
}


THREE = ("FT", "PROTO", "MetaCloth")  # learners, of which ranks are drawn


def records(
    errors, learners=("FT", "MetaCloth"), seeds=(0,), shots=(1, 3, 5, 8, 10), benchmark="B-2"
):
    """Records of trousers, two episodes; `errors` of (learner, seed, episode, shots)."""
    rows = []
    for learner in learners:
        for seed in seeds:
            for episode in range(2):
                for k in shots:
                    each = np.broadcast_to(errors(learner, seed, episode, k), (14,))
                    text = " ".join(f"{error:.5f}" for error in each)
                    key = (benchmark, learner, seed, "trousers", episode, k)
                    rows.append((*key, np.nanmean(each), 9, 0, text))
    columns = ["benchmark", "learner", "seed", "category", "episode", "shots"]
    return pd.DataFrame(rows, columns=[*columns, "ne", "scored", "left_out", "landmarks"])


def similarity_rows():
    return [
        dict(zip(SIMILARITIES.columns, ("B-2", model, 0, name, episode, 8, first, second)))
        for model, first in (("MetaCloth", 0.7), ("Base-FEN", 0.9))
        for name in ("skirt", "shorts")
        for episode, second in enumerate((0.2, 0.4))
    ]


def toy_maps(places=("B-1/trousers", "B-2/trousers", "B-3/vest dress")):
    rng, maps = np.random.default_rng(0), {}
    for place in places:
        n = category(place.split("/")[1]).landmarks
        maps[place] = {
            "image": rng.integers(0, 255, (16, 16, 3), np.uint8),
            "landmarks": rng.uniform(0, 16, (n, 2)).astype(np.float32),
            "labelled": np.arange(n) > 1,
            "learnable": np.arange(n) != 5,
            "heatmaps": rng.random((n, 8, 8)).astype(np.float16),
            "predicted": rng.uniform(0, 16, (n, 2)).astype(np.float32),
        }
    return maps


def curve_lines(benchmarks=("B-1", "B-2")):
    lines = [
        f"{benchmark},{name},{seed},{step},{loss + seed}"
        for benchmark in benchmarks
        for name in ("MetaCloth", "base linear")
        for seed in (0, 1)
        for step, loss in ((5, 4.0), (10, 2.0), (15, 3.0))
    ]
    return "\n".join([",".join(CURVES.columns), *lines]) + "\n"


def calibration(benchmarks=("B-1", "B-2")):
    """Gaps of 0.2 in a quarter of the landmarks and of 0.1 in the rest, no gap if labelled."""
    bins = {
        UNSEEN: [(0, 10, 0.05, 0.25), (4, 0, math.nan, math.nan), (9, 30, 0.95, 0.85)],
        LABELLED: [(0, 5, 0.05, 0.05)],
    }
    rows = [
        (benchmark, learner, landmarks, *one)
        for benchmark in benchmarks
        for learner in ("MetaCloth", "FT")
        for landmarks, each in bins.items()
        for one in each
    ]
    return pd.DataFrame(rows, columns=list(CALIBRATION.columns))


@pytest.fixture
def results(tmp_path):
    """A results directory with all that figures are drawn of."""
    one = records(
        lambda learner, seed, episode, k: 0.1 * (episode + 1) + 0.01 * len(learner), THREE
    )
    frame = pd.concat([one.assign(benchmark=name) for name in RUN["benchmarks"]])
    (tmp_path / "episodes.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    (tmp_path / "similarities.csv").write_text(probes.similarities_csv(similarity_rows()))
    (tmp_path / "curves.csv.gz").write_bytes(gzip.compress(curve_lines().encode()))
    (tmp_path / "heatmaps.npz").write_bytes(probes.heatmaps_npz(toy_maps()))
    calibration().to_csv(tmp_path / "calibration.csv", index=False)
    return tmp_path


def bars(ax):
    """By label: heights and half-widths of intervals."""
    found = {}
    for container in ax.containers:
        if isinstance(container, BarContainer):
            halves = [
                np.ptp(segment[:, 1]) / 2 if len(segment) else math.nan
                for segment in container.errorbar.lines[2][0].get_segments()
            ]
            found[container.get_label()] = [bar.get_height() for bar in container], halves
    return found


def test_mirror_images_are_merged_by_hand():
    each = np.arange(14) / 100
    each[[4, 8]] = math.nan  # one of a pair, and one that has no partner
    rows = records(lambda learner, seed, *_: each + 0.2 * seed, seeds=(0, 1), shots=(8,))
    errors = group_errors(rows, TROUSERS)
    assert errors.shape == (4, 8)
    by_hand = [0.01, 0.01, 0.08, 0.12, 0.08, 0.08, 0.08, math.nan]
    for _, found in errors.iterrows():
        np.testing.assert_allclose(found, np.array(by_hand) + 0.1)


def test_figure_5_has_the_means_of_episodes():
    rows = records(lambda learner, seed, episode, k: 0.1 * (episode + 1) * len(learner) * k)
    ax = figure5(rows).axes[0]
    found = bars(ax)
    assert list(found) == ["FT", "MetaCloth"]
    for learner, (heights, halves) in found.items():
        mean, half = mean_interval([0.8 * len(learner), 1.6 * len(learner)])
        np.testing.assert_allclose(heights, [mean] * 8)
        np.testing.assert_allclose(halves, [half] * 8)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[:3] == ["1 & 3", "2", "4 & 14"] and len(labels) == 8


def test_seeds_are_averaged_before_the_interval():
    rows = records(lambda learner, seed, *_: 0.1 + 0.2 * seed, seeds=(0, 1), shots=(8,))
    heights, halves = bars(figure5(rows).axes[0])["FT"]
    np.testing.assert_allclose(heights, 0.2)
    np.testing.assert_allclose(halves, 0, atol=1e-12)


def test_a_learner_that_failed_has_no_bars():
    rows = records(lambda *_: 1.0, shots=(8,))
    rows.loc[0, ["ne", "landmarks"]] = math.nan, "nan " * 14  # scored, but without an answer
    found = bars(figure5(rows).axes[0])
    assert list(found) == ["FT (failed)", "MetaCloth"]
    assert np.isnan(found["FT (failed)"][0]).all() and found["MetaCloth"][0] == [1] * 8


def test_figure_6_has_the_means_of_episodes():
    left, right = figure6(pd.DataFrame(similarity_rows())).axes
    mean, half = mean_interval([0.2, 0.4])
    assert list(bars(left)) == ["Base-FEN", "MetaCloth"]
    np.testing.assert_allclose(bars(left)["Base-FEN"][0], [0.9, 0.9])
    np.testing.assert_allclose(bars(left)["MetaCloth"][0], [0.7, 0.7])
    np.testing.assert_allclose(bars(right)["MetaCloth"][0], [mean, mean])
    np.testing.assert_allclose(bars(right)["MetaCloth"][1], [half, half])
    assert [label.get_text() for label in right.get_xticklabels()] == ["shorts", "skirt"]
    assert "starts at 0.65" in left.get_ylabel() and left.get_ylim()[0] == pytest.approx(0.65)
    assert right.get_ylabel() == "similarity" and right.get_ylim()[0] == 0


def test_figure_of_shots_has_our_numbers_and_the_papers():
    rows = records(lambda learner, seed, episode, k: 0.1 * (episode + 1) / k)
    figure = figure_shots(rows, RUN)
    ours, theirs = figure.axes[1], figure.axes[5]
    lines = {container.get_label(): container for container in ours.containers}
    assert list(lines) == ["FT", "MetaCloth"]
    found = lines["MetaCloth"].lines[0].get_ydata()
    np.testing.assert_allclose(found, [0.15 / k for k in (1, 3, 5, 8, 10)])
    paper = {container.get_label(): container for container in theirs.containers}
    assert len(paper) == 9
    np.testing.assert_allclose(
        paper["MetaCloth"].lines[0].get_ydata(), [0.145, 0.121, 0.096, 0.080, 0.077]
    )
    assert paper["FT"].lines[0].get_color() == lines["FT"].lines[0].get_color()
    assert not figure.axes[0].containers  # nothing of B-1 was measured


def test_a_benchmark_of_another_data_set_has_one_panel_of_shots():
    rows = records(lambda learner, seed, episode, k: 0.1 * (episode + 1) / k, benchmark="J-1")
    figure = figure_shots(rows, OTHER_RUN)
    (ax,) = figure.axes
    lines = {container.get_label(): container for container in ax.containers}
    assert list(lines) == ["FT", "MetaCloth"] and ax.get_ylabel() == "NE"
    found = lines["FT"].lines[0].get_ydata()
    np.testing.assert_allclose(found, [0.15 / k for k in (1, 3, 5, 8, 10)])
    figures.render(figure, "png")  # its title is no formula


def test_curves_average_seeds_and_are_smoothed(results):
    figure = figure_curves(read_table(results, CURVES))
    assert [ax.get_title() for ax in figure.axes] == ["base model, linear", "MetaCloth"]
    raw, smooth, *_ = figure.axes[1].lines
    np.testing.assert_allclose(raw.get_ydata(), [4.5, 2.5, 3.5])
    np.testing.assert_allclose(smooth.get_ydata(), [3.5, 3.5, 3.5])  # all three, of five at most
    assert smooth.get_label() == "B-1" and len(figure.axes[1].lines) == 4


def test_curves_of_other_benchmarks_have_colours_and_names():
    others = [f"J-{i}" for i in range(3)]
    curves = pd.read_csv(io.StringIO(curve_lines(others)))
    figure = figure_curves(curves)
    colours = [line.get_color() for line in figure.axes[1].lines[1::2]]
    assert len(set(colours)) == 3 and OTHER not in colours
    assert [text.get_text() for text in figure.legends[0].get_texts()] == others


@pytest.mark.parametrize("places", [("B-1", "B-2"), ("J-1",)])
def test_figure_of_trust_has_the_bins_that_hold_landmarks(places):
    figure = figure_trust(calibration(places))
    assert [ax.get_title() for ax in figure.axes] == ["FT", "MetaCloth"]
    for ax in figure.axes:
        diagonal, *lines = ax.lines
        assert [line.get_label() for line in lines] == list(places)
        for line, dots in zip(lines, ax.collections, strict=True):
            np.testing.assert_allclose(line.get_xydata(), [(0.05, 0.25), (0.95, 0.85)])
            areas = dots.get_sizes()
            assert areas[1] == pytest.approx(3 * areas[0])
        np.testing.assert_allclose(diagonal.get_xydata(), [(0, 0), (1, 1)])
        # (10 * 0.2 + 30 * 0.1) / 40
        assert ax.texts[0].get_text() == "\n".join(["ECE", *(f"{name}: 0.125" for name in places)])


def test_scores_of_no_landmark_make_no_figure():
    for frame in (calibration()[:0], calibration().assign(count=0)):
        with pytest.raises(UserError, match="no landmark"):
            figure_trust(frame)


def test_figure_4_shows_each_benchmark_and_says_what_was_seen(results):
    figure = figure4(read_heatmaps(results))
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["trousers", "B-1", "B-2", "vest dress", "B-3"]
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert texts == [
        "seen in\nB-3's training",
        "B-1:\nnot measured",
        "B-2:\nnot measured",
    ]
    heat = next(ax for ax in figure.axes if ax.get_title() == "B-1").images[1].get_array()
    arrays = read_heatmaps(results)["B-1/trousers"]
    shown = [i for i in range(14) if i > 1 and i != 5]
    maps = arrays["heatmaps"][shown].astype(float)
    by_hand = np.max([one / one.max() for one in maps], axis=0)
    np.testing.assert_allclose(heat, by_hand)


@pytest.fixture
def unseen(monkeypatch):
    """Figures are made and not rendered, which takes longest."""
    monkeypatch.setattr(figures, "render", lambda figure, ending: b"")


def test_figures_have_the_same_bytes_twice(results):
    (results / "heatmaps.npz").write_bytes(probes.heatmaps_npz(toy_maps(("B-1/trousers",))))
    assert figures.write_figures(results) == []
    written = {path.name: path.read_bytes() for path in results.glob("figure*")}
    assert set(written) == {f"{name}.{end}" for name in figures.FIGURES for end in ("png", "pdf")}
    assert all(written[f"{name}.pdf"].startswith(b"%PDF") for name in figures.FIGURES)
    code = "import sys; from benchmarks.figures.build import main; code = main(sys.argv[1:]); "
    code += "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules; "
    command = [sys.executable, "-c", code + "sys.exit(code)", "--results", str(results)]
    subprocess.run(command, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in results.glob("figure*")} == written


def test_what_is_missing_is_told(results, unseen, capsys):
    for name in ("heatmaps.npz", "similarities.csv", "episodes.csv.gz"):
        (results / name).unlink()
    assert figures.main(["--results", str(results)]) == 0
    first, *notes = capsys.readouterr().out.strip().splitlines()
    names = ("figure4", "figure5", "figure6", "figure_shots", "figure_ranks")
    assert [note.split()[0] for note in notes] == list(names)
    command = f"python -m benchmarks.run --all --preset smoke --out {results}"
    assert "heatmaps.npz" in notes[0] and command in notes[0]
    left = {path.stem for path in results.glob("figure*")}
    assert left == {"figure_curves", "figure_trust"}


def test_without_calibration_the_command_that_measures_it_is_told(results, unseen):
    (results / "calibration.csv").unlink()
    (note,) = figures.write_figures(results)
    assert "figure_trust" in note and "calibration.csv" in note
    assert f"python -m benchmarks.export --preset smoke --out {results}" in note


def test_other_benchmarks_have_no_figures_of_the_papers(results, unseen):
    frame = records(lambda *_: 0.1, THREE, benchmark="J-1")
    (results / "episodes.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    (results / "run.json").write_text(json.dumps(OTHER_RUN))
    (results / "similarities.csv").unlink()
    assert figures.write_figures(results) == []
    written = {path.stem for path in results.glob("figure*")}
    assert written == {"figure_shots", "figure_curves", "figure_trust"}  # ranks: of two and more


def test_nothing_to_draw_is_told(results, unseen):
    frame = records(lambda *_: 0.1, shots=(1,))
    (results / "episodes.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    (results / "heatmaps.npz").unlink()
    (_, note, ranks) = figures.write_figures(results)
    assert all(word in note for word in ("figure5", "trousers", "B-2", "8 shots"))
    assert "figure_ranks" in ranks and "three learners" in ranks
    with pytest.raises(UserError, match="B-2"):
        figure6(pd.DataFrame(similarity_rows()).assign(benchmark="B-1"))


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("heatmaps.npz", b"PK\x03\x04", ""),
        ("heatmaps.npz", b"", ""),
        ("curves.csv.gz", b"no gzip", ""),
        ("curves.csv.gz", gzip.compress(b"benchmark,learner\n"), "seed"),
        ("similarities.csv", b"benchmark,seed\nB-2,one\n", ""),
        ("calibration.csv", b"benchmark,count\nB-2,many\n", "benchmarks.export"),
    ],
    ids=["cut", "empty", "no gzip", "columns", "letters", "scores"],
)
def test_a_broken_file_is_one_line(tmp_path, name, content, told, capsys):
    (tmp_path / name).write_bytes(content)
    assert figures.main(["--results", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert name in line and told in line
