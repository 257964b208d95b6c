"""Processes that die, are stopped or left alone: nothing hangs, nothing stays, one line is told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.engine import store
from fewshot_landmarks.data.garments import write_garments
from fewshot_landmarks.data.jointed import write_jointed
from fewshot_landmarks.support.console import answer
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import alone
from fewshot_landmarks.support.processes import Processes
from tests.processes import NumpyAndWait, children, gone, keep, kept, wait_for

ROOT = Path(__file__).parents[2]
DRAW = [sys.executable, "-m", "fewshot_landmarks.data.garments", "--photos-train", "400",
        "--photos-validation", "0", "--workers", "2", "--root"]  # fmt: skip


BEGUN: list[subprocess.Popen] = []


def begin(command, **options):
    """A command on its own, as a shell would start it."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    BEGUN.append(subprocess.Popen(command, cwd=ROOT, **pipes, **options))
    return BEGUN[-1]


@pytest.fixture(autouse=True)
def nothing_stays():
    """No command that a failed test began goes on."""
    yield
    while BEGUN:
        BEGUN.pop().kill()


def work_with(state: bytes):
    with Processes(1, len, state) as processes:
        return processes.submit(os.getpid).result()


@pytest.mark.parametrize("moment", ["at once", "imported"])
def test_a_process_that_dies_while_it_starts_is_one_line(moment):
    """Also where it begins with more than a pipe holds."""
    before = set(children(os.getpid()))

    def kill():
        (born,) = wait_for(lambda: set(children(os.getpid())) - before)
        if moment == "imported":
            wait_for(lambda: "numpy" in Path(f"/proc/{born}/maps").read_text())
        os.kill(born, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(UserError) as told:
        work_with(bytes(10_000_000) if moment == "at once" else NumpyAndWait())
    thread.join()
    assert "\n" not in str(told.value)
    assert set(children(os.getpid())) <= before


def test_a_large_beginning_arrives_whole():
    state = os.urandom(10_000_000)
    with Processes(2, keep, state) as processes:
        assert {processes.submit(kept).result() for _ in range(4)} == {zlib.crc32(state)}


@pytest.mark.parametrize(
    "sent, status, drawing",  # or still starting
    [
        (signal.SIGKILL, -9, False),
        (signal.SIGKILL, -9, True),
        (signal.SIGINT, 130, True),
        (signal.SIGTERM, 143, True),
    ],
)
def test_children_end_with_their_parent(sent, status, drawing, tmp_path):
    parent = begin([*DRAW, str(tmp_path)])
    born = wait_for(lambda: found if len(found := children(parent.pid)) == 2 else None)
    if drawing:
        wait_for(lambda: list(tmp_path.rglob("*.jpg")))
    parent.send_signal(sent)
    _, told = parent.communicate(timeout=20)
    assert parent.returncode == status
    wait_for(lambda: gone(born))
    if sent != signal.SIGKILL:
        assert told.replace("\r", "\n").splitlines()[-1] == "stopped"
        assert "Traceback" not in told


def test_ctrl_c_at_a_terminal_reaches_all_and_is_one_line(tmp_path):
    parent = begin([*DRAW, str(tmp_path)], start_new_session=True)
    born = wait_for(lambda: children(parent.pid))
    os.killpg(parent.pid, signal.SIGINT)
    began = time.monotonic()
    _, told = parent.communicate(timeout=20)
    assert parent.returncode == 130 and "Traceback" not in told
    assert time.monotonic() - began < 3 and gone(born)


def test_ctrl_c_during_imports_is_one_line():
    parent = begin([sys.executable, "-m", "benchmarks.run", "--all"])
    wait_for(lambda: "numpy" in Path(f"/proc/{parent.pid}/maps").read_text())
    parent.send_signal(signal.SIGINT)
    _, told = parent.communicate(timeout=20)
    assert (parent.returncode, told) == (130, "stopped\n")


def test_a_command_leaves_signals_as_they_were():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert answer(lambda _: os.kill(os.getpid(), signal.SIGTERM), Namespace()) == 143
    assert answer(lambda _: os.kill(os.getpid(), signal.SIGINT), Namespace()) == 130
    assert answer(lambda _: None, Namespace()) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


SHAPES = {"photos": {"train": 4, "test": 4}, "categories": 2, "progress": False}


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_two_that_draw_the_same_draw_it_once(tmp_path):
    photos = {"photos": {"train": 4}, "minimum": {}, "progress": False}
    write_garments(tmp_path / "one", **photos)
    write_jointed(tmp_path / "shapes", **SHAPES)
    command = [sys.executable, "-c", "import sys\n"
               "from pathlib import Path\n"
               "from fewshot_landmarks.data.garments import write_garments as garments\n"
               "from fewshot_landmarks.data.jointed import write_jointed as jointed\n"
               "garments(Path(sys.argv[1], 'two'), photos={'train': 4}, minimum={})\n"
               "jointed(Path(sys.argv[1], 'more'), photos={'train': 4, 'test': 4}, categories=2)\n",
               str(tmp_path)]  # fmt: skip
    for each in [begin(command) for _ in range(2)]:
        _, told = each.communicate(timeout=60)
        assert each.returncode == 0, told
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert content(tmp_path / "shapes") == content(tmp_path / "more")
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "left", ["", ".0123456789abcdef.partial", ".lock", "train/image/000001.jpg.partial"]
)
def test_what_a_killed_drawing_leaves_is_taken_up(left, tmp_path):
    write_garments(tmp_path / "whole", photos={"train": 2}, minimum={}, progress=False)
    begun = tmp_path / "begun"
    if left.startswith("train"):
        write_garments(begun, photos={"train": 2}, minimum={}, progress=False)
        (begun / "generator.json").unlink()
        (begun / "train" / "image" / "000001.jpg").rename(begun / left)
    elif left:
        begun.mkdir()
        (begun / left).write_text("{")
    write_garments(begun, photos={"train": 2}, minimum={}, progress=False)
    assert content(begun) == content(tmp_path / "whole")


def test_a_killed_drawing_of_shapes_leaves_nothing_for_long(tmp_path):
    (tmp_path / ".shapes.fewshot-landmarks.partial" / "images").mkdir(parents=True)
    write_jointed(tmp_path / "shapes", **SHAPES)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


def test_notes_of_many_processes_are_all_kept(tmp_path):
    command = [sys.executable, "-c", "import json, sys\n"
               "from pathlib import Path\n"
               "from fewshot_landmarks.support.files import alone\n"
               "path = Path(sys.argv[1], 'notes.json')\n"
               "for _ in range(20):\n"
               "    with alone(Path(sys.argv[1], '.lock')):\n"
               "        path.write_text(json.dumps(json.loads(path.read_text()) + 1))\n",
               str(tmp_path)]  # fmt: skip
    (tmp_path / "notes.json").write_text("0")
    for each in [begin(command) for _ in range(4)]:
        assert each.communicate(timeout=60) == ("", "")
    assert (tmp_path / "notes.json").read_text() == "80"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.json"]


def test_learners_that_are_noted_at_once_are_all_kept(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda seed: store.remember(tmp_path, ["MAML"], seed, [], []), range(16)))
    noted = json.loads((tmp_path / "learners.json").read_text())
    assert sorted(noted) == [["MAML", seed] for seed in range(16)]


def test_who_waits_for_another_is_told(tmp_path, capsys):
    with ThreadPoolExecutor(1) as threads:
        with alone(tmp_path / ".lock"):
            waiting = threads.submit(alone(tmp_path / ".lock").__enter__)
            told = wait_for(lambda: capsys.readouterr().err)
            assert str(tmp_path) in told and not waiting.done()
        waiting.result(timeout=5)
