"""The reader of DeepFashion2's layout, on tiny trees and on one real annotation."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fewshot_landmarks.data import images as photos
from fewshot_landmarks.data import index as index_module
from fewshot_landmarks.data.crops import crop_window, resize
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.data.index import load_index
from fewshot_landmarks.support.errors import UserError

REAL = Path(__file__).parents[1] / "fixtures" / "real_user_top_trousers.json"
NAMES = {1: "short sleeve top", 7: "shorts", 8: "trousers", 9: "skirt"}
COUNTS = {1: 25, 7: 10, 8: 14, 9: 8}
BOX = [20, 30, 70, 90]


def item(category=9, box=BOX, points=None, visible=2, **changes):
    """A valid garment; its points spread over the box unless they are given."""
    x1, y1, x2, y2 = box
    count = COUNTS[category]
    if points is None:
        points = [(x1 + (x2 - x1) * k // count, y1 + (y2 - y1) * k // count) for k in range(count)]
    return {
        "category_id": category,
        "category_name": NAMES[category],
        "bounding_box": list(box),
        "landmarks": [value for x, y in points for value in (x, y, visible)],
        "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
        **changes,
    }


def noise(number, width=100, height=120):
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def write_photo(root, number, photo, split="train"):
    path = root / split / "image" / f"{number:06d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), photo, [cv2.IMWRITE_JPEG_QUALITY, 98])
    return path


def write_annotation(root, number, annotation, split="train"):
    path = root / split / "annos" / f"{number:06d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = annotation if isinstance(annotation, str) else json.dumps(annotation)
    path.write_text(text, "utf-8")
    return path


def write(root, number, *items, photo=None):
    annotation = {"source": "user", "pair_id": 1}
    annotation |= {f"item{k}": value for k, value in enumerate(items, 1)}
    write_photo(root, number, noise(number) if photo is None else photo)
    write_annotation(root, number, annotation)


@pytest.fixture
def tree(tmp_path):
    """Photo 1 with a skirt; photo 2 with shorts and trousers; photo 3 with a skirt."""
    root = tmp_path / "data"
    write(root, 1, item())
    write(root, 2, item(7), item(8))
    write(root, 3, item())
    return root


@pytest.fixture
def parsed(monkeypatch):
    """The texts that were parsed as annotations since the test began."""
    texts = []
    loads = json.loads

    def spy(text):
        if isinstance(text, bytes):  # an annotation; the index file's own notes are str
            texts.append(text)
        return loads(text)

    monkeypatch.setattr(index_module.json, "loads", spy)
    return texts


# --- what a garment is


def test_a_real_annotation_is_taken_as_it_is(tmp_path):
    write_photo(tmp_path, 1, noise(1, 468, 624))
    write_annotation(tmp_path, 1, REAL.read_text())
    data = DeepFashion2(tmp_path, "train", strict=True)

    assert data.labels.tolist() == [1, 8]  # item1 before item2, though the file has it last
    assert data.photos.tolist() == [1, 1]
    top, trousers = data
    assert (len(top.landmarks), len(trousers.landmarks)) == (25, 14)
    assert (int(top.labelled.sum()), int(trousers.labelled.sum())) == (22, 7)
    seen = data._index.landmarks(0)[1]
    assert (int((seen == 2).sum()), int((seen == 1).sum())) == (11, 11)
    assert top.area == 466 * 593 and trousers.area == 217 * 200
    assert data._index.landmarks(1)[0][0].tolist() == [251, 520]
    assert data._index.landmarks(1)[0][1].tolist() == [374, 484]
    assert torch.equal(trousers.labelled, trousers.inside)
    # 249 - 21.7, 423 - 20, then 466 + 21.7 and 623 + 20 cut off at 468 and 624
    assert trousers.origin.tolist() == [227, 403]
    assert trousers.scale.tolist() == [241 / 64, 221 / 64]


def test_types_and_shapes_of_a_garment(tree):
    garment = DeepFashion2(tree, "train", size=32)[1]
    assert garment.image.shape == (3, 32, 32) and garment.image.dtype == torch.float32
    assert garment.image.is_contiguous()
    assert 0 <= garment.image.min() < 0.5 < garment.image.max() <= 1
    assert garment.landmarks.shape == (10, 2) and garment.landmarks.dtype == torch.float32
    assert garment.labelled.dtype == garment.inside.dtype == torch.bool
    assert garment.origin.dtype == garment.scale.dtype == garment.area.dtype == torch.float32
    assert garment.area.shape == () and garment.area == 50 * 60
    assert (garment.category, garment.index) == (7, 1)


def test_garments_of_one_category_make_a_batch(tree):
    data = DeepFashion2(tree, "train")
    skirts = torch.utils.data.Subset(data, np.flatnonzero(data.labels == 9))
    batch = next(iter(torch.utils.data.DataLoader(skirts, batch_size=2)))
    assert batch.image.shape == (2, 3, 64, 64) and batch.landmarks.shape == (2, 8, 2)
    assert batch.index.tolist() == [0, 3]


@pytest.mark.parametrize("size", [16, 64, 200])
@pytest.mark.parametrize("margin", [0, 0.1, 5])
def test_crop_and_original_pixels_map_onto_each_other(tree, size, margin):
    data = DeepFashion2(tree, "train", size=size, margin=margin)
    for garment in data:
        back = garment.origin + garment.landmarks * garment.scale
        true = torch.from_numpy(data._index.landmarks(garment.index)[0])
        torch.testing.assert_close(back, true, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [24, 64, 160])
def test_a_patch_lies_where_the_crops_landmark_says(tmp_path, size):
    points = [(32, 40), (60, 40), (32, 75), (60, 75), (46, 58)] + [(0, 0)] * 3
    photo = np.full((120, 100, 3), 128, np.uint8)
    for x, y in points[:5]:
        photo[y - 3 : y + 3, x - 3 : x + 3] = (0, 0, 255)  # red, in OpenCV's order
    write(tmp_path, 1, item(points=points), photo=photo)
    garment = DeepFashion2(tmp_path, "train", size=size)[0]

    red = (garment.image[0] - garment.image[1]).clamp(min=0)
    centres = torch.arange(size) + 0.5
    for x, y in garment.landmarks[:5]:
        near = (centres[None, :] - x).abs().lt(8 / garment.scale[0]) & (
            centres[:, None] - y
        ).abs().lt(8 / garment.scale[1])
        weight = red * near
        centroid = torch.stack([(weight.sum(0) * centres).sum(), (weight.sum(1) * centres).sum()])
        shift = centroid / weight.sum() - torch.stack([x, y])
        assert (shift * garment.scale).abs().max() < 0.25  # pixels of the photo


def test_landmarks_without_a_label_and_outside_the_crop(tmp_path):
    points = [(45, 60), (3, 60), (45, 119), (0, 0), (20, 30), (70, 90), (76, 60), (74, 60)]
    garment = item(points=points)
    garment["landmarks"][3 * 3 + 2] = 0
    garment["landmarks"][4 * 3 + 2] = 1
    write(tmp_path, 1, garment)
    read = DeepFashion2(tmp_path, "train", margin=0.1)[0]  # the crop is x 15 to 75, y 24 to 96
    assert read.labelled.tolist() == [True, True, True, False, True, True, True, True]
    assert read.inside.tolist() == [True, False, False, False, True, True, False, True]


@pytest.mark.parametrize(
    ("box", "window"),
    [
        ([20, 30, 70, 90], (15, 24, 75, 96)),
        ([-1, 0, 101, 121], (0, 0, 100, 120)),  # a pixel more than the photo on three sides
        ([20.5, 30.5, 21, 31], (20, 30, 22, 32)),  # whole pixels, and never none
        ([99, 119, 300, 300], (78, 100, 100, 120)),
        ([100, 30, 110, 90], (0, 0, 0, 0)),
    ],
)
def test_windows(box, window):
    assert crop_window(np.array(box), 0.1, 100, 120) == window


def test_a_shrinking_side_is_averaged_while_the_other_grows():
    stripes = np.zeros((4, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.all(np.abs(resize(stripes, 16).astype(int) - 127.5) < 1)


def test_a_grey_photo_has_three_equal_channels(tmp_path):
    write(tmp_path, 1, item(), photo=noise(1)[:, :, 0])
    image = DeepFashion2(tmp_path, "train")[0].image
    assert image.std() > 0.05
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])


def test_a_photo_is_not_turned_by_its_orientation(tree):
    plain = DeepFashion2(tree, "train")[0]
    path = tree / "train" / "image" / "000001.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    with Image.open(path) as photo:
        photo.save(path, exif=exif, quality=98)
    turned = DeepFashion2(tree, "train")[0]
    assert torch.equal(turned.origin, plain.origin) and torch.equal(turned.scale, plain.scale)
    assert (turned.image - plain.image).abs().mean() < 0.02


def test_a_photo_of_too_many_pixels_is_not_decoded(tree, monkeypatch):
    monkeypatch.setattr(photos, "MOST_PIXELS", 50)
    with pytest.raises(UserError, match="000001.jpg: .*megapixels"):
        DeepFashion2(tree, "train")[0]


# --- the order and choice of garments


def test_order_is_by_photo_then_by_the_items_number(tmp_path):
    write_photo(tmp_path, 2, noise(2))
    kinds = {"item10": 7, "item2": 8, "item1": 9}
    write_annotation(tmp_path, 2, {key: item(kind) for key, kind in kinds.items()})
    write(tmp_path, 1, item(1))
    data = DeepFashion2(tmp_path, "train")
    assert data.labels.tolist() == [1, 9, 8, 7]
    assert data.photos.tolist() == [1, 2, 2, 2]


def test_positions_are_those_of_a_sequence(tree):
    data = DeepFashion2(tree, "train")
    assert len(list(data)) == len(data) == 4
    assert data[-1].index == 3 and data[np.int64(2)].index == 2
    with pytest.raises(IndexError):
        data[4]


def test_garments_without_a_labelled_landmark_are_left_out(tmp_path):
    write(tmp_path, 1, item(visible=0), item(8))
    data = DeepFashion2(tmp_path, "train", strict=True)
    assert data.labels.tolist() == [8]
    assert data.unlabelled == 1 and data.skipped == []


# --- bad input


BAD_ITEMS = {
    "not an object": (["item"], "['item']"),
    "no category_id": ({"category_id": ...}, "category_id"),
    "no category_name": ({"category_name": ...}, "category_name"),
    "no bounding_box": ({"bounding_box": ...}, "bounding_box"),
    "no landmarks": ({"landmarks": ...}, "landmarks"),
    "unknown category": ({"category_id": 14}, "category_id 14"),
    "a category in words": ({"category_id": "skirt"}, "'skirt'"),
    "a category that is true": ({"category_id": True}, "True"),
    "names disagree": ({"category_name": "trousers"}, "'trousers'"),
    "too few landmarks": ({"landmarks": [1, 1, 2] * 7}, "21 values"),
    "landmarks not a list": ({"landmarks": {"0": 1}}, "{'0': 1}"),
    "a landmark in words": ({"landmarks": ["1", 1, 2] * 8}, "'1'"),
    "a landmark of nothing": ({"landmarks": [None, 1, 2] * 8}, "None"),
    "a landmark of NaN": ({"landmarks": [float("nan"), 1, 2] * 8}, "nan"),
    "an infinite landmark": ({"landmarks": [1, float("inf"), 2] * 8}, "inf"),
    "a landmark far off": ({"landmarks": [10**400, 1, 2] * 8}, "10000"),
    "visibility 3": ({"landmarks": [1, 1, 3] * 8}, "visibility 3"),
    "visibility 0.5": ({"landmarks": [1, 1, 0.5] * 8}, "visibility 0.5"),
    "three edges": ({"bounding_box": [1, 2, 3]}, "[1, 2, 3]"),
    "a box of NaN": ({"bounding_box": [1, 2, float("nan"), 9]}, "nan"),
    "a box of no width": ({"bounding_box": [20, 30, 20, 90]}, "bounding_box"),
    "a box inside out": ({"bounding_box": [20, 90, 70, 30]}, "bounding_box"),
    "a box left of the photo": ({"bounding_box": [-9, 30, 0, 90]}, "bounding_box"),
}


def broken(changes):
    if not isinstance(changes, dict):
        return changes
    return {key: value for key, value in item(**changes).items() if value is not ...}


@pytest.mark.parametrize(("changes", "reason"), BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_a_bad_garment_is_skipped_with_a_line(tmp_path, changes, reason):
    write(tmp_path, 1, item(7), broken(changes), item(8))
    data = DeepFashion2(tmp_path, "train")
    assert data.labels.tolist() == [7, 8]
    (line,) = data.skipped
    assert line.startswith("train/annos/000001.json: item2: ") and reason in line
    assert data.unlabelled == 0

    with pytest.raises(UserError) as refused:
        DeepFashion2(tmp_path, "train", strict=True)
    assert line in str(refused.value) and str(tmp_path) in str(refused.value)


BAD_FILES = {
    "empty": ("", "not JSON"),
    "cut short": (json.dumps({"item1": item()})[:-5], "not JSON"),
    "not text": ("\udcff", "not JSON"),
    "a list": ("[]", "\\[\\]"),
    "no item": ('{"source": "user", "pair_id": 1}', "item1"),
    "nested without end": ("[" * 100_000, "not JSON"),
}


@pytest.mark.parametrize(("text", "reason"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_annotation_file_is_skipped_with_a_line(tree, text, reason):
    path = tree / "train" / "annos" / "000002.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    data = DeepFashion2(tree, "train")
    assert data.labels.tolist() == [9, 9]
    (line,) = data.skipped
    assert line.startswith("train/annos/000002.json: ") and "\n" not in line
    with pytest.raises(UserError, match=reason):
        DeepFashion2(tree, "train", strict=True)


def test_missing_and_empty_photos_are_skipped(tree):
    (tree / "train" / "image" / "000001.jpg").unlink()
    (tree / "train" / "image" / "000003.jpg").write_bytes(b"")
    data = DeepFashion2(tree, "train")
    assert data.labels.tolist() == [7, 8]
    assert len(data.skipped) == 2
    for number, line in zip((1, 3), data.skipped):
        assert f"annos/00000{number}.json" in line and f"image/00000{number}.jpg" in line


def test_names_that_are_no_numbers(tree):
    annos = tree / "train" / "annos"
    shutil.copy(annos / "000001.json", annos / "skirt.json")
    shutil.copy(annos / "000001.json", annos / "._000001.json")  # as a Mac leaves them
    (annos / "notes.txt").write_text("not an annotation")
    data = DeepFashion2(tree, "train")
    assert len(data) == 4
    (line,) = data.skipped
    assert "skirt.json" in line


@pytest.mark.parametrize("gone", ["", "train", "train/annos", "train/image"])
def test_missing_folders(tree, gone):
    shutil.rmtree(tree / gone)
    with pytest.raises(UserError, match=re.escape(str(tree / gone))):
        DeepFashion2(tree, "train")


def test_nothing_to_use(tree):
    for number in (2, 3):
        (tree / "train" / "annos" / f"{number:06d}.json").unlink()
    (tree / "train" / "image" / "000001.jpg").unlink()
    with pytest.raises(UserError, match=r"000001\.jpg"):
        DeepFashion2(tree, "train")
    (tree / "train" / "annos" / "000001.json").unlink()
    with pytest.raises(UserError, match="annos"):
        DeepFashion2(tree, "train")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"split": "test"}, "'test'.*train, validation"),
        ({"size": 0}, "size 0"),
        ({"margin": -0.1}, "margin of -0.1"),
        ({"margin": float("nan")}, "margin of nan"),
    ],
)
def test_impossible_arguments(tree, arguments, reason):
    with pytest.raises(UserError, match=reason):
        DeepFashion2(tree, **{"split": "train", **arguments})


# --- photos that turn out damaged


def cut_short(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])


def cut_short_after_the_thumbnail(path):
    """Keep a thumbnail, complete with its end-of-image marker, and half of the photo."""
    thumbnail = cv2.imencode(".jpg", noise(9, 20, 20))[1].tobytes()
    segment = b"Exif\0\0" + thumbnail
    whole = path.read_bytes()
    head = b"\xff\xd8\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    path.write_bytes(head + whole[2 : len(whole) // 2])


def cut_short_in_the_header(path):
    path.write_bytes(path.read_bytes()[:100])


def padded_with_zeros(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))


def not_an_image(path):
    path.write_text("<html>404</html>")


def gone(path):
    path.unlink()


DAMAGES = [
    cut_short,
    cut_short_after_the_thumbnail,
    cut_short_in_the_header,
    padded_with_zeros,
    not_an_image,
    gone,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_photo_is_named(tree, damage):
    data = DeepFashion2(tree, "train")
    path = tree / "train" / "image" / "000002.jpg"
    damage(path)
    with pytest.raises(UserError) as error:
        data[1]
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert data[0].image.std() > 0


def test_a_photo_with_bytes_after_its_end_is_whole(tree):
    path = tree / "train" / "image" / "000001.jpg"
    before = DeepFashion2(tree, "train")[0].image
    path.write_bytes(path.read_bytes() + b"\0" * 5000)
    assert torch.equal(DeepFashion2(tree, "train")[0].image, before)


def test_a_box_outside_its_photo_is_named(tmp_path):
    write(tmp_path, 1, item(box=[200, 30, 250, 90]))
    data = DeepFashion2(tmp_path, "train")
    with pytest.raises(UserError, match=r"000001.json: item1.* 100 x 120"):
        data[0]


# --- the index file


def test_an_unchanged_tree_is_not_parsed_again(tree, parsed):
    (tree / "train" / "annos" / "000004.json").write_text("{")
    first = DeepFashion2(tree, "train")
    assert len(parsed) == 3  # photo 4 is missing: its annotation is not even opened
    again = DeepFashion2(tree, "train")
    assert len(parsed) == 3
    assert again.skipped == first.skipped != []
    assert again.fingerprint == first.fingerprint
    assert again.labels.tolist() == first.labels.tolist()
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.landmarks, other.landmarks) and one.area == other.area


def new_annotation(root):
    write_annotation(root, 2, {"item1": item(8)})


def touched_annotation(root):
    os.utime(root / "train" / "annos" / "000002.json", (1, 1))


def new_photo(root):
    write_photo(root, 2, noise(7))


def removed_photo(root):
    (root / "train" / "image" / "000002.jpg").unlink()


def removed_annotation(root):
    (root / "train" / "annos" / "000002.json").unlink()


def added_garment(root):
    write(root, 4, item(7), item(8, visible=0))


def bad_garment(root):
    write_annotation(root, 2, {"item1": item(8), "item2": item(7, bounding_box=[1, 2])})


CHANGES = {  # and which categories there are then
    new_annotation: [9, 8, 9],
    touched_annotation: [9, 7, 8, 9],
    new_photo: [9, 7, 8, 9],
    removed_photo: [9, 9],
    removed_annotation: [9, 9],
    added_garment: [9, 7, 8, 9, 7],
    bad_garment: [9, 8, 9],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_tree_is_indexed_anew(tree, tmp_path, parsed, change):
    write(tree, 5, item(9, visible=0), item(7, category_id=99))  # one without labels, one bad
    write(tree, 6, item(8))
    DeepFashion2(tree, "train")
    parsed.clear()
    change(tree)
    changed = load_index(tree, "train")
    assert parsed
    assert changed.category.tolist() == [*CHANGES[change], 8]
    fresh = load_index(tree, "train", cache=tmp_path / "elsewhere")
    assert changed.digest() == fresh.digest() and changed.skipped == fresh.skipped
    assert changed.unlabelled == fresh.unlabelled >= 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", None])
def test_a_damaged_index_file_is_built_anew(tree, tmp_path, parsed, damage):
    DeepFashion2(tree, "train", cache=tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("*.npz")
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    parsed.clear()
    assert len(DeepFashion2(tree, "train", cache=tmp_path / "cache")) == 4
    assert len(parsed) == 3
    DeepFashion2(tree, "train", cache=tmp_path / "cache")
    assert len(parsed) == 3


def test_roots_keep_their_own_index_files(tree, tmp_path, parsed):
    other = tmp_path / "other"
    shutil.copytree(tree, other)
    for _ in range(2):
        for root in (tree, other):
            DeepFashion2(root, "train", cache=tmp_path / "cache")
    assert len(parsed) == 2 * 3
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2
    assert sorted(path.name for path in tree.iterdir()) == ["train"]


def test_a_root_that_cannot_be_written_to_is_read_all_the_same(tree, parsed, monkeypatch, recwarn):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index_module.os, "replace", refuse)
    assert len(DeepFashion2(tree, "train")) == len(DeepFashion2(tree, "train")) == 4
    assert len(parsed) == 6 and not recwarn.list
    assert sorted(path.name for path in tree.iterdir()) == ["train"]
    with pytest.raises(UserError, match="Permission denied"):
        DeepFashion2(tree, "train", cache=tree / "cache")


def test_a_cache_that_is_a_file(tree, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(UserError, match="cache"):
        DeepFashion2(tree, "train", cache=tmp_path / "cache")


def test_the_fingerprint_names_the_content(tree, tmp_path):
    fingerprint = DeepFashion2(tree, "train").fingerprint
    assert len(fingerprint) == 16
    moved = tmp_path / "elsewhere"
    shutil.copytree(tree, moved, copy_function=shutil.copyfile)  # new times of modification
    os.utime(moved / "train" / "annos" / "000001.json", (1, 1))
    assert DeepFashion2(moved, "train").fingerprint == fingerprint

    nudged = item()
    nudged["landmarks"][0] += 1
    write(moved, 3, nudged)
    assert DeepFashion2(moved, "train").fingerprint != fingerprint
    write(moved, 3, item())
    assert DeepFashion2(moved, "train").fingerprint == fingerprint
    write_photo(moved, 3, noise(8))
    assert DeepFashion2(moved, "train").fingerprint != fingerprint


def test_the_fingerprint_is_the_same_on_every_platform(tmp_path):
    write_annotation(tmp_path, 1, REAL.read_text())
    photo = tmp_path / "train" / "image" / "000001.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"\0" * 1000)  # never decoded here
    assert DeepFashion2(tmp_path, "train").fingerprint == "a5392a8afbdd2ce5"


# --- packed crops


def same(one, other):
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


def test_packed_crops_are_bit_for_bit_the_same(tree, tmp_path):
    direct = list(DeepFashion2(tree, "train", size=40))
    packed = DeepFashion2(tree, "train", size=40).pack(tmp_path / "crops")
    shutil.rmtree(tree / "train" / "image")  # no longer needed
    assert all(same(one, other) for one, other in zip(direct, packed, strict=True))
    assert packed.usable.all() and packed.skipped == []


def test_a_pack_is_used_again_for_the_same_crops_only(tree, tmp_path, monkeypatch):
    decoded = []
    read = DeepFashion2._read
    monkeypatch.setattr(
        DeepFashion2, "_read", lambda self, number: decoded.append(number) or read(self, number)
    )
    crops = tmp_path / "crops"
    DeepFashion2(tree, "train", size=24).pack(crops)
    assert decoded == [1, 2, 3]  # each photo once, whatever it holds
    DeepFashion2(tree, "train", size=24).pack(crops)[0]
    assert decoded == [1, 2, 3]
    for changes in ({"size": 25}, {"margin": 0.2}):
        decoded.clear()
        DeepFashion2(tree, "train", **{"size": 24, **changes}).pack(crops)
        assert decoded == [1, 2, 3]


@pytest.mark.parametrize("name", ["000000.tar", "places.npz"])
def test_half_a_pack_is_written_anew(tree, tmp_path, name):
    expected = DeepFashion2(tree, "train", size=24).pack(tmp_path)[2]
    (path,) = tmp_path.rglob(name)
    path.write_bytes(path.read_bytes()[:-200])
    assert same(DeepFashion2(tree, "train", size=24).pack(tmp_path)[2], expected)


def test_damaged_photos_are_left_out_of_a_pack(tree, tmp_path):
    cut_short(tree / "train" / "image" / "000002.jpg")
    write(tree, 4, item(box=[200, 30, 250, 90]), item(8))
    for _ in range(2):  # written, then used again
        data = DeepFashion2(tree, "train").pack(tmp_path / "crops")
        assert data.usable.tolist() == [True, False, False, True, False, True]
        assert len(data.skipped) == 2 and "train/image/000002.jpg" in data.skipped[0]
        assert "train/annos/000004.json: item1" in data.skipped[1]
        with pytest.raises(UserError, match="garment 1 of"):
            data[1]
        direct = DeepFashion2(tree, "train")
        assert all(same(data[i], direct[i]) for i in (0, 3, 5))


@pytest.mark.parametrize("packed_before", [False, True])
def test_a_strict_pack_refuses_damaged_photos(tree, tmp_path, packed_before):
    cut_short(tree / "train" / "image" / "000002.jpg")
    crops = tmp_path / "crops"
    if packed_before:
        DeepFashion2(tree, "train").pack(crops)
    with pytest.raises(UserError, match=r"000002\.jpg"):
        DeepFashion2(tree, "train", strict=True).pack(crops)


def test_a_pack_that_cannot_be_written(tree, tmp_path):
    (tmp_path / "crops").write_text("")
    with pytest.raises(UserError, match="crops"):
        DeepFashion2(tree, "train").pack(tmp_path / "crops")


def test_another_process_opens_the_pack_instead_of_receiving_it(tree, tmp_path):
    data = DeepFashion2(tree, "train", size=256).pack(tmp_path / "crops")
    sent = pickle.dumps(data)
    assert len(sent) < 10_000
    (tmp_path / "sent").write_bytes(sent)
    script = (
        "import pickle, sys; data = pickle.load(open(sys.argv[1], 'rb')); "
        "print(float(data[2].image.double().sum()), data[2].landmarks.tolist())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "sent"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    expected = float(data[2].image.double().sum()), data[2].landmarks.tolist()
    assert answer.stdout.strip() == f"{expected[0]} {expected[1]}"


def test_progress_is_shown_on_request_only(tree, tmp_path, capsys):
    DeepFashion2(tree, "train").pack(tmp_path / "quiet")
    assert capsys.readouterr().err == ""
    touched_annotation(tree)
    DeepFashion2(tree, "train", progress=True).pack(tmp_path / "quiet", progress=True)
    assert "indexing train" in capsys.readouterr().err
