"""Models and finders: what three lines of Python do, and what files hold."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fewshot_landmarks.learner import Learner
from fewshot_landmarks.networks import pretrained
from fewshot_landmarks.photos.boxes import around, box_of
from fewshot_landmarks.photos.confidence import SIGNS, Calibration
from fewshot_landmarks.photos.model import load
from fewshot_landmarks.photos.stored import HEADER
from fewshot_landmarks.protocol import BEYOND, LEARNERS
from fewshot_landmarks.support.errors import UserError
from tests.colours import SHAPE, model, photo, photos, radius

pytestmark = pytest.mark.usefixtures("colours")


@pytest.fixture
def support():
    return photos(range(3))


@pytest.fixture
def finder(support):
    images, landmarks, boxes = support
    return model().adapt(images, landmarks, boxes=boxes, names=("red", "green", "blue", "yellow"))


def test_landmarks_are_found_in_photos_of_other_sizes(finder):
    for size in ((120, 90), (64, 200), (700, 500)):
        image, true, box = photo(9, *size)
        found = finder.predict([image], [box])
        cell = np.array(size) * 0.7 * 1.2 / 32  # of the crop, in pixels of the photo
        assert (np.abs(found.landmarks[0] - true) < radius(*size) + cell).all()
    assert found.scores.shape == (1, 4) and found.boxes.shape == (1, 4)


def test_without_a_box_the_object_is_found_first(finder):
    image, true, box = photo(9, 200, 200, box=(40, 60, 140, 160))
    found = finder.predict([image])
    assert np.abs(found.boxes[0] - box).max() < 20
    assert np.abs(found.landmarks[0] - true).max() < radius(200, 200) + 6


@pytest.mark.parametrize(
    "name, network",
    [*((name, "small") for name in LEARNERS + BEYOND), ("MetaCloth", "efficientnet")],
)
def test_a_file_holds_what_predicts(name, network, support, tmp_path, monkeypatch):
    images, landmarks, boxes = support
    made = model(name, network=network)
    # A file holds all weights: ImageNet's need not be there to read it.
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    before = {n: t.clone() for n, t in made.learner.state_dict().items()}
    visible = np.ones((3, 4), int)
    visible[:, 3] = 0
    finder = made.adapt(images[:2], landmarks[:2], visible[:2], boxes=boxes[:2])
    found = finder.predict(images, boxes)
    assert found.landmarks.shape == (3, 4, 2)
    assert np.isfinite(found.landmarks[:, :3]).all() and np.isnan(found.landmarks[:, 3]).all()
    assert (found.scores[:, :3] > 0).all() and (found.scores <= 1).all()
    assert (found.scores[:, 3] == 0).all()  # no support photo labels it
    assert all(torch.equal(before[n], t) for n, t in made.learner.state_dict().items())
    for saved, path in ((made, tmp_path / "m.safetensors"), (finder, tmp_path / "f.safetensors")):
        saved.save(path)
        again = load(path)
        if saved is made:
            again = again.adapt(images[:2], landmarks[:2], visible[:2], boxes=boxes[:2])
        for one, other in ((again.predict(images, boxes), found), (again.predict(images), None)):
            other = other or finder.predict(images)
            np.testing.assert_array_equal(one.landmarks, other.landmarks)
            np.testing.assert_array_equal(one.scores, other.scores)
            np.testing.assert_array_equal(one.boxes, other.boxes)


def test_an_image_may_be_a_path_a_picture_an_array_or_a_tensor(finder, tmp_path):
    image, _, box = photo(9)
    PIL.Image.fromarray(image).save(tmp_path / "one.png")
    tensor = torch.from_numpy(image).movedim(-1, 0)
    kinds = [image, tmp_path / "one.png", str(tmp_path / "one.png"), PIL.Image.fromarray(image)]
    found = [finder.predict([one], [box]).landmarks for one in [*kinds, tensor, tensor / 255]]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_more_images_than_go_at_once_are_found_alike(finder):
    images, _, boxes = photos(range(40))
    together = finder.predict(images, boxes)
    alone = np.concatenate([finder.predict([i], [b]).landmarks for i, b in zip(images, boxes)])
    np.testing.assert_allclose(together.landmarks, alone, atol=1e-3)
    assert finder.predict([]).landmarks.shape == (0, 4, 2)


def test_a_landmark_outside_its_photo_is_not_learnt_from(support):
    images, landmarks, boxes = support
    wild = np.array(landmarks)
    wild[:, 1] = (5000, -3)
    found = model().adapt(images, wild, boxes=boxes).predict(images, boxes)
    assert np.isnan(found.landmarks[:, 1]).all() and np.isfinite(found.landmarks[:, 0]).all()
    missing = np.array(landmarks)
    missing[:, 2] = np.nan  # not labelled, where `visible` is left out
    found = model().adapt(images, missing, boxes=boxes).predict(images, boxes)
    assert (found.scores[:, 2] == 0).all() and (found.scores[:, 0] > 0).all()


def test_a_wild_place_that_is_not_labelled_changes_nothing(support):
    images, landmarks, boxes = support
    plain, wild = np.array(landmarks), np.array(landmarks)
    plain[0, 1], wild[0, 1] = np.nan, 1e30  # its square is beyond float32
    some = Calibration(tuple(0.1 for _ in SIGNS), 0.0)
    found = [
        model(calibration=some).adapt(images, each, boxes=boxes).predict(images, boxes)
        for each in (plain, wild)
    ]
    np.testing.assert_array_equal(found[0].landmarks, found[1].landmarks)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)
    assert np.isfinite(found[1].scores).all()
    negative = np.where(np.arange(4) == 1, -1, 1) * np.ones((3, 1))
    found = model().adapt(images, landmarks, negative, boxes=boxes).predict(images, boxes)
    assert (found.scores[:, 1] == 0).all() and (found.scores[:, 0] > 0).all()


class Fails(Learner):
    """Heatmaps that hold no numbers: of landmark 1 NaN in places, of landmark 2 infinity."""

    name = "FAILS"

    def adapt(self, support):
        def detect(images):
            heatmaps = images.mean(1, keepdim=True).repeat(1, support.landmarks.shape[1], 1, 1)
            heatmaps[:, 1, 3:5], heatmaps[:, 2, 7, 9] = float("nan"), float("inf")
            return heatmaps

        return detect


def test_heatmaps_without_numbers_have_no_landmark_and_no_score(support):
    images, landmarks, boxes = support
    some = Calibration(tuple(0.1 for _ in SIGNS), 0.0)
    for calibration in (None, some):
        failing = model("tests.photos.test_model:Fails", calibration).adapt(
            images, landmarks, boxes=boxes
        )
        for found in (failing.predict(images, boxes), failing.predict(images)):
            assert np.isnan(found.landmarks[:, 1:3]).all() and (found.scores[:, 1:3] == 0).all()
            assert np.isfinite(found.landmarks[:, [0, 3]]).all()
            assert ((found.scores[:, [0, 3]] > 0) & (found.scores[:, [0, 3]] <= 1)).all()
            assert np.isfinite(found.boxes).all()


def test_names_may_be_an_array(support, tmp_path):
    images, landmarks, boxes = support
    finder = model().adapt(images, landmarks, boxes=boxes, names=np.arange(4))
    finder.save(tmp_path / "f.safetensors")
    assert load(tmp_path / "f.safetensors").names == ("0", "1", "2", "3")


def test_scores_are_the_calibrations(support):
    images, landmarks, boxes = support
    weights = tuple(float(sign == "log of the support images") for sign in SIGNS)
    calibrated = model(calibration=Calibration(weights, -1.0))
    scores = calibrated.adapt(images, landmarks, boxes=boxes).predict(images, boxes).scores
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(1 - np.log(3))), rtol=1e-5)


def test_a_box_around_landmarks():
    points = np.array([[10.0, 20.0], [50.0, 60.0]])
    np.testing.assert_allclose(around(points, 100, 61), [8, 18, 52, 61])


def test_the_box_of_scattered_landmarks_leaves_outliers_aside():
    random = np.random.default_rng(0)
    shape = random.uniform(0, 1, (20, 2)).astype(np.float32)
    found = 30 + shape * (80, 120)
    found[:5] = random.uniform(0, 400, (5, 2))
    box = box_of(found, np.ones(20), shape, 400, 400)
    np.testing.assert_allclose(box, [30, 30, 110, 150], atol=3)
    found[5:7], scores = random.uniform(0, 400, (2, 2)), np.ones(20)
    scores[[0, 1, 4, 6]] = 0.2  # a third lies elsewhere, of which some score less
    np.testing.assert_allclose(box_of(found, scores, shape, 400, 400), [30, 30, 110, 150], atol=6)
    nowhere = np.full((20, 2), 7.0)
    assert box_of(nowhere, np.ones(20), shape, 400, 300) == (0, 0, 400, 300)
    assert box_of(nowhere * np.nan, np.zeros(20), shape, 400, 300) == (0, 0, 400, 300)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"landmarks": np.zeros((2, 4, 2))}, "(2, 4, 2)"),
        ({"landmarks": np.zeros((3, 4, 3))}, "(3, 4, 3)"),
        ({"landmarks": [[[1, 2]], [[1, 2], [3, 4]], [[1, 2]]]}, "as many in each"),
        ({"images": [], "landmarks": np.zeros((0, 4, 2))}, "at least one"),
        ({"visible": np.ones((3, 5))}, "(3, 5)"),
        ({"visible": np.zeros((3, 4))}, "photo 1 has no labelled landmark"),
        ({"boxes": np.zeros((3, 4))}, "box of support photo 1"),
        ({"boxes": [[500, 500, 600, 600]] * 3}, "box of support photo 1"),
        ({"boxes": np.zeros((2, 4))}, "(2, 4)"),
        ({"boxes": [None, [1, 2, 3, 4], [1, 2, 3, 4]]}, "boxes"),
        ({"boxes": [[0, 0, 2, 2]] * 3}, "no landmark of the support lies in its box"),
        ({"visible": [[1], [1, 1], [1]]}, "visible"),
        ({"names": ["one"]}, "1 names for 4"),
        ({"images": ["missing.jpg"] * 3}, "missing.jpg"),
    ],
)
def test_wrong_support_is_one_line(support, change, told):
    images, landmarks, boxes = support
    given = {"images": images, "landmarks": landmarks, "boxes": boxes, **change}
    with pytest.raises(UserError) as error:
        model().adapt(given.pop("images"), given.pop("landmarks"), **given)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_wrong_queries_are_one_line(finder):
    image, _, box = photo(1)
    for images, boxes in (
        ([image], [[900, 900, 950, 950]]),
        ([image], [box, box]),
        (["missing.jpg"], None),
        ([np.zeros((4, 4, 7))], None),
        (image, None),
        (torch.from_numpy(image), None),
        (PIL.Image.fromarray(image), None),
        ("missing.jpg", None),
    ):
        with pytest.raises(UserError) as error:
            finder.predict(images, boxes)
        assert isinstance(images, list) or "list of images" in str(error.value)
    np.testing.assert_array_equal(
        finder.predict(np.stack([image, image])).landmarks, finder.predict([image] * 2).landmarks
    )


# ---------------------------------------------------------------------------------- files


def _said(path) -> dict:
    with safe_open(str(path), "pt") as file:
        return json.loads(file.metadata()[HEADER])


def _tensors(path) -> dict:
    with safe_open(str(path), "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def _broken(path, kind):
    if kind == "missing":
        path.unlink()
    elif kind == "zip pickle":
        torch.save({"weights": torch.zeros(3)}, path)
    elif kind == "old pickle":
        torch.save({"weights": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    elif kind == "other weights":
        save_file({"weights": torch.zeros(3)}, str(path))
    elif kind == "cut short":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "another format":
        said = json.dumps({**_said(path), "format": 99})
        save_file(_tensors(path), str(path), {HEADER: said})
    elif kind == "unknown learner":
        said = json.dumps({**_said(path), "learner": "gone:Learner"})
        save_file(_tensors(path), str(path), {HEADER: said})
    elif kind == "tensors that do not fit":
        said = json.dumps(_said(path))
        short = {
            name: tensor[:1] if tensor.dim() else tensor for name, tensor in _tensors(path).items()
        }
        save_file(short, str(path), {HEADER: said})
    elif kind == "header without settings":
        said = {name: value for name, value in _said(path).items() if name != "settings"}
        save_file(_tensors(path), str(path), {HEADER: json.dumps(said)})
    elif kind == "header that is a list":
        save_file(_tensors(path), str(path), {HEADER: "[1]"})
    elif kind == "base of another kind":
        said = {**_said(path), "base": [7, 9]}
        save_file(_tensors(path), str(path), {HEADER: json.dumps(said)})
    elif kind == "support of fewer names":
        said = {**_said(path), "names": ["red"]}
        save_file(_tensors(path), str(path), {HEADER: json.dumps(said)})
    elif kind == "support of another size":
        said = {**_said(path), "size": 48}
        save_file(_tensors(path), str(path), {HEADER: json.dumps(said)})
    elif kind == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    "kind, told",
    [
        ("missing", "cannot read"),
        ("zip pickle", "pickle"),
        ("old pickle", "pickle"),
        ("other weights", "not of this project"),
        ("cut short", "broken"),
        ("empty", "broken"),
        ("another format", "99"),
        ("unknown learner", "gone"),
        ("tensors that do not fit", "does not fit"),
        ("header without settings", "does not fit"),
        ("header that is a list", "broken"),
        ("base of another kind", "does not fit"),
        ("support of fewer names", "does not fit"),
        ("support of another size", "does not fit"),
        ("folder", "cannot read"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(finder, tmp_path, kind, told):
    path = tmp_path / "model.safetensors"
    finder.save(path)
    _broken(path, kind)
    with pytest.raises(UserError) as error:
        load(path)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_pickle_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    torch.save(Trap(), tmp_path / "trap.pt")
    with pytest.raises(UserError, match="refused"):
        load(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_the_shape_is_that_of_the_boxes(finder):
    np.testing.assert_allclose(finder.support.shape, SHAPE, atol=0.05)


def test_the_readmes_three_lines(support, tmp_path, monkeypatch):
    root = Path(__file__).parents[2]
    monkeypatch.chdir(tmp_path)
    code = (root / "README.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) == 3
    images, landmarks, _ = support
    more_images = photos(range(5, 7))[0]
    here = {"images": images, "landmarks": landmarks, "visible": np.ones((3, 4))}
    exec(code, here | {"more_images": more_images}, names := {})
    assert names["found"].landmarks.shape == (2, 4, 2) and names["found"].scores.max() > 0
