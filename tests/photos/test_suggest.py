"""Photos to label next: which they are, and what is said of them."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch

from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.photos.confidence import error_of
from fewshot_landmarks.photos.errors.outlook import (
    HALVES,
    SPREAD,
    USUAL,
    Outlook,
    fall,
    left_out_by_halves,
)
from fewshot_landmarks.photos.errors.suggest import choose, doubts_of, likeness
from fewshot_landmarks.photos.model import untrained
from tests.photos.test_predict import annotate

nan = float("nan")


def gain(alike, known, doubts, chosen) -> float:
    """What labels of some photos take of all doubts."""
    covered = known.max(1, initial=0.0)
    return float(doubts @ (np.maximum(covered, alike[:, chosen].max(1)) - covered))


def test_the_first_photo_is_the_best_one_and_few_are_nearly_the_best_few():
    rng = np.random.default_rng(0)
    for _ in range(20):
        crops = rng.normal(size=(8, 3))
        alike, known = likeness(crops, crops), likeness(crops, rng.normal(size=(2, 3)))
        doubts = rng.uniform(0.1, 1, 8)
        chosen = choose(alike, known, doubts, 3)
        assert chosen[0] == max(range(8), key=lambda i: gain(alike, known, doubts, [i]))
        best = max(gain(alike, known, doubts, list(w)) for w in itertools.combinations(range(8), 3))
        assert gain(alike, known, doubts, chosen) >= (1 - 1 / np.e) * best
        assert sorted(choose(alike, known, doubts, 99)) == list(range(8))


def test_a_photo_like_a_labelled_one_or_like_a_chosen_one_comes_late():
    """Two kinds of three, of which one is labelled, and a photo of neither."""
    crops = np.array([[1, 0, 0], [1, 0.1, 0], [1, 0, 0.1], [0, 1, 0], [0.1, 1, 0], [0, 0, 1.0]])
    labelled = np.array([[1, 0.05, 0.05]])
    alike, known = likeness(crops, crops), likeness(crops, labelled)
    order = choose(alike, known, np.ones(6), 6)
    assert set(order[:2]) in ({3, 5}, {4, 5})
    assert choose(alike, known, np.array([1, 1, 1, 1, 1, 9.0]), 1) == [5], "the most doubtful"


def test_likeness_by_hand():
    """Around their mean (1, 1) crops lie at (1, 0), (0, 1) and (-1, -1)."""
    crops = np.array([[2.0, 1], [1, 2], [0, 0]])
    alike = likeness(crops, crops)
    np.testing.assert_allclose(alike, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(likeness(crops, np.array([[2.0, 2]])), [[0.5**0.5], [0.5**0.5], [0]])


def test_errors_that_fall_as_a_power_are_told():
    """Eight photos of one landmark, all with errors 0.4 n^-0.5: of seven others, and of four. What
    scores tell is half of it, and 0.1 in photos without labels."""
    single, halves = np.full((8, 1), 0.4 * 7**-0.5), np.full((3, 8, 1), 0.4 * 4**-0.5)
    found = Outlook.of(single, single / 2, halves, np.full(20, 0.1), 8)
    assert (found.now.value, found.then.value) == pytest.approx((0.2, 0.2 * 2**-0.5))
    assert fall(single, halves, 8) == pytest.approx((0.5, 0))
    # Photos agree, so that what varies is ten photos' worth of a deviation of 1, of 17 degrees.
    off = 2.109816 * (10 / 17 / 8) ** 0.5
    assert found.now.high == pytest.approx(0.2 * np.exp(off), rel=1e-6)


def test_without_halves_errors_fall_as_they_do_elsewhere():
    """Three photos with errors 0.1, 0.2, 0.3 where 0.2 was told of each."""
    single = np.array([[0.1], [0.2], [0.3]])
    told, none = np.full((3, 1), 0.2), np.full((4, 3, 1), nan)
    found = Outlook.of(single, told, none, np.array([0.2, 0.4]), 3)
    assert found.then.value == pytest.approx(0.3 * 2**-USUAL)
    noise = ((0.25 + 0.25 + 10) / 12 / 3) ** 0.5
    off = 2.178813 * np.hypot(noise, SPREAD * np.log(2))
    assert found.then.high == pytest.approx(found.then.value * np.exp(off), rel=1e-6)
    assert Outlook.of(single[:1], told[:1], none[:, :1], np.ones(2), 3) is None


def test_halves_tell_more_where_photos_agree():
    rng = np.random.default_rng(0)
    single = rng.gamma(4, 0.05, (10, 3))
    alike = np.stack([single * 2**0.8] * 4)
    wild = rng.permutation(single.ravel()).reshape(10, 3) * np.ones((4, 1, 1)) * 2**0.8
    falls = [fall(single, halves, 10)[0] for halves in (alike, wild)]
    assert falls[0] == pytest.approx(0.8 * np.log(2) / np.log(9 / 5), abs=0.01)
    assert USUAL < falls[1] < falls[0] - 0.02


def test_what_scores_tell_of_photos():
    """A landmark with a score of 0 is one that no support labels, unless all are."""
    scores = np.array([[0.5, 0.9, 0], [0, 0, 0]], np.float32)
    some = error_of(torch.tensor([0.5, 0.9])).mean().item()
    none = error_of(torch.zeros(1)).item()
    np.testing.assert_allclose(doubts_of(scores), [some, none], rtol=1e-6)


def test_halves_of_a_support_are_found_by_the_other_halves():
    """The mean position of four objects in boxes of 10 by 10: each by those that were kept."""
    places = np.array([[2.0, 2], [4, 4], [8, 6], [5, 5]])
    photo = np.zeros((32, 32, 3), np.uint8)
    finder = untrained("PLACE").adapt([photo] * 4, places[:, None], boxes=[[0, 0, 10, 10]] * 4)
    errors = left_out_by_halves(finder)
    assert errors.shape == (HALVES, 4, 1)
    for each in errors[..., 0]:
        out = np.isfinite(each)
        assert out.sum() == 2
        off = np.linalg.norm(places[~out].mean(0) - places[out], axis=1) / 10
        np.testing.assert_allclose(each[out], off, atol=0.02)


def written(folder, count=6):
    """Photos of blobs, three of them annotated; the annotations' path."""
    return annotate(folder / "support", range(3)), annotate(
        folder / "photos", range(10, 10 + count)
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    support, photos = written(folder)
    finder, found = folder / "finder.safetensors", folder / "found.json"
    assert main(["adapt", "--support", str(support), "--out", str(finder)]) == 0
    photos.unlink()
    ask = ["predict", "--model", str(finder), "--images", str(folder / "photos")]
    assert main([*ask, "--out", str(found), "--no-drawings"]) == 0
    return finder, found, folder / "photos"


def suggest(searched, *more, found=None):
    finder, predictions, photos = map(str, searched)
    ask = ["suggest", "--model", finder, "--predictions", str(found or predictions)]
    return main([*ask, "--images", photos, *map(str, more)])


def test_suggested_photos_are_named_written_and_not_suggested_again(searched, tmp_path, capsys):
    names = tmp_path / "next.txt"
    assert suggest(searched, "--count", 2, "--out", names) == 0
    said = capsys.readouterr().out
    first = names.read_text().splitlines()
    assert len(set(first)) == 2 and all(f". {name}\n" in said for name in first)
    assert "with 2 more labelled photos" in said
    labels = tmp_path / "labels"
    assert suggest(searched, "--count", 2, "--format", "labelme", "--out", labels) == 0
    assert {path.name for path in labels.glob("*.json")} == {name[:-3] + "json" for name in first}
    read = read_annotations(labels)
    rows = {row["file_name"]: row for row in json.loads(searched[1].read_text())}
    for i in range(len(read.index)):
        row = rows[read.photos[read.index.photo[i]].name]
        order = [row["keypoint_names"].index(name) for name in read.categories[1].names]
        marks = np.array(row["keypoints"]).reshape(-1, 3)[order, :2]
        np.testing.assert_allclose(read.index.landmarks(i)[0], marks, atol=0.01)
    assert suggest(searched, "--count", 9, "--format", "labelme", "--out", labels) == 0
    assert len(list(labels.glob("*.json"))) == 6
    assert suggest(searched, "--format", "labelme", "--out", labels) == 2
    assert "have a file in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: {}, "is no list of predictions"),
        (lambda rows: [], "is no list of predictions"),
        (lambda rows: [*rows[:1], 7], "prediction 1: it names no photo"),
        (lambda rows: [rows[0] | {"bbox": [1, 2, 3]}], "prediction 0: bbox"),
        (lambda rows: [rows[0] | {"keypoints": [1, 2, 0.5]}], "keypoints"),
        (lambda rows: [rows[0] | {"width": None}], "lacks width"),
        (lambda rows: [rows[0] | {"keypoint_names": ["a", "b", "c", "d"]}], "model's landmarks"),
        (
            lambda rows: [rows[0] | {"keypoints": [9.0, 9, 55] * (len(rows[0]["keypoints"]) // 3)}],
            "0 to 1",
        ),
        (lambda rows: [rows[0] | {"file_name": "clip.mp4", "frame": 3}], "--frames DIR"),
        (lambda rows: [rows[0] | {"file_name": "gone.png"}], "is left"),
    ],
)
def test_results_that_are_not_predicts_are_one_line(searched, tmp_path, capsys, change, says):
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(change(json.loads(searched[1].read_text()))))
    assert suggest(searched, found=changed) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in line and line.startswith("error: ")


def test_a_form_needs_a_place(searched, capsys):
    assert suggest(searched, "--format", "coco") == 2
    assert "--out" in capsys.readouterr().err


def test_photos_that_were_learnt_from_are_not_suggested(searched, tmp_path, capsys):
    """The annotated photos, found like others, beside one that is not."""
    finder, _, photos = searched
    folder = tmp_path / "all"
    shutil.copytree(finder.parent / "support", folder)
    (folder / "annotations.json").unlink()
    shutil.copy(photos / "010.png", folder)
    ask = ["predict", "--model", str(finder), "--images", str(folder), "--no-drawings"]
    assert main([*ask, "--out", str(tmp_path / "all.json")]) == 0
    capsys.readouterr()
    assert suggest((finder, tmp_path / "all.json", folder), "--count", 9) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["1. 010.png"]
