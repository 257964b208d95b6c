"""Names, ids, sizes and values of other people's files: nothing is trusted without a check.

Each kind of fault has its tests here, for all forms of annotation.
"""

import base64
import io
import json
import math
import random
import unicodedata

import numpy as np
import pytest
from PIL import Image

from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.formats.predictions import IGNORED, UNMATCHED, match, read_predictions
from fewshot_landmarks.data.formats.values import aligned, mirrored
from fewshot_landmarks.data.images import read_photo
from fewshot_landmarks.data.keypoints import read_split
from fewshot_landmarks.photos.commands.evaluate import answered, average_precision
from fewshot_landmarks.support.errors import UserError
from tests.mutants import ODD, byte_mutants, json_mutants, xml_mutants

WIDTH, HEIGHT = 60, 40
NAMES = ["tip", "left", "right"]
POINTS = [(30, 10), (10, 30), (50, 30)]


def save_photo(path, size=(WIDTH, HEIGHT), turned=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (90, 120, 200))
    exif = Image.Exif()
    if turned:
        exif[0x0112] = turned
    image.save(path, exif=exif)
    return path


def coco(count=4, names=NAMES, **changes):
    """COCO of `count` photos with one object each, and changes to every annotation."""
    marks = [n for x, y in POINTS for n in (x, y, 2)]
    rows = [
        {"id": k, "image_id": k, "category_id": 1, "keypoints": [*marks], "bbox": [5, 5, 50, 30]}
        for k in range(1, count + 1)
    ]
    return {
        "images": [
            {"id": k, "file_name": f"{k}.png", "width": WIDTH, "height": HEIGHT}
            for k in range(1, count + 1)
        ],
        "annotations": [row | {"area": 1500, "iscrowd": 0} | changes for row in rows],
        "categories": [{"id": 1, "name": "kite", "keypoints": names}],
    }


def labelme(number, **changes):
    shapes = [
        {"label": name, "points": [list(place)], "group_id": None, "shape_type": "point"}
        for name, place in zip(NAMES, POINTS)
    ]
    size = {"imageWidth": WIDTH, "imageHeight": HEIGHT}
    return {"shapes": shapes, "imagePath": f"{number}.png", "imageData": None} | size | changes


def cvat(count=4):
    dots = "".join(
        f'<points label="{name}" points="{x},{y}" outside="0" occluded="0"></points>'
        for name, (x, y) in zip(NAMES, POINTS)
    )
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    images = [f'<image id="{k}" name="{k}.png" {size}>{dots}</image>' for k in range(1, count + 1)]
    return f"<annotations><version>1.1</version>{''.join(images)}</annotations>"


def write(folder, form, count=4):
    """A set in one of the forms, with its photos: what `read_annotations` takes."""
    for k in range(1, count + 1):
        save_photo(folder / f"{k}.png")
    if form == "LabelMe":
        for k in range(1, count + 1):
            (folder / f"{k}.json").write_text(json.dumps(labelme(k)))
        return folder
    path = folder / ("annotations.xml" if form == "CVAT" else "coco.json")
    path.write_text(cvat(count) if form == "CVAT" else json.dumps(coco(count)))
    return path


FORMS = ("COCO", "LabelMe", "CVAT")

# --- names


@pytest.mark.parametrize(
    "ours, theirs, places",
    [
        ("abc", "cab", [1, 2, 0]),
        ("abc", "ax", [0, -1, -1]),
        (["point"] * 3, ["point"] * 3, [0, 1, 2]),
        (["point"] * 3, "abc", [0, 1, 2]),
        ("abc", ["point"] * 3, [0, 1, 2]),
        (["point"] * 2, "abc", [-1, -1]),
        ("abac", "baca", [1, 0, 3, 2]),  # a name that repeats is told by its turn
        ("aab", "ab", [0, -1, 1]),
        ("123", "abc", [0, 1, 2]),
        ("123", "321", [2, 1, 0]),
        ("123", "012", [0, 1, 2]),  # counted from 0 or 1
        ("012", "0123", [0, 1, 2]),
        ("abc", "xyz", [-1, -1, -1]),
        (["Left  cuff", "tip"], ["tip", "left cuff "], [1, 0]),
        (["a", "A"], ["A", "a"], [1, 0]),  # where case tells names apart, it counts
        (["é"], ["e\u0301"], [0]),
    ],
)
def test_landmarks_are_joined_by_name_and_by_place_where_names_say_nothing(ours, theirs, places):
    assert aligned(ours, theirs) == places


def test_names_that_repeat_have_their_mirror_images_by_turn():
    names = ["left hand", "right hand", "tip", "left hand", "right hand"]
    assert mirrored(names) == ((0, 1), (3, 4))


@pytest.mark.parametrize(
    "named, order",
    [
        (None, [0, 1, 2]),
        (["point"] * 3, [0, 1, 2]),
        (["1", "2", "3"], [0, 1, 2]),
        (["right", "TIP", "left"], [2, 0, 1]),
    ],
)
@pytest.mark.parametrize("names", [NAMES, ["point"] * 3])
def test_predictions_are_scored_against_their_own_landmarks(tmp_path, capsys, names, named, order):
    order = order if names == NAMES else [0, 1, 2]
    for k in range(1, 5):
        save_photo(tmp_path / f"{k}.png")
    (tmp_path / "truth.json").write_text(json.dumps(coco(names=names)))
    said = {} if named is None else {"keypoint_names": named}
    places = [POINTS[i] for i in order]
    marks = [n for x, y in places for n in (x, y + 3, 0.5)]
    rows = [
        {"image_id": k, "category_id": 1, "keypoints": marks, "score": 0.5} | said
        for k in range(1, 5)
    ]
    (tmp_path / "found.json").write_text(json.dumps(rows))
    files = ["--predictions", str(tmp_path / "found.json")]
    assert main(["evaluate", *files, "--annotations", str(tmp_path / "truth.json")]) == 0
    shown = capsys.readouterr().out
    assert f"{3 / math.sqrt(1500):.4f}" in shown
    assert shown.count("point") == (1 + 3 if names != NAMES else 0)  # one note, three rows


def test_categories_are_found_whatever_their_case_and_not_where_two_share_a_name(tmp_path):
    write(tmp_path, "COCO")
    said = coco()
    said["categories"] = [
        {"id": 1, "name": " Long  Dress", "keypoints": NAMES},
        {"id": 2, "name": "7", "keypoints": NAMES},
        {"id": 7, "name": "boot", "keypoints": NAMES},
        {"id": 8, "name": "boot", "keypoints": NAMES},
    ]
    said["annotations"][1]["category_id"] = 2
    (tmp_path / "coco.json").write_text(json.dumps(said))
    kinds = read_annotations(tmp_path / "coco.json").categories
    assert kinds.find("long dress").id == kinds.find(1).id == kinds.find("1").id == 1
    assert kinds.find("7").id == 2 and kinds.find(7).id == 7
    for key in ("boot", "bag", "9", 9, None):
        with pytest.raises(UserError, match=str(key)):
            kinds.find(key)


def test_a_category_id_that_two_share_stands_for_neither(tmp_path):
    write(tmp_path, "COCO")
    said = coco()
    said["categories"] = [
        {"id": 1, "name": "kite", "keypoints": NAMES},
        {"id": 1, "name": "kite", "keypoints": NAMES[::-1]},
        {"id": 2, "name": "boat", "keypoints": NAMES},
        {"id": "2", "name": "boat", "keypoints": NAMES},  # the same again
    ]
    said["annotations"][0]["category_id"] = 2
    (tmp_path / "coco.json").write_text(json.dumps(said))
    found = read_annotations(tmp_path / "coco.json")
    assert found.index.item.tolist() == [1] and list(found.categories) == [2]
    assert len(found.index.skipped) == 4 and "kite" in found.index.skipped[0]


@pytest.mark.parametrize(
    "change, told",
    [
        ({"name": "KITE "}, None),
        ({"name": "boat"}, "boat"),
        ({"keypoints": ["left", "tip", "right"]}, "left, tip, right"),
        ({"keypoints": None}, None),
        ({"id": 5}, "5"),
    ],
)
def test_both_sides_of_a_split_mean_the_same_by_a_category(tmp_path, change, told):
    write(tmp_path, "COCO")
    other = coco()
    other["categories"][0] |= change
    for row in other["annotations"]:
        row["category_id"] = other["categories"][0]["id"]
    (tmp_path / "test.json").write_text(json.dumps(other))
    (tmp_path / "split.json").write_text(json.dumps({"train": "coco.json", "test": "test.json"}))
    split = read_split(tmp_path / "split.json")
    if told is None:
        assert list(split.categories) == [1]
    else:
        with pytest.raises(UserError, match=told):
            _ = split.categories


@pytest.mark.parametrize("annotated", ["7", 7.0, "007", "photo-7"])
@pytest.mark.parametrize("found", ["7", 7.0, "007", 7, "photo-7"])
def test_ids_are_the_same_in_whatever_way_they_are_written(tmp_path, annotated, found):
    save_photo(tmp_path / "1.png")
    said = coco(1)
    said["images"][0]["id"] = said["annotations"][0]["image_id"] = annotated
    (tmp_path / "coco.json").write_text(json.dumps(said))
    row = {"image_id": found, "category_id": "1.0", "keypoints": [1, 2, 0.5] * 3}
    (tmp_path / "found.json").write_text(json.dumps([row]))
    annotations = read_annotations(tmp_path / "coco.json")
    predictions, _ = read_predictions(tmp_path / "found.json", annotations)
    same = (annotated == "photo-7") == (found == "photo-7")
    assert match(predictions, annotations).tolist() == ([0] if same else [UNMATCHED])


def test_labels_that_differ_in_case_are_one_landmark_unless_an_object_has_both(tmp_path):
    write(tmp_path, "LabelMe")
    said = labelme(2)
    said["shapes"][1]["label"] = " Left"
    (tmp_path / "2.json").write_text(json.dumps(said))
    found = read_annotations(tmp_path)
    assert found.categories[1].names == tuple(NAMES) and found.index.visible.all()
    assert "Left" in found.notes[0]
    said["shapes"][2]["label"] = "left"
    (tmp_path / "2.json").write_text(json.dumps(said))
    assert read_annotations(tmp_path).categories[1].landmarks == 4


def test_points_without_a_group_are_those_of_the_box_they_lie_in(tmp_path):
    write(tmp_path, "LabelMe")
    box = {"label": "kite", "shape_type": "rectangle", "group_id": None}
    two = [{**shape, "points": [[shape["points"][0][0] / 2, 20]]} for shape in labelme(1)["shapes"]]
    two += [{**s, "points": [[s["points"][0][0] / 2 + 30, 20]]} for s in labelme(1)["shapes"]]
    two += [box | {"points": [[x, 5], [x + 28, 35]]} for x in (1, 31)]
    for k in range(1, 5):
        (tmp_path / f"{k}.json").write_text(json.dumps(labelme(k, shapes=two)))
    found = read_annotations(tmp_path)
    assert len(found.index) == 8 and found.index.box[1].tolist() == [31, 5, 59, 35]
    assert len(found.notes) == 4 and found.index.skipped == ()


# --- sizes


@pytest.mark.parametrize("form", FORMS)
def test_a_photo_of_another_size_than_stated_is_left_out_and_named(tmp_path, form):
    source = write(tmp_path, form)
    save_photo(tmp_path / "2.png", (2 * WIDTH, 2 * HEIGHT))
    save_photo(tmp_path / "3.png", (HEIGHT, WIDTH))
    found = read_annotations(source)
    assert [photo.name for photo in found.photos] == ["1.png", "4.png"]
    for line, words in zip(found.index.skipped, (("2.png", "120 x 80"), ("3.png", "40 x 60"))):
        assert all(word in line for word in (*words, f"{WIDTH} x {HEIGHT}"))
    for k in (1, 4):
        save_photo(tmp_path / f"{k}.png", (WIDTH + 1, HEIGHT))
    with pytest.raises(UserError, match=f"{WIDTH} x {HEIGHT}"):
        read_annotations(source)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("turned", [3, 6])
def test_a_photo_that_exif_turns_may_be_stated_as_stored_or_upright(tmp_path, form, turned):
    source = write(tmp_path, form)
    save_photo(tmp_path / "1.png", turned=turned)
    save_photo(tmp_path / "2.png", (HEIGHT, WIDTH), turned=turned)
    found = read_annotations(source)
    assert len(found.photos) == (4 if turned == 6 else 3)


def test_photos_need_not_be_there_to_be_evaluated_and_must_fit_if_they_are(tmp_path):
    source = write(tmp_path, "COCO")
    (tmp_path / "1.png").unlink()
    save_photo(tmp_path / "2.png", (WIDTH, WIDTH))
    found = read_annotations(source, photos_needed=False)
    assert found.index.item.tolist() == [1, 3, 4] and "2.png" in found.index.skipped[0]


# --- which photo


def test_two_labelme_files_do_not_share_a_photo(tmp_path):
    write(tmp_path, "LabelMe", 3)
    for k in (2, 5):
        (tmp_path / f"{k}.json").write_text(json.dumps(labelme(1)))
    found = read_annotations(tmp_path)
    assert [photo.path.name for photo in found.photos] == ["1.png", "2.png", "3.png"]
    assert found.index.photo.tolist() == [0, 1, 2]
    assert "5.json" in found.index.skipped[0] and "1.png as 2.png" in found.notes[0]


def test_a_labelme_file_whose_photo_is_gone_has_that_of_its_own_name(tmp_path):
    write(tmp_path, "LabelMe", 2)
    for k in (1, 2):
        (tmp_path / f"{k}.json").write_text(json.dumps(labelme(k, imagePath=f"IMG_{k}.png")))
    found = read_annotations(tmp_path)
    assert [photo.path.name for photo in found.photos] == ["1.png", "2.png"]
    assert "IMG_1.png as 1.png" in found.notes[0]


@pytest.mark.parametrize("before", ["", "data:image/png;base64,"])
def test_a_photo_that_labelme_embeds_is_read_from_there(tmp_path, before):
    content = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(content, "png")
    data = before + base64.b64encode(content.getvalue()).decode()
    for k in (1, 2):
        (tmp_path / f"{k}.json").write_text(json.dumps(labelme(1, imageData=data)))
    save_photo(tmp_path / "1.png", (WIDTH * 2, HEIGHT * 2))
    found = read_annotations(tmp_path)
    assert len(found.photos) == 2 and found.index.skipped == () and not found.notes
    assert read_photo(found.photos[0].path)[5, 5].tolist() == [1, 2, 3]
    assert [photo.name for photo in found.photos] == ["1.png", "1.png"]


@pytest.mark.parametrize(
    "stated, there",
    [
        ("größe.png", unicodedata.normalize("NFD", "größe.png")),
        (unicodedata.normalize("NFD", "größe.png"), "größe.png"),
        ("a%20kite%20%231.png", "a kite #1.png"),
        ("a kite.png", "a%20kite.png"),
        ("A.PNG", "a.png"),
        ("x/B.png", "X/b.png"),
        ("frame_0001", "frame_0001.PNG"),
        ("frame.0001", "images/frame.0001.jpg"),
    ],
)
def test_photos_are_found_under_another_form_of_their_name(tmp_path, stated, there):
    save_photo(tmp_path / there)
    said = coco(1)
    said["images"][0]["file_name"] = stated
    (tmp_path / "coco.json").write_text(json.dumps(said))
    found = read_annotations(tmp_path / "coco.json")
    assert found.photos[0].path == tmp_path / there and len(found.notes) == 1


def test_a_name_that_two_photos_fit_is_neither(tmp_path):
    for name in ("frame.png", "frame.jpg", "B.png", "b.PNG"):
        save_photo(tmp_path / name)
    said = coco(2)
    said["images"][0]["file_name"], said["images"][1]["file_name"] = "frame", "b.png"
    (tmp_path / "coco.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match="2 photos"):
        read_annotations(tmp_path / "coco.json")


@pytest.mark.parametrize(
    "other, there", [("A.png", "a.png"), ("a%20b.png", "a b.png"), ("f", "f.png")]
)
def test_a_photo_is_not_taken_for_another_whose_name_it_is(tmp_path, other, there):
    save_photo(tmp_path / there)
    said = coco(2)
    said["images"][0]["file_name"], said["images"][1]["file_name"] = other, there
    (tmp_path / "coco.json").write_text(json.dumps(said))
    found = read_annotations(tmp_path / "coco.json")
    assert found.index.item.tolist() == [2] and other in found.index.skipped[0]


def test_frames_without_an_ending_are_those_of_their_own_folder(tmp_path):
    said = coco(2)
    for row, folder in zip(said["images"], "ab"):
        row["file_name"] = f"{folder}/frame_0"
        save_photo(tmp_path / "images" / folder / "frame_0.png")
    (tmp_path / "coco.json").write_text(json.dumps(said))
    found = read_annotations(tmp_path / "coco.json")
    assert [photo.path.parent.name for photo in found.photos] == ["a", "b"]
    save_photo(tmp_path / "frame_0.png")
    (tmp_path / "images" / "b" / "frame_0.png").unlink()  # then it is not another folder's
    assert read_annotations(tmp_path / "coco.json").index.item.tolist() == [1]


def test_what_has_no_id_joins_nothing(tmp_path):
    write(tmp_path, "COCO")
    said = coco()
    del said["images"][0]["id"], said["annotations"][1]["image_id"]
    (tmp_path / "coco.json").write_text(json.dumps(said))
    assert read_annotations(tmp_path / "coco.json").index.item.tolist() == [3, 4]


def joined(folder, said, results, **options):
    """The photos' ids, and the objects that results are matched with."""
    (folder / "coco.json").write_text(json.dumps(said))
    rows = [
        {"category_id": 1, "keypoints": [9, 9, 0.5, 20, 20, 0.5, 40, 30, 0.5]} | row
        for row in results
    ]
    (folder / "found.json").write_text(json.dumps(rows))
    annotations = read_annotations(folder / "coco.json", **options)
    predictions, _ = read_predictions(folder / "found.json", annotations)
    return [one.image for one in predictions], match(predictions, annotations).tolist()


@pytest.mark.parametrize("number", [0, -1, -2, 10**17, 10**19])
def test_a_photo_that_is_not_annotated_is_none_of_any_id(tmp_path, number):
    write(tmp_path, "COCO", 1)
    said = coco(1)
    said["images"][0]["id"] = said["annotations"][0]["image_id"] = number
    assert joined(tmp_path, said, [{"image_id": 77}])[1] == [UNMATCHED]
    assert joined(tmp_path, said, [{"image_id": number}])[1] == [0]


@pytest.mark.parametrize(
    "size, place", [((WIDTH, HEIGHT), 0), ((HEIGHT, WIDTH), -1), ((WIDTH * 2, HEIGHT * 2), -1)]
)
def test_results_in_pixels_of_another_photo_than_was_annotated_match_nothing(tmp_path, size, place):
    write(tmp_path, "COCO", 1)
    row = {"image_id": 1, "width": size[0], "height": size[1]}
    for named in ({}, {"file_name": "1.png"}):
        assert joined(tmp_path, coco(1), [row | named])[1] == [place]


@pytest.mark.parametrize("needed", [True, False])
def test_a_photo_that_is_listed_twice_has_both_ids(tmp_path, needed):
    write(tmp_path, "COCO", 1)
    said = coco(2)
    said["images"][1]["file_name"] = "1.png"
    said["annotations"][1]["bbox"] = [0, 0, 4, 4]
    rows = [{"image_id": 1}, {"image_id": 2, "bbox": [0, 0, 4, 4]}]
    assert joined(tmp_path, said, rows, photos_needed=needed) == ([1, 1], [0, 1])


def test_results_name_a_photo_as_its_file_or_as_annotations_do(tmp_path):
    save_photo(tmp_path / "a b.png")
    said = coco(1)
    said["images"][0]["file_name"] = "a%20b.png"
    for name in ("a%20b.png", "a b.png", "x/A B.png"):
        assert joined(tmp_path, said, [{"image_id": 5, "file_name": name}])[1] == [0]


@pytest.mark.parametrize("number", [1, 2, 9])
def test_photos_of_one_name_are_told_by_their_folders(tmp_path, number):
    said = coco(2)
    for row, folder in zip(said["images"], "ab"):
        row["file_name"] = f"{folder}/1.png"
        save_photo(tmp_path / "images" / folder / "1.png")
    for name in ("b/1.png", "/elsewhere/b/1.png"):
        row = {"image_id": number, "file_name": name}
        assert joined(tmp_path, said, [row]) == ([2], [1])


def test_a_category_that_is_not_annotated_is_not_another_of_its_id(tmp_path):
    write(tmp_path, "COCO", 1)
    said = coco(1)
    said["categories"].append({"id": 2, "name": "bird", "keypoints": NAMES})
    kite, dog = {"category": "KITE", "category_id": 2}, {"category": "dog", "category_id": 1}
    assert joined(tmp_path, said, [{"image_id": 1} | kite, {"image_id": 1} | dog])[1] == [0]
    assert joined(tmp_path, said, [{"image_id": 1} | dog])[1] == [0]  # no name says anything


def test_skeletons_of_one_group_are_objects_of_their_own(tmp_path):
    """CVAT groups a rider and a horse, or two dancers."""
    path = write(tmp_path, "CVAT", 1)
    dots = "".join(f'<points label="{n}" points="{x},{y}"/>' for n, (x, y) in zip(NAMES, POINTS))
    for labels in (("kite", "kite"), ("kite", "boat")):
        drawn = "".join(f'<skeleton label="{s}" group_id="1">{dots}</skeleton>' for s in labels)
        drawn += '<skeleton label="kite" group_id="2">' + dots + "</skeleton>"
        drawn += '<box label="b" xtl="1" ytl="2" xbr="59" ybr="39" group_id="2"/>'
        path.write_text(f'<annotations><image id="1" name="1.png">{drawn}</image></annotations>')
        found = read_annotations(path)
        assert len(found.index) == 3 and found.index.skipped == ()
        assert len(found.categories) == len(set(labels)) and found.index.visible.all()
        assert found.index.box[2].tolist() == [1, 2, 59, 39]


# --- objects that a metric must see


def noisy_set(folder, draw):
    """Random annotations and results: crowds, bare objects, several a photo, ties, no detection."""
    said, results = coco(6), []
    said["categories"][0]["sigmas"] = [0.05, 0.1, 0.08]
    said["annotations"] = []
    for k in range(1, 7):
        save_photo(folder / f"{k}.png")
        for _ in range(draw.choice((0, 1, 1, 2, 4))):
            x, y, side = draw.uniform(0, 30), draw.uniform(0, 15), draw.uniform(8, 24)
            points = [(x + draw.random() * side, y + draw.random() * side) for _ in NAMES]
            seen = [draw.choice((0, 1, 2, 2, 2)) * draw.choice((0, 1, 1, 1)) for _ in NAMES]
            kind = draw.random()
            bare = kind < 0.2
            marks = [n for (a, b), v in zip(points, seen) for n in ((a, b, v) if v else (0, 0, 0))]
            said["annotations"].append({
                "id": len(said["annotations"]) + 1, "image_id": k, "category_id": 1,
                "keypoints": [0] * 9 if bare else marks,
                "num_keypoints": 0 if bare else sum(v > 0 for v in seen),
                "bbox": [x, y, side, side], "area": side * side * 0.6, "iscrowd": int(kind > 0.85),
            })  # fmt: skip
            for _ in range(draw.choice((0, 1, 1, 2))):
                spread = draw.choice((0.5, 2, 6))
                near = [(a + draw.gauss(0, spread), b + draw.gauss(0, spread)) for a, b in points]
                results.append({
                    "image_id": k, "category_id": 1, "score": draw.choice((0.2, 0.5, 0.5, 0.9)),
                    "keypoints": [n for a, b in near for n in (a, b, 0.7)],
                })  # fmt: skip
    (folder / "coco.json").write_text(json.dumps(said))
    (folder / "found.json").write_text(json.dumps(results))
    return results


@pytest.mark.parametrize("seed, unsure", [*((k, False) for k in range(12)), (0, True), (1, True)])
def test_average_precision_is_cocos_with_crowds_and_bare_objects(tmp_path, seed, unsure, capsys):
    coco_api, evaluation = (pytest.importorskip(f"pycocotools.{n}") for n in ("coco", "cocoeval"))
    results = noisy_set(tmp_path, random.Random(seed))
    if unsure:  # a score of 0 moves no landmark
        for row in results:
            row["keypoints"][5] = 0
        (tmp_path / "found.json").write_text(json.dumps(results))
    truth = coco_api.COCO(str(tmp_path / "coco.json"))
    theirs = evaluation.COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "keypoints")
    theirs.params.kpt_oks_sigmas = np.array([0.05, 0.1, 0.08])
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    annotations = read_annotations(tmp_path / "coco.json")
    predictions, _ = read_predictions(tmp_path / "found.json", annotations)
    rows, _ = average_precision(predictions, annotations, answered(predictions))
    assert [row["value"] for row in rows] == pytest.approx(theirs.stats[:3], abs=1e-9)


def test_what_is_found_of_a_bare_object_is_matched_with_none(tmp_path):
    said = coco(1)
    for number, more in ((50, {"keypoints": []}), (60, {"iscrowd": "1"})):
        said["annotations"].append(
            {**said["annotations"][0], "id": number, "bbox": [1, 1, 9, 9]} | more
        )
    save_photo(tmp_path / "1.png")
    (tmp_path / "coco.json").write_text(json.dumps(said))
    found = [{"image_id": 1, "category_id": 1, "keypoints": [4, 4, 0.5] * 3, "bbox": [1, 1, 8, 8]}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    annotations = read_annotations(tmp_path / "coco.json")
    predictions, _ = read_predictions(tmp_path / "found.json", annotations)
    assert match(predictions, annotations).tolist() == [IGNORED]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"bbox": [30, 20, 0, 9]},
        {"bbox": [70, 50, 9, 9]},
        {"bbox": [9, None, 9, 9]},
        {"keypoints": [1, 2]},
    ],
)
def test_an_object_that_is_left_out_is_ignored_unless_it_is_another_again(tmp_path, change):
    write(tmp_path, "COCO", 1)
    said = coco(1)
    said["annotations"].append(said["annotations"][0] | {"id": 1 + len(change)} | change)
    (tmp_path / "coco.json").write_text(json.dumps(said))
    found = read_annotations(tmp_path / "coco.json")
    assert len(found.index) == len(found.index.skipped) == 1
    # Of a bbox that lies outside the photo, its landmarks' place is known.
    assert len(found.ignored) == len(change)


def test_a_labelmes_box_without_landmarks_is_ignored_in_any_group(tmp_path):
    write(tmp_path, "LabelMe", 2)
    said = labelme(1)
    for group in (0, 1):
        box = {"label": "kite", "shape_type": "rectangle", "points": [[1, 1], [9, 9]]}
        (tmp_path / "1.json").write_text(
            json.dumps(said | {"shapes": [*said["shapes"], box | {"group_id": group}]})
        )
        assert len(read_annotations(tmp_path).ignored) == 1


def test_any_number_of_predictions_may_be_of_a_crowd_and_one_of_an_object(tmp_path):
    write(tmp_path, "COCO", 1)
    said = coco(1)
    crowd = {"id": 2, "iscrowd": 1, "bbox": [30, 0, 30, 40]}
    said["annotations"].append(said["annotations"][0] | crowd)
    said["annotations"][0]["bbox"] = [0, 0, 30, 30]
    boxes = [[30, 0, 20, 40], [31, 1, 29, 39], [0, 0, 33, 30], [0, 0, 9, 9], [50, 30, 9, 9]]
    rows = [{"image_id": 1, "bbox": box} for box in boxes]
    assert joined(tmp_path, said, rows)[1] == [IGNORED, IGNORED, 0, UNMATCHED, IGNORED]


def test_predictions_without_a_box_are_matched_by_the_landmarks_they_have(tmp_path):
    write(tmp_path, "COCO", 1)
    said = coco(2)
    said["annotations"][1] |= {"image_id": 1, "bbox": [0, 0, 30, 25]}
    said["annotations"][0] |= {"bbox": [30, 20, 10, 10]}
    for marks in ([0, 0, 0, 31, 21, 0.5, 38, 28, 0.5], [0, 0, 0, 35, 25, 0.5, 0, 0, 0]):
        rows = [{"image_id": 1, "keypoints": marks}, {"image_id": 1, "bbox": [50, 30, 4, 4]}]
        assert joined(tmp_path, said, rows)[1] == [0, UNMATCHED]


# --- blemishes


@pytest.mark.parametrize("odd", [math.nan, None, "x", 10**400, -1, [1]])
def test_what_is_not_labelled_is_not_read(tmp_path, odd):
    write(tmp_path, "COCO")
    said = coco()
    for row in said["annotations"]:
        row["keypoints"][3:6] = [odd, odd, 0]
    (tmp_path / "coco.json").write_text(json.dumps(said))
    found = read_annotations(tmp_path / "coco.json")
    assert found.index.visible.reshape(4, 3).tolist() == [[2, 0, 2]] * 4
    assert found.index.skipped == ()


def test_what_is_outside_is_not_read_in_labelme_and_cvat(tmp_path):
    write(tmp_path, "LabelMe")
    said = labelme(1)
    said["shapes"][1] |= {"points": [[math.nan, None]], "flags": {"outside": True}}
    (tmp_path / "1.json").write_text(json.dumps(said))
    assert read_annotations(tmp_path).index.visible[:3].tolist() == [2, 0, 2]
    path = write(tmp_path / "c", "CVAT")
    path.write_text(cvat().replace('points="10,30" outside="0"', 'points="-9e9,x" outside="1"', 1))
    assert read_annotations(path).index.visible[:3].tolist() == [2, 0, 2]


def test_a_deepfashion2_garment_is_kept_whose_unlabelled_landmarks_are_odd(tmp_path):
    for folder in ("image", "annos"):
        (tmp_path / "train" / folder).mkdir(parents=True)
    save_photo(tmp_path / "train" / "image" / "000001.jpg", (300, 300))
    marks = [10, 20, 2] * 5 + [math.nan, None, 0] * 3
    item = {"category_id": 9.0, "category_name": "skirt", "bounding_box": [5, 5, 90, 90]}
    annotation = {"source": "user", "item1": item | {"landmarks": marks}}
    (tmp_path / "train" / "annos" / "000001.json").write_text(json.dumps(annotation))
    data = DeepFashion2(tmp_path, "train")
    assert len(data) == 1 and data[0].labelled.tolist() == [True] * 5 + [False] * 3


@pytest.mark.parametrize("odd", [-4, math.nan, "large", [3], True])
def test_an_area_that_is_none_is_the_boxs_and_said(tmp_path, odd):
    write(tmp_path, "COCO")
    (tmp_path / "coco.json").write_text(json.dumps(coco(area=odd)))
    found = read_annotations(tmp_path / "coco.json")
    assert found.index.area.tolist() == [1500] * 4 and len(found.index.skipped) == 4


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("key", ["keypoints", "bbox", "area", "iscrowd", "id", "image_id"])
def test_one_bad_value_costs_one_object_at_most(tmp_path, key, odd):
    write(tmp_path, "COCO")
    said = coco()
    said["annotations"][1][key] = odd
    (tmp_path / "coco.json").write_text(json.dumps(said))
    index = read_annotations(tmp_path / "coco.json").index
    others = [i for i in range(len(index)) if index.item[i] in (1, 3, 4)]
    assert [index.landmarks(i)[0].tolist() for i in others] == [[list(p) for p in POINTS]] * 3


# --- thousands of mutants


def objects(source) -> int:
    """How many are read; -1 where it is refused, in one line."""
    try:
        return len(read_annotations(source).index)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return -1


@pytest.mark.slow
def test_mutants_of_coco_are_read_or_refused(tmp_path):
    path, document = write(tmp_path, "COCO"), coco()
    for content in (*json_mutants(document, 2500), *byte_mutants(path.read_bytes(), 500)):
        path.write_bytes(content)
        assert objects(path) <= 8


@pytest.mark.slow
def test_mutants_of_labelme_are_read_or_refused(tmp_path):
    write(tmp_path, "LabelMe")
    whole = (tmp_path / "1.json").read_bytes()
    for content in (*json_mutants(labelme(1), 2500), *byte_mutants(whole, 500)):
        (tmp_path / "1.json").write_bytes(content)
        assert 3 <= objects(tmp_path) <= 12 or objects(tmp_path) == -1


@pytest.mark.slow
def test_mutants_of_cvat_are_read_or_refused(tmp_path):
    path = write(tmp_path, "CVAT")
    for content in (*xml_mutants(cvat(), 2500), *byte_mutants(cvat().encode(), 500)):
        path.write_bytes(content)
        objects(path)


@pytest.mark.slow
def test_mutants_of_results_are_read_or_refused(tmp_path):
    noisy_set(tmp_path, random.Random(3))
    annotations = read_annotations(tmp_path / "coco.json")
    path = tmp_path / "found.json"
    good = json.loads(path.read_text())[:4]
    for row in good:
        row |= {"file_name": "1.png", "category": "kite", "keypoint_names": NAMES, "bbox": [1] * 4}
    for content in (*json_mutants(good, 2500), *byte_mutants(path.read_bytes(), 500)):
        path.write_bytes(content)
        try:
            predictions, _ = read_predictions(path, annotations)
            match(predictions, annotations)
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.slow
def test_mutants_of_deepfashion2_are_read_or_refused(tmp_path):
    for folder in ("image", "annos"):
        (tmp_path / "train" / folder).mkdir(parents=True)
    item = {"category_id": 9, "category_name": "skirt", "bounding_box": [5, 5, 90, 90]}
    item |= {"landmarks": [10, 20, 2] * 8, "segmentation": [[1, 1, 9, 9, 1, 9]]}
    document = {"source": "user", "pair_id": 1, "item1": item, "item2": {**item}}
    document = json.loads(json.dumps(document))  # no value is shared
    contents = [*json_mutants(document, 2500), *byte_mutants(json.dumps(document).encode(), 500)]
    for k, content in enumerate([json.dumps(document).encode(), *contents], 1):
        save_photo(tmp_path / "train" / "image" / f"{k:06d}.jpg")
        (tmp_path / "train" / "annos" / f"{k:06d}.json").write_bytes(content)
    data = DeepFashion2(tmp_path, "train")
    assert data.photos[:2].tolist() == [1, 1] and len(data) > len(contents) / 2
    assert not any("\n" in line for line in data.skipped)
