"""The predictors that measure the data: answers known by hand."""

import pandas as pd
import torch

from baselines.proto import nearness, prototypes
from benchmarks import adequacy
from benchmarks.adequacy import _groups, seen_again
from benchmarks.studies.controls import FixedFeatures, Position, TunedFeatures
from fewshot_landmarks.heatmaps import decode
from fewshot_landmarks.learner import Learner
from fewshot_landmarks.protocol import BENCHMARKS, Benchmark
from tests.toy import toy_base, toy_task


def test_position_is_the_mean_of_the_supports_landmarks():
    task = toy_task(9, shots=3, hidden=0.0)
    heatmaps = Position(toy_base(), Learner.Settings()).adapt(task.support)(task.query.images)
    mean = task.support.landmarks.mean(0)
    found = decode(heatmaps, 16)
    assert heatmaps.shape[:2] == (2, 8)
    assert (found - mean).abs().max() <= 16 / 48  # a cell
    other = toy_task(9, shots=3, queries=4, hidden=0.0).query.images[2:]
    again = Position(toy_base(), Learner.Settings()).adapt(task.support)(other)
    torch.testing.assert_close(again, heatmaps)  # whatever the image


def test_position_leaves_out_what_a_garment_does_not_label():
    task = toy_task(9, shots=2, hidden=0.0)
    task.support.labelled[0, 3] = False
    heatmaps = Position(toy_base(), Learner.Settings()).adapt(task.support)(task.query.images)
    found = decode(heatmaps, 16)
    assert (found[0, 3] - task.support.landmarks[1, 3]).abs().max() <= 16 / 48


def test_fixed_features_are_prototypes_on_the_base_model():
    base, task = toy_base(), toy_task(9)
    found = FixedFeatures(base, Learner.Settings()).adapt(task.support)(task.query.images)
    with torch.no_grad():
        points = prototypes(base.fenet(task.support.images), task.support)
        expected = nearness(base.fenet(task.query.images), points)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_tuning_starts_at_fixed_features():
    base, task = toy_base(), toy_task(9)
    fixed = FixedFeatures(base, Learner.Settings()).adapt(task.support)(task.query.images)
    still = TunedFeatures(base, Learner.Settings(inner_steps=0))
    moved = TunedFeatures(base, Learner.Settings(inner_steps=2))
    with torch.no_grad():
        torch.testing.assert_close(
            still.adapt(task.support)(task.query.images), fixed, rtol=1e-4, atol=1e-4
        )
        assert not torch.allclose(moved.adapt(task.support)(task.query.images), fixed, atol=1e-2)


def test_groups_hold_every_episode_once():
    names = ["trousers", "skirt", "vest dress", "long sleeve top"]
    frame = pd.DataFrame({"category": names, "ne": [1.0, 2.0, 3.0, 4.0]})
    groups = dict(_groups(frame))
    assert len(groups.pop("unseen")) == 4
    assert sorted(sum((list(part.category) for part in groups.values()), [])) == sorted(names)
    assert set(groups["unseen, lower body"].category) == {"trousers", "skirt"}


def test_seen_categories_are_tested_with_the_same_training():
    for place in BENCHMARKS.values():
        again = seen_again(place)
        assert again.seen == place.seen == again.unseen


def test_adequacy_measures_every_control(in_smoke_folder, capsys, monkeypatch):
    some = {
        name: Benchmark(name, "", BENCHMARKS[name].seen[:2], BENCHMARKS[name].unseen[:3])
        for name in ("B-1", "B-2")
    }
    monkeypatch.setattr(adequacy, "BENCHMARKS", some)
    assert adequacy.main(["--preset", "smoke"]) == 0
    frame = pd.read_csv("results/smoke/adequacy.csv")
    names = {"position", "fixed-features", "tuned-features", "gently-tuned"}
    assert set(frame.measure) == names
    assert set(frame.benchmark) == set(some)
    assert frame.value.between(0, 2).all()
    whole = frame[frame.categories == "unseen"]
    assert (whole.episodes == 3 * 2).all() and len(whole) == 2 * (5 + 5 + 1 + 1)
    assert "B-2 over B-1" in capsys.readouterr().out
