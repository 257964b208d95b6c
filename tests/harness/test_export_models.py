import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from benchmarks.engine.experiment import Experiment
from benchmarks.engine.stages import episodes_of, fitted
from benchmarks.export import calibrate, groups, held_out, main
from benchmarks.presets import SMOKE
from benchmarks.results.reading import calibration_errors
from benchmarks.results.schemas import CALIBRATION
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.photos.model import load
from fewshot_landmarks.protocol import BENCHMARKS, Benchmark
from fewshot_landmarks.support.errors import UserError
from tests.processes import one_process

LEARNERS = ("PROTO", "WG")
COMMAND = ["--preset", "smoke", "--benchmark", "B-2", "--set", "episodes=1"]


@pytest.fixture(scope="module")
def exported(smoke_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(smoke_folder)
        patch.setattr("benchmarks.engine.pool.run", one_process)
        each = [word for name in LEARNERS for word in ("--learner", name)]
        assert main([*COMMAND, *each, "--out", "exported"]) == 0
    return smoke_folder / "exported"


def test_a_model_is_the_fitted_learner(exported, in_smoke_folder):
    place = BENCHMARKS["B-2"]
    experiment = Experiment.of(
        SMOKE, in_smoke_folder / "data" / SMOKE.drawn.name, exported / "work"
    )
    task = episodes_of(experiment, place.unseen[0])[0]
    for name in LEARNERS:
        model = load(exported / "models" / f"{name}.safetensors")
        ours = fitted(experiment, place, find_learner(name))
        with torch.no_grad():
            one, other = (
                each.adapt(task.support)(task.query.images) for each in (model.learner, ours)
            )
        assert torch.equal(one, other)
        assert model.about["benchmark"] == "B-2" and "short sleeve top" in model.about["seen"]
        assert model.calibration is not None


def test_scores_are_counted_on_unseen_categories(exported):
    frame = pd.read_csv(exported / "calibration.csv")
    assert set(frame["learner"]) == set(LEARNERS)
    used = frame[frame["count"] > 0]
    lower, upper = used["bin"] / 10, used["bin"] / 10 + 0.1
    assert used["score"].between(lower - 1e-4, upper + 1e-4).all()
    assert used["hits"].between(0, 1).all()
    counts = frame.groupby(["learner", "landmarks"])["count"].sum().unstack()
    assert (counts["unseen"] >= counts["unseen, labelled"]).all()
    assert (counts["unseen, labelled"] > 0).all()


def test_it_is_fitted_on_seen_categories_alone():
    place = BENCHMARKS["B-1"]
    rehearsal = held_out(place)
    assert rehearsal.like == "B-1" and not set(rehearsal.seen) & set(rehearsal.unseen)
    used = groups(place)
    assert {tested for _, tested in used["fitted on"]} == set(place.seen)
    assert all(trained.seen == rehearsal.seen for trained, tested in used["fitted on"]
               if tested in rehearsal.unseen and trained is not place)  # fmt: skip
    assert {tested for _, tested in used["unseen"]} == set(place.unseen)


def test_few_seen_categories_leave_none_to_hold_out():
    place = Benchmark("X", "", (1, 2), (3,))
    assert groups(place) == {"fitted on": [(place, 1), (place, 2)], "unseen": [(place, 3)]}
    with pytest.raises(UserError, match="three"):
        _ = place.rehearsal


def test_calibration_finds_the_probability_behind_hits():
    random = np.random.default_rng(0)
    signs = random.normal(size=(20_000, 3)) * (1, 50, 0.01) + (0, 7, 1)
    logits = 0.5 + signs[:, 0] - 0.03 * (signs[:, 1] - 7)
    hit = random.random(len(signs)) < 1 / (1 + np.exp(-logits))
    scores = calibrate(signs, hit)(torch.from_numpy(signs)).numpy()
    assert np.abs(scores - 1 / (1 + np.exp(-logits))).mean() < 0.02


def test_one_learner_again_leaves_the_others_rows(exported, in_smoke_folder):
    before = pd.read_csv(exported / "calibration.csv")
    stale = before.assign(benchmark="B-1")  # of other code or settings, or of nobody knows what
    pd.concat([before, stale]).to_csv(exported / "calibration.csv", index=False)
    assert main([*COMMAND, "--learner", "WG", "--out", str(exported), "--overwrite"]) == 0
    pd.testing.assert_frame_equal(
        pd.read_csv(exported / "calibration.csv").sort_values(list(CALIBRATION.columns)[:4]),
        before.sort_values(list(CALIBRATION.columns)[:4]),
        check_like=True,
    )


def test_expected_calibration_error_by_hand():
    rows = [("B-1", "FT", "unseen", 0, 30, 0.05, 0.15), ("B-1", "FT", "unseen", 9, 10, 0.95, 0.75)]
    frame = pd.DataFrame(rows, columns=list(CALIBRATION.columns))
    assert calibration_errors(frame).loc[("B-1", "FT"), "unseen"] == pytest.approx(0.125)


def test_a_model_holds_no_pickle(exported):
    for path in (exported / "models").glob("*.safetensors"):
        with safe_open(str(path), "pt") as file:
            assert list(file.keys())
