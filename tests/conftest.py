import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from benchmarks.presets import SMOKE
from fewshot_landmarks.data.garments import write_garments

torch.set_num_threads(1)


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


@pytest.fixture
def in_smoke_folder(smoke_folder, monkeypatch):
    monkeypatch.chdir(smoke_folder)
    return smoke_folder
