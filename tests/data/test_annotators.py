"""Files of annotators: as their own libraries wrote them, and with what people make of them."""

import csv
import json
import random
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.formats.annotators import yolo
from fewshot_landmarks.support.errors import UserError
from tests.mutants import byte_mutants, json_mutants

GIVEN = Path(__file__).parents[1] / "fixtures" / "annotators"
KITE = ("tip", "left côté", "right")
WIDTH, HEIGHT = 40, 30
needs_sleap = pytest.mark.skipif(not find_spec("sleap_io"), reason="needs sleap-io")


def photo(path, size=(WIDTH, HEIGHT), turned=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = turned
    image.save(path, exif=exif)
    return path


@pytest.fixture
def given(tmp_path):
    """A copy of what annotators' libraries wrote, beside photos of all names in it."""
    folder = shutil.copytree(GIVEN, tmp_path / "given")
    for name in ("a b.png", "c.png", "img000.png", "img012.png", "é.png"):
        photo(folder / "images" / name)
    for number in range(2):
        photo(folder / "yolo" / "train" / "images" / f"{number:07d}.png")
    return folder


def marks(found, i):
    """The landmarks of an object by name: x, y and visibility."""
    kind = found.categories[int(found.index.category[i])]
    points, visible = found.index.landmarks(i)
    return {name: (*np.round(point.tolist(), 2).tolist(), int(seen))
            for name, point, seen in zip(kind.names, points, visible)}  # fmt: skip


def refused(source, *words, **options):
    with pytest.raises(UserError) as caught:
        read_annotations(source, **options)
    line = str(caught.value)
    assert "\n" not in line and all(str(word) in line for word in words), line


FIRST = {"tip": (5.25, 6.5, 2), "left côté": (10.1, 20.2, 2), "right": (20, 9, 2)}
SECOND = {"tip": (30, 4, 2), "left côté": (0, 0, 0), "right": (38.5, 27.25, 2)}
BOXES = [[2, 3, 22, 24], [22, 1, 39, 29], [1, 1, 31, 21]]

# --- Label Studio


@pytest.mark.parametrize("name", ["label_studio.json", "label_studio_min.json"])
def test_label_studios_exports(given, name):
    """Of a photo that was uploaded as "a b.png"; JSON-MIN ties no point to a rectangle."""
    found = read_annotations(given / name)
    (kind,) = found.categories.values()
    assert (kind.name, kind.names) == ("kite", KITE)
    assert [each.path.name for each in found.photos] == ["a b.png", "c.png"]
    assert [each.declared for each in found.photos] == [(WIDTH, HEIGHT)] * 2
    assert found.index.photo.tolist() == [0, 0, 1] and not found.index.skipped
    assert [marks(found, i) for i in range(2)] == [FIRST, SECOND]
    assert marks(found, 2)["left côté"] == (7.77, 8.88, 2)
    np.testing.assert_allclose(found.index.box, BOXES, atol=1e-4)
    assert "a_b.png as a b.png" in found.notes[-1]


def tasks(folder, change, name="tasks.json"):
    """Label Studio's export with some change."""
    said = json.loads((GIVEN / "label_studio.json").read_text("utf-8"))
    said = change(said) or said
    (folder / name).write_text(json.dumps(said))
    return folder / name


@pytest.mark.parametrize(
    "place",
    [
        "/data/local-files/?d=some/where/c.png",
        "https://host/data/upload/1/0a1b2c3d-c.png",
        "s3://bucket/folder/c.png",
        "C:\\photos\\c.png",
        "c.png",
    ],
)
def test_label_studios_photos_are_found_wherever_it_has_them(given, place):
    def change(said):
        said[1]["data"] = {"text": "words", "picture": place}

    found = read_annotations(tasks(given, change))
    assert found.photos[1].path == given / "images" / "c.png"


def two_photos(front="c.png", back="a b.png", **more):
    """A change: the second task has two photos, with two landmarks on `a` and one on `b`."""

    def change(said):
        said[1]["data"] = {"front": front, "back": back} | more.get("data", {})
        row = said[1]["annotations"][1]["result"][1]
        row = {key: value for key, value in row.items() if key != "parentID"}
        result = []
        for to, label, x in [("a", "tip", 10), ("a", "right", 20), ("b", "tip", 30)]:
            value = row["value"] | {"x": x, "keypointlabels": [label]}
            known = {"id": f"{to}{x}", "to_name": to, "from_name": f"on-{to}"}
            result.append(row | known | {"value": value} | more.get(to, {}))
        said[1]["annotations"] = [{"result": result}]
        del said[0]

    return change


INTERFACE = """<View><Image name="a" value="$front"/><Image name="b" value="$back"/>
<KeyPointLabels name="on-a" toName="a" value="$front"/><KeyPointLabels name="on-b" toName="b"/></View>
"""


@pytest.mark.parametrize(
    "more, interface",
    [
        ({"a": {"source": "$front"}, "b": {"source": "$back"}}, ""),
        ({"a": {"to_name": "front"}, "b": {"to_name": "back"}}, ""),
        ({}, INTERFACE),
        ({"back": "https://host/data/upload/1/0a1b2c3d-a%20b.png?x=.txt"}, INTERFACE),
    ],
)
def test_each_region_of_label_studios_is_on_its_own_photo(given, more, interface):
    if interface:
        (given / "tasks-config.xml").write_text(interface)
    photo(given / "images" / "a%20b.png")
    found = read_annotations(tasks(given, two_photos(**more)))
    assert [each.path.name.replace("%20", " ") for each in found.photos] == ["c.png", "a b.png"]
    assert found.index.photo.tolist() == [0, 1] and not found.index.skipped
    assert [marks(found, i)["tip"][0] for i in range(2)] == [4, 12]


def test_label_studios_minimal_export_is_told_by_its_interface(given):
    def minimal(said):
        two_photos()(said)
        rows = [row["value"] | {"original_width": WIDTH, "original_height": HEIGHT}
                for row in said[0]["annotations"][0]["result"]]  # fmt: skip
        return [{"id": 8, **said[0]["data"], "on-a": rows[:2], "on-b": rows[2:]}]

    refused(tasks(given, minimal), "task 8", "front, back", "tasks-config.xml")
    (given / "tasks-config.xml").write_text(INTERFACE)
    found = read_annotations(tasks(given, minimal))
    assert [each.path.name for each in found.photos] == ["c.png", "a b.png"]
    assert [marks(found, i)["tip"][0] for i in range(2)] == [4, 12]


@pytest.mark.parametrize("more", [{}, {"back": "https://host/42"}, {"b": {"to_name": "a"}}])
def test_a_task_that_does_not_say_which_photo_a_region_is_on_is_left_out(given, more):
    """Also where one of two values alone is called as a photo is."""

    def change(said):
        first = said[0]
        two_photos(**more)(said)
        first["data"] = {"image": "a b.png"}
        return [first, *said]

    found = read_annotations(tasks(given, change))
    (line,) = found.index.skipped
    assert "task 8" in line and "tasks-config.xml" in line and "front" in line
    assert found.index.photo.tolist() == [0, 0] and len(found.photos) == 1


def pages(*numbers, key="item_index"):
    """A change: landmarks on pages of a list of two photos."""

    def change(said):
        two_photos()(said)
        said[0]["data"] = {"pages": ["c.png", "a b.png"], "title": "words"}
        for row, number in zip(said[0]["annotations"][0]["result"], numbers):
            row |= {"to_name": "page", key: number}

    return change


def test_each_region_of_label_studios_is_on_its_own_page(given):
    found = read_annotations(tasks(given, pages(1, 1, 0)))
    assert [each.path.name for each in found.photos] == ["a b.png", "c.png"]
    assert [marks(found, i)["tip"][0] for i in range(2)] == [4, 12]


@pytest.mark.parametrize("number", [2, -1, "x", None, True])
def test_a_page_that_is_not_there_costs_its_task(given, number):
    refused(tasks(given, pages(0, number, 1)), "task 8", "item_index")


def test_a_labelling_interface_that_is_no_xml_is_one_line(given):
    for wrong in ("<View>", '<!DOCTYPE x [<!ENTITY y "z">]><View/>'):
        (given / "tasks-config.xml").write_text(wrong)
        refused(tasks(given, two_photos()), "tasks-config.xml")


def test_predictions_are_read_where_nobody_annotated(given):
    def as_predictions(said):
        for task in said[:1] if some else said:
            task["predictions"] = [{"result": task["annotations"][0]["result"], "score": 0.5}]
            task["annotations"] = []

    some = False
    assert len(read_annotations(tasks(given, as_predictions)).index) == 2 + 1
    some = True
    found = read_annotations(tasks(given, as_predictions))
    assert found.index.photo.tolist() == [1]


def test_the_annotation_of_ground_truth_counts_or_else_the_last(given):
    def twice(said):
        (own,) = said[0]["annotations"]
        first = own["result"][1]
        moved = [first | {"value": first["value"] | {"x": 50}}, *own["result"][2:4]]
        other = own | {"result": moved, "updated_at": when, "ground_truth": truth}
        said[0]["annotations"].append(other)

    for when, truth, x in [("2026", False, 5.25), ("2027", False, 20), ("2026", True, 20)]:
        found = read_annotations(tasks(given, twice))
        assert marks(found, 0)["tip"][0] == x and "task 7 has 2 annotations" in found.notes[0]


def test_relations_tie_points_too_and_several_labels_are_categories(given):
    def change(said):
        result = said[0]["annotations"][0]["result"]
        for row in result:
            if (parent := row.pop("parentID", None)) is not None:
                ends = {"from_id": row["id"], "to_id": parent}
                result.append({"type": "relation", "direction": "right"} | ends)
        result[4]["value"]["rectanglelabels"] = ["dragon"]

    found = read_annotations(tasks(given, change))
    assert [kind.name for kind in found.categories.values()] == ["kite", "dragon", "given"]
    assert found.index.category.tolist() == [1, 2, 3]
    assert marks(found, 0) == FIRST and marks(found, 1) == {
        "tip": (30, 4, 2),
        "right": (38.5, 27.25, 2),
    }
    only = read_annotations(tasks(given, change), category="dragon")
    assert len(only.index) == 1


def test_a_turned_rectangle_is_the_box_around_it(given):
    def change(said):
        value = said[1]["annotations"][1]["result"][0]["value"]
        value |= {"x": 50, "y": 10, "width": 25, "height": 50, "rotation": 90}  # 20, 3, 10, 15

    found = read_annotations(tasks(given, change))
    np.testing.assert_allclose(found.index.box[2], [5, 3, 20, 13], atol=1e-4)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"image_rotation": 90}, ["a_b.png", "turned"]),
        ({"original_width": None}, ["a_b.png", "original_width"]),
        ({"value": {"x": "1", "y": 2, "keypointlabels": ["tip"]}}, ["a_b.png", "'1'"]),
        ({"value": {"x": 1, "y": 2, "keypointlabels": []}}, ["a_b.png", "label"]),
        ({"value": {"x": 1, "y": 2, "keypointlabels": ["tip", "end"]}}, ["a_b.png", "tip, end"]),
    ],
)
def test_what_is_wrong_in_a_task_has_a_line(given, change, words):
    def wrong(said):
        said[0]["annotations"][0]["result"][1].update(change)

    found = read_annotations(tasks(given, wrong))
    (line,) = found.index.skipped
    assert all(word in line for word in words) and "\n" not in line
    assert marks(found, len(found.index) - 1)["tip"] == (3, 4, 2)


def test_points_that_the_import_of_coco_hides_are_hidden(given):
    def change(said):
        result = said[0]["annotations"][0]["result"]
        result[1]["value"]["hidden"] = True
        result[2]["value"] |= {"hidden": True, "x": 0, "y": 0}

    found = marks(read_annotations(tasks(given, change)), 0)
    assert found["tip"] == (5.25, 6.5, 1) and found["left côté"] == (0, 0, 0)


def test_two_objects_that_nothing_ties_are_one_line(given):
    def change(said):
        said[0]["annotations"][0]["result"] = [
            row for row in said[0]["annotations"][0]["result"] if "parentID" in row
        ]
        for row in said[0]["annotations"][0]["result"]:
            del row["parentID"]

    (line,) = read_annotations(tasks(given, change)).index.skipped
    assert "a_b.png" in line and "occurs twice" in line


def test_tasks_that_nobody_labelled_are_photos_without_objects(given):
    for name in ("label_studio.json", "label_studio_min.json"):
        said = json.loads((given / name).read_text("utf-8"))
        said = [
            {"id": 1, "image": "c.png"} if "min" in name else said[1] | {"annotations": []},
            said[0],
            7,
        ]
        (given / name).write_text(json.dumps(said))
        found = read_annotations(given / name)
        assert [each.path.name for each in found.photos] == ["c.png", "a b.png"]
        assert found.index.photo.tolist() == [1, 1] and found.index.skipped == ("7: not a task",)


def test_a_list_that_is_no_tasks_is_refused(tmp_path):
    for said, word in [
        ([{"image_id": 1, "keypoints": []}], "results"),
        ([1], "list"),
        ([], "list"),
    ]:
        (tmp_path / "a.json").write_text(json.dumps(said))
        refused(tmp_path / "a.json", "a.json", word)


# --- YOLO


def test_sleap_ios_yolo_data_set(given, capsys):
    for source in (given / "yolo", given / "yolo" / "data.yaml"):
        found = read_annotations(source)
        (kind,) = found.categories.values()
        assert (kind.name, kind.names) == ("animal", KITE)
        assert [each.path.name for each in found.photos] == ["0000000.png", "0000001.png"]
        assert found.index.photo.tolist() == [0, 0, 1, 1] and not found.lines
        assert marks(found, 0)["tip"] == (4.75, 6, 2) and marks(found, 1)["left côté"] == (0, 0, 0)
        np.testing.assert_allclose(found.index.box[0], [0, 0, 29.5, 29.7], atol=1e-3)
    assert main(["doctor", "--data", str(given / "yolo")]) == 0
    assert "4 objects" in capsys.readouterr().out


def data_set(folder, *rows, photos=("1.png",), **changes):
    """YOLO's labels of one photo, of three landmarks."""
    for name in photos:
        photo(folder / "images" / name)
    said = {"kpt_shape": [3, 3], "names": ["kite", "bird"], "train": "images"} | changes
    folder.mkdir(exist_ok=True)
    (folder / "data.yaml").write_text(yaml.safe_dump(said))
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "1.txt").write_text("\n".join(rows))
    return folder


GOOD = "0 .5 .5 .5 .5 .25 .5 2 .5 .1 1 0 0 0"


def test_yolos_visibility_with_and_without_it(tmp_path):
    rows = [
        "0 .5 .5 .5 .5 .25 .5 2.000000 .5 .1 1.000000 0 0 0.000000",
        "1 0.25 0.25 0.5 0.5 .25 .5 0 0 .5 .1",
        "",
        "1 .5 .5 .5 .5",  # of a detector
    ]
    found = read_annotations(data_set(tmp_path, *rows, flip_idx=[1, 0, 2]))
    assert marks(found, 0) == {"1": (10, 15, 2), "2": (20, 3, 1), "3": (0, 0, 0)}
    assert marks(found, 1) == {"1": (10, 15, 2), "2": (0, 0, 0), "3": (20, 3, 2)}
    assert found.index.box.tolist() == [[10, 7.5, 30, 22.5], [0, 0, 20, 15]]
    assert found.categories[0].pairs == ((0, 1),) and not found.lines
    assert [found.index.unlabelled, len(read_annotations(tmp_path, category="kite").index)] == [
        1,
        1,
    ]


@pytest.mark.parametrize(
    "row, places",
    [
        ("0 .5 .5 .5 .5 .25 .5 .91 .5 .1 1 0 0 .2", [(10, 15, 2), (20, 3, 2), (0, 0, 0)]),
        ("0 .5 .5 .5 .5 .25 .5 .91 .5 .1 0 .5 .1 .02", [(10, 15, 2), (0, 0, 0), (20, 3, 2)]),
        (GOOD + " .875", [(10, 15, 2), (20, 3, 1), (0, 0, 0)]),
        ("0 .5 .5 .5 .5 .25 .5 .91 .5 .1 1 0 0 .2 .8", [(10, 15, 2), (20, 3, 2), (0, 0, 0)]),
    ],
)
def test_what_a_model_is_sure_of_is_no_visibility_in_yolos_labels(tmp_path, row, places):
    """Of each landmark in place of visibility, of the object in the end, or both."""
    found = read_annotations(data_set(tmp_path, GOOD, row, row))
    assert list(marks(found, 1).values()) == list(marks(found, 2).values()) == places
    (line,) = found.lines
    assert "labels/1.txt: line 2 and 1 more" in line and "confidence" in line


def test_a_detectors_label_may_end_in_its_confidence(tmp_path):
    found = read_annotations(data_set(tmp_path, GOOD, "1 .5 .5 .5 .5 .7"))
    assert len(found.index) == found.index.unlabelled == 1
    pairs = "0 .5 .5 .5 .5 .25 .5 .5 .1 0 0 .7"
    found = read_annotations(data_set(tmp_path, pairs, kpt_shape=[3, 2]))
    assert list(marks(found, 0).values()) == [(10, 15, 2), (20, 3, 2), (0, 0, 0)]


def test_yolos_classes_share_the_longest_list_of_landmarks(tmp_path):
    data_set(tmp_path, GOOD, kpt_names={0: ["a", "b"], 1: ["c"]})  # and none has them all
    assert list(marks(read_annotations(tmp_path), 0)) == ["a", "b"]
    names = {0: ["a", "b"], 1: ["x", "y", "z"]}
    rows = GOOD, "1 .5 .5 .5 .5 .25 .5 2 .5 .1 2 .1 .1 2"
    found = read_annotations(
        data_set(tmp_path, *rows, kpt_names=names, names=dict(enumerate("KB")))
    )
    assert [kind.names for kind in found.categories.values()] == [("a", "b"), ("x", "y", "z")]
    assert list(marks(found, 0)) == ["a", "b"] and marks(found, 1)["z"] == (4, 3, 2)


def test_yolos_shares_are_of_the_photo_as_exif_turns_it(tmp_path):
    data_set(tmp_path, GOOD, photos=())
    photo(tmp_path / "images" / "1.jpg", (HEIGHT, WIDTH), turned=6)
    found = read_annotations(tmp_path)
    assert found.photos[0].declared == (WIDTH, HEIGHT) and marks(found, 0)["1"] == (10, 15, 2)


@pytest.mark.parametrize(
    "row, words",
    [
        ("0 .5 .5 .5 .5 .25 .5 2", ["labels/1.txt: line 2", "3 numbers", "3 landmarks"]),
        ("7" + GOOD[1:], ["labels/1.txt: line 2", "class 7"]),
        ("kite" + GOOD[1:], ["labels/1.txt: line 2", "kite"]),
        ("0 .5 .5", ["labels/1.txt: line 2", "3 numbers"]),
        ("nan" + GOOD[1:], ["labels/1.txt: line 2", "nan"]),
        (GOOD.replace("1 0 0 0", "3 0 0 0"), ["labels/1.txt: line 2", "visibility"]),
        (GOOD.replace("1 0 0 0", ".91 0 0 0"), ["labels/1.txt: line 2", "visibility 0.91"]),
        (GOOD + " 7", ["labels/1.txt: line 2", "10 numbers"]),  # of what is tracked
        ("0 .5 .5 .5 .5 .25 .5 2 .5 .1 1 .5", ["labels/1.txt: line 2", "7 numbers"]),  # cut off
    ],
)
def test_a_wrong_line_of_yolos_is_left_out_and_said(tmp_path, row, words):
    found = read_annotations(data_set(tmp_path, GOOD, row))
    (line,) = found.index.skipped
    assert len(found.index) == 1 and all(word in line for word in words), line


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"kpt_shape": None}, "kpt_shape"),
        ({"kpt_shape": [3]}, "kpt_shape"),
        ({"kpt_shape": [10**9, 3]}, "kpt_shape"),
        ({"names": None}, "names"),
    ],
)
def test_a_data_yaml_that_does_not_say_what_labels_are_is_refused(tmp_path, changes, word):
    refused(data_set(tmp_path, GOOD, **changes) / "data.yaml", "data.yaml", word)


def test_yaml_that_is_broken_or_alone_is_refused(tmp_path):
    data_set(tmp_path, GOOD)
    shutil.rmtree(tmp_path / "labels")
    refused(tmp_path, "no labels")
    for content in (b"kpt_shape: [", b"kpt_shape: !!python/object:os.system {}", b"\xff", b"["):
        (tmp_path / "data.yaml").write_bytes(content)
        refused(tmp_path / "data.yaml", "data.yaml")


def test_photos_of_yolos_that_are_missing_or_broken_have_a_line(tmp_path):
    data_set(tmp_path, GOOD)
    for name in ("2", "3"):
        (tmp_path / "labels" / f"{name}.txt").write_text(GOOD)
    (tmp_path / "images" / "3.png").write_text("no picture")
    found = read_annotations(tmp_path)
    assert len(found.index) == 1 and len(found.index.skipped) == 2
    assert "images/2" in found.index.skipped[0] and "images/3" in found.index.skipped[1]


def test_names_of_mirrored_landmarks_are_written_as_flips(tmp_path):
    assert yolo._flips(["left ear", "nose", "right ear"], 4) == [2, 1, 0, 3]


# --- DeepLabCut


def test_deeplabcuts_labels_of_single_animals(given):
    found = read_annotations(
        given / "deeplabcut" / "labeled-data" / "clip" / "CollectedData_ana.csv",
        images=given / "images",
    )
    (kind,) = found.categories.values()
    assert (kind.name, kind.names) == ("clip", ("snout", "left ear", "right ear", "1"))
    assert kind.pairs == ((1, 2),)
    assert [each.path.name for each in found.photos] == ["img000.png", "img012.png"]
    first = {"snout": (5.25, 6.5, 2), "left ear": (10.1, 20.2, 2), "right ear": (0, 0, 0)}
    assert marks(found, 0) == first | {"1": (20, 9, 2)} and not found.lines


def test_deeplabcuts_project_of_several_individuals(given):
    """Individuals of the same body parts are of one category; a landmark of its own is another."""
    for name in ("clip/img000.png", "clip/img012.png", "two mice/a b.png", "two mice/é.png"):
        photo(given / "deeplabcut" / "labeled-data" / name)
    found = read_annotations(given / "deeplabcut")
    names = [(kind.name, kind.names) for kind in found.categories.values()]
    mice = ("m1", ("snout", "tail"))
    assert names[1:] == [mice, ("single", ("corner",))] and names[0][0] == "deeplabcut"
    assert found.index.photo.tolist() == [0, 1, 2, 2, 2, 3] and not found.lines
    assert found.index.category.tolist() == [1, 1, 2, 2, 3, 2]
    assert marks(found, 3) == {"snout": (21.5, 22.5, 2), "tail": (23.5, 24.5, 2)}
    assert found.index.box[4].tolist() == [0, 0, WIDTH, HEIGHT]  # of one landmark
    mice = given / "deeplabcut" / "labeled-data" / "two mice"
    assert read_annotations(mice).categories[1].name == "two mice"
    assert len(read_annotations(mice, category="single").index) == 1


def table(folder, *rows, head=("scorer", "bodyparts", "coords")):
    """A CollectedData file of two body parts."""
    said = {"scorer": ["me"] * 4, "bodyparts": ["a", "a", "b", "b"], "coords": [*"xyxy"]}
    photo(folder / "1.png")
    path = folder / "CollectedData_me.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([*([name, *said[name]] for name in head), *rows])
    return path


@pytest.mark.parametrize(
    "row, words",
    [
        (["1.png", 1, "", 3, 4], ["1.png", "a is not two numbers"]),
        (["1.png", 1, 2, "x", 4], ["1.png", "b is not two numbers"]),
        (["1.png", 1, 2, 3], ["1.png", "b is not two numbers"]),
        (["2.png", 1, 2, 3, 4], ["2.png", "not there"]),
        (["1.png", 1, 1e9, 3, 4], ["1.png", "a has"]),
        (["1.png", 100, 2, 3, 4], ["1.png", "outside", "a"]),
    ],
)
def test_a_wrong_row_of_deeplabcuts_has_a_line(tmp_path, row, words):
    photo(tmp_path / "0.png")
    found = read_annotations(table(tmp_path, ["0.png", 1, 2, 3, 4], row))
    (line,) = found.index.skipped
    assert all(word in line for word in words), line


def test_what_are_no_labels_of_deeplabcuts_is_refused(tmp_path):
    good = table(tmp_path, ["1.png", 1, 2, 3, 4])
    text = good.read_text()
    refused(table(tmp_path, ["1.png", 1, 2, 3, 4], head=("scorer", "coords")), good, "bodyparts")
    for wrong, word in [
        (text.replace("x,y,x,y", "x,y,likelihood,y"), "predictions"),
        (text.replace("x,y,x,y", "x,y,x,z"), "b has the columns x, z"),
        (text.replace("a,a,b,b", "a,a,a,a"), "twice"),
        (text.replace("a,a,b,b", "a,a"), "do not fit"),
        ("1,2\n3,4\n", "scorer"),
        ("\x00", "scorer"),
        ("", "scorer"),
    ]:
        good.write_text(wrong)
        refused(good, good, word)
    good.write_bytes(b"scorer,\xff")
    refused(good, good)
    good.write_text(text)
    shutil.copy(good, tmp_path / "CollectedData_you.csv")
    refused(tmp_path, "CollectedData_me.csv, CollectedData_you.csv")


# --- SLEAP


@needs_sleap
def test_sleaps_instances_of_people(given):
    found = read_annotations(given / "sleap.slp")
    (kind,) = found.categories.values()
    assert (kind.name, kind.names, kind.pairs) == ("kite", KITE, ((1, 2),))
    assert kind.edges == ((0, 1), (0, 2))
    assert [each.path.name for each in found.photos] == ["a b.png", "c.png"]
    assert [marks(found, i) for i in range(2)] == [FIRST, SECOND]
    assert marks(found, 2) == {"tip": (3, 4, 2), "left côté": (0, 0, 0), "right": (9, 10, 2)}
    assert len(found.index) == 3 and not found.lines


@needs_sleap
def test_photos_of_sleaps_that_were_resized_or_are_clips_have_a_line(given):
    import sleap_io

    photo(given / "images" / "c.png", (20, 15))
    (line,) = read_annotations(given / "sleap.slp").index.skipped
    assert "c.png" in line and "20 x 15" in line and "40 x 30" in line
    labels = sleap_io.load_slp(str(given / "sleap.slp"), open_videos=False)
    video = sleap_io.Video("clip.mp4", open_backend=False)
    labels.append(sleap_io.LabeledFrame(video, 7, labels[0].instances))
    labels.save(str(given / "more.slp"), verbose=False)
    skipped = read_annotations(given / "more.slp").index.skipped
    assert any("clip.mp4: 1 labelled frames" in line for line in skipped)


@needs_sleap
def test_hdf5_that_is_not_sleaps_is_refused(tmp_path):
    import h5py

    with h5py.File(tmp_path / "CollectedData_me.h5", "w") as file:
        file["df_with_missing"] = [1.0]
    (tmp_path / "a.nwb").write_bytes((tmp_path / "CollectedData_me.h5").read_bytes())
    refused(tmp_path / "a.nwb", "a.nwb", "HDF5")
    (tmp_path / "cut.slp").write_bytes((GIVEN / "sleap.slp").read_bytes()[:2000])
    refused(tmp_path / "CollectedData_me.h5", "CollectedData_me.h5", "CollectedData_SCORER.csv")
    refused(tmp_path / "cut.slp", "cut.slp")


@pytest.mark.skipif(bool(find_spec("sleap_io")), reason="sleap-io is installed")
def test_without_sleap_io_a_line_says_how_to_have_it(given, capsys):
    command = ["draw", "--annotations", str(given / "sleap.slp"), "--out", str(given / "a.png")]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "pip install 'fewshot-landmarks[sleap]'" in line


# --- files that are called as another annotator's


@pytest.mark.parametrize(
    "source, name",
    [
        ("label_studio.json", "annotations.xml.json"),
        ("label_studio.json", "CollectedData_me.csv"),
        ("deeplabcut/labeled-data/clip/CollectedData_ana.csv", "labels.json"),
        pytest.param("sleap.slp", "labels.json", marks=needs_sleap),
    ],
)
def test_files_are_told_by_what_is_in_them(given, source, name):
    known = read_annotations(given / source, images=given / "images")
    shutil.copy(given / source, given / name)
    found = read_annotations(given / name, images=given / "images")
    assert found.index.digest() == known.index.digest()


@pytest.mark.parametrize("name", ["CollectedData_x.csv", "data.yaml", "labels.slp", "labels.json"])
@pytest.mark.parametrize(
    "content", [b"", b"words", b"0 .5 .5 .5 .5\n", b"\x00\x01", b"{}", b"[[]]"]
)
def test_what_is_no_annotators_file_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, name)


def test_labelmes_files_count_beside_what_others_wrote_into_their_folder(tmp_path):
    """Of a folder; the others' are read by their files' names."""
    data_set(tmp_path, GOOD)
    table(tmp_path, ["1.png", 1, 2, 3, 4])
    places = {"own": [3, 4], "other": [5, 9]}
    shapes = [{"label": k, "points": [v], "shape_type": "point"} for k, v in places.items()]
    (tmp_path / "1.json").write_text(json.dumps({"shapes": shapes, "imagePath": "1.png"}))
    assert read_annotations(tmp_path).categories[1].names == ("own", "other")
    assert read_annotations(tmp_path / "CollectedData_me.csv").categories[1].names == ("a", "b")
    assert read_annotations(tmp_path / "data.yaml").categories[0].names == ("1", "2", "3")
    refused(tmp_path / "labels" / "1.txt", "1.txt", "data.yaml")


def objects(source) -> int:
    try:
        return len(read_annotations(source, images=source.parent / "images").index)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return -1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["label_studio.json", "label_studio_min.json", "CollectedData.csv", "data.yaml", "1.txt"],
)
def test_mutants_are_read_or_refused(given, name):
    data_set(given, GOOD)
    shutil.copy(
        given / "deeplabcut" / "labeled-data" / "clip" / "CollectedData_ana.csv",
        given / "CollectedData.csv",
    )
    path = given / "labels" / name if name == "1.txt" else given / name
    source = given / "data.yaml" if name == "1.txt" else path
    content = path.read_bytes()
    mutants = [*byte_mutants(content, 500)]
    if name.endswith(".json"):
        mutants += json_mutants(json.loads(content), 2500)
    random.Random(1).shuffle(mutants)
    for each in mutants:
        path.write_bytes(each)
        assert objects(source) <= 8
