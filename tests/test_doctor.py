"""What the doctor says of a folder: counts, broken files, categories with too few garments."""

import json
import shutil

import pytest

from benchmarks.presets import SMOKE
from fewshot_landmarks.__main__ import main

FEW = ["--queries", "4", "--train-queries", "4"]


@pytest.fixture
def data(smoke_folder, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(smoke_folder / "data" / SMOKE.drawn.name, root)
    return root


def test_a_sound_folder_is_fit(data, capsys):
    assert main(["doctor", "--data", str(data), *FEW, "--decode", "20"]) == 0
    said = capsys.readouterr().out
    assert "Fit for every benchmark." in said and "sling dress" in said


def test_broken_files_and_scarce_categories_are_told(data, capsys):
    annotations = sorted((data / "validation" / "annos").iterdir())
    annotations[0].write_text("{broken")
    for path in annotations[1:]:  # no skirts are left
        annotation = json.loads(path.read_text())
        items = {k: v for k, v in annotation.items() if not _is_skirt(v)}
        if len(items) < len(annotation):
            if any(key.startswith("item") for key in items):
                path.write_text(json.dumps(items))
            else:
                path.unlink()
    photo = data / "train" / "image" / "000001.jpg"
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    assert main(["doctor", "--data", str(data), *FEW]) == 1
    said = capsys.readouterr().out
    assert annotations[0].name in said and "not JSON" in said
    assert "000001.jpg: the JPEG is cut short" in said
    assert "validation: skirt has 0 photos" in said
    cannot = next(line for line in said.splitlines() if "skirt has 0" in line)
    assert "B-2" in cannot and "B-1" not in cannot  # unseen in B-2, seen in B-1


def test_no_data_is_one_line(tmp_path, capsys):
    assert main(["doctor", "--data", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def _is_skirt(value) -> bool:
    return isinstance(value, dict) and value.get("category_name") == "skirt"
