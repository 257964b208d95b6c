"""The draw command: sheets of annotations and of predictions, and what it says of bad input."""

import json

import cv2
import numpy as np
import pytest

from fewshot_landmarks.photos.commands import draw
from fewshot_landmarks.photos.commands.parsers import parser
from fewshot_landmarks.support.errors import UserError

BOX = (100, 60, 80, 120)  # x, y, width, height
POINTS = [(120, 80), (160, 80), (140, 160)]
SIDE = 200


def run(*arguments) -> int:
    return draw.execute(parser().parse_args(["draw", "--side", str(SIDE), *map(str, arguments)]))


def in_cell(point) -> tuple[int, int]:
    """The pixel (row, column) of a cell in which a point of a photo lies."""
    window = 120 * 1.3
    x, y = ((np.array(point) - (140, 120)) / window + 0.5) * SIDE
    return int(y), int(x)


def picture(path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.jpg"), np.full((240, 300, 3), 120, np.uint8))
    return folder


@pytest.fixture
def coco(tmp_path, photos):
    """A file of five objects, four of them kites and the last a flag."""
    path = tmp_path / "coco.json"
    kinds = [
        {"id": 3, "name": "kite", "keypoints": ["left wing", "right wing", "tail"],
         "skeleton": [[1, 2], [2, 3]]},
        {"id": 7, "name": "flag", "keypoints": ["1", "2", "3"]},
    ]  # fmt: skip
    content = {
        "categories": kinds,
        "images": [
            {"id": 10 + n, "file_name": f"{n}.jpg", "width": 300, "height": 240} for n in range(5)
        ],
        "annotations": [
            {
                "id": n + 1, "image_id": 10 + n, "category_id": 7 if n == 4 else 3,
                "bbox": BOX, "area": 9600, "num_keypoints": 3, "iscrowd": 0,
                "keypoints": [c for p, v in zip(POINTS, (2, 1, 2), strict=True) for c in (*p, v)],
            }
            for n in range(5)
        ],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def predictions(path, scores=(1.0, 0.1, 0.5), count=1, **changed):
    row = {
        "image_id": 10, "category_id": 3, "file_name": "0.jpg", "bbox": BOX,
        "keypoints": [c for p, s in zip(POINTS, scores, strict=True) for c in (*p, s)],
        "score": float(np.mean(scores)),
    }  # fmt: skip
    row = {key: value for key, value in (row | changed).items() if value is not None}
    path.write_text(json.dumps([row] * count))
    return path


def test_annotations_are_drawn_where_they_are(coco, photos, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    wanted = ["--annotations", coco, "--images", photos, "--out", out, "--columns", 2]
    assert run(*wanted, "--category", "flag") == 0
    sheet = picture(out)
    assert sheet.shape == (SIDE, SIDE, 3)  # its landmarks have numbers only: no legend
    red, _, blue = (sheet[in_cell(p)].astype(int) for p in POINTS)
    assert red[0] > red[1] + 100 and blue[0] > blue[1] + 100
    assert "1 of 1" in capsys.readouterr().out


def test_a_sheet_of_several_has_rows_edges_and_a_legend(coco, photos, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    wanted = ["--annotations", coco, "--images", photos, "--out", out, "--columns", 2]
    assert run(*wanted, "--count", 3) == 0
    sheet = picture(out)
    assert sheet.shape[0] == 2 * SIDE and sheet.shape[1] > 2 * SIDE  # a legend beside
    assert (sheet[:, 2 * SIDE :] < 60).all(axis=2).any()
    assert "3 of 5" in capsys.readouterr().out
    row, column = in_cell((140, 80))
    assert np.ptp(sheet[row - 2 : row + 3, column].astype(int)) > 50  # the edge of 1 and 2


def test_photos_that_cannot_be_read_are_told_and_the_rest_is_drawn(coco, photos, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    (photos / "1.jpg").unlink()
    whole = (photos / "2.jpg").read_bytes()
    (photos / "2.jpg").write_bytes(whole[: len(whole) // 2])
    assert run("--annotations", coco, "--images", photos, "--out", out) == 0
    said = capsys.readouterr().err
    assert "1.jpg" in said and "2.jpg" in said and "3.jpg" not in said
    sheet = picture(out)
    assert sheet.shape[1] >= 4 * SIDE  # the one that is missing is no annotation fit for use
    row, column = in_cell(POINTS[0])
    drawn = [np.ptp(sheet[row, SIDE * k + column].astype(int)) > 50 for k in range(4)]
    assert drawn == [True, False, True, True]
    for path in photos.iterdir():
        path.write_bytes(b"no photo")
    assert run("--annotations", coco, "--images", photos, "--out", out) == 1


def test_predictions_are_coloured_by_their_scores(photos, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    given = predictions(tmp_path / "p.json", count=3)
    assert run("--predictions", given, "--images", photos, "--out", out, "--columns", 2) == 0
    sheet = picture(out)
    assert sheet.shape == (2 * SIDE, 2 * SIDE, 3)
    green, red, between = (sheet[in_cell(p)].astype(int) for p in POINTS)
    assert green[1] > 200 > 2 * green[0] and red[0] > 200 > 1.5 * red[1]
    assert min(between[:2]) > 200
    assert "3 of 3" in capsys.readouterr().out


def test_predictions_of_one_category(photos, tmp_path):
    given = predictions(tmp_path / "p.json")
    wanted = ["--predictions", given, "--images", photos, "--out", tmp_path / "sheet.png"]
    assert run(*wanted, "--category", "3") == 0
    with pytest.raises(UserError, match="category 4"):
        run(*wanted, "--category", "4")


@pytest.mark.parametrize(
    "changed",
    [
        {"bbox": None},
        {"bbox": [1, 2, 3]},
        {"bbox": [float("nan")] * 4},
        {"file_name": None},
        {"keypoints": [1, 2]},
        {"keypoints": ["a", "b", "c"]},
        {"score": "high"},
    ],
)
def test_a_broken_prediction_is_one_line(changed, photos, tmp_path):
    given = predictions(tmp_path / "p.json", **changed)
    with pytest.raises(UserError, match="prediction 1") as caught:
        run("--predictions", given, "--images", photos, "--out", tmp_path / "sheet.png")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize("text", ["{", "{}", "[]", "[3]"])
def test_a_file_without_predictions_is_one_line(text, photos, tmp_path):
    given = tmp_path / "p.json"
    given.write_text(text)
    with pytest.raises(UserError):
        run("--predictions", given, "--images", photos, "--out", tmp_path / "sheet.png")
    given.unlink()
    with pytest.raises(UserError):
        run("--predictions", given, "--images", photos, "--out", tmp_path / "sheet.png")


@pytest.mark.parametrize(
    "more", [["--out", "sheet.txt"], ["--out", "p.json/sheet.png"], ["--count", 0], ["--side", 0]]
)
def test_impossible_arguments_are_one_line(more, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = predictions(tmp_path / "p.json")
    with pytest.raises(UserError) as caught:
        run("--predictions", given, "--images", photos, "--out", "sheet.png", *more)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.json", "photos"]


def test_predictions_need_the_folder_of_photos(tmp_path):
    given = predictions(tmp_path / "p.json")
    with pytest.raises(UserError, match="--images"):
        run("--predictions", given, "--out", tmp_path / "sheet.png")
