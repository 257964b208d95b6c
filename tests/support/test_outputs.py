"""No command replaces what this project did not write, and how commands end."""

import io
import os
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import (
    adequacy,
    evaluation_speed,
    export,
    gpu_check,
    horizon,
    index_speed,
    metrics,
    prepare,
    run,
    tune,
)
from benchmarks.claims import build as claims
from benchmarks.commands import cells
from benchmarks.figures import build as figures
from benchmarks.report import build as report
from benchmarks.results import schemas
from benchmarks.speed import training as speed
from benchmarks.tables import build as tables
from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.garments import __main__ as garments_command
from fewshot_landmarks.data.jointed import __main__ as jointed
from fewshot_landmarks.protocol import LEARNERS, REGISTRY
from fewshot_landmarks.support import outputs
from fewshot_landmarks.support.console import answer
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_text
from fewshot_landmarks.support.outputs import RECORD, claim
from tests.colours import model
from tests.photos.test_predict import annotate

pytestmark = pytest.mark.usefixtures("colours")
RESULTS = Path(__file__).parents[2] / "results"
MINE = b"by hand"


def held(folder) -> dict:
    """The bytes of each file of a folder, but for records."""
    files = {path: path for path in folder.rglob("*") if path.is_file() or path.is_symlink()}
    return {path: path.read_bytes() for path in files if path.name != RECORD}


# ------------------------------------------------------------------------- own photos

SUPPORT, QUERY = "support/annotations.json", "query/annotations.json"
COMMANDS = {
    "adapt": f"adapt --support {SUPPORT} --model models --learner COLOURS --out out/x.safetensors",
    "predict": f"predict --model finder.safetensors --boxes {QUERY} --out out/x.json",
    "evaluate": f"evaluate --predictions found.json --annotations {QUERY} --out out",
    "compare": f"compare --support {SUPPORT} --query {QUERY} --models models --shots 1 --draws 1"
    " --out out",
    "draw": f"draw --annotations {QUERY} --side 60 --out out/x.png",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, colours):
    """Photos, a model, an adapted one and predictions."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(REGISTRY, "COLOURS", "tests.colours:Colours")
        model().save("models/COLOURS.safetensors")
        annotate(folder / "support", range(2))
        annotate(folder / "query", range(10, 12))
        adapt = COMMANDS["adapt"].replace("out/x", "finder")
        assert main(adapt.split()) == 0
        assert main(COMMANDS["predict"].replace("out/x", "found").split()) == 0
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_of_the_users_stays_unless_overwrite_is_given(name, place, tmp_path, monkeypatch):
    command = COMMANDS[name].split()
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert main(command) == 0
    written = held(tmp_path / "out")
    assert written
    for path, content in written.items():
        path.write_bytes(MINE)  # changed since, and below: in place of what was never there
        before = held(tmp_path)
        assert main(command) == 2
        assert held(tmp_path) == before
        (path.parent / RECORD).rename(tmp_path / RECORD)
        assert main(command) == 2
        assert held(tmp_path) == before
        (tmp_path / RECORD).rename(path.parent / RECORD)
        path.write_bytes(content)
    shutil.rmtree(tmp_path / "out")
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MINE)
    assert main([*command, "--overwrite"]) == 0
    assert MINE not in held(tmp_path / "out").values()
    assert main(command) == 0  # over its own
    assert held(tmp_path / "out").keys() == written.keys()


def test_a_link_to_a_file_of_the_users_is_not_written_through(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    mine, link = tmp_path / "mine.png", tmp_path / "x.png"
    mine.write_bytes(MINE)
    link.symlink_to(mine)
    command = ["draw", "--annotations", QUERY, "--out", str(link)]
    assert main(command) == 2 and link.is_symlink()
    assert main([*command, "--overwrite"]) == 0 and not link.is_symlink()
    assert mine.read_bytes() == MINE


def test_pictures_do_not_go_among_annotated_photos_of_the_same_name(place, tmp_path, monkeypatch):
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    annotate(tmp_path / "kimono", range(10, 12))
    before = held(tmp_path / "kimono")
    command = "predict --model finder.safetensors --images query --out kimono.json"
    assert main(command.split()) == 0
    assert held(tmp_path / "kimono") == before
    assert len(held(tmp_path / "kimono-drawn")) == 2


# ----------------------------------------------------------------------- the benchmark

SMOKE = ["--preset", "smoke", "--out", "out"]
FULL = ["--preset", "full", "--out", "out"]
STORED = ["--results", "out"]
MODELS = [f"models/{name}.safetensors" for name in LEARNERS]
WRITTEN = {  # by command: its arguments, and what it writes to out/
    run: (["--all", *SMOKE], cells._files(True)),
    tables: (STORED, tables.FILES),
    claims: (STORED, claims.FILES),
    figures: (STORED, figures.FILES),
    report: (STORED, [report.FILE]),
    metrics: (SMOKE, metrics.FILES),
    export: (SMOKE, [schemas.CALIBRATION.name, *MODELS]),
    tune: (FULL, [schemas.TRIALS.name]),
    adequacy: (FULL, [schemas.ADEQUACY.name]),
    horizon: (FULL, [schemas.HORIZON.name]),
    evaluation_speed: (SMOKE, evaluation_speed.FILES),
    speed: (["--out", "out"], speed.FILES),
    index_speed: (["--out", "out"], index_speed.FILES),
    gpu_check: (["--device", "cpu", "--out", "out"], gpu_check.FILES),
}


@pytest.mark.parametrize("command", WRITTEN, ids=lambda command: command.__name__)
def test_a_users_file_among_results_stays(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, files = WRITTEN[command]
    (tmp_path / "out" / "work").mkdir(parents=True)  # metrics wants to see one
    for file in files:
        path = tmp_path / "out" / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(MINE)
        assert command.main(arguments) == 2
        assert held(tmp_path) == {path: MINE}
        path.unlink()


def test_what_committed_results_hold_is_claimed_by_a_command():
    known = {file for _, files in WRITTEN.values() for file in files}
    for folder in ("full", "deep", "stated", "speed"):
        there = {str(p.relative_to(RESULTS / folder)) for p in held(RESULTS / folder)}
        assert {name for name in there if not name.startswith("work/")} - known <= {
            "precision.csv",  # made once, by hand
        }


def test_a_folder_of_other_work_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "out" / "work" / "learners.json"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(MINE)
    for command in (prepare, run):
        assert command.main(["--all"] * (command is run) + SMOKE) == 2
        assert held(tmp_path) == {mine: MINE}


def test_choices_by_hand_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine.json"
    mine.write_text('{"B-1": {"MAML": {"inner_rate": 0.1}}}')
    before = held(tmp_path)
    assert tune.main([*FULL, "--choices", "mine.json"]) == 2
    assert held(tmp_path) == before


def test_drawn_data_do_not_replace_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("x.png", "set/image/mine.jpg", "shapes/mine.json"):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MINE)
    before = held(tmp_path)
    assert garments_command.main(["--sheet", "x.png", "--columns", "1", "--categories", "1"]) == 2
    assert garments_command.main(["--root", "set"]) == 2
    assert jointed.main(["--out", "shapes"]) == 2
    assert held(tmp_path) == before


def test_photos_behind_links_are_not_drawn_over(tmp_path):
    """Folders that look empty, and unfinished files that are not."""
    real, root = tmp_path / "deepfashion2", tmp_path / "set"
    for split in ("train", "validation"):
        (real / split / "image").mkdir(parents=True)
        (root / split).parent.mkdir(exist_ok=True)
        (root / split).symlink_to(real / split)
    (real / "train/image/000001.jpg").write_bytes(MINE)
    few = ["--photos-train", "1", "--photos-validation", "1"]
    assert garments_command.main(["--root", str(root), *few]) == 2
    assert held(real) == {real / "train/image/000001.jpg": MINE}


def test_shapes_are_drawn_to_the_folder_that_a_link_leads_to(tmp_path, monkeypatch):
    few = {"photos": {"train": 2, "test": 2}, "categories": 2, "size": 32, "progress": False}
    (tmp_path / "big").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "big")
    jointed.write_jointed(tmp_path / "link", **few)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    jointed.write_jointed(".", **few)
    assert (tmp_path / "big" / "split.json").exists() and (tmp_path / "here/split.json").exists()


def test_a_folder_of_the_users_is_not_taken_for_damaged_or_unfinished_shapes(tmp_path):
    few = {"photos": {"train": 2, "test": 2}, "categories": 2, "size": 32, "progress": False}
    for path in ("a/generator.json/mine", "b/mine.jpg", ".c.partial/mine"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(MINE)
    (tmp_path / "b/generator.json").write_text("{}")
    (tmp_path / "b/generator.json.sum").write_text("0" * 64)
    (tmp_path / "photos").mkdir()
    (tmp_path / ".d.fewshot-landmarks.partial").symlink_to(tmp_path / "photos")
    for name in "abd":
        with pytest.raises(UserError):
            jointed.write_jointed(tmp_path / name, **few)
    (tmp_path / ".d.fewshot-landmarks.partial").unlink()
    jointed.write_jointed(tmp_path / "c", **few)
    mine = {str(path.relative_to(tmp_path)) for path, b in held(tmp_path).items() if b == MINE}
    assert mine == {"a/generator.json/mine", "b/mine.jpg", ".c.partial/mine"}
    assert not [*(tmp_path / "photos").iterdir()]


# --------------------------------------------------------------------------- the record


def test_results_of_an_earlier_version_are_this_projects(tmp_path):
    path, other = tmp_path / "table2.md", tmp_path / "table3.md"
    for file in (path, other):
        file.write_text("a table")
    with pytest.raises(UserError):
        claim([path], overwrite=False)
    shutil.copy(RESULTS / "full" / "run.json", tmp_path)
    claim([path], overwrite=False)
    claim([path, other], overwrite=False)
    other.write_bytes(MINE)  # since then
    with pytest.raises(UserError, match=other.name):
        claim([path, other], overwrite=False)


def test_not_all_that_lies_among_earlier_results_is_this_projects(tmp_path):
    shutil.copy(RESULTS / "full" / "run.json", tmp_path)
    for name in ("mine.json", "mine.safetensors", "found.jpg"):
        (tmp_path / name).write_bytes(MINE)
        for _ in range(2):
            with pytest.raises(UserError):
                claim([tmp_path / name], overwrite=False)
            claim([tmp_path / "table2.md"], overwrite=False)


@pytest.mark.parametrize("name", [RECORD, "run.json"])
def test_a_record_of_any_size_takes_little_memory(name, tmp_path, monkeypatch):
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 10**13)
    monkeypatch.setattr(outputs, "_LONGEST", 2**16)
    claim([tmp_path / "a.json"], overwrite=False)


def test_what_is_written_is_known_by_name_and_content(tmp_path):
    path = tmp_path / "new" / "a.json"
    claim([path], overwrite=False)
    write_text(path, "[]")
    claim([path], overwrite=False)
    shutil.copy(path, path.with_name("b.json"))
    with pytest.raises(UserError):
        claim([path.with_name("b.json")], overwrite=False)
    with (path.parent / RECORD).open("a") as record:
        record.write("cut sho")  # as a full disk leaves it
    write_text(path, "[1]")
    claim([path], overwrite=False)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
@pytest.mark.parametrize("name", ["a.json", RECORD])
def test_what_is_no_file_stays(tmp_path, kind, name):
    path, mine = tmp_path / name, tmp_path / "mine"
    mine.write_bytes(MINE)
    make = {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}
    make.get(kind, lambda: path.symlink_to(mine))()
    with pytest.raises(UserError):
        claim([tmp_path / "a.json"], overwrite=kind != "link" or name == RECORD)
    assert mine.read_bytes() == MINE


# ------------------------------------------------------------------------ how commands end


@pytest.mark.parametrize("bad", ["x" * 300, "nul\0"])
@pytest.mark.parametrize(
    "command, options",
    [
        ("adapt", ["--support", "--images", "--model", "--out"]),
        ("predict", ["--model", "--images", "--boxes", "--out", "--drawings"]),
        ("evaluate", ["--predictions", "--annotations", "--images", "--out"]),
        ("compare", ["--support", "--query", "--query-images", "--models", "--out"]),
        ("draw", ["--annotations", "--images", "--out"]),
        ("doctor", ["--data", "--images", "--cache"]),
    ],
)
def test_a_path_that_no_file_has_is_one_line(
    command, options, bad, place, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = COMMANDS.get(command, f"doctor --data {place / QUERY}").split()
    for option in options:
        given = [*words, option, bad]
        assert main(given) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not held(tmp_path)


def test_a_path_that_no_file_has_is_one_line_in_the_benchmark(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for bad in ("x" * 300, "nul\0"):
        for command in WRITTEN:
            option = "--results" if WRITTEN[command][0] == STORED else "--out"
            assert command.main([option, bad]) == 2
            assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not held(tmp_path)


@pytest.mark.parametrize(
    "command, words",
    [
        (jointed, "--out loop"),
        (jointed, f"--out j --photos {10**30}"),
        (garments_command, f"--root g --photos-train {10**30}"),
        (garments_command, "--sheet s.png --categories 0"),
        (garments_command, "--sheet s.png --seed -1"),
        (garments_command, "--sheet s.png --columns 0"),
        (prepare, "--weights loop"),
        (adequacy, "--data mine.json"),
        (evaluation_speed, "--data mine.json"),
    ],
)
def test_what_cannot_be_is_one_line(command, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "mine.json").write_text("{}")
    assert command.main(words.split()) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", [":x", ":", "x:", "..:x", "a b:c", "nul\0:x"])
def test_a_learner_that_cannot_be_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (run, tune, export):
        assert command.main([*FULL, "--learner", name]) == 2


def test_names_that_are_not_utf8_are_printed_to_a_strict_terminal(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), "ascii", "strict")
    monkeypatch.setattr(sys, "stdout", out)
    assert answer(lambda asked: print(os.fsdecode(b"\xff.jpg"), "é"), Namespace()) == 0
    assert b".jpg" in out.buffer.getvalue()


def test_names_that_are_not_utf8_are_written(tmp_path):
    write_text(tmp_path / "x.md", os.fsdecode(b"\xff.jpg"))
    assert ".jpg" in (tmp_path / "x.md").read_text("utf-8")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_under_the_output_is_one_line(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert answer(lambda asked: print("x" * 100), Namespace()) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_what_the_machine_refuses_is_one_line(capsys):
    def refused(asked):
        raise OSError(28, "No space left on device", "found.json")

    assert answer(refused, Namespace()) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "found.json" in line
