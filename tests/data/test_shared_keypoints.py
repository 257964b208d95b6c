"""COCO files whose categories share one list of keypoints: DeepFashion2's converter's, and others."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from benchmarks.presets import SMOKE
from benchmarks.run import main as benchmark
from fewshot_landmarks.data.categories import CATEGORIES, DEEPFASHION2
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.keypoints import Keypoints
from fewshot_landmarks.data.source import find_source
from fewshot_landmarks.photos.comparison import same_landmarks
from fewshot_landmarks.protocol import BENCHMARKS
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.names import listed
from fewshot_landmarks.tasks import Episodes
from tests.converted import CONVERTED, INITIALS, MMPOSE, NUMBERS, converted, wide


@pytest.fixture(scope="module")
def tree(smoke_folder):
    return smoke_folder / "data" / SMOKE.drawn.name


@pytest.fixture(scope="module")
def split(tree, tmp_path_factory):
    """A split file of a drawn tree's two sides in COCO."""
    folder = tmp_path_factory.mktemp("converted")
    said = {}
    for side, name, images in (
        ("train", "train", "images"),
        ("validation", "test", "test_images"),
    ):
        said[name] = str(converted(tree / side, folder / f"{side}.json"))
        said[images] = str((tree / side / "image").resolve())
    (folder / "split.json").write_text(json.dumps(said))
    return folder / "split.json"


# --- DeepFashion2


@pytest.mark.parametrize(
    "names, keypoints",
    [
        (CONVERTED, NUMBERS),
        (CONVERTED, MMPOSE),
        (CONVERTED, None),
        ([kind.name for kind in CATEGORIES], NUMBERS),
        ([name.replace("_", "-").title() for name in CONVERTED], NUMBERS),
    ],
)
def test_the_thirteen_categories_have_their_own_landmarks(tree, tmp_path, names, keypoints):
    path = converted(tree / "validation", tmp_path / "v.json", names, keypoints)
    found = read_annotations(path, images=tree / "validation" / "image")
    assert dict(found.categories) == dict(DEEPFASHION2)  # with pairs, edges and sigmas
    ours, theirs = Keypoints(found), DeepFashion2(tree, "validation")
    assert found.index.skipped == () and len(ours) == len(theirs)
    for name in ("category", "box", "area", "start", "points", "visible"):
        values = (getattr(each._index, name).tolist() for each in (ours, theirs))
        assert next(values) == next(values), name
    (note,) = found.notes
    assert len(note) < 300 and "and 8 more" in note


@pytest.mark.parametrize("name", [11, "11", "long_sleeved_dress", "long sleeve dress", "lsd",
                                  "Long Sleeved Dress", "long-sleeve-dress"])  # fmt: skip
def test_a_category_is_found_by_any_of_its_names(split, tree, name):
    file = split.parent / "validation.json"
    found = read_annotations(file, images=tree / "validation" / "image", category=name)
    (kind,) = found.categories.values()
    assert (kind.id, kind.landmarks) == (11, 37) and kind == DEEPFASHION2.find(name)
    assert set(found.index.category.tolist()) == {11}


def test_every_name_in_use_is_told_from_the_others():
    for names in (CONVERTED, INITIALS, [kind.name for kind in CATEGORIES]):
        assert [DEEPFASHION2.find(name).id for name in names] == list(range(1, 14))
    assert not DEEPFASHION2.called("shirt") and not DEEPFASHION2.called("long sleeve")


def of_objects(folder, *objects, names=CONVERTED, keypoints=NUMBERS, ids=None):
    """A file of annotated objects, each a category's id and its keypoints, in a photo each."""
    Image.new("RGB", (200, 100)).save(folder / "1.png")
    images = [{"id": i, "file_name": f"{i}.png", "width": 200, "height": 100}
              for i in range(1, len(objects) + 1)]  # fmt: skip
    for i in range(2, len(objects) + 1):
        Image.new("RGB", (200, 100)).save(folder / f"{i}.png")
    rows = [{"id": i, "image_id": i, "category_id": category, "bbox": [0, 0, 200, 100],
             "keypoints": marks} for i, (category, marks) in enumerate(objects, 1)]  # fmt: skip
    kinds = [{"id": number, "name": name} for number, name in zip(ids or range(1, 14), names)]
    for kind in kinds if keypoints else []:
        kind["keypoints"] = keypoints
    path = folder / "own.json"
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": kinds}))
    return path


def skirt(*labelled):
    """A skirt's keypoints, of which some (0 to 7) are labelled."""
    marks = [[10 + 5 * i, 20 + i, 2] if i in labelled else [0, 0, 0] for i in range(8)]
    return 9, wide(9, marks)


def test_a_landmark_that_few_photos_do_not_label_is_one_still(tmp_path):
    found = read_annotations(of_objects(tmp_path, skirt(0, 1, 7), skirt(0, 2)))
    (kind,) = {found.categories[int(number)] for number in found.index.category}
    assert kind == DEEPFASHION2.find("skirt")
    assert found.index.landmarks(0)[1].tolist() == [2, 2, 0, 0, 0, 0, 0, 2]
    assert found.index.landmarks(0)[0][7].tolist() == [45, 27]


def test_a_name_of_ones_own_is_kept_and_the_landmarks_tell_the_category(tmp_path):
    path = of_objects(tmp_path, (40, skirt(0, 1)[1]), names=["Rock"], ids=[40])
    (kind,) = read_annotations(path, category="rock").categories.values()
    assert kind == replace(DEEPFASHION2.find("skirt"), id=40, name="Rock")
    names = [f"joint {i}" for i in range(294)]  # another set's, as it happens as many
    path = of_objects(tmp_path, (40, skirt(0, 1)[1]), names=["Rock"], ids=[40], keypoints=names)
    (kind,) = read_annotations(path).categories.values()
    assert kind.names == ("joint 182", "joint 183")


def test_categories_merged_have_the_landmarks_that_are_labelled(tmp_path):
    dress, other = wide(10, [[9, 9, 2]] * 29), wide(13, [[9, 9, 2]] * 19)
    path = of_objects(tmp_path, (1, dress), (1, other), names=["dress"], ids=[1])
    found = read_annotations(path)
    (kind,) = found.categories.values()
    assert kind.landmarks == 48 and kind.names == tuple(NUMBERS[190:219] + NUMBERS[275:294])
    assert found.index.landmarks(1)[1].tolist() == [0] * 29 + [2] * 19


def test_an_object_that_labels_anothers_landmarks_is_told(tmp_path):
    path = of_objects(tmp_path, skirt(0, 1), (9, wide(8, [[9, 9, 2]] * 14)), (9, [1, 2, 2] * 8))
    found = read_annotations(path)
    other, short = found.index.skipped
    assert "annotation 2" in other and "skirt" in other and "169, 170" in other
    assert "and 9 more" in other and "183" not in other
    assert "annotation 3" in short and "24 values" in short and "294" in short
    assert len(found.index) == 1


@pytest.mark.parametrize("bad", [None, "2", float("nan"), True, 10**400])
@pytest.mark.parametrize("at", [2, 3 * 182, 3 * 182 + 2])
def test_what_is_no_number_is_one_line(tmp_path, bad, at):
    marks = skirt(0, 1)[1]
    marks[at] = bad
    path = of_objects(tmp_path, skirt(0), (9, marks))
    found = read_annotations(path)
    (line,) = found.index.skipped
    assert "annotation 2" in line and len(line) < 200
    with pytest.raises(UserError, match="annotation 1") as caught:
        read_annotations(of_objects(tmp_path, (9, marks)))
    assert "\n" not in str(caught.value)


def test_an_annotation_given_twice_counts_once(tmp_path):
    path = of_objects(tmp_path, skirt(0, 1), skirt(0, 1))
    said = json.loads(path.read_text())
    said["annotations"][1] |= {"id": 1, "image_id": 1}
    path.write_text(json.dumps(said))
    found = read_annotations(path)
    assert len(found.index) == 1 and "second time" in found.index.skipped[0]


def test_b1_to_b4_are_run_as_on_the_tree(tree, split):
    source = find_source(split)
    assert source.benchmarks == BENCHMARKS
    sides = DeepFashion2(tree, "validation"), source.open("validation", size=64)
    for place in BENCHMARKS.values():
        ours, theirs = (Episodes(side, place.unseen, episodes=2, queries=2, shots=(2,))
                        for side in sides)  # fmt: skip
        for i in range(len(ours)):
            one, other = ours[i], theirs[i]
            for a, b in ((one.support, other.support), (one.query, other.query)):
                assert a.indices.tolist() == b.indices.tolist()
                assert a.images.equal(b.images) and a.landmarks.equal(b.landmarks)
                assert a.labelled.equal(b.labelled) and a.area.equal(b.area)


def test_a_run_has_the_trees_numbers(split, in_smoke_folder):
    command = ["--preset", "smoke", "--learner", "PROTO", "--benchmark", "B-3"]
    assert benchmark([*command, "--out", "of-tree"]) == 0
    assert benchmark([*command, "--data", str(split), "--out", "of-coco"]) == 0
    tables = [pd.read_csv(f"{out}/episodes.csv.gz") for out in ("of-tree", "of-coco")]
    pd.testing.assert_frame_equal(*tables)
    assert len(tables[0])


# --- other sets

UNION = ["wing_left", "wing_right", "beak", "fin", "tail_fin", "gill", "eye_left", "eye_right"]
BIRD, FISH = (0, 1, 2, 6, 7), (3, 4, 5, 6, 7)


def marked(*labelled, of=8):
    """Keypoints of which some are labelled."""
    return [n for i in range(of) for n in ([10 + 9 * i, 30 + i, 2] if i in labelled else [0, 0, 0])]


def birds_and_fish(folder, *objects, keypoints=UNION):
    folder.mkdir(exist_ok=True)
    names = ["bird", "fish", "shell"]
    return of_objects(folder, *objects, names=names, keypoints=keypoints, ids=[1, 2, 3])


def test_a_category_has_of_a_shared_list_what_its_objects_label(tmp_path):
    path = birds_and_fish(tmp_path, (1, marked(0, 1, 6)), (1, marked(2, 6, 7)), (2, marked(*FISH)))
    said = json.loads(path.read_text())
    for kind in said["categories"]:
        kind |= {"skeleton": [[1, 3], [2, 3], [4, 5]], "sigmas": [k / 100 for k in range(1, 9)]}
    path.write_text(json.dumps(said))
    found = read_annotations(path)
    bird, fish, shell = found.categories.values()
    assert bird.names == tuple(UNION[i] for i in BIRD) and bird.pairs == ((0, 1), (3, 4))
    assert bird.edges == ((0, 2), (1, 2)) and bird.oks_sigmas == (0.01, 0.02, 0.03, 0.07, 0.08)
    assert fish.names == tuple(UNION[i] for i in FISH) and fish.pairs == ((3, 4),)
    assert found.index.landmarks(0)[1].tolist() == [2, 2, 0, 2, 0]
    assert found.index.landmarks(2)[0].tolist() == [[10 + 9 * i, 30 + i] for i in FISH]
    (note,) = found.notes
    assert "3 of 8 of bird" in note and "3 of 8 of fish" in note
    assert shell.landmarks == 8  # it has no object to tell


def test_a_category_alone_has_what_its_file_says_unless_most_of_it_is_not_labelled(tmp_path):
    def kind(*labelled):
        path = of_objects(tmp_path, (1, marked(*labelled)), names=["bird"], keypoints=UNION)
        found = read_annotations(path)
        return found.categories[1].landmarks, len(found.notes)

    assert kind(*range(8)) == kind(0, 1, 2, 3) == (8, 0)
    assert kind(0, 1, 2) == (3, 1)


def test_landmarks_of_files_that_label_other_ones_are_joined_by_names(tmp_path):
    numbers = [str(i) for i in range(1, 9)]
    for i, keypoints in enumerate((UNION, numbers, None)):
        rows = (2, marked(*FISH))
        support = birds_and_fish(
            tmp_path / f"s{i}", (1, marked(0, 1, 2)), rows, keypoints=keypoints
        )
        query = birds_and_fish(tmp_path / f"q{i}", (1, marked(1, 2, 7)), rows, keypoints=keypoints)
        sides = [read_annotations(path, category="bird") for path in (support, query)]
        order, lines = same_landmarks(*sides)
        assert order == [-1, 0, 1]
        (only,) = [line for line in lines if "one side" in line]
        assert (keypoints or numbers)[0] in only and (keypoints or numbers)[7] in only


def test_keypoints_that_only_order_tells_apart_are_all_kept(tmp_path):
    keypoints = ["wing", "wing", "beak", "beak", "a", "b", "c", "d"]
    objects = (1, marked(0, 1, 2)), (2, marked(3, 4, 5))
    bird, fish, _ = read_annotations(
        birds_and_fish(tmp_path, *objects, keypoints=keypoints)
    ).categories.values()
    assert bird.landmarks == 8 and fish.names == ("beak", "a", "b")


def test_both_sides_of_a_split_have_what_either_labels(tmp_path):
    fish = (2, marked(*FISH))
    birds_and_fish(tmp_path / "train", (1, marked(0, 1, 2)), fish)
    birds_and_fish(tmp_path / "test", (1, marked(1, 2, 7)), (3, marked(3, 4)))
    path = tmp_path / "split.json"
    said = {"train": "train/own.json", "test": "test/own.json",
            "benchmarks": {"X": {"seen": ["bird", "fish"], "unseen": ["shell"]}}}  # fmt: skip
    path.write_text(json.dumps(said))
    source = find_source(path)
    assert [kind.names for kind in source.categories.values()] == [
        tuple(UNION[i] for i in of) for of in ((0, 1, 2, 7), FISH, (3, 4))
    ]
    garment = source.open("validation", size=16)[0]
    assert garment.labelled.tolist() == [False, True, True, True]


def test_sides_whose_keypoints_differ_are_one_short_line(tmp_path):
    fish = (2, marked(*FISH))
    birds_and_fish(tmp_path / "train", (1, marked(*BIRD)), fish)
    birds_and_fish(tmp_path / "test", (1, marked(*BIRD)), fish, keypoints=UNION[::-1])
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": "train/own.json", "test": "test/own.json"}))
    with pytest.raises(UserError) as caught:
        _ = find_source(path).categories
    assert "bird" in str(caught.value) and "\n" not in str(caught.value)


def test_a_sides_photos_may_have_a_folder_of_their_own(tmp_path):
    fish = (2, marked(*FISH))
    for side in ("train", "test"):
        birds_and_fish(tmp_path / side, (1, marked(*BIRD)), fish)
        (tmp_path / side / "own.json").rename(tmp_path / f"{side}.json")
    said = {"train": "train.json", "test": "test.json", "images": "train"}
    path = tmp_path / "split.json"
    path.write_text(json.dumps(said | {"test_images": "test"}))
    photos = [
        find_source(path).annotations(side).photos[0].path for side in ("train", "validation")
    ]
    assert [photo.parent.name for photo in photos] == ["train", "test"]
    for wrong in ({"test_images": 3}, {"test": "train.json", "test_images": "test"}):
        path.write_text(json.dumps(said | wrong))
        with pytest.raises(UserError, match="images"):
            find_source(path)


def test_deepfashion2s_folder_of_photos_is_found(tree, tmp_path):
    side = tmp_path / "train"
    side.mkdir()
    (side / "image").symlink_to(tree / "train" / "image")
    found = read_annotations(converted(tree / "train", side / "deepfashion2.json"))
    assert found.photos[0].path == side / "image" / "000001.jpg"


def test_a_message_names_a_handful():
    assert listed(range(5)) == "0, 1, 2, 3, 4"
    assert listed(map(str, range(256))) == "0, 1, 2, 3, 4 and 251 more"
