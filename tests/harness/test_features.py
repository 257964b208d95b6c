"""What frozen layers make of crops: stored once, looked up, and made again where it is lost."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.commands.overrides import change
from benchmarks.engine import stages
from benchmarks.engine.experiment import Experiment
from benchmarks.engine.keys import SPLITS, feature_paths
from benchmarks.engine.plan import base_jobs, missing
from benchmarks.engine.pool import do
from benchmarks.presets import SMOKE
from fewshot_landmarks.networks.pretrained import TimmFENet
from fewshot_landmarks.protocol import BENCHMARKS
from fewshot_landmarks.support.errors import UserError

PLACE = BENCHMARKS["B-2"]


@pytest.fixture
def experiment(smoke_folder, tmp_path) -> Experiment:
    preset = change(SMOKE, ["network=pyramid", "channels=8", "width=8"])
    return Experiment.of(preset, smoke_folder / "data" / SMOKE.drawn.name, tmp_path / "work")


def stored(experiment: Experiment) -> dict[str, Path]:
    """The files of all crops, made by their jobs."""
    for job in missing(base_jobs(experiment, PLACE, "linear")):
        if job.stage == "features":
            do(experiment, job, lambda share: None)
    return {split: feature_paths(experiment, split)[0] for split in SPLITS}


def test_crops_are_looked_up_and_not_computed(experiment, monkeypatch):
    garments = experiment.data.train
    garments.usable[3] = False  # a damaged one has no crop
    paths = stored(experiment)
    assert len(np.load(paths["train"])) == len(garments) - 1
    images = torch.stack([garments[i].image for i in (0, 5, 2)])
    with torch.no_grad():
        wanted = stages._new_base(experiment, PLACE, "linear").fenet(images)
    monkeypatch.setattr(TimmFENet, "maps", None)
    with torch.no_grad():
        torch.testing.assert_close(
            stages._new_base(experiment, PLACE, "linear").fenet(images), wanted
        )


def test_lost_and_damaged_ones_are_a_line_and_made_again(experiment):
    path = stored(experiment)["validation"]
    whole = path.read_bytes()
    assert [job.stage for job in missing(base_jobs(experiment, PLACE, "linear"))] == ["base"]
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="run the same command again"):
        stages._new_base(experiment, PLACE, "linear")
    waiting = missing(base_jobs(experiment, PLACE, "linear"))
    assert [job.stage for job in waiting] == ["features", "base"]
    assert path in waiting[-1].needs
    stored(experiment)
    assert path.read_bytes() == whole


def test_names_tell_networks_and_sizes_apart(experiment, tmp_path):
    def name(*words: str) -> str:
        preset = change(experiment.preset, list(words))
        other = Experiment.of(preset, experiment.data.root, tmp_path / "other")
        return feature_paths(other, "validation")[0].name

    assert name() == name("channels=16", "base_epochs=2")  # the neck is not theirs
    assert len({name(), name("size=64"), name("name=tf_efficientnet_lite1")}) == 3
    assert not feature_paths(Experiment.of(SMOKE, experiment.data.root, tmp_path), "train")
