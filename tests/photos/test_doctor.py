"""What the doctor says of a folder: counts, broken files, categories with too few garments."""

import json
import shutil

import pytest

from benchmarks.presets import SMOKE
from benchmarks.run import main as benchmark
from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.jointed import write_jointed
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.photos.model import Model
from tests.toy import toy_base

FEW = ["--queries", "4", "--train-queries", "4"]


@pytest.fixture
def data(smoke_folder, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(smoke_folder / "data" / SMOKE.drawn.name, root)
    return root


def test_a_sound_folder_is_fit(data, capsys):
    assert main(["doctor", "--data", str(data), *FEW, "--decode", "20"]) == 0
    assert "sling dress" in capsys.readouterr().out


def test_broken_files_and_scarce_categories_are_told(data, capsys):
    annotations = sorted((data / "validation" / "annos").iterdir())
    annotations[0].write_text("{broken")
    for path in annotations[1:]:  # no skirts are left
        annotation = json.loads(path.read_text())
        items = {k: v for k, v in annotation.items() if not _is_skirt(v)}
        if len(items) < len(annotation):
            if any(key.startswith("item") for key in items):
                path.write_text(json.dumps(items))
            else:
                path.unlink()
    photo = data / "train" / "image" / "000001.jpg"
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    assert main(["doctor", "--data", str(data), *FEW]) == 1
    said = capsys.readouterr().out
    assert annotations[0].name in said
    assert "000001.jpg" in said
    assert "skirt has 0" in said
    cannot = next(line for line in said.splitlines() if "skirt has 0" in line)
    assert "B-2" in cannot and "B-1" not in cannot  # unseen in B-2, seen in B-1


def test_no_data_is_one_line(tmp_path, capsys):
    assert main(["doctor", "--data", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def _is_skirt(value) -> bool:
    return isinstance(value, dict) and value.get("category_name") == "skirt"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "set"
    write_jointed(folder, photos={"train": 60, "test": 60}, categories=4, progress=False)
    return folder


def test_a_keypoint_set_is_checked_by_its_own_benchmarks(shapes, capsys):
    few = ["--queries", "2", "--train-queries", "2"]
    assert main(["doctor", "--data", str(shapes / "split.json"), *few]) == 0
    many = ["--shots", "1", "--queries", "500"]  # a run's tasks have all shots, whatever is asked
    assert main(["doctor", "--data", str(shapes / "split.json"), *many]) == 1
    said = capsys.readouterr().out
    assert "510" in said and "J-1" in said
    run = ["--data", str(shapes / "split.json"), "--preset", "smoke", "--set", "queries=500"]
    assert benchmark([*run, "--learner", "PROTO", "--shots", "1", "--dry-run"]) == 2
    assert "510" in capsys.readouterr().err


def test_annotations_alone_need_no_benchmark(shapes, capsys):
    command = ["doctor", "--data", str(shapes / "train.json"), "--images", str(shapes / "images")]
    assert main(command) == 0
    photo = sorted((shapes / "images").iterdir())[0]
    whole = photo.read_bytes()
    photo.write_bytes(whole[: len(whole) // 2])
    assert main(command) == 1
    photo.write_bytes(whole)
    assert photo.name in capsys.readouterr().out


def test_a_model_says_what_it_is(tmp_path, capsys):
    base = toy_base()
    learner = find_learner("PROTO")(base, find_learner("PROTO").Settings())
    options = {"channels": 4, "width": 8}
    model = Model(learner, "PROTO", "small", options, 16, None, {"preset": "toy"})
    model.save(tmp_path / "proto.safetensors")
    assert main(["doctor", "--model", str(tmp_path / "proto.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "PROTO" in said and "preset: toy" in said
    assert main(["doctor", "--model", str(tmp_path / "none.safetensors")]) == 2
