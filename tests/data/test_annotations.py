"""Annotations of one's own photos: COCO keypoints, LabelMe, CVAT, by hand-made files of each."""

import json
import math
import os
import pickle
import time

import numpy as np
import pytest
from PIL import Image

from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.support.errors import UserError

WIDTH, HEIGHT = 200, 100
NAMES = ["nose", "left_eye", "right_eye", "tail"]
MARKS = [100, 50, 2, 90, 40, 2, 110, 40, 1, 0, 0, 0]


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (WIDTH, HEIGHT)).save(path)
    return path


def image(number=1, name="1.jpg"):
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}


def changed(row, changes):
    """A row with other values, without those that are `...`."""
    return {key: value for key, value in (row | changes).items() if value is not ...}


def annotation(number=1, **changes):
    row = {"id": number, "image_id": 1, "category_id": 3, "keypoints": MARKS, "num_keypoints": 3}
    return changed(row | {"bbox": [80, 30, 40, 25.5], "area": 700.25, "iscrowd": 0}, changes)


def kind(**changes):
    row = {"id": 3, "name": "cat", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}
    return changed(row, changes)


def coco(folder, *annotations, images=(image(),), categories=(kind(),), photos=("1.jpg",)):
    for name in photos:
        photo(folder / name)
    document = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "keypoints.json"
    path.write_text(json.dumps({"info": {"description": "by hand"}} | document), "utf-8")
    return path


def read(folder, *annotations, **parts):
    return read_annotations(coco(folder, *annotations, **parts))


def one_line(found, *words):
    """The only line on what was left out, which must hold the words."""
    (line,) = found.index.skipped
    assert all(word in line for word in words), line
    assert "\n" not in line
    return line


def refused(source, *words, **options):
    with pytest.raises(UserError) as caught:
        read_annotations(source, **options)
    line = str(caught.value)
    assert "\n" not in line and all(str(word) in line for word in words), line
    return line


# --- COCO


def test_a_coco_annotation_is_taken_as_it_is(tmp_path):
    found = read(tmp_path, annotation(17))
    (category,) = found.categories.values()
    assert (category.id, category.name, category.landmarks) == (3, "cat", 4)
    assert category.names == tuple(NAMES)
    assert category.edges == ((0, 1), (0, 2)) and category.pairs == ((1, 2),)
    assert category.oks_sigmas == ()
    (where,) = found.photos
    assert (where.id, where.path, where.width, where.height) == (1, tmp_path / "1.jpg", 200, 100)
    index = found.index
    assert (index.photo.tolist(), index.item.tolist(), index.category.tolist()) == ([0], [17], [3])
    assert index.box.tolist() == [[80, 30, 120, 55.5]] and index.area.tolist() == [700.25]
    assert index.image_bytes.tolist() == [os.path.getsize(tmp_path / "1.jpg")]
    points, visible = index.landmarks(0)
    assert points.tolist() == [[100, 50], [90, 40], [110, 40], [0, 0]]
    assert visible.tolist() == [2, 2, 1, 0]
    assert index.skipped == () and index.unlabelled == 0


def test_the_arrays_have_the_types_of_an_index(tmp_path):
    index = read(tmp_path, annotation()).index
    types = {name: getattr(index, name).dtype.name for name in ("photo", "category", "box", "area")}
    assert types == {"photo": "int32", "category": "int32", "box": "float32", "area": "float32"}
    assert index.points.dtype == np.float32 and index.visible.dtype == np.uint8
    assert index.start.tolist() == [0, 4]
    assert len(index.digest()) == 16


def test_photos_are_in_the_files_order_and_objects_in_order_of_photo_and_id(tmp_path):
    images = [image(9, "b.jpg"), image(2, "a.jpg"), image(5, "none.jpg")]
    rows = [annotation(8, image_id=2), annotation(30, image_id=9), annotation(4, image_id=9)]
    rows[1]["keypoints"] = [1, 2, 2] * 4
    found = read(tmp_path, *rows, images=images, photos=("a.jpg", "b.jpg", "none.jpg"))
    assert [where.id for where in found.photos] == [9, 2, 5]
    assert found.index.photo.tolist() == [0, 0, 1] and found.index.item.tolist() == [4, 30, 8]
    assert found.index.landmarks(1)[0].tolist() == [[1, 2]] * 4
    assert found.index.landmarks(0)[0].tolist() == found.index.landmarks(2)[0].tolist()


@pytest.mark.parametrize("place", ["1.jpg", "images/1.jpg", "images/a/b/1.jpg", "b/1.jpg"])
@pytest.mark.parametrize("name", ["a/b/1.jpg", "a\\b\\1.jpg"])
def test_photos_are_found_beside_the_annotations(tmp_path, place, name):
    found = read(tmp_path, annotation(), images=[image(name=name)], photos=(place,))
    assert found.photos[0].path == tmp_path / place


def test_photos_are_looked_for_first_where_the_user_says(tmp_path):
    path = coco(tmp_path, annotation())
    elsewhere = photo(tmp_path / "elsewhere" / "1.jpg")
    assert read_annotations(path, images=elsewhere.parent).photos[0].path == elsewhere
    refused(path, tmp_path / "absent", images=tmp_path / "absent")


def test_a_base_name_that_two_photos_share_stands_for_neither(tmp_path):
    images = [image(1, "a/1.jpg"), image(2, "b/1.jpg"), image(3, "c/2.jpg")]
    rows = [annotation(n, image_id=n) for n in (1, 2, 3)]
    found = read(tmp_path, *rows, images=images, photos=("1.jpg", "2.jpg"))
    assert [where.id for where in found.photos] == [3]
    assert len(found.index.skipped) == 2


def test_a_photo_listed_under_two_ids_is_one(tmp_path):
    found = read(tmp_path, annotation(1), annotation(2, image_id=2), images=[image(1), image(2)])
    assert [where.id for where in found.photos] == [1]
    assert found.index.photo.tolist() == [0, 0]
    one_line(found, "1.jpg")


def test_an_id_that_two_photos_share_stands_for_neither(tmp_path):
    images = [image(1), image(2, "2.jpg"), image(2, "3.jpg"), image(4, "4.jpg"), image(4, "4.jpg")]
    rows = [annotation(n, image_id=n) for n in (1, 2, 4)]
    found = read(tmp_path, *rows, images=images, photos=("1.jpg", "2.jpg", "3.jpg", "4.jpg"))
    assert [where.path.name for where in found.photos] == ["1.jpg", "4.jpg"]
    assert found.index.item.tolist() == [1, 4]
    assert "2.jpg" in found.index.skipped[0] and "annotation 2" in found.index.skipped[1]


def test_a_missing_or_empty_photo_leaves_out_its_annotations_with_a_line(tmp_path):
    images = [image(), image(2, "gone.jpg"), image(3, "empty.jpg"), image(4, "a\0b.jpg")]
    rows = [annotation(n, image_id=n) for n in (1, 2, 3, 4)]
    path = coco(tmp_path, *rows, images=images)
    (tmp_path / "empty.jpg").touch()
    found = read_annotations(path)
    assert len(found.photos) == 1 and found.index.item.tolist() == [1]
    assert len(found.index.skipped) == 3
    assert "gone.jpg" in found.index.skipped[0] and "empty" in found.index.skipped[1]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"keypoints": MARKS[:-1]}, ["11 values"]),
        ({"keypoints": MARKS + [1, 1, 2]}, ["15 values"]),
        *(
            ({"keypoints": [*MARKS[:4], wrong, *MARKS[5:]]}, ["keypoints"])
            for wrong in ("40", None, True, math.nan, math.inf, 10**400)
        ),
        ({"keypoints": [math.nan, *MARKS[1:]]}, ["keypoints"]),
        ({"keypoints": [100, 50, 3, *MARKS[3:]]}, ["visibility"]),
        ({"keypoints": [100, 50, -1, *MARKS[3:]]}, ["visibility"]),
        *(({"keypoints": wrong}, ["keypoints"]) for wrong in ("100,50,2", {"nose": [1, 2]})),
        ({"bbox": [80, 30, -40, 25]}, ["bbox", "no width or height"]),
        ({"bbox": [80, 30, 0, 25]}, ["bbox", "no width or height"]),
        *(
            ({"bbox": wrong}, ["bbox"])
            for wrong in ([80, 30, 40], [80, 30, 40, "25"], [80, 30, math.nan, 25])
        ),
        *(
            ({"bbox": [x, y, 50, 30]}, ["box", "200 x 100"])
            for x, y in ((200, 30), (-50, 30), (10, 100), (10, -30))
        ),
        ({"image_id": 77}, ["photo", "77"]),
        ({"image_id": [1]}, ["photo"]),
        ({"image_id": ...}, ["photo"]),
        ({"category_id": 8}, ["category", "8"]),
        ({"category_id": ...}, ["category"]),
        ({"id": 1}, ["second"]),
        ({"id": "1"}, ["second"]),
    ],
)
def test_a_wrong_annotation_is_left_out_with_a_line_on_it(tmp_path, changes, words):
    wrong = changed(annotation(5), changes)
    found = read(tmp_path, annotation(1), wrong)
    assert found.index.item.tolist() == [1] and found.index.unlabelled == 0
    one_line(found, f"annotation {wrong['id']}:", *words)


def test_a_row_that_is_no_object_has_a_line(tmp_path):
    found = read(tmp_path, annotation(), 7)
    assert len(found.index) == 1
    one_line(found, "annotations", "7")


def test_a_landmark_outside_its_photo_is_not_labelled_and_the_rest_stays(tmp_path):
    marks = [100, 50, 2, 201, 40, 2, 110, -1, 1, 200, 100, 2]  # the last is on the edge
    found = read(tmp_path, annotation(keypoints=marks))
    assert found.index.visible.tolist() == [2, 0, 0, 2]
    assert found.index.points.tolist() == [[100, 50], [0, 0], [0, 0], [200, 100]]
    one_line(found, "annotation 1", "left_eye", "right_eye")


def test_without_a_declared_size_only_negative_places_are_outside(tmp_path):
    images = [{"id": 1, "file_name": "1.jpg"}]
    marks = [100, 50, 2, 3000, 40, 2, 110, -1, 1, 0, 0, 2]
    found = read(tmp_path, annotation(keypoints=marks, bbox=...), images=images)
    assert (found.photos[0].width, found.photos[0].height) == (None, None)
    assert found.index.visible.tolist() == [2, 2, 0, 2]
    assert found.index.box[0].tolist() == [0, 0, 3300, 350]


@pytest.mark.parametrize(
    "changes", [{"iscrowd": 1}, *({"keypoints": none} for none in (..., [], None, [0] * 12))]
)
def test_crowds_and_objects_without_landmarks_are_counted(tmp_path, changes):
    found = read(tmp_path, annotation(1), annotation(2, **changes))
    assert found.index.item.tolist() == [1]
    assert found.index.unlabelled == 1 and found.index.skipped == ()


@pytest.mark.parametrize("missing", [..., None, []])
def test_without_a_box_it_is_the_hull_of_the_landmarks(tmp_path, missing):
    marks = [100, 20, 2, 20, 40, 1, 110, 40, 2, 0, 0, 0]  # 20 to 110, 20 to 40
    index = read(tmp_path, annotation(keypoints=marks, bbox=missing, area=...)).index
    assert index.box.tolist() == [[11, 11, 119, 49]]
    assert index.area.tolist() == [108 * 38]


def test_the_hull_is_cut_off_at_the_photo(tmp_path):
    marks = [0, 0, 2, 199, 99, 1, 110, 40, 2, 0, 0, 0]
    index = read(tmp_path, annotation(keypoints=marks, bbox=...)).index
    assert index.box.tolist() == [[0, 0, 200, 100]]


def test_a_single_landmark_without_a_box_has_the_whole_photo(tmp_path):
    marks = [100, 50, 2, *[0] * 9]
    rows = annotation(1), annotation(2, keypoints=marks, bbox=...)
    assert read(tmp_path, *rows).index.box[1].tolist() == [0, 0, 200, 100]
    found = read(tmp_path, *rows, images=[{"id": 1, "file_name": "1.jpg"}])
    assert found.index.item.tolist() == [1]
    one_line(found, "annotation 2", "no box")


@pytest.mark.parametrize("area", [..., None, 0])
def test_without_an_area_it_is_the_boxs(tmp_path, area):
    index = read(tmp_path, annotation(area=area)).index
    assert index.area.tolist() == [40 * 25.5]


def test_a_visibility_between_the_whole_ones_is_rounded_up(tmp_path):
    marks = [100, 50, 0.3, 90, 40, 1.5, 110, 40, 1, 0, 0, 0]
    index = read(tmp_path, annotation(keypoints=marks)).index
    assert index.visible.tolist() == [1, 2, 1, 0]


def test_ids_of_all_kinds(tmp_path):
    images = [image("000123", "1.jpg"), image("x-ray", "2.jpg"), image(-5, "3.jpg")]
    rows = [
        annotation(1, image_id=123),
        annotation("abc", image_id="x-ray"),
        annotation(2**40, image_id=-5),
        annotation(..., image_id=-5.0),
    ]
    found = read(tmp_path, *rows, images=images, photos=("1.jpg", "2.jpg", "3.jpg"))
    assert [where.id for where in found.photos] == [123, 124, -5]
    assert found.index.photo.tolist() == [0, 1, 2, 2]
    assert found.index.item.tolist() == [1, 2**40 + 1, 2**40, 2**40 + 2]


def test_without_names_landmarks_are_counted_in_the_annotations(tmp_path):
    rows = [annotation(1), annotation(2), annotation(3, keypoints=MARKS[:9])]
    found = read(tmp_path, *rows, categories=[kind(keypoints=..., skeleton=...)])
    (category,) = found.categories.values()
    assert category.names == ("1", "2", "3", "4") and category.pairs == category.edges == ()
    assert found.index.item.tolist() == [1, 2]
    one_line(found, "annotation 3", "9 values")


@pytest.mark.parametrize(
    "skeleton, edges",
    [
        ([[1, 2], [2, 4]], ((0, 1), (1, 3))),
        ([[0, 1], [1, 3]], ((0, 1), (1, 3))),  # counts from 0
        ([], ()),
        (None, ()),
    ],
)
def test_skeletons_count_from_one_or_from_zero(tmp_path, skeleton, edges):
    found = read(tmp_path, annotation(), categories=[kind(skeleton=skeleton)])
    assert found.categories[3].edges == edges and found.index.skipped == ()


@pytest.mark.parametrize(
    "changes", [{"skeleton": [[1, 9]]}, {"skeleton": "none"}, {"sigmas": [0.1]}, {"sigmas": "x"}]
)
def test_a_wrong_skeleton_or_sigmas_are_left_out_with_a_line(tmp_path, changes):
    found = read(tmp_path, annotation(), categories=[kind(**changes)])
    assert len(found.index) == 1
    one_line(found, "cat", *changes)


@pytest.mark.parametrize(
    "names, pairs",
    [
        (["left_eye", "right_eye", "nose", "bright"], ((0, 1),)),
        (["L_Eye", "nose", "R_Eye", "x"], ((0, 2),)),
        (["eye_r", "eye_l", "ear r", "ear l"], ((0, 1), (2, 3))),
        (["Left upper left hem", "Right upper right hem", "c", "d"], ((0, 1),)),
        (["leftEye", "rightEye", "left", "tail"], ((0, 1),)),
    ],
)
def test_names_that_differ_in_left_and_right_are_pairs(tmp_path, names, pairs):
    found = read(tmp_path, annotation(), categories=[kind(keypoints=names)])
    assert found.categories[3].pairs == pairs


def test_one_category_of_several_by_id_or_name(tmp_path):
    plain = {"id": 1, "name": "car"}  # boxes only
    dog = kind(id=4, name="dog", keypoints=["a", "b"], skeleton=[])
    rows = [
        annotation(1),
        annotation(2, category_id=4, keypoints=[9, 9, 2, 8, 8, 2]),
        annotation(3, category_id=1, keypoints=...),
        annotation(4, category_id=4, keypoints=[9]),
    ]
    path = coco(tmp_path, *rows, categories=[dog, plain, kind()])
    everything = read_annotations(path)
    assert list(everything.categories) == [3, 4]
    assert everything.index.item.tolist() == [1, 2] and everything.index.unlabelled == 1
    for key in (3, "3", "cat"):
        only = read_annotations(path, category=key)
        assert list(only.categories) == [3] and only.index.item.tolist() == [1]
        assert only.index.skipped == () and only.index.unlabelled == 0
    refused(path, "horse", "cat", "dog", category="horse")
    refused(path, category="car")
    refused(path, category=9)


def test_many_annotations_are_read_in_little_time(tmp_path):
    rows = [annotation(k, image_id=k % 50) for k in range(20_000)]
    names = [f"{k}.jpg" for k in range(50)]
    path = coco(tmp_path, *rows, images=[image(k, n) for k, n in enumerate(names)], photos=names)
    before = time.process_time()
    found = read_annotations(path)
    assert len(found.index) == 20_000
    assert time.process_time() - before < 6  # 0.5 on an idle machine


# --- whole files


def test_broken_json_is_shown_with_line_and_column(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [],\n "annotations": [}')
    refused(path, path, "line 2", "column 18")
    path.write_bytes(b'{"images": "\xff\xfe"}')
    refused(path, path)
    path.write_text("[" * 100_000)
    refused(path, path)


@pytest.mark.parametrize(
    "document",
    [
        [],
        7,
        {},
        {"images": [], "annotations": []},
        {"images": {}, "annotations": [], "categories": []},
        [{"image_id": 1, "category_id": 1, "keypoints": [], "score": 1}],
        {"version": "5.5.0", "shapes": [], "imagePath": "1.jpg"},
    ],
)
def test_json_that_is_not_coco_is_refused(tmp_path, document):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    refused(path, path)


def test_nothing_usable_is_a_users_mistake(tmp_path):
    refused(tmp_path / "absent.json", "absent.json")
    refused(coco(tmp_path, annotation(), photos=()), "none of the 1 photos", "1.jpg")
    boxes = [{"id": 3, "name": "cat"}]
    refused(coco(tmp_path, annotation(keypoints=...), categories=boxes), "no category")
    refused(coco(tmp_path), "no annotation")
    path = coco(tmp_path, annotation(keypoints=[1]), annotation(2, keypoints=[]))
    refused(path, "annotation 1", "1 objects")


def test_a_pickle_is_refused_unopened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    for name in ("a.pkl", "a.json"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
        refused(tmp_path / name, "pickle")
    assert not (tmp_path / "sprung").exists()


def test_a_zip_is_to_be_unpacked(tmp_path):
    (tmp_path / "export.zip").write_bytes(b"PK\3\4rest")
    refused(tmp_path / "export.zip", "unpack")


# --- LabelMe


def shape(label, *points, kind="point", group=None, **more):
    row = {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}}
    return row | {"description": "", "mask": None} | more


def box(*points, group=None):
    return shape("box", *points, kind="rectangle", group=group)


TIP, END = shape("tip", (20, 20)), shape("end", (60, 20))


def labelme(folder, name, *shapes, **changes):
    photo(folder / f"{name}.jpg")
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imageData": None} | size
    document = document | {"imagePath": f"{name}.jpg"} | changes
    (folder / f"{name}.json").write_text(json.dumps(document, indent=2), "utf-8")


def test_a_folder_of_labelme_files(tmp_path):
    folder = tmp_path / "teapots"
    labelme(
        folder,
        "a",
        box((150, 80), (30, 10)),  # corners in any order
        shape("spout", (40.5, 30)),
        shape("left rim", (60, 20), flags={"occluded": True}),
    )
    labelme(
        folder,
        "b",
        shape("right rim", (90, 20)),
        shape("spout", (50, 30)),
        shape("left rim", (60, 25)),
        shape("pot", (40, 20), (100, 20), (100, 60), (40, 60), kind="polygon"),
    )
    labelme(folder, "c")
    found = read_annotations(folder)
    (category,) = found.categories.values()
    assert category.name == "teapots"
    assert category.names == ("spout", "left rim", "right rim") and category.pairs == ((1, 2),)
    assert [where.path.name for where in found.photos] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [(where.id, where.width, where.height) for where in found.photos][1] == (2, 200, 100)
    index = found.index
    assert index.photo.tolist() == [0, 1] and index.item.tolist() == [1, 2]
    assert index.landmarks(0)[0].tolist() == [[40.5, 30], [60, 20], [0, 0]]
    assert index.landmarks(0)[1].tolist() == [2, 1, 0]
    assert index.landmarks(1)[1].tolist() == [2, 2, 2]
    assert index.box.tolist() == [[30, 10, 150, 80], [40, 20, 100, 60]]
    assert index.area.tolist() == [120 * 70, 60 * 40]
    assert index.skipped == () and index.unlabelled == 0
    assert read_annotations(folder, category="kettle").categories.find("kettle").landmarks == 3


def test_group_ids_make_objects_and_boxes_go_to_the_object_within_them(tmp_path):
    labelme(
        tmp_path,
        "a",
        shape("tip", (20, 20), group=1),
        shape("end", (30, 40), group=1),
        shape("tip", (120, 20), group=2),
        shape("end", (130, 40), group=2),
        box((110, 10), (150, 60)),
        box((1, 2), (60, 70), group=1),
        box((1, 2), (6, 7), group=3),
    )
    index = read_annotations(tmp_path).index
    assert index.photo.tolist() == [0, 0]
    assert index.box.tolist() == [[1, 2, 60, 70], [110, 10, 150, 60]]
    assert index.points[:, 0].tolist() == [20, 30, 120, 130]
    assert index.unlabelled == 1  # the box of group 3


def test_a_rectangle_and_a_polygon_of_one_object_are_box_and_area(tmp_path):
    square = shape("x", (50, 10), (70, 10), (70, 30), (50, 30), kind="polygon")
    labelme(tmp_path, "a", TIP, END, square, box((10, 5), (80, 50)))
    index = read_annotations(tmp_path).index
    assert index.box.tolist() == [[10, 5, 80, 50]] and index.area.tolist() == [400]


def test_two_boxes_for_one_object_are_not_used(tmp_path):
    labelme(tmp_path, "a", TIP, END, box((0, 0), (70, 70)), box((0, 0), (80, 80)))
    found = read_annotations(tmp_path)
    assert found.index.box.tolist() == [[16, 16, 64, 24]]
    one_line(found, "a.jpg", "2 boxes")


def test_a_label_that_occurs_twice_leaves_out_its_object(tmp_path):
    labelme(tmp_path, "a", TIP, END, shape("tip", (1, 1)))
    labelme(tmp_path, "b", TIP, END)
    found = read_annotations(tmp_path)
    assert found.index.photo.tolist() == [1] and len(found.photos) == 2
    one_line(found, "a.jpg", "tip", "twice")


def test_photos_without_a_common_landmark_are_a_users_mistake(tmp_path):
    labelme(tmp_path, "a", TIP, END)
    labelme(tmp_path, "b", shape("rim", (20, 20)), shape("lid", (60, 20)))
    refused(tmp_path, "a.jpg", "tip", "b.jpg", "rim")
    labelme(tmp_path, "c", shape("end", (20, 20)), shape("lid", (60, 20)))  # joins the two
    assert read_annotations(tmp_path).categories[1].names == ("tip", "end", "rim", "lid")


@pytest.mark.parametrize(
    "more, visible",
    [
        ({}, 2),
        ({"flags": {"occluded": True}}, 1),
        ({"flags": {"occluded": False}}, 2),
        ({"attributes": {"Occluded": "true"}}, 1),
        ({"attributes": {"visibility": 1}}, 1),
        ({"attributes": {"visibility": "0"}}, 0),
        ({"flags": {"visible": False}}, 1),
        ({"flags": {"outside": True}}, 0),
        ({"flags": None}, 2),
    ],
)
def test_flags_and_attributes_tell_visibility(tmp_path, more, visible):
    labelme(tmp_path, "a", shape("tip", (20, 20), **more), END)
    assert read_annotations(tmp_path).index.visible.tolist() == [visible, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        shape("tip", (20, "x")),
        shape("tip", (20,)),
        shape("tip"),
        shape("", (20, 20)),
        shape(None, (20, 20)),
        shape("tip", (math.nan, 20)),
        box((20, 20)),
        shape("box", (20, 20), (30, 30), kind="polygon"),
        shape("ring", (20, 20), (30, 30), kind="circle"),
        shape("tip", (20, 20), kind=["point"]),
        "shape",
    ],
)
def test_a_wrong_shape_has_a_line_and_the_others_stay(tmp_path, wrong):
    labelme(tmp_path, "a", wrong, END, shape("top", (70, 30)))
    found = read_annotations(tmp_path)
    assert found.index.visible.tolist() == [2, 2]
    one_line(found, "a.json")


def test_other_files_among_labelmes_have_a_line_each(tmp_path):
    labelme(tmp_path, "a", TIP, END)
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.json").write_text('{"settings": 1}')
    (tmp_path / "._a.json").write_text("a Mac's")
    found = read_annotations(tmp_path)
    assert len(found.index) == 1 and len(found.index.skipped) == 2
    assert "b.json" in found.index.skipped[0] and "c.json" in found.index.skipped[1]


def test_labelmes_photo_may_lie_elsewhere_and_its_path_be_windows(tmp_path):
    labelme(tmp_path, "a", shape("tip", (2, 2)), imagePath="..\\shots\\d.jpg")
    where = photo(tmp_path / "elsewhere" / "d.jpg")
    assert read_annotations(tmp_path, images=where.parent).photos[0].path == where
    (tmp_path / "a.jpg").unlink()
    refused(tmp_path, "d.jpg")


def test_a_folder_without_annotations_is_a_users_mistake(tmp_path):
    refused(tmp_path, tmp_path)
    path = coco(tmp_path, annotation())
    refused(tmp_path, path.name, "COCO")
    path.unlink()
    labelme(tmp_path, "a", box((1, 1), (9, 9)))
    refused(tmp_path, "points")


# --- CVAT


def cvat(folder, *images, photos=("a.jpg", "b.jpg")):
    for name in photos:
        photo(folder / name)
    path, meta = folder / "annotations.xml", "<meta><job><id>7</id><labels></labels></job></meta>"
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", meta, *images]
    path.write_text("\n".join([*lines, "</annotations>"]), "utf-8")
    return path


def cvat_image(name, *shapes, number=0, more=""):
    start = f'<image id="{number}" name="{name}" {more} width="{WIDTH}" height="{HEIGHT}">'
    return start + "".join(shapes) + "</image>"


def dot(label, x, y, more='occluded="0"'):
    return f'<points label="{label}" points="{x},{y}" source="manual" z_order="0" {more}></points>'


def frame(x1, y1, x2, y2, more=""):
    return f'<box label="b" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" {more}></box>'


def test_cvats_points_one_by_one(tmp_path):
    path = cvat(
        tmp_path / "jackets",
        cvat_image(
            "a.jpg",
            dot("neck", 100.25, 20),
            dot("hem", 90, 80, 'occluded="1"'),
            frame("70.00", "10.00", "140.50", "90.00").replace("><", "><attribute/><"),
            number=4,
        ),
        cvat_image(
            "b.jpg",
            dot("hem", 50, 60),
            dot("neck", 50, 20, 'outside="1"'),
            '<polygon label="jacket" points="10.0,10.0;90.0,10.0;10.0,70.0"></polygon>',
            number=9,
        ),
    )
    for source in (path, path.parent):
        found = read_annotations(source)
        assert [where.id for where in found.photos] == [4, 9]
        assert [where.path.name for where in found.photos] == ["a.jpg", "b.jpg"]
        (category,) = found.categories.values()
        assert (category.name, category.names) == ("jackets", ("neck", "hem"))
        index = found.index
        assert index.points.tolist() == [[100.25, 20], [90, 80], [0, 0], [50, 60]]
        assert index.visible.tolist() == [2, 1, 0, 2]
        assert index.box.tolist() == [[70, 10, 140.5, 90], [10, 10, 90, 70]]
        assert index.area.tolist() == [70.5 * 80, 2400]
        assert index.skipped == () and index.unlabelled == 0


def test_cvats_boxes_name_the_category_where_they_agree(tmp_path):
    images = [cvat_image(n, dot("tip", 9, 9), frame(5, 5, 30, 40)) for n in ("a.jpg", "b.jpg")]
    assert [c.name for c in read_annotations(cvat(tmp_path, *images)).categories.values()] == ["b"]


def skeleton(label, *children):
    return f'<skeleton label="{label}" z_order="0">{"".join(children)}</skeleton>'


def test_each_skeleton_is_an_object_of_its_labels_category(tmp_path):
    path = cvat(
        tmp_path,
        cvat_image(
            "a.jpg",
            skeleton("cat", dot("1", 10, 10), dot("2", 20, 30, 'occluded="1"')),
            skeleton("cat", dot("1", 110, 10), dot("2", 120, 30, 'outside="1"')),
            skeleton("dog", dot("x", 50, 60), dot("y", 70, 80), dot("1", 60, 60)),
            frame(5, 5, 30, 40),
        ),
        cvat_image("b.jpg", number=1),
    )
    found = read_annotations(path)
    assert [(c.name, c.names) for c in found.categories.values()] == [
        ("cat", ("1", "2")),
        ("dog", ("x", "y", "1")),
    ]
    index = found.index
    assert index.category.tolist() == [1, 1, 2]
    assert index.visible.tolist() == [2, 1, 2, 0, 2, 2, 2]
    assert index.box[0].tolist() == [5, 5, 30, 40]
    assert index.box[1].tolist() == [0, 0, 200, 100]  # one landmark, so the whole photo
    assert index.box[2].tolist() == [48, 58, 72, 82]
    only = read_annotations(path, category="dog")
    assert [c.name for c in only.categories.values()] == ["dog"] and len(only.index) == 1
    refused(path, "cat", "dog", category="horse")


def test_points_that_hold_several_are_numbered(tmp_path):
    several = '<points label="{}" occluded="0" points="{}"></points>'
    path = cvat(
        tmp_path,
        cvat_image("a.jpg", several.format("rim", "10,10;20,30;30,10"), dot("tip", 90, 90)),
        cvat_image(  # a label's second list is another object
            "b.jpg",
            several.format("rim", "1,2;3,4;5,6"),
            several.format("rim", "101,2;103,4;105,6"),
            number=1,
        ),
    )
    found = read_annotations(path)
    assert found.categories[1].names == ("rim-1", "rim-2", "rim-3", "tip")
    assert found.index.photo.tolist() == [0, 1, 1]
    assert found.index.visible.tolist() == [2, 2, 2, 2, 2, 2, 2, 0, 2, 2, 2, 0]
    assert found.index.points[:3].tolist() == [[10, 10], [20, 30], [30, 10]]
    assert found.index.points[8].tolist() == [101, 2]


def test_cvats_group_ids_make_objects(tmp_path):
    path = cvat(
        tmp_path,
        cvat_image(
            "a.jpg",
            dot("tip", 10, 10, 'group_id="1"'),
            dot("tip", 110, 10, 'group_id="2"'),
            dot("end", 20, 30, 'group_id="1"'),
            dot("end", 120, 30, 'group_id="2"'),
            frame(0, 0, 50, 60, 'group_id="2"'),
        ),
    )
    index = read_annotations(path).index
    assert index.points[:, 0].tolist() == [10, 20, 110, 120]
    assert index.box[1].tolist() == [0, 0, 50, 60]


def test_a_rotated_box_is_the_box_around_it(tmp_path):
    turned = frame(40, 20, 60, 60, 'rotation="90.0"')
    path = cvat(tmp_path, cvat_image("a.jpg", dot("t", 50, 40), turned))
    assert np.allclose(read_annotations(path).index.box, [[30, 30, 70, 50]], atol=1e-3)


def test_a_projects_photos_lie_in_a_folder_for_each_subset(tmp_path):
    images = [
        cvat_image("a.jpg", dot("t", 50, 40), more='subset="Train"'),
        cvat_image("a.jpg", dot("t", 50, 40), more='subset="Test"'),  # the same id, too
    ]
    places = ("images/Train/a.jpg", "images/Test/a.jpg")
    found = read_annotations(cvat(tmp_path, *images, photos=places))
    assert [where.path for where in found.photos] == [tmp_path / place for place in places]
    assert [where.id for where in found.photos] == [1, 2]
    assert found.index.photo.tolist() == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        '<points label="t" points="1,x"></points>',
        '<points label="t" points=""></points>',
        '<points label="t"></points>',
        '<points label="t" points="1,2,3"></points>',
        '<points label="t" points="nan,2"></points>',
        '<points points="1,2"></points>',
        '<box label="b" xtl="1" ytl="2" xbr="9"></box>',
        '<polygon label="b" points="1,2;3,4"></polygon>',
        '<ellipse label="b" cx="4" cy="5" rx="2" ry="1"></ellipse>',
    ],
)
def test_a_wrong_element_has_a_line_and_the_others_stay(tmp_path, wrong):
    path = cvat(tmp_path, cvat_image("a.jpg", wrong, dot("u", 5, 6)))
    found = read_annotations(path)
    assert found.index.visible.tolist() == [2]
    one_line(found, "a.jpg")


def test_xml_that_is_not_cvats_for_images_is_refused(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<annotation><object><name>cat</name></object></annotation>")
    refused(path, path, "annotation")
    path.write_text('<annotations>\n<image id="0" name="a.jpg"></annotations>')
    refused(path, path, "line 2")
    track = '<track id="0" label="t"><points frame="0" points="1,2"></points></track>'
    refused(cvat(tmp_path, track), "for video")
    refused(cvat(tmp_path), "no landmark")
    path.write_bytes("<annotations>é</annotations>".encode("latin-1"))
    refused(path, path)
    path.write_bytes("<annotations></annotations>".encode("utf-16"))
    refused(path, path)


def test_labels_that_say_what_is_seen_of_one_landmark_are_not_two(tmp_path):
    """Two such in one object: the line says why, and leaves groups to those who have two objects."""
    labelme(tmp_path, "a", shape("left hidden", (40, 30)), shape("right", (20, 10)))
    labelme(tmp_path, "b", shape("left visible", (40, 30)), shape("right", (20, 10)))
    found = read_annotations(tmp_path)
    assert found.categories[1].names == ("left", "right") and len(found.index) == 2
    both = shape("left hidden", (40, 30)), shape("left visible", (50, 30))
    labelme(tmp_path, "b", *both, shape("right", (20, 10)))
    (line,) = read_annotations(tmp_path).index.skipped
    assert all(said in line for said in ("b.jpg", "'left hidden', 'left visible'", "seen of it"))


def test_xml_with_entities_is_refused(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden")
    image_row = cvat_image("a.jpg", dot("&x;", 5, 6))
    for declared in (f'<!ENTITY x SYSTEM "file://{secret}">', '<!ENTITY x "boom">'):
        path = cvat(tmp_path, image_row)
        start, rest = path.read_text().split("\n", 1)
        path.write_text(f"{start}\n<!DOCTYPE annotations [{declared}]>\n{rest}")
        refused(path, path, "document type")
        (tmp_path / "utf16.xml").write_bytes(path.read_text().encode("utf-16"))
        refused(tmp_path / "utf16.xml")
