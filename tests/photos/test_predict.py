"""fewshot-landmarks adapt and predict, as a user calls them."""

import json
import shutil
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch

from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.formats.predictions import match, read_predictions
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.small import SmallFENet
from fewshot_landmarks.photos.commands import common, predict
from fewshot_landmarks.photos.commands.draw import predicted
from fewshot_landmarks.photos.model import Finder, Model, load
from tests.colours import model, photo, photos, radius

NAMES = ["red", "green", "blue", "yellow"]

pytestmark = pytest.mark.usefixtures("colours")


def annotate(folder, numbers, names=NAMES, **options):
    """Photos of `numbers` in a folder, with COCO annotations of them: the annotations' path."""
    folder.mkdir(parents=True, exist_ok=True)
    coco = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3, "name": "blobs", "keypoints": names, "skeleton": []}],
    }
    for i in numbers:
        image, landmarks, (x1, y1, x2, y2) = photo(i, **options)
        PIL.Image.fromarray(image).save(folder / f"{i:03d}.png")
        height, width = image.shape[:2]
        shared = {"id": i + 1, "width": width, "height": height}
        coco["images"].append({**shared, "file_name": f"{i:03d}.png"})
        marks = np.concatenate([landmarks, np.full((4, 1), 2)], 1).ravel().tolist()
        box = [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]
        coco["annotations"].append(
            {"id": 100 + i, "image_id": i + 1, "category_id": 3, "keypoints": marks, "bbox": box}
        )
    path = folder / "annotations.json"
    path.write_text(json.dumps(coco))
    return path


def inputs(folder) -> dict:
    """What is there: the bytes of each file."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, colours):
    """Photos, a model, and what `adapt` makes of both."""
    folder = tmp_path_factory.mktemp("adapted")
    model().save(folder / "models" / "COLOURS.safetensors")
    command = ["adapt", "--support", str(annotate(folder / "support", range(3)))]
    command += ["--model", str(folder / "models"), "--learner", "COLOURS"]
    assert main([*command, "--out", str(folder / "finder.safetensors")]) == 0
    return folder


@pytest.fixture
def finder(adapted, tmp_path):
    shutil.copytree(adapted, tmp_path, dirs_exist_ok=True)
    return tmp_path / "finder.safetensors"


def run(finder, out, *options) -> int:
    return main(["predict", "--model", str(finder), "--out", str(out), *map(str, options)])


def results(path) -> list[dict]:
    return json.loads(path.read_text())


def test_results_say_which_photo_they_are_of_and_in_whose_pixels(finder, tmp_path):
    """Two photos of one name in two folders, the second turned by EXIF and annotated as stored."""
    said = json.loads(annotate(tmp_path / "query", [10, 11]).read_text())
    for row, folder in zip(said["images"], "ab"):
        (tmp_path / "query" / folder).mkdir()
        image = PIL.Image.open(tmp_path / "query" / row["file_name"])
        exif = image.getexif()
        exif[0x0112] = 6 if folder == "b" else 1
        row["file_name"] = f"{folder}/1.png"
        row["width"], row["height"] = image.size
        image.save(tmp_path / "query" / row["file_name"], exif=exif)
    boxes, out = tmp_path / "query" / "annotations.json", tmp_path / "found.json"
    boxes.write_text(json.dumps(said))
    assert run(finder, out, "--boxes", boxes, "--no-drawings") == 0
    sizes = [(row["width"], row["height"]) for row in said["images"]]
    assert [one["file_name"] for one in results(out)] == ["a/1.png", "b/1.png"]
    assert [(one["width"], one["height"]) for one in results(out)] == sizes
    asked = Namespace(predictions=out, images=tmp_path / "query", category=None, count=9)
    drawn, _ = predicted(asked)
    assert [each.photo for each in drawn] == [tmp_path / "query" / f"{k}/1.png" for k in "ab"]
    assert [each.declared for each in drawn] == sizes
    annotations = read_annotations(boxes, photos_needed=False)
    assert match(read_predictions(out, annotations)[0], annotations).tolist() == [0, 1]


def test_radii_are_written_drawn_and_those_of_finder(finder, tmp_path, capsys):
    boxes = annotate(tmp_path / "query", range(10, 13))
    out = tmp_path / "found.json"
    assert run(finder, out, "--boxes", boxes, "--level", 0.6) == 0
    assert "with a probability of 60%" in capsys.readouterr().out
    found = results(out)
    index = read_annotations(boxes).index
    images = [PIL.Image.open(tmp_path / "query" / one["file_name"]) for one in found]
    radii = load(finder).predict(images, index.box, level=0.6).radii
    np.testing.assert_allclose([one["radii"] for one in found], radii, atol=0.006)
    assert {one["radius_level"] for one in found} == {0.6}
    assert run(finder, out, "--boxes", boxes) == 0
    assert "75% (so few annotated photos cannot promise 90%)" in capsys.readouterr().out
    more = [one["radii"] for one in results(out)]
    assert (np.array(more) >= radii).all()
    asked = Namespace(predictions=out, images=tmp_path / "query", category=None, count=9)
    np.testing.assert_array_equal([each.radii for each in predicted(asked)[0]], more)
    assert run(finder, out, "--boxes", boxes, "--level", 0) == 0
    assert "radius" not in capsys.readouterr().out and "radi" not in out.read_text()


def test_adapt_keeps_names_and_category(finder):
    support = load(finder).support
    assert support.names == tuple(NAMES) and support.category == "blobs" and len(support.boxed) == 3


def test_boxed_objects_are_found_where_they_are(finder, tmp_path):
    boxes = annotate(tmp_path / "query", range(10, 15))
    assert run(finder, tmp_path / "found.json", "--boxes", boxes) == 0
    found = results(tmp_path / "found.json")
    assert [one["annotation_id"] for one in found] == [110, 111, 112, 113, 114]
    for one in found:
        number = one["image_id"] - 1
        _, true, box = photo(number)
        marks = np.reshape(one["keypoints"], (4, 3))
        assert np.abs(marks[:, :2] - true).max() < radius(120, 90) + 4
        assert ((marks[:, 2] >= 0) & (marks[:, 2] <= 1)).all()
        assert one["score"] == pytest.approx(marks[:, 2].mean(), abs=1e-3)
        x, y, w, h = one["bbox"]
        np.testing.assert_allclose([x, y, x + w, y + h], box, atol=0.02)
        assert one["category_id"] == 3 and one["file_name"] == f"{number:03d}.png"
    pictures = sorted(path.name for path in (tmp_path / "found-drawn").glob("*.jpg"))
    assert pictures == [f"{i:03d}-{100 + i}.jpg" for i in range(10, 15)]


def test_boxes_whose_landmarks_are_in_another_order_have_results_in_theirs(finder, tmp_path):
    path = annotate(tmp_path / "query", [10, 11])
    said = json.loads(path.read_text())
    said["categories"][0]["keypoints"] = [*NAMES[::-1], "tail"]
    for row in said["annotations"]:
        row["keypoints"] = [*np.reshape(row["keypoints"], (4, 3))[::-1].ravel().tolist(), 0, 0, 0]
    path.write_text(json.dumps(said))
    assert run(finder, tmp_path / "found.json", "--boxes", path) == 0
    for one, row in zip(results(tmp_path / "found.json"), said["annotations"]):
        assert one["keypoint_names"] == [*NAMES[::-1], "tail"]
        found, true = (np.reshape(each["keypoints"], (5, 3)) for each in (one, row))
        assert np.abs(found - true)[:, :2].max() < radius(120, 90) + 4 and not found[4].any()
        *places, tail = np.reshape(one["mean_position"], (5, 2)).tolist()
        assert tail == [None, None]
        np.testing.assert_allclose(places[::-1], mean_position(), atol=1e-4)


def mean_position():
    """(4, 2): where landmarks lie in the boxes of the three support photos, on the mean."""
    _, landmarks, boxes = map(np.array, photos(range(3)))
    return ((landmarks - boxes[:, None, :2]) / (boxes[:, 2:] - boxes[:, :2])[:, None]).mean(0)


def test_the_control_is_the_same_in_evaluate_and_in_compare(finder, tmp_path):
    """And other tools read the results that say it."""
    query, support = annotate(tmp_path / "query", range(10, 15)), tmp_path / "support"
    support = support / "annotations.json"
    assert run(finder, tmp_path / "found.json", "--boxes", query, "--no-drawings") == 0
    files = "--predictions", tmp_path / "found.json", "--annotations", query
    assert main(["evaluate", *map(str, files), "--out", str(tmp_path / "evaluated")]) == 0
    files = "--support", support, "--query", query, "--models", tmp_path / "models"
    assert main(["compare", *map(str, files), "--out", str(tmp_path / "compared")]) == 0
    rows = pd.read_csv(tmp_path / "evaluated" / "metrics.csv", index_col="metric")
    compared = pd.read_csv(tmp_path / "compared" / "compare.csv")
    control = compared[(compared.kind == "control") & (compared.shots == 3)].squeeze()
    shown = rows.loc[["mean NE", "PCK@0.1"], "control"].tolist()
    assert shown == pytest.approx([control["ne"], control["pck@0.1"]], abs=1e-3)
    coco = pytest.importorskip("pycocotools.coco")
    assert len(coco.COCO(query).loadRes(str(tmp_path / "found.json")).anns) == 5


def test_a_folder_of_photos_needs_no_boxes(finder, tmp_path):
    annotate(tmp_path / "query", range(10, 13))
    (tmp_path / "query" / "annotations.json").unlink()
    assert (
        run(finder, tmp_path / "found.json", "--images", tmp_path / "query", "--no-drawings") == 0
    )
    found = results(tmp_path / "found.json")
    assert [one["image_id"] for one in found] == [1, 2, 3]
    assert not (tmp_path / "found-drawn").exists()


def test_what_cannot_be_read_is_skipped_and_said(finder, tmp_path, capsys):
    folder = tmp_path / "query"
    annotate(folder, [10])
    (folder / "annotations.json").unlink()
    image = PIL.Image.open(folder / "010.png")
    image.convert("L").save(folder / "grey.png")
    image.convert("CMYK").save(folder / "press.jpg")
    image.convert("P").save(folder / "palette.gif")
    PIL.Image.fromarray(np.full((40, 50), 40_000, np.uint16)).save(folder / "deep.png")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    whole = (folder / "press.jpg").read_bytes()
    (folder / "short.jpg").write_bytes(whole[: len(whole) // 2])
    assert run(finder, tmp_path / "found.json", "--images", folder) == 0
    said = capsys.readouterr().out
    names = [one["file_name"] for one in results(tmp_path / "found.json")]
    assert names == ["010.png", "deep.png", "grey.png", "palette.gif", "press.jpg"]
    for name in ("empty.jpg", "text.png", "short.jpg"):
        assert name in said


def test_a_turned_photo_is_found_as_it_is_annotated_when_stored(finder, tmp_path):
    boxes = annotate(tmp_path / "query", [10])
    stored = PIL.Image.open(tmp_path / "query" / "010.png")
    exif = stored.getexif()
    exif[0x0112] = 8
    stored.save(tmp_path / "query" / "010.png", exif=exif)
    assert run(finder, tmp_path / "found.json", "--boxes", boxes) == 0
    marks = np.reshape(results(tmp_path / "found.json")[0]["keypoints"], (4, 3))
    assert np.abs(marks[:, :2] - photo(10)[1]).max() < radius(120, 90) + 4
    width, height = PIL.Image.open(tmp_path / "found-drawn" / "010-110.jpg").size
    assert width > height  # not turned


def test_a_turned_photo_is_found_as_it_is_annotated(finder, tmp_path):
    boxes = annotate(tmp_path / "query", [10])
    upright = PIL.Image.open(tmp_path / "query" / "010.png")
    stored = upright.transpose(PIL.Image.Transpose.ROTATE_90)
    exif = stored.getexif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    stored.save(tmp_path / "query" / "010.png", exif=exif)
    assert run(finder, tmp_path / "found.json", "--boxes", boxes, "--no-drawings") == 0
    marks = np.reshape(results(tmp_path / "found.json")[0]["keypoints"], (4, 3))
    assert np.abs(marks[:, :2] - photo(10)[1]).max() < radius(120, 90) + 4


def test_stopped_and_run_again_it_goes_on_to_the_same_bytes(finder, tmp_path, monkeypatch):
    boxes = annotate(tmp_path / "query", range(10, 16))
    assert run(finder, tmp_path / "whole.json", "--boxes", boxes) == 0
    monkeypatch.setattr(predict, "AT_ONCE", 2)
    searched = []
    original = predict._predict

    def stops(finder, batch, *options):
        searched.append([wanted.image_id for wanted, _ in batch])
        if len(searched) == 2:
            raise KeyboardInterrupt
        yield from original(finder, batch, *options)

    monkeypatch.setattr(predict, "_predict", stops)
    assert run(finder, tmp_path / "found.json", "--boxes", boxes) == 130
    assert not (tmp_path / "found.json").exists()
    unfinished = next(tmp_path.glob(".found.json*"))
    unfinished.write_text(unfinished.read_text() + '{"key": [')  # cut short by the stop
    assert run(finder, tmp_path / "found.json", "--boxes", boxes) == 0
    assert (tmp_path / "found.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert searched == [[11, 12], [13, 14], [13, 14], [15, 16]]
    assert not list(tmp_path.glob(".found.json*"))


def test_stopped_within_a_batch_it_goes_on_to_the_same_bytes(finder, tmp_path, monkeypatch):
    boxes = annotate(tmp_path / "query", range(10, 15))
    (tmp_path / "query" / "012.png").write_bytes(b"no picture")
    monkeypatch.setattr(predict, "AT_ONCE", 3)
    search, draw, drawn = Finder.predict, predict._draw, []

    def together(self, images, *boxes, **options):  # as networks do, a little
        found = search(self, images, *boxes, **options)
        return replace(found, landmarks=found.landmarks + len(images))

    def stops(*arguments):
        drawn.append(arguments)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        draw(*arguments)

    monkeypatch.setattr(Finder, "predict", together)
    assert run(finder, tmp_path / "whole.json", "--boxes", boxes) == 0
    monkeypatch.setattr(predict, "_draw", stops)
    assert run(finder, tmp_path / "found.json", "--boxes", boxes) == 130
    assert run(finder, tmp_path / "found.json", "--boxes", boxes) == 0
    assert (tmp_path / "found.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert len(results(tmp_path / "found.json")) == 4
    assert sorted(p.name for p in (tmp_path / "found-drawn").glob("*.jpg")) == sorted(
        p.name for p in (tmp_path / "whole-drawn").glob("*.jpg")
    )


@pytest.mark.parametrize("change", ["model", "category", "box", "drawings", "photo"])
def test_an_unfinished_run_of_something_else_is_not_gone_on_with(
    finder, tmp_path, monkeypatch, change
):
    def stops(*arguments):
        raise KeyboardInterrupt

    boxes = annotate(tmp_path / "query", range(10, 13))
    monkeypatch.setattr(predict, "AT_ONCE", 1)
    draw, options = predict._draw, []
    monkeypatch.setattr(predict, "_draw", lambda *a: draw(*a) if a[1].image_id == 11 else stops())
    assert run(finder, tmp_path / "found.json", "--boxes", boxes) == 130
    monkeypatch.setattr(predict, "_draw", draw)
    if change == "model":
        images, landmarks, around = photos(range(3))
        model().adapt(images, np.roll(landmarks, 1, 1), boxes=around).save(finder)
    elif change == "category":
        said = boxes.read_text().replace('"category_id": 3', '"category_id": 4')
        boxes.write_text(said.replace('"id": 3,', '"id": 4,'))
    elif change == "box":
        coco = json.loads(boxes.read_text())
        coco["annotations"][0]["bbox"] = [0, 0, 120, 90]
        boxes.write_text(json.dumps(coco))
    elif change == "photo":
        PIL.Image.fromarray(photo(20)[0]).save(tmp_path / "query" / "010.png")
    else:
        options = ["--drawings", tmp_path / "elsewhere"]
    assert run(finder, tmp_path / "found.json", "--boxes", boxes, *options) == 0
    assert run(finder, tmp_path / "anew.json", "--boxes", boxes) == 0
    assert (tmp_path / "found.json").read_bytes() == (tmp_path / "anew.json").read_bytes()
    pictures = tmp_path / "elsewhere" if options else tmp_path / "found-drawn"
    assert len(list(pictures.glob("*.jpg"))) == 3


def test_another_model_begins_anew(finder, tmp_path, monkeypatch):
    boxes = annotate(tmp_path / "query", range(10, 12))
    unfinished = tmp_path / ".found.json.unfinished"
    unfinished.write_text('of another\n{"key": [11, 110], "result": {}}\n')
    assert run(finder, tmp_path / "found.json", "--boxes", boxes) == 0
    assert all(one["keypoints"] for one in results(tmp_path / "found.json"))


@pytest.mark.parametrize("name", ["x" * 250, "\u00e9" * 125])
def test_pictures_of_photos_of_the_longest_names_have_shorter_ones(finder, tmp_path, name):
    annotations = annotate(tmp_path / "query", [10, 11])
    coco = json.loads(annotations.read_text())
    image = coco["images"][0]
    (tmp_path / "query" / image["file_name"]).rename(tmp_path / "query" / f"{name}.png")
    image["file_name"] = f"{name}.png"
    annotations.write_text(json.dumps(coco))
    command = ["predict", "--model", str(finder), "--boxes", str(annotations)]
    assert main([*command, "--out", str(tmp_path / "found.json")]) == 0
    pictures = list((tmp_path / "found-drawn").glob("*.jpg"))
    assert len(pictures) == len(coco["images"])


def test_photos_of_one_name_have_their_own_pictures(finder, tmp_path):
    annotate(tmp_path / "query", [10])
    PIL.Image.open(tmp_path / "query" / "010.png").save(tmp_path / "query" / "010.jpg")
    assert run(finder, tmp_path / "found.json", "--images", tmp_path / "query") == 0
    assert len(results(tmp_path / "found.json")) == 2
    assert len(list((tmp_path / "found-drawn").glob("*.jpg"))) == 2
    for name in ("010-2.png", "010.gif", "010-3.png"):
        PIL.Image.open(tmp_path / "query" / "010.png").save(tmp_path / "query" / name)
    assert run(finder, tmp_path / "more.json", "--images", tmp_path / "query") == 0
    assert len({path.name.lower() for path in (tmp_path / "more-drawn").glob("*.jpg")}) == 5


@pytest.mark.parametrize(
    "out, options, told",
    [
        ("found.json", ["--images", "query", "--drawings", "query"], "--drawings"),
        (
            "found.json",
            ["--images", "query", "--drawings", "query", "--overwrite"],
            "--drawings",
        ),
        ("found.json", ["--images", "query", "--drawings", "found.json"], "--drawings"),
        ("query/annotations.json", ["--boxes", "query/annotations.json"], "annotations.json"),
        ("finder.safetensors", ["--images", "query"], "finder.safetensors"),
        ("found", ["--images", "query"], "found.json"),
        ("query", ["--images", "query"], "query"),
        (".", ["--images", "query"], ""),
    ],
)
def test_nothing_is_written_over_what_is_read(
    finder, tmp_path, monkeypatch, capsys, out, options, told
):
    monkeypatch.chdir(tmp_path)
    annotate(tmp_path / "query", [10])
    PIL.Image.open(tmp_path / "query" / "010.png").save(tmp_path / "query" / "011.jpg")
    before = inputs(tmp_path)
    assert run("finder.safetensors", out, *options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line and inputs(tmp_path) == before


@pytest.mark.parametrize(
    "options, told",
    [
        (["--images", "nowhere"], "nowhere"),
        ([], "--images"),
        (["--boxes", "nowhere.json"], "nowhere.json"),
        (["--images", "query", "--model", "models/COLOURS.safetensors"], "adapt"),
        (["--images", "query", "--model", "none.safetensors"], "none.safetensors"),
        (["--images", "query", "--device", "cuda:9"], "cuda:9"),
        (["--images", "query", "--device", "abacus"], "abacus"),
    ],
)
def test_mistakes_are_one_line(finder, tmp_path, monkeypatch, capsys, options, told):
    monkeypatch.chdir(tmp_path)
    annotate(tmp_path / "query", [10])
    assert run(finder, tmp_path / "found.json", *options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line


def test_a_place_that_cannot_be_written_is_one_line(finder, tmp_path, capsys):
    annotate(tmp_path / "query", [10])
    (tmp_path / "file").write_text("")
    assert run(finder, tmp_path / "file" / "found.json", "--images", tmp_path / "query") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_adapt_tells_mistakes_in_one_line(finder, tmp_path, capsys):
    support, models = tmp_path / "support" / "annotations.json", tmp_path / "models"
    before = inputs(tmp_path)
    for options, told in (
        (["--learner", "NONE"], "COLOURS"),
        (["--learner", "PROTO", "--model", str(models / "COLOURS.safetensors")], "PROTO"),
        (["--model", str(tmp_path / "none")], "none"),
        (["--category", "shoes"], "blobs"),
        (["--out", str(support / "x.safetensors")], "annotations.json"),
        (["--out", str(support)], "annotations.json"),
        (["--out", str(models / "COLOURS.safetensors")], "COLOURS"),
        (["--out", str(models)], "models"),
    ):
        command = [
            "adapt",
            "--support",
            str(support),
            "--learner",
            "COLOURS",
            "--model",
            str(models),
        ]
        assert main([*command, "--out", str(tmp_path / "x.safetensors"), *options]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line and inputs(tmp_path) == before


def test_a_photo_of_several_support_objects_is_read_once(finder, tmp_path, monkeypatch):
    path = annotate(tmp_path / "support", range(2))
    coco = json.loads(path.read_text())
    more = [{**one, "id": one["id"] + 50} for one in coco["annotations"]]
    path.write_text(json.dumps({**coco, "annotations": [*more, *coco["annotations"]]}))
    read, original = [], common.read_photo
    monkeypatch.setattr(common, "read_photo", lambda *a: (read.append(a), original(*a))[1])
    found = common.adapt_to(path, None, None, model()).support
    assert len(read) == 2
    images, landmarks, boxes = photos((0, 0, 1, 1))
    wanted = model().adapt(images, landmarks, boxes=boxes).support
    for ours, theirs in ((found.boxed, wanted.boxed), (found.whole, wanted.whole)):
        assert torch.equal(ours.images, theirs.images)
        np.testing.assert_allclose(ours.landmarks, theirs.landmarks, atol=1e-3)


def test_support_photos_that_cannot_be_read_are_left_out(finder, tmp_path, capsys):
    (tmp_path / "support" / "001.png").write_bytes(b"")
    command = ["adapt", "--support", str(tmp_path / "support" / "annotations.json")]
    command += ["--model", str(tmp_path / "models"), "--learner", "COLOURS"]
    assert main([*command, "--out", str(tmp_path / "x.safetensors")]) == 0
    assert "001.png" in capsys.readouterr().out
    assert len(load(tmp_path / "x.safetensors").support.boxed) == 2


@pytest.mark.parametrize(
    "blemish", [{"bbox": [500, 5, 20, 20]}, {"bbox": [0, 0, 1, 1]}, {"keypoints": [900, 5, 2] * 4}]
)
def test_an_object_of_which_nothing_can_be_learnt_is_left_out(finder, tmp_path, capsys, blemish):
    support = tmp_path / "support" / "annotations.json"
    coco = json.loads(support.read_text())
    coco["annotations"][1] |= blemish
    support.write_text(json.dumps(coco))
    command = ["adapt", "--support", str(support), "--model", str(tmp_path / "models")]
    command += ["--learner", "COLOURS", "--out", str(tmp_path / "x.safetensors")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "101" in said or "1 of 3" in said
    assert len(load(tmp_path / "x.safetensors").support.boxed) == 2
    coco["annotations"] = coco["annotations"][1:2]
    support.write_text(json.dumps(coco))
    assert main(command) == 2


def test_one_photo_is_enough(tmp_path):
    images, landmarks, boxes = photos([1])
    model().adapt(images, landmarks, boxes=boxes).save(tmp_path / "one.safetensors")
    annotate(tmp_path / "query", [10])
    assert (
        run(tmp_path / "one.safetensors", tmp_path / "found.json", "--images", tmp_path / "query")
        == 0
    )


def test_predict_then_evaluate_as_the_readme_has_it(finder, tmp_path, capsys):
    truth = annotate(tmp_path / "query", range(10, 14))
    (tmp_path / "query" / "000.png").write_bytes((tmp_path / "query" / "010.png").read_bytes())
    assert run(finder, tmp_path / "found.json", "--images", tmp_path / "query") == 0
    command = ["evaluate", "--predictions", str(tmp_path / "found.json")]
    assert main([*command, "--annotations", str(truth)]) == 0
    assert "0 of 4" in capsys.readouterr().out


def test_a_landmark_that_is_not_learnt_is_not_drawn(tmp_path):
    images, landmarks, boxes = photos(range(3))
    seen = np.ones((3, 4))
    seen[:, 1] = 0
    finder = model().adapt(images, landmarks, seen, boxes=boxes)
    finder.save(tmp_path / "f.safetensors")
    boxes = annotate(tmp_path / "query", [10])
    assert run(tmp_path / "f.safetensors", tmp_path / "found.json", "--boxes", boxes) == 0
    marks = np.reshape(results(tmp_path / "found.json")[0]["keypoints"], (4, 3))
    assert marks[1].tolist() == [0, 0, 0]
    picture = np.asarray(PIL.Image.open(next((tmp_path / "found-drawn").glob("*.jpg")))).astype(int)
    corner = picture[:12, :12]
    assert np.abs(corner - np.median(picture, axis=(0, 1))).max() < 60  # grey noise, no dot


def test_an_adapted_model_is_called_safetensors(finder, tmp_path, capsys):
    command = ["adapt", "--support", str(tmp_path / "support" / "annotations.json")]
    command += ["--model", str(tmp_path / "models"), "--learner", "COLOURS"]
    assert main([*command, "--out", str(tmp_path / "x.pt")]) == 2
    assert "x.safetensors" in capsys.readouterr().err


def test_more_landmarks_than_a_learner_has_slots_are_refused_when_it_adapts(tmp_path, capsys):
    learner = find_learner("MAML")
    base = BaseModel(SmallFENet(4, 8), {1: 3}, learner.base_kind, 3)
    options = {"channels": 4, "width": 8}
    made = Model(learner(base, learner.Settings()), "MAML", "small", options, 32, None, {})
    made.save(tmp_path / "MAML.safetensors")
    command = ["adapt", "--support", str(annotate(tmp_path / "support", range(2)))]
    command += ["--model", str(tmp_path / "MAML.safetensors")]
    assert main([*command, "--out", str(tmp_path / "x.safetensors")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "4" in line and "3" in line and not (tmp_path / "x.safetensors").exists()


# ------------------------------------------------------------------------- several objects


def pairs(folder, numbers, bare=()):
    """Photos of two objects each, and with the numbers of `bare` of none, with annotations."""
    folder.mkdir()
    kind = {"id": 3, "name": "blobs", "keypoints": NAMES, "skeleton": []}
    coco = {"images": [], "annotations": [], "categories": [kind]}
    for i in numbers:
        both = photos((i, i + 50), width=100, height=90)
        image = np.hstack(both[0]) if i not in bare else np.full((90, 200, 3), 110, np.uint8)
        PIL.Image.fromarray(image).save(folder / f"{i:03d}.png")
        coco["images"].append({"id": i, "width": 200, "height": 90, "file_name": f"{i:03d}.png"})
        for left, (points, (x1, y1, x2, y2)) in enumerate(zip(*both[1:])):
            marks = np.column_stack([points + (100 * left, 0), np.full(4, 2)]).ravel().tolist()
            known = {"id": 10 * i + left, "image_id": i, "category_id": 3, "keypoints": marks}
            box = [float(n) for n in (x1 + 100 * left, y1, x2 - x1, y2 - y1)]
            coco["annotations"] += [known | {"bbox": box}] * (i not in bare)
    path = folder / "annotations.json"
    path.write_text(json.dumps(coco))
    return path


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """What finds several objects in a photo."""
    path = tmp_path_factory.mktemp("several") / "finder.safetensors"
    images, landmarks, boxes = photos(range(3))
    named = {"names": NAMES, "category": "blobs"}
    model("CLM", size=96).adapt(images, landmarks, boxes=boxes, **named).save(path)
    return path


def test_several_objects_of_a_photo_are_found_where_they_are(several, tmp_path, capsys):
    truth, out = pairs(tmp_path / "query", [10, 11]), tmp_path / "found.json"
    assert run(several, out, "--images", tmp_path / "query", "--objects", 2) == 0
    assert "4 objects" in capsys.readouterr().out
    found, true = results(out), json.loads(truth.read_text())["annotations"]
    assert [one["image_id"] for one in found] == [1, 1, 2, 2]
    assert [one["file_name"] for one in found] == ["010.png"] * 2 + ["011.png"] * 2
    for first in (0, 2):
        both = sorted(found[first : first + 2], key=lambda one: one["bbox"])
        marks, wanted = (
            np.reshape([one["keypoints"] for one in each], (2, 4, 3))[..., :2]
            for each in (both, true[first : first + 2])
        )
        assert np.abs(marks - wanted).max() < radius(120, 90) + 4
        plain = PIL.Image.open(tmp_path / "query" / both[0]["file_name"])
        drawn = PIL.Image.open(tmp_path / "found-drawn" / f"{both[0]['file_name'][:3]}.jpg")
        changed = np.abs(np.asarray(plain.resize(drawn.size), int) - np.asarray(drawn)).max(-1)
        ratio = drawn.width / plain.width
        for x, y in (marks.reshape(-1, 2) * ratio).astype(int):
            assert changed[max(0, y - 9) : y + 9, max(0, x - 9) : x + 9].max() > 60
        for x, y, _, height in (np.array([o["bbox"] for o in both]) * ratio).round().astype(int):
            assert np.median(changed[y : y + height, x]) > 40  # an edge of the frame
    assert len(list((tmp_path / "found-drawn").glob("*.jpg"))) == 2

    command = ["--predictions", str(out), "--images", str(tmp_path / "query")]
    assert main(["evaluate", *command, "--annotations", str(truth)]) == 0
    said = capsys.readouterr().out
    assert "0 of 4 annotated objects" in said and "0 of 4 predictions" in said
    assert main(["draw", *command, "--out", str(tmp_path / "sheet.png")]) == 0
    assert "4 of 4 objects" in capsys.readouterr().out


def test_several_objects_stopped_and_run_again_go_on_to_the_same_bytes(
    several, tmp_path, monkeypatch
):
    pairs(tmp_path / "query", range(10, 14), bare=[11])
    (tmp_path / "query" / "012.png").write_bytes(b"no picture")
    asked = "--images", tmp_path / "query", "--objects"
    assert run(several, tmp_path / "whole.json", *asked, 2) == 0
    assert [one["image_id"] for one in results(tmp_path / "whole.json")] == [1, 1, 2, 4, 4]
    assert results(tmp_path / "whole.json")[2]["score"] == 0  # where nothing is, one is told
    draw, drawn = predict._draw, []

    def stops(folder, wanted, *found):
        drawn.append(wanted.image_id)
        if wanted.image_id == last:
            raise KeyboardInterrupt
        draw(folder, wanted, *found)

    monkeypatch.setattr(predict, "AT_ONCE", 4)  # photos: two of two objects
    monkeypatch.setattr(predict, "_draw", stops)
    for last in (2, 4, None):  # stopped within a batch, and after one
        assert run(several, tmp_path / "found.json", *asked, 2) == (130 if last else 0)
    assert (tmp_path / "found.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert drawn == [1, 2, 1, 2, 4, 4]

    last = 2
    assert run(several, tmp_path / "other.json", *asked, 2) == 130
    last = None
    assert run(several, tmp_path / "other.json", *asked, 1) == 0
    assert [one["image_id"] for one in results(tmp_path / "other.json")] == [1, 2, 4]


def test_several_objects_are_refused_where_they_cannot_be_found(several, finder, tmp_path, capsys):
    boxes = annotate(tmp_path / "query", [10])
    before = inputs(tmp_path)
    for model_file, given, told in (
        (several, ["--boxes", boxes], "--boxes"),
        (finder, ["--images", tmp_path / "query"], "COLOURS"),
    ):
        assert run(model_file, tmp_path / "found.json", *given, "--objects", 2) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line and inputs(tmp_path) == before
    for number in ("0", "51", "two"):
        with pytest.raises(SystemExit):
            run(several, tmp_path / "found.json", "--images", tmp_path, "--objects", number)
        assert "--objects" in capsys.readouterr().err
    assert run(several, tmp_path / "found.json", "--boxes", boxes, "--objects", 1) == 0
