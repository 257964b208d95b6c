"""The commands on files as DeepFashion2's converter writes them: 294 keypoints for every object."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.presets import SMOKE
from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.categories import DEEPFASHION2
from fewshot_landmarks.photos.model import load
from tests.converted import STARTS, converted

TROUSERS = DEEPFASHION2.find("trousers")
FIRST = STARTS[TROUSERS.id - 1]


@pytest.fixture(scope="module")
def folder(smoke_folder, tmp_path_factory):
    """all.json and a split of it: support.json, of whose five trousers none labels landmark 2, and
    query.json. Their photos are in image/.
    """
    made = tmp_path_factory.mktemp("files")
    train = smoke_folder / "data" / SMOKE.drawn.name / "train"
    (made / "image").symlink_to(train / "image")
    said = json.loads(converted(train, made / "all.json").read_text())
    trousers = [a for a in said["annotations"] if a["category_id"] == TROUSERS.id]
    for row in trousers[:5]:
        row["keypoints"][3 * (FIRST + 1) : 3 * (FIRST + 2)] = [0, 0, 0]
    photos = {row["image_id"] for row in trousers[:5]}
    sides = trousers[:5], [a for a in said["annotations"] if a["image_id"] not in photos]
    for name, rows in zip(("support", "query"), sides):
        (made / f"{name}.json").write_text(json.dumps(said | {"annotations": rows}))
    return made


@pytest.fixture(scope="module")
def found(folder):
    """Trousers found by PROTO; the same as mmpose writes them, with 294 keypoints, beside."""
    made = folder / "finder.safetensors"
    adapt = ["adapt", "--support", str(folder / "support.json"), "--learner", "PROTO"]
    assert main([*adapt, "--out", str(made)]) == 0
    out = folder / "found.json"
    predict = ["predict", "--model", str(made), "--boxes", str(folder / "query.json")]
    assert (
        main(
            [
                *predict,
                "--category",
                "trousers",
                "--out",
                str(out),
                "--no-drawings",
                "--level",
                "0.5",
            ]
        )
        == 0
    )
    wide = []
    for row in json.loads(out.read_text()):
        keypoints = np.zeros(3 * 294)
        keypoints[3 * FIRST : 3 * (FIRST + TROUSERS.landmarks)] = row["keypoints"]
        wide.append({key: row[key] for key in ("image_id", "category_id", "score", "bbox")})
        wide[-1]["keypoints"] = keypoints.tolist()
        places = [None] * 2 * FIRST + row["mean_position"]
        wide[-1]["mean_position"] = places + [None] * (2 * 294 - len(places))
        radii = [None] * FIRST + row["radii"]
        wide[-1] |= {"radii": radii + [None] * (294 - len(radii)), "radius_level": 0.5}
    (folder / "wide.json").write_text(json.dumps(wide))
    return folder


def test_a_model_learns_the_categorys_own_landmarks(found, capsys):
    finder = load(found / "finder.safetensors")
    assert finder.support.category == "trousers" and finder.names == TROUSERS.names
    assert finder.support.boxed.labelled.any(0).tolist() == [i != 1 for i in range(14)]
    rows = json.loads((found / "found.json").read_text())
    assert {len(row["keypoints"]) for row in rows} == {3 * 14}
    assert all(row["keypoints"][3:6] == [0, 0, 0] for row in rows)
    assert main(["doctor", "--model", str(found / "finder.safetensors")]) == 0
    said = capsys.readouterr().out
    assert any("2 0" in line and "and 9 more" in line for line in said.splitlines())


def test_results_with_all_294_keypoints_are_evaluated_alike(found, tmp_path):
    tables = []
    for name in ("found", "wide"):
        command = ["evaluate", "--predictions", str(found / f"{name}.json")]
        command += ["--annotations", str(found / "query.json"), "--category", "8"]
        assert main([*command, "--out", str(tmp_path / name)]) == 0
        tables += [
            pd.read_csv(tmp_path / name / f"{file}.csv") for file in ("metrics", "landmarks")
        ]
    metrics, landmarks, other, others = tables
    pd.testing.assert_frame_equal(landmarks, others)
    pd.testing.assert_frame_equal(metrics, other, atol=1e-6)
    assert landmarks["landmark"].tolist() == [int(name) for name in TROUSERS.names]
    assert "mean OKS" in metrics["metric"].tolist()


def test_results_of_another_number_of_keypoints_are_refused(found, tmp_path, capsys):
    rows = json.loads((found / "wide.json").read_text())
    rows[0] |= {"keypoints": rows[0]["keypoints"][3:], "mean_position": None, "radii": None}
    (tmp_path / "wrong.json").write_text(json.dumps(rows))
    command = ["evaluate", "--predictions", str(tmp_path / "wrong.json")]
    assert main([*command, "--annotations", str(found / "query.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "879 numbers" in line and "14 landmarks" in line


def test_compare_takes_the_categorys_own_landmarks(folder, capsys):
    command = ["compare", "--support", str(folder / "support.json"), "--learner", "MAML", "PROTO"]
    command += ["--shots", "1", "--draws", "2"]
    command += ["--query", str(folder / "query.json")]
    assert main([*command, "--category", "trousers"]) == 0
    said = capsys.readouterr().out
    assert "MAML" in said and "fails" not in said
    assert max(map(len, said.splitlines())) < 600


def test_doctor_draw_and_a_category_by_another_name(found, tmp_path, capsys):
    assert main(["doctor", "--data", str(found / "all.json"), "--decode", "3"]) == 0
    said = capsys.readouterr().out
    assert all(kind.name in said for kind in DEEPFASHION2.values())
    (note,) = [line for line in said.splitlines() if "of 294" in line]
    assert "and 8 more" in note
    command = ["draw", "--annotations", str(found / "all.json"), "--category", "long_sleeved_dress"]
    assert main([*command, "--count", "2", "--out", str(tmp_path / "a.png")]) == 0
    rows = json.loads((found / "found.json").read_text())
    rows = [row | {"category": "long sleeve dress"} for row in rows[:1]] + rows[1:2]
    (tmp_path / "two.json").write_text(json.dumps(rows))
    command = [
        "draw",
        "--predictions",
        str(tmp_path / "two.json"),
        "--out",
        str(tmp_path / "b.png"),
    ]
    command += ["--images", str(found / "image"), "--category", "long_sleeved_dress"]
    assert main(command) == 0
    assert "1 of 1 objects" in capsys.readouterr().out


def test_messages_name_a_handful_of_landmarks(folder, tmp_path, capsys):
    said = json.loads((folder / "query.json").read_text())
    row = next(a for a in said["annotations"] if a["category_id"] == TROUSERS.id)
    x, y, width, height = row["bbox"]
    names = [f"point {i}" for i in range(294)]
    kind = {"id": 8, "name": "own", "keypoints": names}
    inside, outside, none = [x + width / 2, y + height / 2, 2], [1e6, 1e6, 2], [0, 0, 0]
    keypoints = {"support": [inside] * 150 + [none] * 144, "query": [none] * 140 + [inside] * 154,
                 "beyond": [inside] * 150 + [outside] * 144}  # fmt: skip
    for name, marks in keypoints.items():
        own = said | {"annotations": [row | {"keypoints": sum(marks, [])}], "categories": [kind]}
        (tmp_path / f"{name}.json").write_text(json.dumps(own))
    images, out = str(folder / "image"), str(tmp_path / "m.safetensors")
    for name in ("support", "beyond"):
        adapt = ["adapt", "--support", str(tmp_path / f"{name}.json"), "--images", images]
        assert main([*adapt, "--learner", "PROTO", "--out", out]) == 0
        said = capsys.readouterr().out
        lines = [line for line in said.splitlines() if "and 139 more" in line]
        assert len(lines) == (1 if name == "support" else 2), said
    assert main(["doctor", "--model", out]) == 0
    assert "and 289 more" in capsys.readouterr().out
    predict = ["predict", "--model", out, "--images", images, "--no-drawings"]
    predict += ["--boxes", str(tmp_path / "query.json"), "--out", str(tmp_path / "found.json")]
    assert main(predict) == 0
    evaluate = ["evaluate", "--predictions", str(tmp_path / "found.json"), "--images", images]
    assert main([*evaluate, "--annotations", str(tmp_path / "query.json")]) == 0
    assert "and 139 more" in capsys.readouterr().out
