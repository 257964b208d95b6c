import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys

import pytest
import torch

from benchmarks.presets import SMOKE
from fewshot_landmarks.data.garments import write_garments
from fewshot_landmarks.learner import REGISTRY

torch.set_num_threads(1)

SOME = ["--preset", "smoke", "--benchmark", "B-2", "--learner", "MetaCloth", "--learner", "MRN"]


@pytest.fixture(scope="session")
def smoke_folder(tmp_path_factory):
    """A folder to run commands in, with the smoke preset's garments drawn."""
    folder = tmp_path_factory.mktemp("run")
    drawn = SMOKE.drawn
    write_garments(
        folder / "data" / drawn.name,
        photos={"train": drawn.train_photos, "validation": drawn.validation_photos},
        minimum={"train": drawn.train_minimum, "validation": drawn.validation_minimum},
        workers=2,
        progress=False,
    )
    return folder


@pytest.fixture(scope="session")
def unbroken(smoke_folder):
    """What an unbroken run of `SOME` cells in one process writes."""
    out = smoke_folder / "unbroken"
    command = [sys.executable, "-m", "benchmarks.run", *SOME, "--out", str(out), "--workers", "1"]
    subprocess.run(command, cwd=smoke_folder, check=True, capture_output=True)
    written = sorted(path.name for path in out.iterdir() if path.is_file())
    (smoke_folder / "written.txt").write_text("\n".join(written))  # before tests add to it
    return out


@pytest.fixture
def in_smoke_folder(smoke_folder, monkeypatch):
    monkeypatch.chdir(smoke_folder)
    return smoke_folder


@pytest.fixture(scope="module")
def colours():
    """`tests.colours.Colours` as if it were one of this project's learners."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGISTRY, "COLOURS", "tests.colours:Colours")
        yield
