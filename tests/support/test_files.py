"""Files: whole or not at all, read only where they are files, and finished work that is damaged."""

import errno
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from benchmarks.engine import store
from benchmarks.results import reading
from benchmarks.results.reading import read_heatmaps, read_run, read_table
from benchmarks.results.schemas import EPISODES, Schema
from benchmarks.run import main
from fewshot_landmarks.data import shards
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.formats.places import _endings
from fewshot_landmarks.data.garments import write_garments
from fewshot_landmarks.data.index import load_index
from fewshot_landmarks.data.jointed import write_jointed
from fewshot_landmarks.data.source import find_source
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.networks.fenet import load_backbone
from fewshot_landmarks.photos.commands import predict
from fewshot_landmarks.support import files
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import (
    is_whole,
    open_regular,
    read_regular,
    write_bytes,
    write_text,
    written_whole,
)
from tests.conftest import SOME
from tests.mutants import byte_mutants


@pytest.fixture(autouse=True)
def soon():
    """A test that waits for a pipe fails, and does not wait."""

    def late(*_):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# ------------------------------------------------------------------------ written whole


def test_a_file_appears_whole_and_flushed(tmp_path, monkeypatch):
    path, seen = tmp_path / "new" / "a.bin", []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: seen.append(path.exists()) or sync(file))
    with written_whole(path) as file:
        file.write(b"one")
    assert path.read_bytes() == b"one" and seen == [False, True]  # the file, then its folder
    with pytest.raises(KeyError), written_whole(path) as file:
        file.write(b"two")
        raise KeyError
    assert path.read_bytes() == b"one"
    assert [each.name for each in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("name", ["n" * 244, "n" * 255, "é" * 127])
def test_a_long_name_is_a_name(tmp_path, name):
    for summed in (False, True):
        write_text(tmp_path / name, "text", summed)
        assert is_whole(tmp_path / name)
    (tmp_path / name).write_text("else")
    assert not is_whole(tmp_path / name)


def test_the_cause_is_named_and_not_guessed(tmp_path, monkeypatch):
    with pytest.raises(UserError) as error:
        write_text(tmp_path / ("n" * 300), "text")
    assert "shorter" in str(error.value) and "space" not in str(error.value)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="free space"):
        write_text(tmp_path / "a", "text")
    assert list(tmp_path.iterdir()) == []


LEAVES = """
import os, sys
from pathlib import Path
from fewshot_landmarks.support.files import written_whole
with written_whole(Path(sys.argv[1])) as file:
    print("begun", flush=True)
    sys.stdin.read() if sys.argv[2] == "wait" else os._exit(9)
"""


def test_leftovers_of_killed_processes_are_cleared_and_no_others(tmp_path):
    command = [sys.executable, "-c", LEAVES, str(tmp_path / "a")]
    subprocess.run([*command, "die"], check=False, capture_output=True)
    assert len(list(tmp_path.iterdir())) == 1
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, "wait"], **pipes) as living:
        living.stdout.readline()
        theirs = tmp_path / ".mine.partial"
        theirs.touch()
        files._clear.cache_clear()
        write_text(tmp_path / "b", "text")
        assert len(list(tmp_path.iterdir())) == 3  # the living one's, theirs, and b
        living.stdin.close()
        assert living.wait() == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == [".mine.partial", "a", "b"]


# ------------------------------------------------------------------------- read if files


def odd_places(folder):
    """A pipe, a device, a folder and names that no file has."""
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    (folder / "device.json").symlink_to("/dev/zero")
    names = ("pipe", "folder", "device", "none", "n" * 300, "a\0b", "\ud800")
    return [folder / f"{name}.json" for name in names]


def test_only_files_are_read_and_none_above_the_limit(tmp_path):
    for path in odd_places(tmp_path):
        with pytest.raises(OSError):
            open_regular(path)
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_regular(file, 5) == b"12345"
    with pytest.raises(OSError, match="larger"):
        read_regular(file, 4)
    os.truncate(file, 10**13)  # takes no room, and would fill any memory
    with pytest.raises(OSError, match="larger"):
        read_regular(file)


@pytest.mark.parametrize(
    "read",
    [
        read_annotations,
        find_source,
        read_heatmaps,
        lambda path: read_table(path.parent, Schema(path.name, {})),
        lambda path: read_run(path.parent),
        lambda path: load_backbone(None, path, "ResNet-50"),
    ],
    ids=["annotations", "split", "heatmaps", "table", "run", "weights"],
)
def test_what_is_no_file_is_one_line(tmp_path, read):
    for path in odd_places(tmp_path):
        with pytest.raises(UserError) as error:
            read(path)
        assert "\n" not in str(error.value)


def test_results_that_grow_when_they_are_unpacked_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST", 2**20)
    (tmp_path / "episodes.csv.gz").write_bytes(gzip.compress(bytes(2**22)))
    np.savez_compressed(tmp_path / "heatmaps.npz", **{"B-1/x": np.zeros(2**22)})
    for read in (read_heatmaps, lambda folder: read_table(folder, EPISODES)):
        with pytest.raises(UserError, match="MiB"):
            read(tmp_path)


def test_a_map_that_says_it_is_larger_than_any_memory_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "heatmaps.npz", "w") as archive:
        with archive.open("B-1/x.npy", "w") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (10**15,)}
            np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(UserError):
        read_heatmaps(tmp_path)


@pytest.mark.parametrize("noted", ["[[1]]", '{"a": 1}', '[["PROTO", "x"]]', "3", "[[[], 0]]"])
def test_a_note_of_learners_that_is_none_is_as_good_as_lost(tmp_path, noted):
    (tmp_path / "learners.json").write_text(noted)
    assert store.known(tmp_path) == store.seeds(tmp_path) == []


def test_a_note_of_learners_imports_nothing(tmp_path, monkeypatch, capsys):
    """But for what a user has named before, which is imported already."""
    (tmp_path / "noted.py").write_text(
        "from baselines.maml import MAML\nopen('ran', 'w')\nclass Mine(MAML):\n    pass\n"
    )
    noted = [["noted:Mine", 0], ["MAML", 1], ["noted:Mine", 2], ["sys:path", 0]]
    (tmp_path / "learners.json").write_text(json.dumps(noted))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert store.known(tmp_path) == [("MAML", 1)] and not (tmp_path / "ran").exists()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "--learner noted:Mine" in told[0] and "sys:path" in told[1]
    find_learner("noted:Mine")
    assert store.known(tmp_path) == [("noted:Mine", 0), ("MAML", 1), ("noted:Mine", 2)]
    del sys.modules["noted"]


def test_a_pipe_among_annotations_is_left_out(tmp_path, smoke_folder):
    for name in ("annos", "image"):
        (tmp_path / "train" / name).mkdir(parents=True)
    (source,) = (smoke_folder / "data").iterdir()
    for number in ("000001", "000002"):
        shutil.copy(source / f"train/annos/{number}.json", tmp_path / "train" / "annos")
        shutil.copy(source / f"train/image/{number}.jpg", tmp_path / "train" / "image")
    shutil.copy(source / "train/image/000001.jpg", tmp_path / "train" / "image" / "000003.jpg")
    os.mkfifo(tmp_path / "train" / "annos" / "000003.json")
    index = load_index(tmp_path, "train", cache=tmp_path / "cache")
    assert "000003.json" in index.skipped[0] and set(index.photo) == {1, 2}
    photo = tmp_path / "train" / "image" / "000002.jpg"
    photo.unlink()
    photo.symlink_to("/dev/zero")
    assert set(load_index(tmp_path, "train", cache=tmp_path / "cache").photo) == {1}


def test_a_pipe_among_labelme_files_is_left_out(tmp_path):
    shape = {"label": "tip", "points": [[2, 3]], "shape_type": "point"}
    (tmp_path / "a.jpg").write_bytes(b"a photo")
    said = {"imagePath": "a.jpg", "imageWidth": 9, "imageHeight": 9, "shapes": [shape]}
    (tmp_path / "a.json").write_text(json.dumps(said))
    os.mkfifo(tmp_path / "b.json")
    found = read_annotations(tmp_path)
    assert len(found.index) == 1 and any("b.json" in line for line in found.index.skipped)


def test_a_name_of_many_folders_takes_no_time(tmp_path):
    deep = files.Path("a/" * 6000 + "b.jpg")
    assert len(_endings(deep)) < 30
    assert list(map(str, _endings(files.Path("a/b/c.jpg")))) == ["a/b/c.jpg", "b/c.jpg", "c.jpg"]


# --------------------------------------------------------------------------- damaged work

DAMAGES = {
    "zeroed": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
    "halved": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:-1] + bytes([content[-1] ^ 4]),
    "empty": lambda content: b"",
}


KINDS = (
    "weights/*.safetensors", "learners.json", "asked.json", "episodes/*/MRN/*.npz",
    "episodes/*/*/*.csv", "data/index-*.npz", "data/pixels-*/*.tar", "probes/*.csv",
    "data/pixels-*/places.npz", "probes/*.npz",
)  # fmt: skip
NOTES = ("costs", "learners", "asked")  # of seconds, and of what was asked for


def tree(folder):
    """Content of all files that are finished work, by their place."""
    left_out = (".writable", *(f"{name}.json{end}" for name in NOTES for end in ("", ".sum")))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.suffix.startswith(".damaged") and path.name not in left_out
    }


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, len(DAMAGES)))]
)
def test_damaged_work_is_named_and_made_again(in_smoke_folder, unbroken, tmp_path, capsys, first):
    out = tmp_path / "out"
    shutil.copytree(unbroken, out)
    damaged = []
    for k, pattern in enumerate(KINDS, first):
        path = sorted((out / "work").glob(pattern))[-1]
        damage = list(DAMAGES.values())[k % len(DAMAGES)]
        path.write_bytes(damage(path.read_bytes()))
        damaged.append(path)
    assert main([*SOME, "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert all(str(path) in said for path in damaged)
    assert tree(out / "work") == tree(unbroken / "work")
    learners = [json.loads((each / "work/learners.json").read_text()) for each in (out, unbroken)]
    assert sorted(learners[0]) == sorted(learners[1])
    for name in ("table2.csv", "episodes.csv.gz", "curves.csv.gz", "similarities.csv"):
        assert (out / name).read_bytes() == (unbroken / name).read_bytes(), name


@pytest.fixture
def stored(smoke_folder, tmp_path, monkeypatch):
    """A function that stores a category's crops, packed or in shards, and opens them."""
    monkeypatch.setattr(shards, "GARMENTS", 50)
    (root,) = (smoke_folder / "data").iterdir()

    def store(way):
        garments = DeepFashion2(root, "validation", size=8, cache=tmp_path)
        return getattr(garments, way)(tmp_path)

    return store


@pytest.mark.parametrize("way", ["pack", "prepare"])
def test_damaged_crops_are_made_again(stored, tmp_path, capsys, way):
    stored(way)
    before = tree(tmp_path)
    names = [name for name in before if not name.endswith(".sum")]
    for damage in DAMAGES.values():
        for name in names:
            (tmp_path / name).write_bytes(damage(before[name]))
        again = stored(way)
        said = capsys.readouterr().err
        assert all(name in said for name in names) and len(names) >= 3
        assert tree(tmp_path) == before and again[0].image.any()


def test_damaged_records_of_drawn_data_are_made_again(tmp_path, capsys):
    few = {"photos": {"train": 13}, "minimum": {"train": 1}, "progress": False}
    write_garments(tmp_path / "garments", **few)
    jointed = {"photos": {"train": 2, "test": 2}, "categories": 2, "size": 32, "progress": False}
    write_jointed(tmp_path / "jointed", **jointed)
    before = tree(tmp_path)
    for name in ("garments", "jointed"):
        record = tmp_path / name / "generator.json"
        record.write_bytes(record.read_bytes().replace(b"2", b"3"))
    annotation = tmp_path / "garments" / "train" / "annos" / "000003.json"
    annotation.write_bytes(annotation.read_bytes()[:50])
    write_garments(tmp_path / "garments", **few)
    write_jointed(tmp_path / "jointed", **jointed)
    shutil.rmtree(tmp_path / "jointed.damaged")
    assert tree(tmp_path) == before
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_what_is_put_aside_replaces_nothing(tmp_path):
    path = tmp_path / "work.bin"
    for content in (b"first", b"second", b"third"):
        path.write_bytes(content)
        files.put_aside(path, "cut short")
    aside = {name: (tmp_path / f"work.bin.{name}").read_bytes() for name in ("damaged", "damaged3")}
    assert aside == {"damaged": b"first", "damaged3": b"third"} and not path.exists()


def test_work_without_a_digest_is_taken_and_a_damaged_digest_is_damage(tmp_path, capsys):
    path, beside = tmp_path / "work.bin", tmp_path / "work.bin.sum"
    path.write_bytes(b"of an earlier version")
    assert is_whole(path) and not capsys.readouterr().err
    write_bytes(path, b"now", summed=True)
    assert is_whole(path)
    for wrong in (b"", b"0" * 64, b"\xff\xfe"):
        beside.write_bytes(wrong)
        assert not is_whole(path) and not path.exists()
        assert "work.bin" in capsys.readouterr().err
        write_bytes(path, b"now", summed=True)
        assert is_whole(path)


def test_a_kill_between_file_and_digest_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    write_text(path, "old", summed=True)
    replace = os.replace

    def killed(source, target):
        if target == path:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            write_text(path, "new", summed=True)
    monkeypatch.undo()
    assert is_whole(path) and path.read_text() == "old"
    write_text(path, "new", summed=True)
    assert is_whole(path) and path.read_text() == "new"


def test_what_stands_in_the_place_of_work_is_put_aside(tmp_path, capsys):
    for name, make in (("pipe", os.mkfifo), ("folder", os.mkdir)):
        make(tmp_path / name)
        assert not is_whole(tmp_path / name) and name in capsys.readouterr().err
        write_text(tmp_path / name, "made again", summed=True)
        assert is_whole(tmp_path / name)


def test_several_threads_find_the_same_damage(tmp_path, capsys):
    path = tmp_path / "work"
    write_text(path, "work", summed=True)
    path.write_text("damaged")
    found = []
    threads = [threading.Thread(target=lambda: found.append(is_whole(path))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [False] * 8 and "work" in capsys.readouterr().err


# ------------------------------------------------------------------ unfinished predictions


def unfinished(path, count=4):
    """Lines as predict notes them, and what they say."""
    done = predict._resume(path, "digest")
    with path.open("a") as file:
        for number in range(count):
            line = {"key": [number, 10 * number], "results": [{"score": number / 7}]}
            predict._note(file, line)
            done[tuple(line["key"])] = line
    return done


def test_damaged_predictions_are_searched_again(tmp_path, capsys):
    path = tmp_path / ".found.json.unfinished"
    done = unfinished(path)
    assert predict._resume(path, "digest") == done and not capsys.readouterr().err
    path.write_text(path.read_text().replace("0.28", "0.29"))  # of the third
    assert predict._resume(path, "digest") == dict(list(done.items())[:2])
    assert str(path) in capsys.readouterr().err
    path.unlink()
    os.mkfifo(path)
    assert predict._resume(path, "digest") == {} and path.is_file()


# --------------------------------------------------------------------------- mutants, slow


@pytest.mark.slow
def test_no_mutant_of_work_is_taken_for_it(unbroken, tmp_path, capsys):
    shutil.copytree(unbroken / "work", tmp_path / "work")
    for pattern in (*KINDS, "weights/*.sum", "data/*.npz.sum"):
        path = sorted((tmp_path / "work").glob(pattern))[-1]
        work = path.with_suffix("") if path.suffix == ".sum" else path
        contents = {each: each.read_bytes() for each in (work, work.with_name(f"{work.name}.sum"))}
        for mutant in byte_mutants(contents[path], 100):
            for each, content in contents.items():
                each.write_bytes(mutant if each == path else content)
            found = is_whole(work)
            said = capsys.readouterr().err
            assert found or (str(work) in said and not work.exists())
            assert found == (mutant == contents[path]) or path != work


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pack", "prepare"])
def test_mutants_of_crops_and_index_end_in_the_same_bytes(stored, tmp_path, capsys, way):
    stored(way)
    before = tree(tmp_path)
    names = [name for name in before if not name.endswith(".sum")]
    for k, name in enumerate(names):
        for mutant in byte_mutants(before[name], 200 // len(names), seed=k):
            (tmp_path / name).write_bytes(mutant)
            stored(way)
            assert tree(tmp_path) == before
            assert (name in capsys.readouterr().err) == (mutant != before[name])


@pytest.mark.slow
def test_mutants_of_unfinished_predictions_hold_nothing_else(tmp_path):
    path = tmp_path / ".found.json.unfinished"
    done = unfinished(path, 30)
    for mutant in byte_mutants(path.read_bytes(), 300):
        path.write_bytes(mutant)
        found = predict._resume(path, "digest")
        assert all(done[key] == line for key, line in found.items())
