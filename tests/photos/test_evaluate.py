"""What `evaluate` says of hand-made predictions: numbers worked out on paper, bad input."""

import json
import pickle
import sys

import cv2
import numpy as np
import pandas as pd
import pytest

from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.formats.predictions import match, read_predictions
from fewshot_landmarks.photos.commands import evaluate
from fewshot_landmarks.photos.commands.parsers import parser
from fewshot_landmarks.support.errors import UserError

KITE, STAR = 7, 9
CATEGORIES = [
    {"id": KITE, "name": "kite", "keypoints": ["tip", "left", "right"]},
    {"id": STAR, "name": "star", "keypoints": ["one", "two"]},
]


def annotated(number, image, points, *, category=KITE, box=(10, 20, 200, 50), area=10_000):
    """An annotation; points are (x, y), or None for a landmark that is not labelled."""
    keypoints = [n for point in points for n in ((*point, 2) if point else (0, 0, 0))]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "keypoints": keypoints,
        "num_keypoints": sum(point is not None for point in points),
        "bbox": list(box),
        "area": area,
        "iscrowd": 0,
    }


def predicted(image, points, scores=None, *, category=KITE, **more):
    scores = scores or [0.5] * len(points)
    keypoints = [n for (x, y), score in zip(points, scores, strict=True) for n in (x, y, score)]
    return {"image_id": image, "category_id": category, "keypoints": keypoints, **more}


@pytest.fixture
def files(tmp_path):
    """Writes annotations and predictions, and gives their paths."""

    def write(annotations, predictions, categories=CATEGORIES):
        images = [
            {"id": n, "file_name": f"{n}.png", "width": 320, "height": 240}
            for n in sorted({one["image_id"] for one in annotations})
        ]
        for image in images:
            blank = np.zeros((240, 320, 3), np.uint8)
            cv2.imwrite(str(tmp_path / image["file_name"]), blank)
        truth = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "predictions.json").write_text(json.dumps(predictions))
        return tmp_path / "truth.json", tmp_path / "predictions.json"

    return write


def run(truth, predictions, *more):
    paths = "--annotations", str(truth), "--predictions", str(predictions)
    return evaluate.execute(parser().parse_args(["evaluate", *paths, *map(str, more)]))


def matches(truth, predictions):
    """Ids of the annotations that predictions are matched with, None for no match."""
    annotations = read_annotations(truth)
    read, _ = read_predictions(predictions, annotations)
    found = match(read, annotations)
    return [int(annotations.index.item[i]) if i >= 0 else None for i in found]


# Errors of 3, 8 and 15 pixels, and 1 and 30; sizes are 100 pixels by area and 200 by side.
TRUTH = [
    annotated(11, 1, [(50, 50), (100, 50), (150, 50)]),
    annotated(12, 2, [(50, 60), (100, 60), None]),
]
PREDICTED = [
    predicted(1, [(53, 50), (100, 58), (150, 65)], [0.95, 0.85, 0.15]),
    predicted(2, [(50, 61), (130, 60), (1, 1)], [0.95, 0.25, 0.85]),
]


def test_metrics_by_hand(files, tmp_path, capsys):
    assert run(*files(TRUTH, PREDICTED), "--out", tmp_path / "out") == 0
    rows = pd.read_csv(tmp_path / "out" / "metrics.csv", index_col="metric")
    values = rows["value"]
    assert values["mean NE"] == pytest.approx(0.57 / 5)
    assert values[["PCK@0.05", "PCK@0.1", "PCK@0.2"]].tolist() == [0.4, 0.6, 0.8]
    assert values["mean PCK"] == pytest.approx(0.6)
    assert values["AUC to 0.2"] == pytest.approx((0.85 + 0.6 + 0.25 + 0.95 + 0) / 5)
    # Residuals -+0.082 over 2.5 landmarks an object: a standard error of 0.0328.
    assert rows.loc["mean NE", "high"] == pytest.approx(0.114 + 1.96 * 0.0328, abs=1e-5)
    # Resamples have one object alone, or both: objects' shares are the ends.
    assert rows.loc["PCK@0.05", ["low", "high"]].tolist() == pytest.approx([1 / 3, 1 / 2], abs=1e-5)
    assert rows.loc["mean NE", ["objects", "landmarks"]].tolist() == [2, 5]
    # Hits: two of 0.95, one of two of 0.85 (the other is not there), none of 0.15 and 0.25.
    gaps = 2 * 0.05 + 2 * 0.35 + 0.15 + 0.25
    assert values["expected calibration error"] == pytest.approx(gaps / 6)
    assert rows.loc["expected calibration error", "landmarks"] == 6
    said = capsys.readouterr().out
    assert said == (tmp_path / "out" / "metrics.md").read_text()
    assert cv2.imread(str(tmp_path / "out" / "reliability.png")).std() > 0


def test_errors_by_landmark(files, tmp_path):
    run(*files(TRUTH, PREDICTED), "--out", tmp_path)
    rows = pd.read_csv(tmp_path / "landmarks.csv", index_col="landmark")
    assert rows["category"].tolist() == ["kite"] * 3
    assert rows["NE"].to_dict() == pytest.approx({"tip": 0.02, "left": 0.19, "right": 0.15})
    assert rows["PCK@0.1"].to_dict() == {"tip": 1, "left": 0.5, "right": 0}
    assert rows["objects"].to_dict() == {"tip": 2, "left": 2, "right": 1}
    assert rows.loc["tip", "high"] == pytest.approx(0.02 + 1.96 * 0.01)
    assert np.isnan(rows.loc["right", "high"])  # of one object


def test_landmarks_within_their_radii_are_counted(files, tmp_path):
    """Errors 30, 40 and 0 against radii 40, 30 and none; in a second object 5 against 10."""
    points = [(50, 50), (100, 50), (150, 50)]
    truth = [annotated(1, 1, points), annotated(2, 2, [points[0], None, None])]
    found = [
        predicted(1, [(80, 50), (100, 90), (150, 50)], radii=[40, 30, None], radius_level=0.9),
        predicted(2, [(50, 55), (1, 1), (1, 1)], radii=[10, 10, 10], radius_level=0.9),
    ]
    run(*files(truth, found), "--out", tmp_path / "out")
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv").set_index("metric")
    row = metrics.loc["share within radii of 90%"]
    assert (row["value"], row["landmarks"]) == (pytest.approx(2 / 3, abs=1e-6), 3)


def test_by_side_halves_the_errors_and_leaves_the_scores_meaning(files, tmp_path):
    run(*files(TRUTH, PREDICTED), "--by", "side", "--pck", "0.1,0.05", "--out", tmp_path)
    values = pd.read_csv(tmp_path / "metrics.csv", index_col="metric")["value"]
    assert values["mean NE"] == pytest.approx(0.57 / 10)
    assert values[["PCK@0.05", "PCK@0.1"]].tolist() == [3 / 5, 4 / 5]
    assert values["AUC to 0.1"] == pytest.approx((0.85 + 0.6 + 0.25 + 0.95 + 0) / 5)
    assert values["expected calibration error"] == pytest.approx(0.2)


def test_only_one_category(files, tmp_path, capsys):
    truth = [*TRUTH, annotated(13, 1, [(5, 5), (9, 9)], category=STAR)]
    stars = [predicted(1, [(25, 5), (29, 9)], category=STAR)]
    paths = files(truth, PREDICTED + stars)
    run(*paths, "--out", tmp_path / "all")
    run(*paths, "--category", "star", "--out", tmp_path / "star")
    both = pd.read_csv(tmp_path / "all" / "metrics.csv", index_col="metric")
    assert both.loc["mean NE", "value"] == pytest.approx(0.97 / 7, abs=1e-5)
    assert both.loc["mean NE", "landmarks"] == 7
    each = pd.read_csv(tmp_path / "all" / "landmarks.csv", index_col=["category", "landmark"])
    assert each["objects"].tolist() == [2, 2, 1, 1, 1]
    assert each["NE"].tolist() == pytest.approx([0.02, 0.19, 0.15, 0.2, 0.2])
    one = pd.read_csv(tmp_path / "star" / "metrics.csv", index_col="metric")
    assert one.loc["mean NE", ["value", "landmarks"]].tolist() == pytest.approx([0.2, 2])
    assert pd.read_csv(tmp_path / "star" / "landmarks.csv")["landmark"].tolist() == ["one", "two"]
    assert "2 predictions" in capsys.readouterr().out


# --------------------------------------------------------------------------- the control

# In the annotated box, from 10, 20 to 210, 70: 50, 52 and 114, 50 and 150, 47.
MEAN = [0.2, 0.64, 0.52, 0.6, 0.7, 0.54]
CONTROLLED = [one | {"mean_position": MEAN, "bbox": [0, 0, 9, 9]} for one in PREDICTED]


def test_the_mean_position_by_hand(files, tmp_path, capsys):
    run(*files(TRUTH, CONTROLLED), "--out", tmp_path / "area")
    rows = pd.read_csv(tmp_path / "area" / "metrics.csv", index_col="metric")
    errors = [0.02, 0.14, 0.03, 0.08, np.hypot(14, 10) / 100]
    assert rows.loc["mean NE", "control"] == pytest.approx(np.mean(errors), abs=1e-6)
    names = ["PCK@0.05", "PCK@0.1", "PCK@0.2", "mean PCK"]
    assert rows.loc[names, "control"].tolist() == pytest.approx([0.4, 0.6, 1, 2 / 3], abs=1e-6)
    assert np.isnan(rows.loc["expected calibration error", "control"])
    # Two objects, whose residuals are equal and opposite: one's over 2.5 landmarks is a standard error.
    residual = (sum(errors[:3]) - 3 * np.mean(errors)) / 2.5
    assert rows.loc["mean NE", "control_high"] == pytest.approx(
        np.mean(errors) + 1.96 * abs(residual), abs=1e-5
    )
    said = capsys.readouterr().out
    told = next(line for line in said.splitlines() if line.startswith("The mean position"))
    assert (
        f"{np.mean(errors):.4f} (" in told and f"higher, by {0.114 - np.mean(errors):.4f} (" in told
    )
    run(*files(TRUTH, CONTROLLED), "--by", "side", "--out", tmp_path / "side")
    rows = pd.read_csv(tmp_path / "side" / "metrics.csv", index_col="metric")
    assert rows.loc["mean NE", "control"] == pytest.approx(np.mean(errors) / 2, abs=1e-6)


def test_the_mean_position_changes_no_other_number_and_follows_names(files, tmp_path):
    names = CATEGORIES[0]["keypoints"]
    turned = [
        one
        | {
            "keypoints": np.reshape(one["keypoints"], (3, 3))[::-1].ravel().tolist(),
            "mean_position": np.reshape(MEAN, (3, 2))[::-1].ravel().tolist(),
            "keypoint_names": names[::-1],
        }
        for one in CONTROLLED
    ]
    found = []
    for entries in (PREDICTED, CONTROLLED, turned):
        run(*files(TRUTH, entries), "--out", tmp_path)
        found.append(pd.read_csv(tmp_path / "metrics.csv", index_col="metric"))
    plain, controlled, turned = found
    assert controlled.equals(turned)
    ours = [name for name in plain if not name.startswith("control")]
    assert plain[ours].equals(controlled[ours])
    assert plain["control"].isna().all() and plain["control_high"].isna().all()


@pytest.mark.parametrize(
    ("entries", "lacking"),
    [
        (PREDICTED, "2 of 2"),
        ([predicted(2, [(0, 0)] * 2 + [(9, 9)], [0, 0, 1])], "no landmark is scored"),
        ([CONTROLLED[0], PREDICTED[1]], "1 of 2"),
        ([CONTROLLED[0] | {"mean_position": [None, None, *MEAN[2:]]}, CONTROLLED[1]], "1 of 2"),
        ([CONTROLLED[0], CONTROLLED[1] | {"mean_position": [*MEAN[:4], None, None]}], ""),
    ],
)
def test_where_the_mean_position_is_not_said_one_line_says_so(files, capsys, entries, lacking):
    assert run(*files(TRUTH, entries)) == 0  # the last landmark of the second is not labelled
    said = capsys.readouterr().out
    assert said.count("cannot be shown") == bool(lacking) and lacking in said
    assert ("(control)" in said) == (not lacking)


# ------------------------------------------------------------------------------ matching

POINTS = [(50, 50), (100, 50), (150, 50)]
LEFT, RIGHT = [0, 0, 100, 100], [60, 0, 100, 100]
TWO = [annotated(11, 1, POINTS, box=LEFT), annotated(12, 1, POINTS, box=RIGHT)]


def test_ids_of_annotations_decide_over_boxes(files):
    predictions = [
        predicted(1, POINTS, annotation_id=12, bbox=LEFT),
        predicted(1, POINTS, annotation_id=11, bbox=RIGHT),
    ]
    assert matches(*files(TWO, predictions)) == [12, 11]


def test_what_an_id_names_is_not_there_for_boxes(files):
    predictions = [
        predicted(1, POINTS, bbox=LEFT),
        predicted(1, POINTS, annotation_id=11, bbox=LEFT),
    ]
    assert matches(*files(TWO, predictions)) == [12, 11]


def test_an_id_of_another_photo_category_or_of_none_matches_nothing(files):
    truth = [*TRUTH, annotated(13, 1, [(5, 5), (9, 9)], category=STAR)]
    predictions = [
        predicted(1, POINTS, annotation_id=12),  # which is in photo 2
        predicted(1, POINTS, annotation_id=13),  # which is a star
        predicted(1, POINTS, annotation_id=99),
    ]
    assert matches(*files(truth, predictions)) == [None, None, None]


def test_the_lone_object_of_a_photo_and_category_needs_no_box(files):
    truth = [annotated(11, 1, POINTS), annotated(13, 1, [(5, 5), (9, 9)], category=STAR)]
    predictions = [
        predicted(1, [(5, 5), (9, 9)], category=STAR),
        predicted(1, [(300, 200)] * 3, bbox=[300, 200, 5, 5]),
    ]
    assert matches(*files(truth, predictions)) == [13, 11]


def test_boxes_that_overlap_most_match(files):
    # The first overlaps both objects, the left one more, but the second only the left one.
    predictions = [
        predicted(1, POINTS, bbox=[25, 0, 100, 100]),
        predicted(1, POINTS, bbox=[0, 0, 60, 100]),
        predicted(1, POINTS, bbox=[200, 100, 50, 50]),
    ]
    assert matches(*files(TWO, predictions)) == [12, 11, None]
    assert matches(*files(TWO, predictions[:1])) == [11]
    wide = [predicted(1, POINTS, bbox=[70, 0, 60, 100])]  # from 70 to 130
    assert matches(*files(TWO, wide)) == [12]
    assert matches(*files(TWO, [predictions[2]])) == [None]


def test_without_a_box_the_extent_of_the_points_counts(files):
    right = [(x + 20, y) for x, y in POINTS[1:]]
    predictions = [predicted(1, [(159, 1), *right]), predicted(1, [(1, 1), (50, 99), (60, 5)])]
    assert matches(*files(TWO, predictions)) == [12, 11]


def test_objects_and_predictions_left_over_are_counted(files, capsys):
    predictions = [PREDICTED[0], predicted(5, POINTS), predicted(1, POINTS, bbox=[300, 0, 5, 5])]
    predictions[0] = predictions[0] | {"bbox": [10, 20, 200, 50]}
    run(*files([*TRUTH, annotated(13, 3, POINTS)], predictions))
    said = capsys.readouterr().out
    assert "2 of 3 annotated objects" in said and "2 of 3 predictions" in said


# ----------------------------------------------------------------------- average precision


SIGMAS = [CATEGORIES[0] | {"sigmas": [0.05] * 3}, CATEGORIES[1]]


def test_average_precision_counts_what_is_missed_and_leaves_out_what_has_no_sigmas(
    files, tmp_path, capsys
):
    truth = [*TRUTH, annotated(13, 1, [(5, 5), (9, 9)], category=STAR)]
    kites = [
        predicted(1, POINTS, score=0.8, bbox=[10, 20, 200, 50]),
        predicted(1, [(300, 200)] * 3, score=0.9, bbox=[290, 190, 20, 20]),
    ]
    stars = [predicted(1, [(5, 5), (9, 9)], category=STAR)]
    run(*files(truth, [*kites, *stars], SIGMAS), "--out", tmp_path)
    rows = pd.read_csv(tmp_path / "metrics.csv", index_col="metric")
    # One of two kites is found, after one that is none: 51 of 101 steps of recall, precision 1/2.
    for name in ("OKS-AP", "OKS-AP50", "OKS-AP75"):
        assert rows.loc[name, "value"] == pytest.approx(51 / 202, abs=1e-5)
        assert rows.loc[name, ["objects", "landmarks"]].tolist() == [2, 5]
    assert rows.loc["mean OKS", ["value", "objects"]].tolist() == [1, 1]
    assert "star" in capsys.readouterr().out.split("OKS-AP is without")[1]


def test_without_pycocotools_the_rest_is_still_there(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    assert run(*files(TRUTH, PREDICTED, SIGMAS), "--out", tmp_path) == 0
    rows = pd.read_csv(tmp_path / "metrics.csv", index_col="metric")
    assert "mean OKS" in rows.index and "OKS-AP" not in rows.index
    assert "fewshot-landmarks[coco]" in capsys.readouterr().out


def test_scores_that_are_no_probabilities_are_not_calibrated(files, tmp_path, capsys):
    run(*files(TRUTH, [predicted(1, POINTS, [2, 2, 1])]), "--out", tmp_path)
    rows = pd.read_csv(tmp_path / "metrics.csv", index_col="metric")
    assert "expected calibration error" not in rows.index and rows.loc["mean NE", "value"] == 0
    assert not (tmp_path / "reliability.png").exists()
    assert "Calibration" in capsys.readouterr().out


def test_photos_may_lie_elsewhere_and_what_is_left_out_is_told(files, tmp_path, capsys):
    bare = annotated(13, 2, [None, None, None])
    wrong = annotated(14, 1, [(x, 200) for x, _ in POINTS], box=(10, 20, 0, 0))
    truth, predictions = files([*TRUTH, bare, wrong], PREDICTED)
    (tmp_path / "elsewhere").mkdir()
    for photo in tmp_path.glob("*.png"):
        photo.rename(tmp_path / "elsewhere" / photo.name)
    assert run(truth, predictions, "--images", tmp_path / "elsewhere") == 0
    said = capsys.readouterr().out
    assert "0 of 2 annotated objects" in said and "annotation 14" in said
    assert "1 annotated objects" in said


# ----------------------------------------------------------------------------- bad input

GOOD = PREDICTED[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "predictions.json"),
        (b"[{", "predictions.json"),
        (pickle.dumps([1, 2]), "predictions.json"),
        (b"[" * 100_000, "predictions.json"),
        ({"annotations": []}, "predictions.json"),
        ([], "7 kite"),
        ([GOOD, 5], "prediction 1"),
        ([GOOD | {"category_id": 1}], "7 kite"),
        ([GOOD | {"category_id": "kite"}], "category_id"),
        ([GOOD | {"image_id": None}], "image_id"),
        ([GOOD | {"image_id": 77}], "none of the 1"),
        ([GOOD | {"annotation_id": "eleven"}], "'eleven'"),
        ([GOOD | {"annotation_id": 11}] * 2, "annotation 11"),
        ([GOOD | {"keypoints": [1, 2, 0.5]}], "kite has 3 landmarks"),
        ([GOOD | {"keypoints": "nine words"}], "keypoints"),
        ([GOOD | {"keypoints": [[1, 2, 0.5], [1, 2]]}], "keypoints"),
        ([GOOD | {"keypoints": [*GOOD["keypoints"][:8], float("nan")]}], "nan"),
        ([GOOD | {"score": float("nan")}], "nan"),
        ([GOOD | {"score": None}], "score"),
        ([GOOD | {"bbox": [1, 2, 3]}], "bbox"),
        ([GOOD | {"keypoints": [0] * 9}], "predictions.json"),
        ([GOOD | {"mean_position": MEAN[:4]}], "mean_position"),
        ([GOOD | {"mean_position": 0.5}], "mean_position"),
        ([GOOD | {"mean_position": [*MEAN[:5], "half"]}], "'half'"),
        ([GOOD | {"mean_position": [*MEAN[:5], float("inf")]}], "inf"),
        ([GOOD | {"radii": [3, 4]}], "radii"),
        ([GOOD | {"radii": [3, 4, "five"]}], "'five'"),
        ([GOOD | {"radii": [3, 4, -5]}], "-5"),
        ([GOOD | {"radius_level": "most"}], "radius_level"),
        ([GOOD | {"radius_level": 2}], "radius_level"),
    ],
)
def test_bad_predictions_are_one_line(files, content, says):
    truth, predictions = files(TRUTH, [])
    if content is None:
        predictions.unlink()
    else:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        predictions.write_bytes(raw)
    with pytest.raises(UserError) as told:
        run(truth, predictions)
    line = str(told.value)
    assert says in line and "\n" not in line and len(line) < 400


def test_annotations_of_another_category_are_one_line(files):
    truth, predictions = files(TRUTH, PREDICTED)
    with pytest.raises(UserError) as told:
        run(truth, predictions, "--category", "boat")
    assert "boat" in str(told.value) and "\n" not in str(told.value)
    stars = files([annotated(13, 1, [(5, 5), (9, 9)], category=STAR)], PREDICTED)
    with pytest.raises(UserError) as told:
        run(*stars, "--category", "star")
    assert "star" in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("thresholds", ["", "0.1,x", "0", "-1", "nan", "inf"])
def test_thresholds_that_are_none_are_refused(files, thresholds, capsys):
    with pytest.raises(SystemExit):
        run(*files(TRUTH, PREDICTED), f"--pck={thresholds}")
    assert "--pck" in capsys.readouterr().err


def test_a_folders_own_numbering_is_told_by_names(files):
    truth, predictions = files(TRUTH, PREDICTED)
    other = [
        {**PREDICTED[1], "image_id": 1, "file_name": "photos/2.png", "category_id": 1},
        {**PREDICTED[0], "image_id": 2, "file_name": "photos/1.png", "category_id": 1},
    ]
    for one in other:
        one["category"] = "kite"  # `predict` without boxes knows the name alone
    predictions.write_text(json.dumps(other))
    assert matches(truth, predictions) == [12, 11]
    unknown = {**PREDICTED[0], "image_id": 2, "file_name": "photos/9.png"}  # 2 is another's there
    predictions.write_text(json.dumps([*other, unknown]))
    assert matches(truth, predictions) == [12, 11, None]


def test_landmarks_are_told_by_names(files, tmp_path):
    names = CATEGORIES[0]["keypoints"]
    out = []
    for order in ([0, 1, 2], [2, 0, 1]):
        entries = []
        for one in PREDICTED:
            marks = np.reshape(one["keypoints"], (3, 3))[order].ravel().tolist()
            entries.append({**one, "keypoints": marks, "keypoint_names": [names[i] for i in order]})
        run(*files(TRUTH, entries), "--out", tmp_path / "out")
        out.append((tmp_path / "out" / "metrics.csv").read_text())
    assert out[0] == out[1]


def test_what_was_never_learnt_is_left_out_and_named(files, tmp_path, capsys):
    names = CATEGORIES[0]["keypoints"]
    entries = [{**one, "keypoints": [*one["keypoints"][:6], 0, 0, 0]} for one in PREDICTED]
    run(*files(TRUTH, entries), "--out", tmp_path / "out")
    assert names[2] in capsys.readouterr().out
    values = pd.read_csv(tmp_path / "out" / "metrics.csv", index_col="metric")
    assert values.loc["mean NE", "landmarks"] == 4
    fewer = [
        {**one, "keypoints": one["keypoints"][:6], "keypoint_names": names[:2]} for one in entries
    ]
    run(*files(TRUTH, fewer), "--out", tmp_path / "fewer")
    assert (tmp_path / "fewer" / "metrics.csv").read_text() == (
        tmp_path / "out" / "metrics.csv"
    ).read_text()
