"""What `predict --format` writes for annotators is read again as it was found."""

import base64
import json
import os
import shutil
from importlib.util import find_spec
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import yaml

from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.formats import writing
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.photos.commands import parsers, predict
from fewshot_landmarks.photos.model import load
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.outputs import RECORD, claim
from tests.colours import model, photos
from tests.photos.test_predict import NAMES, annotate, inputs, pairs, run

pytestmark = pytest.mark.usefixtures("colours")
FORMS = {
    "coco": "out.json",
    "labelme": "out",
    "cvat": "out.xml",
    "label-studio": "tasks.json",
    "yolo": "yolo",
    "deeplabcut": "CollectedData_me.csv",
    "sleap": "out.slp",
}
WRITTEN = ".json", ".xml", ".txt", ".yaml", ".csv", ".slp"
BOXLESS = "deeplabcut", "sleap"
ODD = ["left eye", "a/b\\c", "Å é 耳", "\"q\" 'r'", "<x> & ]]>", "&amp;", "tip-occluded", "7"]

needs_sleap = pytest.mark.skipif(not find_spec("sleap_io"), reason="needs sleap-io")
params = [pytest.param(form, marks=[needs_sleap] if form == "sleap" else []) for form in FORMS]
every_form = pytest.mark.parametrize("form", params)


def picture(path, width, height):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (width, height), (90, 120, 150)).save(path)
    return path


def row(names, marks, box, size, score=0.5, **more):
    """An entry of predict's results."""
    keypoints = [float(n) for mark in marks for n in mark]
    known = {"category_id": 3, "keypoint_names": list(names), "keypoints": keypoints}
    return known | {"score": score, "bbox": list(box), "width": size[0], "height": size[1]} | more


def searched(folder, name, *rows, number=1, kind="blobs", **options):
    """A photo of the rows' size in a folder, with these objects."""
    size = rows[0]["width"], rows[0]["height"]
    made = writing.Searched(number, picture(folder / name, *size), name, *size)
    for each in rows:
        made.add(each, kind, **options)
    return made


def write(form, out, *each, without=()):
    """As `predict` writes photos with objects, and those without."""
    named = [(one.path, one.name) for one in (*each, *without)]
    claim(writing.files(form, out, named), None)
    writing.write(form, out, each, named)
    return out


def written(form, folder, *each, **options):
    return write(form, folder / FORMS[form], *each, **options)


def objects(source, images):
    """Of each object that is read, in the file's order: its photo, landmarks by name, and box."""
    found = read_annotations(source, images=images)
    assert not found.lines and not found.index.unlabelled
    index, read = found.index, []
    for i, photo in enumerate(index.photo):
        kind = found.categories[int(index.category[i])]
        points, visible = index.landmarks(i)
        marks = {name: (*point, seen) for name, point, seen in zip(kind.names, points, visible)}
        marks = {name: mark for name, mark in marks.items() if mark[2]}
        read.append((found.photos[photo], kind.name, marks, index.box[i]))
    return read


def same(read, wanted) -> None:
    """Both marks have the same names in the same order, places and visibility."""
    assert list(read) == list(wanted)
    np.testing.assert_allclose(list(read.values()), list(wanted.values()), atol=0.005)


@every_form
def test_names_places_and_boxes_are_read_as_they_were_found(tmp_path, form):
    """Two objects, of odd names and category, in two photos of one of which the name is odd."""
    random, size, each, wanted = np.random.default_rng(3), (1300, 900), [], []
    for number, name in enumerate(["b.png", "ä <1> & 'x'.png"], 1):
        rows = []
        for _ in range(2):
            points = np.round(random.uniform(0, size, (len(ODD), 2)), 2)
            x, y, width, height = box = np.round(random.uniform(1, 400, 4), 2).tolist()
            rows.append(row(ODD, [(*point, 0.25) for point in points], box, size))
            corners = x, y, x + width, y + height
            wanted.append((name, dict(zip(ODD, [(*p, 2) for p in points])), corners))
        each.append(searched(tmp_path / "photos", name, *rows, number=number, kind="<a> & b"))
    read = objects(written(form, tmp_path, *each), tmp_path / "photos")
    assert len(read) == len(wanted)
    for (where, kind, marks, box), (name, those, corners) in zip(read, wanted):
        assert where.path == tmp_path / "photos" / name and where.declared == size
        assert kind == ("<a> & b" if form != "deeplabcut" else tmp_path.name)
        same(marks, those)
        if form not in BOXLESS:
            np.testing.assert_allclose(box, corners, atol=0.01)


@every_form
def test_coordinates_are_continuous_up_to_the_photos_edges(tmp_path, form):
    """In a photo of 4 x 3 pixels, whose first has its centre at a half."""
    names = ["corner", "first", "last", "right", "end"]
    points = [(0, 0), (0.5, 0.5), (3.5, 2.5), (4, 0.01), (4, 3)]
    one = row(names, [(x, y, 1) for x, y in points], (0, 0, 4, 3), (4, 3))
    out = written(form, tmp_path, searched(tmp_path, "tiny.png", one))
    ((_, _, marks, box),) = objects(out, tmp_path)
    same(marks, dict(zip(names, [(x, y, 2) for x, y in points])))
    np.testing.assert_allclose(box, [0, 0, 4, 3], atol=1e-6)


@every_form
def test_landmarks_without_a_place_in_the_photo_are_not_labelled(tmp_path, form):
    marks = [(5, 6, 0.7), (0, 0, 0), (-0.5, 3, 0.4), (20.5, 3, 0.4), (8, 9, 0), (20, 15, 1)]
    one = row("abcdef", marks, (2, 3, 10, 11), (20, 15))
    out = written(form, tmp_path, searched(tmp_path, "1.png", one))
    ((_, _, read, _),) = objects(out, tmp_path)
    same(read, {"a": (5, 6, 2), "e": (8, 9, 2), "f": (20, 15, 2)})
    if form == "coco":
        (said,) = json.loads(out.read_text())["annotations"]
        assert said["num_keypoints"] == 3 and said["keypoints"][3:12] == [0] * 9
    elif form == "cvat":
        points = ElementTree.parse(out).findall("image/skeleton/points")
        assert [point.get("outside") for point in points] == list("011100")
    elif form == "yolo":
        (line,) = (out / "labels" / "1.txt").read_text().splitlines()
        assert line.split()[5::3] == ["0.25", "0", "0", "0", "0.4", "1"]
        assert line.split()[7::3] == list("200022")
    elif form == "deeplabcut":
        (line,) = out.read_text().splitlines()[3:]
        assert line.split(",")[3:] == [
            *"4.50 5.50".split(),
            *[""] * 6,
            *"7.50 8.50 19.50 14.50".split(),
        ]
    elif form == "label-studio":
        said = json.loads(out.read_text())[0]["predictions"][0]["result"]
        labels = [list(each["value"].values())[-1] for each in said]
        assert labels == [["blobs"], ["a"], ["e"], ["f"]]
    elif form == "labelme":
        said = json.loads((out / "1.json").read_text())["shapes"]
        assert [shape["label"] for shape in said] == ["blobs", "a", "e", "f"]


def test_coco_has_what_its_readers_ask_for(tmp_path):
    rows = [
        row("ab", [(1, 2, 0.9), (3, 4, 0.1)], (1, 1, 4, 5), (20, 15), annotation_id=number)
        for number in (70, 7)
    ]
    one = searched(tmp_path, "a/1.png", *rows, number=12, edges=((1, 0),))
    said = json.loads(written("coco", tmp_path, one).read_text())
    assert said["images"] == [{"id": 12, "file_name": "a/1.png", "width": 20, "height": 15}]
    (kind,) = said["categories"]
    assert (kind["id"], kind["name"], kind["keypoints"]) == (3, "blobs", ["a", "b"])
    assert kind["skeleton"] == [[2, 1]]
    assert [each["id"] for each in said["annotations"]] == [70, 7]
    for each in said["annotations"]:
        assert (each["image_id"], each["category_id"], each["iscrowd"]) == (12, 3, 0)
        assert (each["bbox"], each["area"], each["score"]) == ([1, 1, 4, 5], 20, 0.5)
        assert each["keypoints"] == [1, 2, 2, 3, 4, 2] and each["keypoint_scores"] == [0.9, 0.1]
    coco = pytest.importorskip("pycocotools.coco")
    assert len(coco.COCO(tmp_path / "out.json").getAnnIds(imgIds=[12])) == 2


def test_labelme_has_what_labelme_asks_for(tmp_path):
    rows = [row("ab", [(1, 2, 0.9), (3, 4, 0.1)], (1, 1, 4, 5), (20, 15))] * 2
    out = written("labelme", tmp_path, searched(tmp_path / "my photos", "1.png", *rows))
    said = json.loads((out / "1.json").read_text())
    assert said["imagePath"] == "../my photos/1.png" and said["imageData"] is None
    assert (said["imageWidth"], said["imageHeight"], said["flags"]) == (20, 15, {})
    assert said["version"].count(".") == 2
    assert [shape["group_id"] for shape in said["shapes"]] == [1, 1, 1, 2, 2, 2]
    kinds = [(shape["shape_type"], len(shape["points"])) for shape in said["shapes"]]
    assert kinds == [("rectangle", 2), ("point", 1), ("point", 1)] * 2
    scores = [json.loads(shape["description"])["score"] for shape in said["shapes"]]
    assert scores == [0.5, 0.9, 0.1] * 2
    assert all(shape["flags"] == {} for shape in said["shapes"])
    assert read_annotations(out).photos[0].path == tmp_path / "my photos" / "1.png"


def test_label_studio_has_what_its_import_asks_for(tmp_path):
    """As its SDK checks predictions: names of the configuration, per cents within the photo."""
    rows = [
        row("ab", [(1, 3, 0.9), (20, 15, 0.1)], (-2, 12, 30, 9), (20, 15)),
        row("bc", [(1, 2, 0.9), (0, 0, 0)], (1, 1, 4, 5), (20, 15)),
    ]
    each = [
        searched(tmp_path / folder, "1 é.png", *rows, number=k) for k, folder in enumerate("pq")
    ]
    out = written("label-studio", tmp_path, *each)
    said = json.loads(out.read_text())
    places = [task["data"]["image"] for task in said]
    assert places == [f"/data/local-files/?d={folder}/1%20%C3%A9.png" for folder in "pq"]
    config = ElementTree.parse(tmp_path / "tasks-config.xml").getroot()
    names = {tag.get("name"): [each.get("value") for each in tag] for tag in config}
    assert names == {"image": [], "box": ["blobs"], "landmark": ["a", "b", "c"]}
    (found,) = said[0]["predictions"]
    assert found["score"] == 0.5 and found["model_version"]
    results, seen = found["result"], []
    assert [r["score"] for r in results] == [0.5, 0.9, 0.1, 0.5, 0.9]
    assert len({r["id"] for r in results}) == len(results)
    for r in results:
        assert (r["to_name"], r["original_width"], r["original_height"]) == ("image", 20, 15)
        (label,) = r["value"][r["type"]]
        assert label in names[r["from_name"]] and r.get("parentID", r["id"]) in {"1", "2"}
        seen += [r["value"][key] for key in ("x", "y", "width", "height") if key in r["value"]]
    assert all(0 <= share <= 100 for share in seen) and seen[:4] == [0, 80, 100, 20]
    assert [where.path for where in read_annotations(out).photos] == [one.path for one in each]


def test_yolo_has_what_ultralytics_asks_for(tmp_path):
    """Classes that share the number of landmarks, and boxes within the photo."""
    one = row(["left a", "b", "right a"], [(1, 3, 1)] * 3, (-2, 12, 30, 9), (20, 15))
    other = row("xy", [(2, 3, 1), (20, 15, 1)], (0, 0, 20, 15), (20, 15), category_id=1)
    first = searched(tmp_path / "images", "a/1.png", one)
    other = searched(tmp_path / "images", "2.png", other, number=2, kind="bar")
    write("yolo", tmp_path, first, other)
    said = yaml.safe_load((tmp_path / "data.yaml").read_text("utf-8"))
    assert said["kpt_shape"] == [3, 3] and said["names"] == {0: "bar", 1: "blobs"}
    assert said["kpt_names"] == {0: ["x", "y"], 1: ["left a", "b", "right a"]}
    assert said["train"] == said["val"] == "images" and "flip_idx" not in said
    (line,) = (tmp_path / "labels" / "a" / "1.txt").read_text().splitlines()
    assert line.split()[:5] == ["1", "0.5", "0.9", "1", "0.2"]
    (line,) = (tmp_path / "labels" / "2.txt").read_text().splitlines()
    assert line.split()[5:] == [*"0.1 0.2 2 1 1 2 0 0 0".split()]
    found = read_annotations(tmp_path)
    assert [kind.names for kind in found.categories.values()] == [
        ("x", "y"),
        ("left a", "b", "right a"),
    ]
    write("yolo", tmp_path, first)
    assert yaml.safe_load((tmp_path / "data.yaml").read_text("utf-8"))["flip_idx"] == [2, 1, 0]


def test_deeplabcut_has_what_deeplabcut_asks_for(tmp_path):
    """As it reads its labels: a path in three columns, and individuals where there are several."""
    rows = [row("ab", [(1, 2, 0.9), (0, 0, 0)], (1, 1, 4, 5), (20, 15))] * 2
    each = [searched(tmp_path / "clip", f"{k}.png", *rows[:k], number=k) for k in (1, 2)]
    out = written("deeplabcut", tmp_path, *each)
    frame = pd.read_csv(out, header=[0, 1, 2, 3], index_col=[0, 1, 2])
    assert frame.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    assert set(frame.columns.get_level_values("scorer")) == {"me"}
    assert list(frame.index) == [
        ("labeled-data", "clip", "1.png"),
        ("labeled-data", "clip", "2.png"),
    ]
    places = frame.xs("x", axis=1, level="coords").to_numpy()
    np.testing.assert_equal(places, [[0.5, np.nan, np.nan, np.nan], [0.5, np.nan, 0.5, np.nan]])
    written("deeplabcut", tmp_path, each[0])
    frame = pd.read_csv(out, header=[0, 1, 2], index_col=[0, 1, 2])
    assert frame.columns.names == ["scorer", "bodyparts", "coords"] and frame.shape == (1, 4)


def test_what_deeplabcut_cannot_hold_is_refused(tmp_path):
    out = tmp_path / "CollectedData_me.csv"
    photos = [(tmp_path / name, name) for name in ("a/1.png", "b/1.png")]
    with pytest.raises(UserError, match="one folder at a time"):
        writing.files("deeplabcut", out, photos)
    with pytest.raises(UserError, match="CollectedData_SCORER.csv"):
        writing.check_file("deeplabcut", tmp_path / "labels.csv")
    with pytest.raises(UserError, match="cat, dog"):
        writing.check_names("deeplabcut", [("cat", ["a", "b"]), ("dog", ["a"])])


@needs_sleap
def test_sleap_has_predicted_instances_with_scores(tmp_path):
    import sleap_io

    rows = [row("ab", [(1, 2, 0.9), (0, 0, 0)], (1, 1, 4, 5), (20, 15))] * 2
    large = row("ab", [(1, 2, 0.9), (3, 4, 0.1)], (1, 1, 4, 5), (40, 30))
    each = [searched(tmp_path, "1.png", *rows), searched(tmp_path, "2.png", large, number=2)]
    labels = sleap_io.load_slp(str(written("sleap", tmp_path, *each)), open_videos=False)
    assert [tuple(video.shape) for video in labels.videos] == [(1, 15, 20, 3), (1, 30, 40, 3)]
    assert [len(frame.predicted_instances) for frame in labels] == [2, 1]
    (one,) = labels[1].predicted_instances
    assert one.score == 0.5 and one.points["score"].tolist() == [0.9, 0.1]
    assert one.numpy().tolist() == [[0.5, 1.5], [2.5, 3.5]]


def test_cvat_has_what_cvat_asks_for(tmp_path):
    rows = [row("ab", [(1, 2, 0.9), (0, 0, 0)], (1, 1, 4, 5), (20, 15))] * 2
    boxed = searched(tmp_path, "2.png", rows[0] | {"annotation_id": 7}, number=5)
    root = ElementTree.parse(written("cvat", tmp_path, searched(tmp_path, "1.png", *rows), boxed))
    labels = {
        label.findtext("name"): (label.findtext("type"), label.findtext("parent"))
        for label in root.findall("meta/task/labels/label")
    }
    image, other = root.findall("image")
    assert other.get("id") == "5"  # as its annotations have it; of a folder's they are from 0
    assert image.attrib == {"id": "0", "name": "1.png", "width": "20", "height": "15"}
    skeletons, boxes = image.findall("skeleton"), image.findall("box")
    assert [each.get("group_id") for each in skeletons] == ["1", "2"]
    assert [each.get("group_id") for each in boxes] == ["1", "2"]
    for skeleton, box in zip(skeletons, boxes):
        assert labels.pop(skeleton.get("label"), ("skeleton", None)) == ("skeleton", None)
        assert labels.pop(box.get("label"), ("rectangle", None)) == ("rectangle", None)
        assert box.find("attribute[@name='score']").text == "0.5"
        for point, score in zip(skeleton, ("0.9", "0")):
            assert {"outside", "occluded", "points"} <= point.attrib.keys()
            assert point.find("attribute[@name='score']").text == score
    assert labels == {"a": ("points", "blobs"), "b": ("points", "blobs")}


@pytest.mark.parametrize("form", ["coco", "cvat", params[-1]])
def test_photos_of_one_name_are_told_apart(tmp_path, form):
    """By the folders that their names have, or else by their whole paths."""
    each = []
    for number, folder in enumerate(["p/a", "p/b", "elsewhere"], 1):
        one = row("ab", [(number, 2, 0.9), (3, 4, 0.1)], (1, 1, 4, 5), (20, 15))
        made = searched(tmp_path / folder, "1.png", one, number=number)
        name = folder[2:] + "/1.png" if number < 3 else "b/1.png"
        each.append(writing.Searched(number, made.path, name, 20, 15, made.objects))
    read = objects(written(form, tmp_path, *each), tmp_path / "p")
    assert [where.path for where, *_ in read] == [one.path for one in each]
    assert [marks["a"][0] for _, _, marks, _ in read] == [1, 2, 3]


def test_photos_that_would_have_one_file_are_refused(tmp_path):
    out = tmp_path / "out"
    for names in (["a/1.png", "b/1.png"], ["1.png", "1.jpg"], ["1.png", "x.png", "1.PNG"]):
        photos = [(tmp_path / name, os.path.basename(name)) for name in names]
        for form in ("labelme", "yolo"):
            with pytest.raises(UserError) as caught:
                writing.files(form, out, photos)
            line = str(caught.value)
            assert names[0] in line and names[-1] in line and "\n" not in line
        assert writing.files("cvat", out, photos) == [out]
    twice = [(tmp_path / "1.png", "1.png")] * 2
    assert writing.files("labelme", out, twice) == [out / "1.json"]
    assert writing.files("yolo", out, twice) == [out / "labels" / "1.txt", out / "data.yaml"]


def test_names_that_tell_no_landmarks_apart_are_refused_but_where_order_does(tmp_path):
    for names in (["a", "b", "a"], ["a", ""]):
        for form in FORMS.keys() - {"coco", "yolo"}:
            with pytest.raises(UserError, match="blobs"):
                writing.check_names(form, [("blobs", names)])
        for form in ("coco", "yolo"):
            writing.check_names(form, [("blobs", names)])


@every_form
@pytest.mark.parametrize("name", [b"\x01\xff.png", b"a\nb.png", b"%41&#65;.png"])
def test_photos_are_found_again_whatever_they_are_called(tmp_path, form, name):
    one = row("ab", [(1, 2, 0.9), (3, 4, 0.1)], (1, 1, 4, 5), (20, 15))
    try:
        made = searched(tmp_path / "photos", os.fsdecode(name), one)
    except (OSError, UnicodeError):
        pytest.skip("no file can be called so here")
    found = read_annotations(written(form, tmp_path, made), images=tmp_path / "photos")
    assert [where.path for where in found.photos] == [made.path] and len(found.index) == 1


def test_a_photo_that_labelme_embeds_stays_embedded(tmp_path):
    one = row("ab", [(1, 2, 0.9), (3, 4, 0.1)], (1, 1, 4, 5), (20, 15))
    source = searched(tmp_path, "1.png", one)
    said = json.loads((written("labelme", tmp_path, source) / "1.json").read_text())
    data = base64.b64encode(source.path.read_bytes()).decode()
    file = tmp_path / "theirs" / "2.json"
    file.parent.mkdir()
    file.write_text(json.dumps(said | {"imageData": data, "imagePath": "1.png"}))
    source.path.unlink()
    made = writing.Searched(1, file, "1.png", 20, 15, source.objects)
    out = written("labelme", tmp_path / "again", made)
    said = json.loads((out / "2.json").read_text())
    assert said["imageData"] == data and said["imagePath"] == "1.png"
    ((where, *_),) = objects(out, None)
    assert where.name == "1.png"


@every_form
def test_of_a_photo_in_which_nothing_is_found_again_nothing_is_left(tmp_path, form):
    """And where nothing is found in any photo, nothing at all; what others were found in stays."""
    one = row("ab", [(1, 2, 0.9), (3, 4, 0.1)], (1, 1, 4, 5), (20, 15))
    p, q, other = (searched(tmp_path / "p", f"{name}.png", one, number=number)
                   for number, name in enumerate("pqo", 1))  # fmt: skip
    assert len(objects(written(form, tmp_path, p, q), tmp_path / "p")) == 2
    out = written(form, tmp_path, p, without=[q])
    ((where, *_),) = objects(out, tmp_path / "p")
    assert where.name == "p.png"
    written(form, tmp_path, without=[p, q])
    with pytest.raises(UserError):
        read_annotations(out, images=tmp_path / "p")
    if form in writing.FOLDERS:
        written(form, tmp_path, other, q)
        written(form, tmp_path, without=[q])
        ((where, *_),) = objects(out, tmp_path / "p")
        assert where.name == "o.png"


@pytest.mark.parametrize("form, file", [("labelme", "q.json"), ("yolo", "labels/q.txt")])
def test_a_file_that_was_changed_is_not_removed(tmp_path, form, file):
    one = row("ab", [(1, 2, 0.9), (3, 4, 0.1)], (1, 1, 4, 5), (20, 15))
    p, q = (searched(tmp_path / "p", f"{name}.png", one, number=ord(name)) for name in "pq")
    own = written(form, tmp_path, p, q) / file
    own.write_bytes(own.read_bytes() + b" ")
    before = inputs(tmp_path)
    named = [(each.path, each.name) for each in (p, q)]
    with pytest.raises(UserError, match=own.name):
        writing.write(form, tmp_path / FORMS[form], [p], named)
    assert inputs(tmp_path) == before


# ----------------------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def made(tmp_path_factory, colours):
    """A finder of the landmarks of `annotate`, and one of several objects a photo."""
    folder = tmp_path_factory.mktemp("finders")
    images, landmarks, boxes = photos(range(3))
    named = {"names": NAMES, "category": "blobs"}
    for name, one in (("one", model()), ("several", model("CLM", size=96))):
        one.adapt(images, landmarks, boxes=boxes, **named).save(folder / f"{name}.safetensors")
    one.save(folder / "models" / "CLM.safetensors")
    return SimpleNamespace(one=folder / "one.safetensors", several=folder / "several.safetensors")


def as_results(form, source, images, found) -> None:
    """Annotations say of each object what the results say of it."""
    read = objects(source, images)
    assert len(read) == len(found)
    for (where, kind, marks, box), one in zip(read, found):
        assert where.name == os.path.basename(one["file_name"])
        assert kind == one["category"] or form == "deeplabcut"
        each = np.reshape(one["keypoints"], (-1, 3))[:, :2]
        same(marks, dict(zip(one["keypoint_names"], [(*point, 2) for point in each])))
        x, y, width, height = one["bbox"]
        if form not in BOXLESS:
            np.testing.assert_allclose(box, (x, y, x + width, y + height), atol=0.01)


@every_form
def test_several_objects_are_written_as_the_results_have_them(made, tmp_path, form, capsys):
    """And adapt, evaluate, draw and doctor take them as they take a person's."""
    pairs(tmp_path / "query", [10, 11])
    images = "--images", tmp_path / "query"
    asked = *images, "--objects", 2, "--no-drawings"
    assert run(made.several, tmp_path / "results.json", *asked) == 0
    out = tmp_path / FORMS[form]
    assert run(made.several, out, *asked, "--format", form) == 0
    assert f"4 objects in {out}" in capsys.readouterr().out
    found = json.loads((tmp_path / "results.json").read_text())
    as_results(form, out, tmp_path / "query", found)

    given = [str(each) for each in ("--annotations", out, *images)]
    results = ["--predictions", str(tmp_path / "results.json")]
    assert main(["evaluate", *results, *given]) == 0
    said = capsys.readouterr().out
    assert "0 of 4 annotated objects" in said and "0 of 4 predictions" in said
    assert main(["draw", *given, "--out", str(tmp_path / "sheet.png")]) == 0
    assert "4 of 4 objects" in capsys.readouterr().out
    command = ["adapt", "--support", str(out), *map(str, images), "--learner", "CLM"]
    command += ["--category", "blobs"]
    command += ["--model", str(made.one.parent / "models")]
    assert main([*command, "--out", str(tmp_path / "again.safetensors")]) == 0
    support = load(tmp_path / "again.safetensors").support
    assert (support.names, support.category) == (tuple(NAMES), "blobs")
    assert len(support.boxed) == 4


@every_form
def test_boxed_objects_are_written_in_their_annotations_terms(made, tmp_path, form):
    """Their ids, the order of their category's landmarks, its name and its skeleton; also of photos
    that EXIF turns."""
    truth = annotate(tmp_path / "query", [10, 11])
    said = json.loads(truth.read_text())
    names = ["yellow", "red", "tail", "green", "blue"]
    said["categories"][0] |= {"name": "mouse", "keypoints": names, "skeleton": [[1, 2], [4, 5]]}
    for each in said["annotations"]:
        marks = np.reshape(each["keypoints"], (4, 3))
        each["keypoints"] = [*marks[3], *marks[0], 0, 0, 0, *marks[1], *marks[2]]
    truth.write_text(json.dumps(said))
    stored = PIL.Image.open(tmp_path / "query" / "010.png")
    exif = stored.getexif()
    exif[0x0112] = 6
    stored.transpose(PIL.Image.Transpose.ROTATE_90).save(tmp_path / "query" / "010.png", exif=exif)
    out = tmp_path / FORMS[form]
    assert run(made.one, out, "--boxes", truth, "--no-drawings", "--format", form) == 0
    read = read_annotations(out, images=tmp_path / "query")
    true = read_annotations(truth)
    (kind,) = read.categories.values()
    there = [name for name in names if name != "tail"]
    assert kind.name == ("mouse" if form != "deeplabcut" else tmp_path.name)
    assert [name for name in kind.names if name != "tail"] == there
    assert [photo.declared for photo in read.photos] == [photo.declared for photo in true.photos]
    if form not in BOXLESS:
        np.testing.assert_allclose(read.index.box, true.index.box, atol=0.01)
    for i in range(2):
        (points, visible), (known, labelled) = read.index.landmarks(i), true.index.landmarks(i)
        assert np.abs(points[visible > 0] - known[labelled > 0]).max() < 12
    if form in ("coco", "sleap"):
        assert kind.edges == ((0, 1), (3, 4)) and kind.names == tuple(names)
    if form == "coco":
        assert read.index.item.tolist() == [110, 111]


@every_form
def test_stopped_and_run_again_the_same_is_written(made, tmp_path, form, monkeypatch):
    boxes = annotate(tmp_path / "query", range(10, 16))
    whole, out = tmp_path / "whole" / FORMS[form], tmp_path / "found" / FORMS[form]
    asked = "--boxes", boxes, "--format", form
    assert run(made.one, whole, *asked) == 0
    original, searched = predict._predict, []

    def stops(finder, batch, *options):
        searched.append(len(batch))
        if len(searched) == 2:
            raise KeyboardInterrupt
        yield from original(finder, batch, *options)

    monkeypatch.setattr(predict, "AT_ONCE", 2)
    monkeypatch.setattr(predict, "_predict", stops)
    assert run(made.one, out, *asked) == 130
    assert not any(path.suffix in WRITTEN for path in inputs(tmp_path / "found"))
    assert run(made.one, out, *asked) == 0
    assert len(searched) == 4
    both = [
        {path.relative_to(folder): content for path, content in inputs(folder).items()}
        for folder in (whole.parent, out.parent)
    ]
    names = {path for path in both[0] if path.suffix in WRITTEN}
    assert names and all(both[0][name] == both[1][name] for name in names)
    assert not list(tmp_path.rglob("*.unfinished"))


@every_form
def test_a_persons_annotations_are_never_replaced(made, tmp_path, form, capsys):
    annotate(tmp_path / "query", [10, 11])
    out = tmp_path / "own" / FORMS[form]
    file = {"labelme": out / "011.json", "yolo": out / "labels" / "011.txt"}.get(form, out)
    file.parent.mkdir(parents=True)
    file.write_text("by hand")
    asked = "--images", tmp_path / "query", "--format", form
    before = inputs(tmp_path)
    for more in ([], ["--overwrite"]):
        assert run(made.one, out, *asked, *more) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert str(file) in line and "--overwrite" not in line and inputs(tmp_path) == before
    file.unlink()
    assert run(made.one, out, *asked) == 0
    assert run(made.one, out, *asked) == 0  # over its own
    file.write_bytes(file.read_bytes() + b" ")  # corrected
    before = inputs(tmp_path)
    for more in ([], ["--overwrite"]):
        assert run(made.one, out, *asked, *more) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert str(file) in line and inputs(tmp_path) == before


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("form", [*params, "results"])
def test_what_somebody_saves_while_photos_are_searched_is_kept(
    made, tmp_path, form, earlier, capsys, monkeypatch
):
    """In place of what an earlier search found, too. What is found then is not searched again."""
    annotate(tmp_path / "query", [10, 11])
    out = tmp_path / "own" / FORMS.get(form, "results.json")
    file = {"labelme": out / "011.json", "yolo": out / "labels" / "011.txt"}.get(form, out)
    asked = "--images", tmp_path / "query", "--format", form
    assert not earlier or run(made.one, out, *asked) == 0
    search, searched = predict._predict, []

    def meanwhile(finder, batch, *options):
        searched.append(len(batch))
        yield from search(finder, batch, *options)
        file.write_text("by hand")

    monkeypatch.setattr(predict, "_predict", meanwhile)
    capsys.readouterr()
    assert run(made.one, out, *asked) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(file) in line and file.read_text() == "by hand"
    file.unlink()
    assert run(made.one, out, *asked) == 0 and searched == [2]
    assert form == "results" or len(objects(out, tmp_path / "query")) == 2


def test_nor_is_a_picture_that_somebody_draws_on_meanwhile(made, tmp_path, capsys, monkeypatch):
    annotate(tmp_path / "query", [10, 11])
    picture, search = tmp_path / "found-drawn" / "011.jpg", predict._predict

    def meanwhile(finder, batch, *options):
        yield from search(finder, batch, *options)
        picture.write_text("by hand")

    monkeypatch.setattr(predict, "_predict", meanwhile)
    monkeypatch.setattr(predict, "AT_ONCE", 1)
    asked = "--images", tmp_path / "query"
    assert run(made.one, tmp_path / "found.json", *asked) == 2
    assert str(picture) in capsys.readouterr().err and picture.read_text() == "by hand"
    assert run(made.one, tmp_path / "found.json", *asked, "--overwrite") == 0


@pytest.mark.parametrize(
    "form, file", [("label-studio", "tasks-config.xml"), ("yolo", "yolo/data.yaml")]
)
def test_nor_is_what_a_form_has_beside_them(made, tmp_path, form, file, capsys):
    annotate(tmp_path / "query", [10]).unlink()
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("by hand")
    asked = "--images", tmp_path / "query", "--format", form, "--no-drawings"
    assert run(made.one, tmp_path / FORMS[form], *asked, "--overwrite") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert file in line and (tmp_path / file).read_text() == "by hand"
    assert (
        not (tmp_path / "tasks.json").exists()
        and not (tmp_path / "yolo" / "labels" / "010.txt").exists()
    )


def test_every_form_is_offered():
    assert parsers.FORMS == ("results", *writing.FORMS)


def test_labelmes_files_may_lie_beside_their_photos(made, tmp_path, monkeypatch):
    annotate(tmp_path / "query", [10, 11]).unlink()
    monkeypatch.chdir(tmp_path / "query")
    assert run(made.one, ".", "--images", ".", "--format", "labelme") == 0
    assert json.loads((tmp_path / "query" / "010.json").read_text())["imagePath"] == "010.png"
    assert len(objects(tmp_path / "query", None)) == 2
    assert len(list((tmp_path / "query-drawn").glob("*.jpg"))) == 2


@pytest.mark.parametrize(
    "form, out, told",
    [
        ("labelme", "found.json", "found.json"),
        ("labelme", "a file", "a file"),
        ("labelme", "one.safetensors", "one.safetensors"),
        ("labelme", "/", "/"),
        ("labelme", "a file/x", "a file"),
        ("coco", "query", "query"),
        ("coco", "found.xml", "found.json"),
        ("coco", "query/annotations.json", "annotations.json"),
        ("cvat", "query", "query"),
        ("cvat", "found.json", "found.xml"),
        ("cvat", "found", "found.xml"),
        ("label-studio", "found.xml", "found.json"),
        ("yolo", "found.csv", "found.csv"),
        ("yolo", "a file", "a file"),
        ("deeplabcut", "labels.csv", "CollectedData_SCORER.csv"),
        ("deeplabcut", "query", "query"),
        pytest.param("sleap", "found.json", "found.slp", marks=needs_sleap),
    ],
)
def test_a_place_that_a_form_cannot_have_is_one_line(
    made, tmp_path, monkeypatch, capsys, form, out, told
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(made.one, tmp_path)
    boxes = annotate(tmp_path / "query", [10])
    (tmp_path / "a file").write_text("")
    before = inputs(tmp_path)
    assert run("one.safetensors", out, "--boxes", boxes, "--format", form) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line and inputs(tmp_path) == before


def test_labelmes_folder_is_not_the_one_that_is_read_nor_that_of_pictures(made, tmp_path, capsys):
    annotate(tmp_path / "query", [10])
    asked = "--images", tmp_path / "query", "--format", "labelme"
    assert run(made.one, tmp_path / "own", *asked) == 0
    before = inputs(tmp_path)
    boxes = "--boxes", tmp_path / "own", "--format", "labelme"
    assert run(made.one, tmp_path / "own", *boxes) == 2
    assert run(made.one, tmp_path / "new", *asked, "--drawings", tmp_path / "new") == 2
    first, second = capsys.readouterr().err.strip().splitlines()
    assert "own" in first and "--drawings" in second
    after = {path: content for path, content in inputs(tmp_path).items() if path.name != RECORD}
    assert after == {path: content for path, content in before.items() if path.name != RECORD}
    assert run(made.one, tmp_path / "new", *boxes) == 0
    assert len(objects(tmp_path / "new", tmp_path / "query")) == 1


def test_two_photos_of_one_stem_are_refused_before_any_is_searched(made, tmp_path, capsys):
    annotate(tmp_path / "query", [10])
    PIL.Image.open(tmp_path / "query" / "010.png").save(tmp_path / "query" / "010.jpg")
    before = inputs(tmp_path)
    asked = "--images", tmp_path / "query", "--format", "labelme"
    assert run(made.one, tmp_path / "found", *asked) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "010.png" in line and "010.jpg" in line and inputs(tmp_path) == before


@every_form
def test_photos_that_cannot_be_read_are_left_out(made, tmp_path, form, capsys):
    annotate(tmp_path / "query", [10, 11])
    (tmp_path / "query" / "011.png").write_text("no picture")
    asked = "--images", tmp_path / "query", "--format", form
    assert run(made.one, tmp_path / FORMS[form], *asked) == 0
    assert "011.png" in capsys.readouterr().out
    ((where, *_),) = objects(tmp_path / FORMS[form], tmp_path / "query")
    assert where.name == "010.png"
    (tmp_path / "query" / "010.png").unlink()
    assert run(made.one, tmp_path / "none" / FORMS[form], *asked) == 1
