"""The procedural garments, read back from disk as a stranger would."""

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from fewshot_landmarks.data.categories import CATEGORIES, category
from fewshot_landmarks.data.garments import scene, writer
from fewshot_landmarks.data.garments.__main__ import main
from fewshot_landmarks.data.garments.clothes.cloth import Painter
from fewshot_landmarks.data.garments.clothes.lowers import build_lower
from fewshot_landmarks.data.garments.clothes.styles import LowerStyle, random_lower, random_upper
from fewshot_landmarks.data.garments.clothes.uppers import build_upper
from fewshot_landmarks.data.garments.figure import (
    HIP,
    SIDES,
    Body,
    Figure,
    Pose,
    random_body,
    random_pose,
)
from fewshot_landmarks.data.garments.writer import lead_categories, write_garments
from fewshot_landmarks.support.errors import UserError

PHOTOS, MINIMUM = {"train": 90, "validation": 26}, {"train": 3, "validation": 2}
ITEM_TYPES = {
    "category_name": str, "category_id": int, "style": int, "bounding_box": list,
    "landmarks": list, "segmentation": list, "scale": int, "occlusion": int, "zoom_in": int,
    "viewpoint": int,
}  # fmt: skip


def write(root, photos=PHOTOS, minimum=MINIMUM, **options):
    return write_garments(root, photos=photos, minimum=minimum, progress=False, **options)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("garments")
    write(folder)
    return folder


@pytest.fixture(scope="module")
def annotations(root):
    return {
        split: [json.loads(p.read_text()) for p in sorted((root / split / "annos").iterdir())]
        for split in PHOTOS
    }


@pytest.fixture(scope="module")
def pictures(root):
    return [cv2.imread(str(p)) for p in sorted((root / "train" / "image").iterdir())]


def items_of(annotation):
    return [annotation[key] for key in sorted(annotation) if re.fullmatch(r"item\d+", key)]


def points_of(item):
    return np.reshape(item["landmarks"], (-1, 3))


def contents(folder: Path):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_layout_counts_and_minima(root, annotations):
    record = json.loads((root / "generator.json").read_text())
    for split, count in PHOTOS.items():
        names = [f"{i:06d}" for i in range(1, count + 1)]
        assert sorted(p.name for p in (root / split / "image").iterdir()) == [
            n + ".jpg" for n in names
        ]
        assert sorted(p.name for p in (root / split / "annos").iterdir()) == [
            n + ".json" for n in names
        ]
        found = [item["category_name"] for a in annotations[split] for item in items_of(a)]
        for c in CATEGORIES:
            assert found.count(c.name) >= MINIMUM[split]
            assert record["garments"][split][c.name] == found.count(c.name)
    assert (record["seed"], record["difficulty"], record["photos"]) == (0, "outfits", PHOTOS)


def test_annotations_look_like_real_ones(annotations, pictures):
    for annotation, picture in zip(annotations["train"], pictures):
        assert annotation["source"] in ("shop", "user") and type(annotation["pair_id"]) is int
        items = items_of(annotation)
        assert 1 <= len(items) <= 3
        height, width = picture.shape[:2]
        for item in items:
            assert {key: type(value) for key, value in item.items()} == ITEM_TYPES
            assert category(item["category_id"]).name == item["category_name"]
            x1, y1, x2, y2 = item["bounding_box"]
            assert 0 <= x1 < x2 < width and 0 <= y1 < y2 < height
            assert all(
                item[key] in (1, 2, 3) for key in ("scale", "occlusion", "zoom_in", "viewpoint")
            )
            for ring in item["segmentation"]:
                assert len(ring) >= 8 and len(ring) % 2 == 0 and ring[:2] == ring[-2:]
                x, y = np.reshape(ring, (-1, 2)).T
                assert (
                    x.min() >= x1 - 1
                    and x.max() <= x2 + 1
                    and y.min() >= y1 - 1
                    and y.max() <= y2 + 1
                )


def test_landmarks_are_in_the_frame_and_in_the_box_or_absent(annotations, pictures):
    absent = 0
    for annotation, picture in zip(annotations["train"], pictures):
        for item in items_of(annotation):
            points = points_of(item)
            assert len(points) == category(item["category_id"]).landmarks
            assert all(type(value) is int for value in item["landmarks"])
            assert set(points[:, 2]) <= {0, 1, 2}
            labelled = points[points[:, 2] > 0, :2]
            assert (points[points[:, 2] == 0] == 0).all()
            assert (labelled >= 0).all() and (labelled < picture.shape[1::-1]).all()
            x1, y1, x2, y2 = item["bounding_box"]
            assert (labelled >= [x1 - 1, y1 - 1]).all() and (labelled <= [x2 + 1, y2 + 1]).all()
            absent += (points[:, 2] == 0).sum()
        assert (points_of(annotation["item1"])[:, 2] > 0).mean() >= 0.5
    assert absent > 0


def distance_inside(item, points):
    """How deep points lie inside the visible outline, negative outside, in pixels."""
    rings = [np.reshape(r, (-1, 1, 2)).astype(np.float32) for r in item["segmentation"]]
    return [
        max(cv2.pointPolygonTest(r, (float(x), float(y)), True) for r in rings) for x, y in points
    ]


def test_visible_landmarks_lie_on_what_shows(annotations):
    near = []
    for annotation in annotations["train"] + annotations["validation"]:
        for item in items_of(annotation):
            points = points_of(item)
            near += distance_inside(item, points[points[:, 2] == 2, :2])
    assert len(near) > 1000
    assert min(near) > -3.2  # the disc that is looked at, and the outline's rounding
    assert np.mean(np.array(near) > -2) > 0.99


def test_occluded_landmarks_are_covered(annotations):
    """For garments that cannot hide themselves: vests, skirts and vest dresses."""
    depths = []
    for annotation in annotations["train"] + annotations["validation"]:
        for item in items_of(annotation):
            if item["category_id"] in (5, 9, 12):
                points = points_of(item)
                points = points if item["category_id"] == 9 else points[1:]  # 1 is on the back
                depths += distance_inside(item, points[points[:, 2] == 1, :2])
    assert len(depths) > 30
    assert max(depths) < 1.5


def test_visibility_follows_the_layers(monkeypatch):
    """A tucked top's hem lies under the skirt; without tucking, the skirt's waist under the top."""
    seen, drawn = {}, scene.random_outfit
    for tucked in (True, False):
        difficulty = scene.Difficulty(alone=False, flat=0.0, plain=True, cut=0.0, things=False)

        def outfit(*args, tucked=tucked):
            result = drawn(*args)
            result.tucked = tucked
            return result

        monkeypatch.setattr(scene, "random_outfit", outfit)
        marks = []
        for seed in range(30):
            photo = scene.draw_photo(9, np.random.default_rng(seed), difficulty, 1)
            marks.append(points_of(photo.annotation["item1"])[1, 2])
        seen[tucked] = np.mean(np.array(marks) == 2)
    assert seen[True] > seen[False] + 0.3


@pytest.mark.parametrize("c", CATEGORIES, ids=lambda c: c.name)
def test_the_upright_template_is_symmetric(c):
    rng = np.random.default_rng(3)
    lower = c.name in ("shorts", "trousers", "skirt")
    draw, build = (random_lower, build_lower) if lower else (random_upper, build_upper)
    single = set(range(c.landmarks)) - {i for pair in c.pairs for i in pair}
    for _ in range(20):
        garment = build(c.id, draw(c.id, rng), Figure())
        points = garment.landmarks
        assert points.shape == (c.landmarks, 2) and len(garment.homes) == c.landmarks
        for a, b in c.pairs:
            assert points[a] * [-1, 1] == pytest.approx(points[b])
            assert abs(points[a, 0]) > 1e-3
        assert points[sorted(single), 0] == pytest.approx(0)
        assert points[c.pairs[0][0], 0] < 0  # the first of the first pair is on the left


def test_the_order_runs_around_the_garment():
    """Spot checks of the order in words, on upright templates."""
    rng = np.random.default_rng(0)
    top = build_upper(1, random_upper(1, rng), Figure()).landmarks
    assert top[14, 1] == pytest.approx(top[16, 1]) and top[15, 1] >= top[14, 1]
    assert top[8, 0] < top[9, 0] < 0 < top[21, 0] < top[22, 0]  # cuffs: outer outside of inner
    assert top[11, 1] < top[12, 1] < top[13, 1] < top[14, 1]  # armpit, side down, hem
    coat = build_upper(4, random_upper(4, rng), Figure()).landmarks
    assert coat[33, 1] < coat[34, 1] < coat[35, 1] < coat[36, 1] and (coat[33:37, 0] > 0).all()
    assert (
        coat[3, 1] < coat[37, 1] < coat[38, 1] < coat[19, 1]
        and (coat[[3, 37, 38, 19], 0] < 0).all()
    )
    trousers = build_lower(8, random_lower(8, rng), Figure()).landmarks
    assert (np.diff(trousers[[0, 3, 4, 5], 1]) > 0).all() and trousers[8, 0] == pytest.approx(0)
    assert trousers[5, 0] < trousers[6, 0] < trousers[10, 0] < trousers[11, 0]


def test_leads_follow_quota_and_frequency():
    leads = lead_categories(0, "train", 4000, 50)
    counts = np.bincount(leads, minlength=14)[1:]
    assert counts.sum() == 4000 and counts.min() >= 50
    assert counts[0] == max(counts) and counts[2] < 60  # short sleeve tops lead, outwear is rare
    assert (lead_categories(0, "validation", 4000, 50) != leads).any()
    assert (lead_categories(1, "train", 4000, 50) != leads).any()


def test_same_bytes_for_any_number_of_workers(root, tmp_path):
    write(tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == contents(root)


def test_a_killed_run_resumes_to_the_same_bytes(root, tmp_path, monkeypatch):
    folder = tmp_path / "killed"
    drawn, real = [], writer.photo_of

    def dies_after_twenty(*args):
        if len(drawn) == 20:
            raise KeyboardInterrupt
        drawn.append(args)
        return real(*args)

    monkeypatch.setattr(writer, "photo_of", dies_after_twenty)
    with pytest.raises(KeyboardInterrupt):
        write(folder)
    assert not (folder / "generator.json").exists()
    (folder / "train" / "annos" / "000007.json").unlink()
    drawn.clear()
    monkeypatch.setattr(writer, "photo_of", lambda *args: drawn.append(args) or real(*args))
    write(folder)
    assert len(drawn) == sum(PHOTOS.values()) - 19  # twenty were there, of one only the picture
    assert contents(folder) == contents(root)


def test_deleting_the_record_repairs_the_set(root, tmp_path):
    few = {"photos": {"train": 13}, "minimum": {"train": 1}}
    write(tmp_path, **few)
    before = contents(tmp_path)
    for name in ("generator.json", "train/image/000003.jpg", "train/annos/000009.json"):
        (tmp_path / name).unlink()
    write(tmp_path, **few)
    assert contents(tmp_path) == before


def test_a_finished_set_is_not_touched(root, monkeypatch):
    monkeypatch.setattr(writer, "photo_of", lambda *_: pytest.fail("drew a photo again"))
    assert write(root) == json.loads((root / "generator.json").read_text())


def test_seeds_and_difficulties_differ(tmp_path):
    few = {"photos": {"train": 13}, "minimum": {"train": 1}}
    first = write(tmp_path / "a", **few)
    write(tmp_path / "b", seed=1, **few)
    alone = write(tmp_path / "c", difficulty="single", **few)
    assert sum(alone["garments"]["train"].values()) == 13 < sum(first["garments"]["train"].values())
    assert (
        contents(tmp_path / "a")["train/image/000001.jpg"]
        != contents(tmp_path / "b")["train/image/000001.jpg"]
    )


def test_outfits_hold_what_the_benchmark_needs(annotations):
    """Companions in the photo, hidden and cut landmarks, and garments that are large enough."""
    found = annotations["train"]
    assert np.mean([len(items_of(a)) for a in found]) > 1.5
    leads = [a["item1"] for a in found]
    longest = [max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (item["bounding_box"] for item in leads)]
    assert np.mean(np.array(longest) >= 70) > 0.95
    states = np.concatenate([points_of(item)[:, 2] for item in leads])
    assert 0.05 < np.mean(states == 1) < 0.5 and 0.002 < np.mean(states == 0) < 0.2


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_errors_say_what_to_do(root, tmp_path):
    with pytest.raises(UserError) as error:
        write(tmp_path / "x", difficulty="impossible")
    assert "outfits" in one_line(error) and "single" in one_line(error)
    with pytest.raises(UserError) as error:
        write(tmp_path / "x", photos={"train": 12}, minimum={"train": 1})
    assert "13" in one_line(error)
    with pytest.raises(UserError) as error:
        write(tmp_path / "x", photos={"test": 12}, minimum={})
    assert "validation" in one_line(error)
    with pytest.raises(UserError) as error:
        write(root, seed=5)
    assert str(root) in one_line(error)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(UserError) as error:
        write(tmp_path / "mine")
    assert "thesis.txt" in one_line(error)
    image = tmp_path / "real" / "train" / "image"
    image.mkdir(parents=True)
    (image / "000001.jpg").write_bytes(b"somebody's photo")
    with pytest.raises(UserError) as error:
        write(tmp_path / "real")
    assert "000001.jpg" in one_line(error)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        write(tmp_path / "file")
    assert not (tmp_path / "x").exists()


def test_a_disk_that_cannot_be_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError) as error:
        write(tmp_path / "full")
    assert "No space left" in one_line(error) and str(tmp_path) in one_line(error)


def test_command(tmp_path, capsys):
    assert (
        main(["--sheet", str(tmp_path / "s.png"), "--columns", "1", "--categories", "7", "9"]) == 0
    )
    assert cv2.imread(str(tmp_path / "s.png")).shape == (520, 260, 3)
    assert main(["--root", str(tmp_path), "--difficulty", "odd"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def seated(side: int) -> Figure:
    """Somebody whose thighs lie level, to one side of the picture, and whose shins hang down."""
    level = np.radians(80)
    return Figure(Body(), Pose(legs=tuple((s * side * level, 0.0) for s in SIDES)))


def test_clothes_follow_the_legs():
    skirt = LowerStyle(length=5.0)
    for side in SIDES:
        waist, hem = build_lower(9, skirt, seated(side)).landmarks[[1, 5]]
        assert side * (hem - waist)[0] > 1.0 > abs(build_lower(9, skirt, Figure()).landmarks[5, 0])
    trousers = random_lower(8, np.random.default_rng(0))
    standing, sitting = (build_lower(8, trousers, f).landmarks for f in (Figure(), seated(1)))
    assert np.ptp(sitting[:, 1]) < np.ptp(standing[:, 1]) - 1.0
    assert np.ptp(sitting[:, 0]) > np.ptp(standing[:, 0]) + 1.0


def test_the_body_has_no_tear_at_the_hips():
    for number in range(40):
        rng = np.random.default_rng(number)
        figure = Figure(random_body(rng), random_pose(rng))
        x = np.linspace(-0.7, 0.7, 5)
        above, below = (figure.torso(np.column_stack([x, x * 0 + HIP + d])) for d in (0, 1e-6))
        assert np.abs(above - below).max() < 1e-4


def test_perspective_keeps_lines_straight_and_makes_smaller_what_is_far():
    picture, units = np.zeros((80, 60, 3), np.uint8), np.array([[-2, -3], [0, 0], [2, 3]], float)
    matrix, offset = 10 * np.eye(2), np.array([30.0, 40.0])
    flat, down = (Painter(picture, matrix, offset, None, pitch).pixels for pitch in (0.0, 0.4))
    assert np.allclose(flat(units), units * 10 + offset)
    first, middle, last = down(units)
    assert np.allclose(middle, [30, 40])
    (a, b), (c, d) = middle - first, last - middle
    assert abs(a * d - b * c) < 1e-9
    assert np.hypot(*(middle - first)) > np.hypot(*(last - middle)) > 0
