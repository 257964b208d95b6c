"""One category of garments, exported as COCO keypoint JSON and read back."""

import json
import shutil

import cv2
import numpy as np
import pytest

from fewshot_landmarks.data.categories import category
from fewshot_landmarks.data.export import export_category, main
from fewshot_landmarks.data.garments import write_garments
from fewshot_landmarks.support.errors import UserError

DRESS = category("long sleeve dress")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("garments")
    write_garments(root, photos={"validation": 26}, minimum={"validation": 2}, progress=False)
    return root


@pytest.fixture(scope="module")
def exported(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "set"
    assert main(["--data", str(data), "--category", DRESS.name, "--out", str(out)]) == 0
    return out, json.loads((out / "annotations.json").read_text("utf-8"))


def annotated(data):
    """(photo's number, item) of every dress in DeepFashion2's own files, in order."""
    for path in sorted((data / "validation" / "annos").iterdir()):
        items = json.loads(path.read_text("utf-8"))
        for key in sorted(key for key in items if key.startswith("item")):
            landmarks = np.reshape(items[key]["landmarks"], (-1, 3))
            if items[key]["category_id"] == DRESS.id and landmarks[:, 2].any():
                yield int(path.stem), items[key]


def test_every_garment_of_the_category_keeps_its_coordinates(data, exported):
    _, coco = exported
    expected = list(annotated(data))
    assert len(coco["annotations"]) == len(expected) >= 2
    for found, (number, item) in zip(coco["annotations"], expected):
        assert (found["image_id"], found["category_id"]) == (number, DRESS.id)
        keypoints = np.reshape(item["landmarks"], (-1, 3)).astype(float)
        keypoints[keypoints[:, 2] == 0] = 0
        np.testing.assert_allclose(np.reshape(found["keypoints"], (-1, 3)), keypoints, atol=1e-3)
        assert found["num_keypoints"] == (keypoints[:, 2] > 0).sum()
        x1, y1, x2, y2 = item["bounding_box"]
        np.testing.assert_allclose(found["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=1e-3)
        assert found["area"] == pytest.approx((x2 - x1) * (y2 - y1))
    assert len({found["id"] for found in coco["annotations"]}) == len(expected)


def test_photos_are_those_of_the_data_set(data, exported):
    out, coco = exported
    named = {image["file_name"] for image in coco["images"]}
    assert named == {f"images/{path.name}" for path in (out / "images").iterdir()}
    assert {a["image_id"] for a in coco["annotations"]} == {i["id"] for i in coco["images"]}
    for image in coco["images"]:
        copy = out / image["file_name"]
        assert copy.read_bytes() == (data / "validation" / "image" / copy.name).read_bytes()
        height, width = cv2.imread(str(copy)).shape[:2]
        assert (image["width"], image["height"]) == (width, height)


def test_the_category_is_described_as_coco_does(exported):
    (described,) = exported[1]["categories"]
    assert (described["id"], described["name"]) == (DRESS.id, DRESS.name)
    assert len(described["keypoints"]) == len(described["sigmas"]) == DRESS.landmarks
    assert [[a - 1, b - 1] for a, b in described["skeleton"]] == [list(e) for e in DRESS.edges]


def test_a_number_of_photos_takes_so_many_and_always_the_same(data, tmp_path):
    first, _ = export_category(data, "validation", "trousers", tmp_path / "a", photos=2)
    again, _ = export_category(data, "validation", "trousers", tmp_path / "b", photos=2)
    assert len(first["images"]) == 2 and first == again
    assert {a["image_id"] for a in first["annotations"]} == {i["id"] for i in first["images"]}


def test_pycocotools_reads_it(exported):
    coco_tools = pytest.importorskip("pycocotools.coco")
    coco = coco_tools.COCO(str(exported[0] / "annotations.json"))
    assert len(coco.getAnnIds(catIds=[DRESS.id])) == len(exported[1]["annotations"])


def test_a_photo_that_cannot_be_decoded_is_left_out_with_a_line(data, exported, tmp_path):
    broken = tmp_path / "data"
    shutil.copytree(data / "validation", broken / "validation")
    number = exported[1]["images"][0]["id"]
    photo = broken / "validation" / "image" / f"{number:06d}.jpg"
    photo.write_bytes(photo.read_bytes()[:2000])
    coco, skipped = export_category(broken, "validation", DRESS.id, tmp_path / "set")
    assert [photo.name in line for line in skipped] == [True]
    assert number not in {i["id"] for i in coco["images"]}
    assert number not in {a["image_id"] for a in coco["annotations"]}
    assert not (tmp_path / "set" / "images" / photo.name).exists()


def test_another_export_in_the_folder_is_not_written_over(data, exported):
    out, coco = exported
    before = (out / "annotations.json").read_bytes()
    assert export_category(data, "validation", DRESS.id, out)[0] == coco
    photos = {path.name for path in (out / "images").iterdir()}
    with pytest.raises(UserError, match="annotations.json"):
        export_category(data, "validation", "skirt", out)
    assert (out / "annotations.json").read_bytes() == before
    assert {path.name for path in (out / "images").iterdir()} == photos


@pytest.mark.parametrize(
    "wrong", [["--category", "gown"], ["--category", "14"], ["--category", "8", "--photos", "0"]]
)
def test_a_mistake_is_one_line(data, tmp_path, capsys, wrong):
    assert main(["--data", str(data), "--out", str(tmp_path / "set"), *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "set").exists()
