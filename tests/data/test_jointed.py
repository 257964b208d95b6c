"""The drawn jointed shapes, read back from their COCO files as a stranger would."""

import json
from collections import defaultdict

import cv2
import numpy as np
import pytest

from fewshot_landmarks.data.jointed import SHAPES, drawing, shapes, write_jointed, writer
from fewshot_landmarks.data.jointed.__main__ import main
from fewshot_landmarks.support.errors import UserError

PHOTOS = {"train": 100, "test": 60}
FILES = ("train.json", "test.json", "split.json", "generator.json")


def write(out, **options):
    return write_jointed(out, **{"photos": PHOTOS, "progress": False} | options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("jointed") / "set"
    write(out)
    return out


@pytest.fixture(scope="module")
def sides(folder):
    return {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in PHOTOS}


def objects(sides):
    """Every annotation with its category and its keypoints (N, 3)."""
    for coco in sides.values():
        categories = {c["id"]: c for c in coco["categories"]}
        for found in coco["annotations"]:
            yield found, categories[found["category_id"]], np.reshape(found["keypoints"], (-1, 3))


def test_every_category_is_in_enough_photos_of_each_file(sides):
    for name, coco in sides.items():
        photos = defaultdict(set)
        for found in coco["annotations"]:
            photos[found["category_id"]].add(found["image_id"])
        assert len(coco["images"]) == PHOTOS[name]
        assert set(photos) == {c["id"] for c in coco["categories"]} == set(range(1, 21))
        assert min(map(len, photos.values())) >= 3


def test_the_two_files_share_categories_and_no_photo(sides):
    train, test = sides["train"], sides["test"]
    assert train["categories"] == test["categories"]
    for key in ("id", "file_name"):
        assert not {i[key] for i in train["images"]} & {i[key] for i in test["images"]}
    assert not {a["id"] for a in train["annotations"]} & {a["id"] for a in test["annotations"]}


def test_a_photo_is_as_large_as_its_entry_says(folder, sides):
    for coco in sides.values():
        for image in coco["images"]:
            photo = cv2.imread(str(folder / "images" / image["file_name"]))
            assert photo.shape == (image["height"], image["width"], 3) == (160, 160, 3)


def test_categories_are_trees_of_5_to_30_named_keypoints(sides):
    for category in sides["train"]["categories"]:
        names, skeleton = category["keypoints"], category["skeleton"]
        assert 5 <= len(names) == len(set(names)) == len(category["sigmas"]) <= 30
        assert len(skeleton) == len(names) - 1
        assert sorted(child for _, child in skeleton) == list(range(2, len(names) + 1))
        assert all(parent < child for parent, child in skeleton)


def test_left_and_right_come_together_and_are_mirror_images():
    sided = 0
    for shape in SHAPES:
        joints = {joint.name: joint for joint in shape.joints}
        for name in joints:
            if name.startswith("left_"):
                left, right = joints[name], joints["right_" + name.removeprefix("left_")]
                assert (left.length, left.width, left.mark) == (
                    right.length, right.width, right.mark
                )  # fmt: skip
                assert left.turn == -right.turn
                sided += 1
            assert not name.startswith("right_") or name.replace("right_", "left_", 1) in joints
    assert sided > 50


def test_left_is_the_pictures_left_of_a_shape_upright(sides):
    spider = next(c for c in sides["train"]["categories"] if c["name"] == "spider")
    at = {name: i for i, name in enumerate(spider["keypoints"])}
    seen = 0
    for _, category, points in objects(sides):
        needed = [at[n] for n in ("waist", "abdomen", "left_third_knee", "right_third_knee")]
        if category["name"] == "spider" and (points[needed, 2] > 0).all():
            waist, abdomen, left, right = points[needed, :2]
            (ux, uy), (sx, sy) = waist - abdomen, right - left
            assert ux * sy - uy * sx > 0  # right lies clockwise of up, y pointing down
            seen += 1
    assert seen >= 3


def test_visibility_says_where_a_keypoint_is(sides):
    seen = set()
    for found, _, points in objects(sides):
        outside = points[:, 2] == 0
        assert (points[outside] == 0).all()
        assert (points[~outside, :2] >= 0).all() and (points[~outside, :2] < 160).all()
        assert found["num_keypoints"] == (~outside).sum()
        assert (points[:, 2] == 2).mean() >= 0.6
        seen.update(points[:, 2].tolist())
    assert seen == {0, 1, 2}


def test_a_covered_keypoint_lies_in_the_box_of_another_object(sides):
    for coco in sides.values():
        by_photo = defaultdict(list)
        for found in coco["annotations"]:
            by_photo[found["image_id"]].append(found)
        for together in by_photo.values():
            for found in together:
                others = [o["bbox"] for o in together if o is not found]
                for x, y, v in np.reshape(found["keypoints"], (-1, 3)):
                    if v == 1:
                        assert any(a <= x <= a + w and b <= y <= b + h for a, b, w, h in others)


def test_boxes_hold_the_keypoints_and_end_with_the_photo(sides):
    for found, _, points in objects(sides):
        x, y, w, h = found["bbox"]
        assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= 160 and y + h <= 160
        inside = points[points[:, 2] > 0]
        assert (inside[:, 0] >= x - 0.25).all() and (inside[:, 0] <= x + w + 0.25).all()
        assert (inside[:, 1] >= y - 0.25).all() and (inside[:, 1] <= y + h + 0.25).all()
        assert 0.1 * w * h < found["area"] < w * h


def test_a_visible_keypoint_has_its_mark_there(folder, sides):
    """The beetle's mid knees are rings: black within, coloured around."""
    at = next(
        c["keypoints"].index("left_mid_knee")
        for c in sides["train"]["categories"]
        if c["name"] == "beetle"
    )
    differences = []
    for name, coco in sides.items():
        for found in coco["annotations"]:
            points = np.reshape(found["keypoints"], (-1, 3))
            if found["category_id"] == 2 and points[at, 2] == 2:
                file_name = next(i for i in coco["images"] if i["id"] == found["image_id"])
                photo = cv2.imread(str(folder / "images" / file_name["file_name"]))
                x, y = points[at, :2].astype(int)
                around = photo[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5].max((0, 1))
                differences.append(int(around.max()) - int(photo[y, x].max()))
    assert len(differences) >= 5 and np.median(differences) > 100


def test_coordinates_are_continuous_pixel_i_covers_i_to_i_plus_1():
    mark = shapes.Joint("only", 0, 0, 0, 0, "base", ("disc", "dark", 10))
    rng = np.random.default_rng(0)
    for _ in range(5):
        thing = drawing._place(shapes.Shape("dot", 0, (mark,)), 160, 0.3, rng)
        rows, columns = np.nonzero(thing.mask(160))
        middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / drawing.SUPER
        if 30 < thing.points.min() and thing.points.max() < 130:
            np.testing.assert_allclose(thing.points[0], middle, atol=0.05)


def test_the_split_names_14_seen_and_6_unseen_categories(folder, sides):
    split = json.loads((folder / "split.json").read_text("utf-8"))
    assert (folder / split["train"]).is_file() and (folder / split["images"]).is_dir()
    assert json.loads((folder / split["test"]).read_text("utf-8")) == sides["test"]
    seen, unseen = (split["benchmarks"]["J-1"][side] for side in ("seen", "unseen"))
    assert (len(seen), len(unseen)) == (14, 6)
    assert sorted(seen + unseen) == sorted(c["name"] for c in sides["train"]["categories"])


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    few = {"photos": {"train": 6, "test": 4}, "categories": 3}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(tmp_path / name, seed=seed, **few)
    for path in [*FILES, "images/000001.jpg", "images/000010.jpg"]:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    coco = [json.loads((tmp_path / n / "train.json").read_text("utf-8")) for n in "ac"]
    assert coco[0]["annotations"] != coco[1]["annotations"]


def test_a_set_that_is_there_is_not_drawn_again(folder, monkeypatch):
    monkeypatch.setattr(writer, "draw_photo", None)
    record = write(folder)
    assert record == json.loads((folder / "generator.json").read_text("utf-8"))


def test_a_drawing_that_fails_leaves_nothing(tmp_path, monkeypatch):
    draw, drawn = writer.draw_photo, []

    def stop(*arguments):
        drawn.append(arguments)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(writer, "draw_photo", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_other_files_and_other_settings_are_refused_and_kept(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    before = (folder / "train.json").read_bytes()
    with pytest.raises(UserError):
        write(folder, seed=5)
    assert (folder / "train.json").read_bytes() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"photos": {"train": 100, "test": 19}},
        {"categories": 21},
        {"categories": 1},
        {"seed": -1},
        {"size": 8},
    ],
)
def test_impossible_arguments_are_refused(tmp_path, wrong):
    with pytest.raises(UserError):
        write(tmp_path / "set", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_set(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "set"), "--photos", "40", "--seed", "3"]) == 0
    assert all((tmp_path / "set" / name).is_file() for name in FILES)
    assert len(list((tmp_path / "set" / "images").iterdir())) == 60
    capsys.readouterr()
    assert main(["--out", str(tmp_path / "other"), "--photos", "4"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_pycocotools_reads_it(folder, sides):
    coco_tools = pytest.importorskip("pycocotools.coco")
    coco = coco_tools.COCO(str(folder / "test.json"))
    assert len(coco.getAnnIds()) == len(sides["test"]["annotations"])
