"""A COCO keypoint set as a task distribution, and a run on it."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.run import main
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.jointed import write_jointed
from fewshot_landmarks.data.keypoints import Keypoints, read_split
from fewshot_landmarks.data.source import find_source
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.tasks import LandmarkTasks


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "set"
    photos = {"train": 110, "test": 110}
    write_jointed(folder, photos=photos, categories=5, progress=False)
    return folder


def split_file(folder, name="split.json", **said):
    """A split file beside the set's own."""
    path = folder / f"of-a-test-{name}"
    path.write_text(json.dumps(said))
    return path


def test_tasks_have_their_categories_landmarks(shapes):
    source = find_source(shapes / "split.json")
    garments = source.open("train", size=32)
    (place,) = source.benchmarks.values()
    tasks = LandmarkTasks(garments, place.seen, shots=(1, 3), queries=4, num_tasks=6)
    sizes = set()
    for i, task in enumerate(tasks):
        assert task.landmarks == source.categories[task.category].landmarks
        photos = garments.photos[[*task.support.indices, *task.query.indices]]
        assert len(set(photos)) == len(photos)
        sizes.add(task.landmarks)
        assert tasks.draw(i).category in place.seen
    assert len(sizes) > 1


def test_crops_keep_places(shapes):
    annotations = read_annotations(shapes / "test.json", images=shapes / "images")
    garments = Keypoints(annotations, size=40)
    said = {a["id"]: a for a in json.loads((shapes / "test.json").read_text())["annotations"]}
    for i in range(0, len(garments), 17):
        garment = garments[i]
        true = np.reshape(said[int(annotations.index.item[i])]["keypoints"], (-1, 3))
        back = garment.origin + garment.scale * garment.landmarks
        labelled = true[:, 2] > 0
        np.testing.assert_allclose(back.numpy()[labelled], true[labelled, :2], atol=1e-2)
        assert garment.labelled.tolist() == labelled.tolist()
        assert garment.category == said[int(annotations.index.item[i])]["category_id"]


def test_a_photo_that_is_damaged_is_told(shapes, tmp_path):
    annotations = read_annotations(shapes / "test.json", images=shapes / "images")
    photo = annotations.photos[annotations.index.photo[0]].path
    whole = photo.read_bytes()
    photo.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(UserError, match=photo.name):
            Keypoints(annotations, size=16)[0]
        packed = Keypoints(annotations, size=16).pack(tmp_path)
        assert not packed.usable[0] and packed.usable.any()
        assert any(photo.name in line for line in packed.skipped)
    finally:
        photo.write_bytes(whole)


def test_sides_may_be_told_by_files(shapes):
    names = [c["name"] for c in json.loads((shapes / "train.json").read_text())["categories"]]
    coco = json.loads((shapes / "train.json").read_text())
    seen = [c["id"] for c in coco["categories"]][:3]
    coco["annotations"] = [a for a in coco["annotations"] if a["category_id"] in seen]
    (shapes / "some.json").write_text(json.dumps(coco))
    path = split_file(shapes, name="f.json", train="some.json", test="test.json", images="images")
    (place,) = find_source(path).benchmarks.values()
    assert list(place.seen) == seen and len(place.unseen) == len(names) - 3


@pytest.mark.parametrize(
    "said, told",
    [
        ({"train": "train.json"}, "--seen"),
        ({"train": "none.json"}, "none.json"),
        ({"neither": 1}, "neither a split file"),
        ({"train": "train.json", "benchmarks": {"B-1": {"seen": ["hand"]}}}, "B-1"),
        ({"train": "train.json", "benchmarks": {"X": {"seen": ["dragon"]}}}, "dragon"),
        ({"train": "train.json", "benchmarks": {"X": {"seen": []}}}, "seen"),
        ({"train": "train.json", "benchmarks": ["X"]}, "benchmarks"),
        ({"train": "train.json", "benchmarks": {"X": ["hand"]}}, "benchmarks"),
        ({"train": "train.json", "benchmarks": {"X": {"seen": "hand"}}}, "benchmarks"),
        ({"train": "train.json", "benchmarks": {"X": {"seen": 3}}}, "benchmarks"),
        ({"train": "train.json", "benchmarks": {"../X": {"seen": [1]}}}, "../X"),
        ({"train": "train.json", "benchmarks": {"": {"seen": [1]}}}, "name"),
        ({"train": "train.json", "test": "some.json", "name": "B-1"}, "of the paper"),
        ({"train": "train.json", "benchmarks": {"X": {"seen": [1]}, "Xr": {"seen": [2]}}}, "'Xr'"),
        ({"train": 3}, "paths"),
        ({"train": "train.json", "test": ["test.json"]}, "paths"),
        ({"train": "train.json", "images": "nowhere"}, "nowhere"),
        ({"train": "images"}, "images"),
        ({"train": "train.json", "benchmarks": {"X": {"seen": [1], "unseen": [1]}}}, "X"),
    ],
)
def test_a_wrong_split_file_is_one_line(shapes, said, told):
    path = shapes / "wrong.json"
    path.write_text(json.dumps({"images": "images", **said}))
    with pytest.raises(UserError) as error:
        _ = find_source(path).benchmarks
    assert told in str(error.value) and "\n" not in str(error.value)


def test_sides_that_number_categories_differently_are_told(shapes):
    coco = json.loads((shapes / "test.json").read_text())
    coco["categories"][0]["name"] = "dragon"
    (shapes / "other.json").write_text(json.dumps(coco))
    path = split_file(shapes, name="o.json", train="train.json", test="other.json", images="images")
    with pytest.raises(UserError, match="'dragon'"):
        _ = find_source(path).categories


def test_a_split_file_may_name_categories_by_ids_and_leave_some_out(shapes):
    given = {"X": {"seen": [1, 2], "unseen": [5], "title": "two to one"}}
    path = split_file(shapes, name="i.json", train="train.json", images="images", benchmarks=given)
    (place,) = find_source(path).benchmarks.values()
    assert (place.seen, place.unseen, place.title) == ((1, 2), (5,), "two to one")
    without = split_file(shapes, name="j.json", train="train.json", images="images",
                         benchmarks={"X": {"seen": [1, 2]}})  # fmt: skip
    (place,) = find_source(without).benchmarks.values()
    assert place.unseen == (3, 4, 5)


def test_a_split_file_that_is_no_json_is_one_line(tmp_path):
    (tmp_path / "x.json").write_text("{broken")
    for path in (tmp_path / "x.json", tmp_path / "none.json"):
        with pytest.raises(UserError, match=path.name):
            read_split(path)


def test_a_run_makes_the_tables_of_its_own_benchmark(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["--preset", "smoke", "--workers", "1", "--set", "base_batch=8"]
    command += [
        "--learner",
        "PROTO",
        "--learner",
        "MetaCloth",
        "--data",
        str(shapes / "split.json"),
    ]
    assert main([*command, "--out", "out"]) == 0
    episodes = pd.read_csv("out/episodes.csv.gz")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    (name,) = run["benchmarks"]
    assert set(episodes["benchmark"]) == {name} and run["data"]["name"] == "jointed"
    assert set(episodes["category"]) == set(run["benchmarks"][name]["unseen"])
    assert episodes["ne"].between(0, 2).all()
    for table in ("table2.md", "table3.md", "table4.md"):
        text = (tmp_path / "out" / table).read_text()
        assert name in text and "paper's own numbers" not in text
    assert main([*command, "--out", "out", "--dry-run"]) == 0
    assert "PROTO" not in capsys.readouterr().out.splitlines()[-1]
    assert main([*command, "--out", "out", "--benchmark", "B-1"]) == 2
    assert name in capsys.readouterr().err


def test_seen_categories_by_an_option(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = [c["name"] for c in json.loads((shapes / "train.json").read_text())["categories"]]
    command = ["--preset", "smoke", "--data", str(shapes / "train.json"), "--learner", "PROTO"]
    command += ["--images", str(shapes / "images"), "--out", "out", "--dry-run"]
    assert main([*command, "--seen", ", ".join(names[:3])]) == 0
    said = capsys.readouterr().out
    assert all(f"evaluate train PROTO {name}" in said for name in names[3:])
    assert not any(f"evaluate train PROTO {name}" in said for name in names[:3])
    (shapes / "B-1.json").write_text((shapes / "train.json").read_text())
    for options, told in (
        (["--seen", names[0], "--data", str(shapes / "B-1.json")], "B-1.json"),
        (["--seen", names[0], "--unseen", names[0]], names[0]),
        (["--seen", ", ".join(names)], "'train'"),
        (["--seen", ", "], "seen"),
        (["--seen", "dragon"], "dragon"),
        (["--unseen", names[0]], "--seen"),
        (["--seen", names[0], "--data", str(shapes)], "--data FILE"),
    ):
        assert main([*command, *options]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line
