import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from benchmarks.presets import SMOKE
from fewshot_landmarks.data.garments import write_garments
from fewshot_landmarks.learner import REGISTRY
from tests.processes import one_process

torch.set_num_threads(1)

SOME = ["--preset", "smoke", "--benchmark", "B-2", "--learner", "MetaCloth", "--learner", "MRN"]


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """What is made once for all processes of pytest: the smoke preset's garments, and `unbroken`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder, drawn = folder / "made", SMOKE.drawn
    write_garments(
        folder / "data" / drawn.name,
        photos={"train": drawn.train_photos, "validation": drawn.validation_photos},
        minimum={"train": drawn.train_minimum, "validation": drawn.validation_minimum},
        progress=False,
    )
    return folder


@pytest.fixture(scope="session")
def smoke_folder(made, tmp_path_factory):
    """A folder to run commands in, with the smoke preset's garments drawn."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "data").mkdir()
    (folder / "data" / SMOKE.drawn.name).symlink_to(made / "data" / SMOKE.drawn.name)
    return folder


@pytest.fixture(scope="session")
def unbroken(made, smoke_folder):
    """What an unbroken run of `SOME` cells in one process writes."""
    with FileLock(made / "unbroken.lock"), pytest.MonkeyPatch.context() as patch:
        if not (made / "unbroken" / "table2.csv").exists():
            from benchmarks.run import main  # with learn2learn, which most tests need not wait for

            patch.chdir(made)
            patch.setattr("benchmarks.engine.pool.run", one_process)
            assert main([*SOME, "--out", "unbroken"]) == 0
    return Path(shutil.copytree(made / "unbroken", smoke_folder / "unbroken"))


@pytest.fixture
def in_smoke_folder(smoke_folder, monkeypatch):
    """`smoke_folder`, where commands do their jobs in this process."""
    monkeypatch.chdir(smoke_folder)
    monkeypatch.setattr("benchmarks.engine.pool.run", one_process)
    return smoke_folder


@pytest.fixture(scope="module")
def colours():
    """`tests.colours.Colours` as if it were one of this project's learners."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGISTRY, "COLOURS", "tests.colours:Colours")
        yield
