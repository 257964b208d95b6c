"""Crops stored in shards: what is read is what was cut, and a stopped preparation goes on."""

import json
import pickle
import shutil
import tarfile

import pytest
import torch

from benchmarks import prepare
from benchmarks.presets import SMOKE
from fewshot_landmarks.data import shards
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.support.errors import UserError


@pytest.fixture
def root(smoke_folder):
    return smoke_folder / "data" / SMOKE.drawn.name


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "GARMENTS", 100)


def test_shards_hold_what_photos_hold(root, tmp_path):
    direct = DeepFashion2(root, "validation", size=40)
    stored = DeepFashion2(root, "validation", size=40).prepare(tmp_path)
    assert len(list(tmp_path.rglob("*.tar"))) == -(-len(direct) // 100) > 1
    assert stored.usable.all() and stored.fingerprint != direct.fingerprint
    again = pickle.loads(pickle.dumps(stored))  # as another process gets it
    for i in (0, 99, 100, len(direct) - 1):
        one, other = direct[i], again[i]
        assert (one.image - other.image).abs().mean() < 0.01  # a JPEG of quality 95
        for name in ("landmarks", "labelled", "inside", "origin", "scale", "area"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_shard_is_a_webdataset(root, tmp_path):
    stored = DeepFashion2(root, "validation", size=40).prepare(tmp_path)
    path = sorted(tmp_path.rglob("*.tar"))[1]
    with tarfile.open(path) as tar:
        names = tar.getnames()
        about = json.load(tar.extractfile("00000100.json"))
    assert names[:2] == ["00000100.jpg", "00000100.json"]
    assert about["category_id"] == stored.labels[100] and about["photo"] == stored.photos[100]
    assert len(about["landmarks"]) == len(stored[100].landmarks)


def test_a_stopped_preparation_goes_on_to_the_same_bytes(root, tmp_path, monkeypatch):
    DeepFashion2(root, "validation", size=40).prepare(tmp_path / "whole")
    whole = {p.name: p.read_bytes() for p in (tmp_path / "whole").rglob("*.tar")}
    done = []

    def stop_at_two(folder, kind, start):
        if len(done) == 2:
            raise OSError(28, "No space left on device")
        done.append(start)
        write(folder, kind, start)

    write = shards._write_shard
    monkeypatch.setattr(shards, "_write_shard", stop_at_two)
    with pytest.raises(UserError, match="No space left") as error:
        DeepFashion2(root, "validation", size=40).prepare(tmp_path / "parts")
    assert "\n" not in str(error.value)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "parts").rglob("*.tar")}
    assert len(kept) == 2
    monkeypatch.setattr(shards, "_write_shard", write)
    DeepFashion2(root, "validation", size=40).prepare(tmp_path / "parts")
    parts = {p.name: p for p in (tmp_path / "parts").rglob("*.tar")}
    assert {name: path.read_bytes() for name, path in parts.items()} == whole
    assert all(parts[name].stat().st_mtime_ns == time for name, time in kept.items())


def test_damaged_photos_are_left_out(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    photo = copy / "validation" / "image" / "000003.jpg"
    photo.write_bytes(photo.read_bytes()[:2000])
    stored = DeepFashion2(copy, "validation", size=40).prepare(tmp_path / "crops")
    damaged = stored.photos == 3
    assert damaged.any() and (stored.usable == ~damaged).all()
    assert len(stored.skipped) == 1 and "000003.jpg" in stored.skipped[0]
    with pytest.raises(UserError, match="damaged"):
        stored[int(damaged.nonzero()[0][0])]


def test_stored_crops_are_used_again(root, tmp_path, monkeypatch):
    DeepFashion2(root, "validation", size=40).prepare(tmp_path)
    monkeypatch.setattr(DeepFashion2, "_read", None)  # no photo is opened any more
    assert DeepFashion2(root, "validation", size=40).prepare(tmp_path)[0].category


def test_processes_write_the_same_bytes(root, tmp_path, monkeypatch):
    monkeypatch.undo()
    for workers in (1, 2):
        DeepFashion2(root, "validation", size=24).prepare(tmp_path / str(workers), workers=workers)
    one, other = (sorted((tmp_path / str(n)).rglob("*.tar")) for n in (1, 2))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other] != []


def test_the_command_tells_what_it_stored(in_smoke_folder, tmp_path, capsys):
    assert prepare.main(["--preset", "smoke", "--out", str(tmp_path)]) == 0
    assert "validation: " in capsys.readouterr().out
    assert prepare.main(["--preset", "paper"]) == 2  # wants real data
    assert len(capsys.readouterr().err.splitlines()) == 1
