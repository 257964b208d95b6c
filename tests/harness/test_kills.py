"""Commands killed at random moments, parents and workers alike: the same bytes, nothing is left.

KILLS says how many in all (default: 200).
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.presets import SMOKE
from fewshot_landmarks.__main__ import main
from fewshot_landmarks.photos.model import MODELS
from tests.photos.test_predict import annotate
from tests.processes import children, of_session, wait_for

ROOT = Path(__file__).parents[2]
CELL = ["--preset", "smoke", "--benchmark", "B-4", "--learner", "PROTO"]
COMMANDS = {
    "draw": "-m fewshot_landmarks.data.garments --root OUT/set --photos-train 150 "
    "--photos-validation 50 --workers 2",
    "shapes": "-m fewshot_landmarks.data.jointed --out OUT/set --photos 60",
    "run": f"-m benchmarks.run {' '.join(CELL)} --shots 1 --out OUT --workers 2",
    "pack": "-m benchmarks.prepare --preset smoke --set size=128 --out OUT",
    "shards": "-m benchmarks.prepare --preset smoke --set crops=sharded --out OUT --workers 2",
    "tune": f"-m benchmarks.tune {' '.join(CELL)} --out OUT --choices OUT/choices.json --workers 2",
    "predict": "-m fewshot_landmarks predict --model found.safetensors --images photos "
    "--boxes photos/annotations.json --out OUT/found.json",
}
KILLS = int(os.environ.get("KILLS", 200))
TIMED = ("costs.json", "costs.csv", "trials.csv", "studies")  # hold seconds
LOG = ".fewshot-landmarks"  # of all that was written, by the killed command too
WAYS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, smoke_folder):
    """Where all commands are run: it holds data, a model that fits some photos, and these."""
    made = tmp_path_factory.mktemp("kills")
    (made / "data").mkdir()
    (made / "data" / SMOKE.drawn.name).symlink_to(smoke_folder / "data" / SMOKE.drawn.name)
    annotate(made / "photos", range(40))
    support = ["--support", str(annotate(made / "support", range(3))), "--learner", "PROTO"]
    models = MODELS
    adapt = ["adapt", *support, "--model", str(models), "--out", str(made / "found.safetensors")]
    assert main(adapt) == 0
    return made


def begin(name: str, folder: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, *COMMANDS[name].replace("OUT", str(out)).split()]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "told").open("wb"),
        start_new_session=True,
    )


def content(out: Path) -> dict:
    return {
        str(place): None if {*place.parts, place.stem} & {*TIMED, LOG} else path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and (place := path.relative_to(out))
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_moment_it_ends_in_the_same_bytes(name, folder):
    whole, began = folder / f"{name}-whole", time.monotonic()
    assert begin(name, folder, whole).wait(600) == 0, (folder / "told").read_text()
    seconds, expected = time.monotonic() - began, content(whole)
    for number in range(-(-KILLS // len(COMMANDS))):
        draw, out = random.Random(f"{name} {number}"), folder / name
        kill(begin(name, folder, out), draw, seconds, folder / "told")
        assert begin(name, folder, out).wait(600) == 0, (number, (folder / "told").read_text())
        found = content(out)
        assert sorted(found) == sorted(expected), number
        assert [place for place in expected if found[place] != expected[place]] == [], number
        shutil.rmtree(out)


def kill(process: subprocess.Popen, draw: random.Random, seconds: float, told: Path) -> None:
    """Kill a command or one of its workers at a random moment of its `seconds`; wait for all."""
    moment, worker, way = draw.random() * seconds, draw.random() < 0.5, draw.choice(WAYS)
    try:
        status = process.wait(moment)
    except subprocess.TimeoutExpired:
        workers = children(process.pid) if worker else []
        if workers:
            os.kill(draw.choice(workers), signal.SIGKILL)
        else:
            process.send_signal(way)
        status = process.wait(60)
        print(f"{moment:.1f} s, {f'one of {len(workers)}' if workers else way.name}: {status}")
    # -2 and -15: before the command watches for signals, or after its last line
    assert status in (0, 2, -2, -9, -15, 130, 143), told.read_text()
    wait_for(lambda: not of_session(process.pid), 20)
    said = told.read_text()
    # Python itself tells of an interrupt while it imports.
    importing = status == -signal.SIGINT and said.rstrip().endswith("KeyboardInterrupt")
    assert "Traceback" not in said or importing, said
