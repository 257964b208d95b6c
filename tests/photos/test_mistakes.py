"""Mistakes of an annotator's, made in drawn photos: each is found, and nothing else."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest

from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.photos.commands import doctor
from fewshot_landmarks.photos.commands.mistakes import BESIDE, TWICE, find
from fewshot_landmarks.photos.errors.misfits import FAR, SWAPPED
from tests.colours import model, photo
from tests.photos.test_predict import NAMES, annotate

COUNT = 12


@pytest.fixture
def clean(tmp_path):
    return annotate(tmp_path / "photos", range(COUNT), width=240, height=180)


def change(path, how):
    """Change the annotations, each a dict with its keypoints as (4, 3)."""
    document = json.loads(path.read_text())
    marks = [np.reshape(row["keypoints"], (4, 3)) for row in document["annotations"]]
    how(document, marks)
    for row, each in zip(document["annotations"], marks):
        row["keypoints"] = each.ravel().tolist()
    path.write_text(json.dumps(document))


def swap(_, marks):
    marks[3][[1, 2]] = marks[3][[2, 1]]


def shift(_, marks):
    marks[7][0, :2] += 0.4 * 0.7 * np.array([240, 180])


def misses_its_box(document, _):
    x, y, width, height = document["annotations"][5]["bbox"]
    document["annotations"][5]["bbox"] = [x + 0.6 * width, y + 0.6 * height, 40, 30]


def again_in_the_photo(document, marks):
    document["annotations"].append({**document["annotations"][2], "id": 900})
    marks.append(marks[2] + [1, 1, 0])


def again_in_another_file(document, marks):
    document["images"].append({**document["images"][2], "id": 900, "file_name": "again.jpg"})
    more = {**document["annotations"][2], "id": 900, "image_id": 900}
    document["annotations"].append(more)
    marks.append(marks[2][::-1])


def seen(path, with_model=True):
    annotations = read_annotations(path)
    found, lines = find(annotations, model() if with_model else None)
    assert not lines
    return {(each.kind, int(annotations.index.item[each.row]), each.landmarks) for each in found}


def test_nothing_is_said_of_clean_annotations(clean):
    assert seen(clean) == set()


@pytest.mark.parametrize(
    "how, expected",
    [
        (swap, (SWAPPED, 103, (1, 2))),
        (shift, (FAR, 107, (0,))),
        (again_in_the_photo, (TWICE, 900, ())),
    ],
)
def test_a_mistake_is_found_and_nothing_else(clean, how, expected):
    change(clean, how)
    assert seen(clean) == {expected}


def test_four_photos_are_enough(tmp_path):
    path = annotate(tmp_path / "photos", range(4), width=240, height=180)
    assert seen(path) == set()
    change(path, swap)
    assert seen(path) == {(SWAPPED, 103, (1, 2))}


def test_a_copy_of_a_photo_with_other_landmarks_is_found(clean):
    PIL.Image.fromarray(photo(2, width=240, height=180)[0]).save(
        clean.parent / "again.jpg", quality=95, subsampling=0
    )
    change(clean, again_in_another_file)
    assert (TWICE, 900, ()) in seen(clean)
    assert (TWICE, 900, ()) not in seen(clean, with_model=False)  # its photo is not opened
    shutil.copy(clean.parent / "002.png", clean.parent / "again.jpg")
    assert (TWICE, 900, ()) in seen(clean, with_model=False)


def test_a_box_beside_its_landmarks_is_found_without_photos(clean):
    change(clean, misses_its_box)
    ((kind, item, which),) = seen(clean, with_model=False)
    assert (kind, item) == (BESIDE, 105) and len(which) > 2


def test_few_photos_are_told(tmp_path):
    path = annotate(tmp_path / "photos", range(3))
    found, (line,) = find(read_annotations(path), model())
    assert not found and "4 photos" in line


# --------------------------------------------------------------------------- the command


@pytest.fixture
def command(clean, monkeypatch):
    monkeypatch.setattr(doctor, "open_model", lambda *_: model())
    return ["doctor", "--data", str(clean)]


def test_the_doctor_says_what_is_wrong_and_offers_it_mended(clean, command, tmp_path, capsys):
    before = json.loads(clean.read_text())
    change(clean, swap)
    spoilt = clean.read_bytes()
    assert main(command) == 0  # landmarks are not looked at unless this is asked
    out = clean.parent / "mended.json"
    assert main([*command, "--mended", str(out)]) == 1
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if "annotation 103" in line]
    assert "003.png" in line and NAMES[1] in line and NAMES[2] in line and SWAPPED in line
    assert json.loads(out.read_text()) == before and clean.read_bytes() == spoilt
    assert main([*command, "--mended", str(out)]) == 2
    assert main([*command, "--mended", str(clean)]) == 2
    assert clean.read_bytes() == spoilt


def test_a_landmark_far_off_is_not_labelled_in_the_mended_file(clean, command):
    change(clean, shift)
    out = clean.parent / "mended.json"
    assert main([*command, "--mistakes", "--mended", str(out)]) == 1
    old, new = (json.loads(path.read_text())["annotations"] for path in (clean, out))
    assert new[7]["keypoints"] == [0, 0, 0, *old[7]["keypoints"][3:]]
    assert new[:7] + new[8:] == old[:7] + old[8:]


def test_other_forms_are_mended_as_coco(clean, command, tmp_path):
    folder = tmp_path / "labelme"
    folder.mkdir()
    truth = read_annotations(clean)
    for row, number in enumerate(truth.index.photo):
        path, points = truth.photos[number].path, truth.index.landmarks(row)[0].copy()
        shutil.copy(path, folder)
        if row == 3:
            points[[1, 2]] = points[[2, 1]]
        shapes = [
            {"label": name, "shape_type": "point", "points": [point]}
            for name, point in zip(NAMES, points.tolist())
        ]
        x1, y1, x2, y2 = truth.index.box[row].tolist()
        corners = [[x1, y1], [x2, y2]]
        shapes.append({"label": "blobs", "shape_type": "rectangle", "points": corners})
        about = {"imagePath": path.name, "imageWidth": 240, "imageHeight": 180, "shapes": shapes}
        (folder / f"{path.stem}.json").write_text(json.dumps(about))
    out = tmp_path / "photos" / "mended.json"
    assert main(["doctor", "--data", str(folder), "--mended", str(out)]) == 1
    mended = read_annotations(out)
    assert len(mended.index) == COUNT
    for row in range(COUNT):
        np.testing.assert_allclose(
            mended.index.landmarks(row)[0], truth.index.landmarks(row)[0], atol=0.01
        )


@pytest.mark.parametrize("name", ["mended.xml", "none/../photos"])
def test_bad_names_are_one_line(clean, command, name, tmp_path, capsys):
    assert main([*command, "--mended", str(tmp_path / name)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
