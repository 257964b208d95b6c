"""Single numbers of a preset, changed by --set."""

from pathlib import Path

import pytest
import torch

from benchmarks.commands.overrides import change
from benchmarks.presets import FULL, PAPER
from benchmarks.run import main
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.support.errors import UserError

METACLOTH, MAML = find_learner("MetaCloth"), find_learner("MAML")


def test_a_change_reaches_the_preset_or_the_settings():
    changed = change(FULL, ["size=64", "tasks=7", "MetaCloth.inner_rate=1", "flat=True"])
    assert changed.size == 64 and FULL.size != 64
    settings = changed.settings(METACLOTH, "B-1")
    assert (settings.tasks, settings.inner_rate, settings.flat) == (7, 1, True)
    other = changed.settings(MAML, "B-1")
    assert other.tasks == 7 and other.inner_rate == FULL.settings(MAML, "B-1").inner_rate


def test_a_side_that_the_network_cannot_halve_is_refused_and_others_run():
    for name, network in FENETS.items():
        options = {"weights": None} if network.pretrained else {}
        options |= {"name": "test_resnet"} if name == "timm" else {"channels": 8}
        fenet, side = network(**options).eval(), max(network.multiple, 32)
        with torch.no_grad():
            features = fenet(torch.rand(1, 3, side, side))
        cells = side // fenet.stride
        assert features.shape == (1, fenet.channels, cells, cells)
    other = change(FULL, ["network=resnet50", "size=96", "channels=8"])
    assert other.size == 96 and other.network_options == {"channels": 8}  # none of small's
    with pytest.raises(UserError, match="multiples of 32"):
        change(FULL, ["network=resnet50"])  # 48


def test_what_tuning_chose_can_be_left_out():
    assert change(FULL, ["tuned="]).tuned == "" and change(FULL, ["tuned=smoke"]).tuned == "smoke"


def test_what_tuning_chose_can_be_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"B-1": {"MAML": {"inner_rate": 0.5}}}')
    changed = change(FULL, [f"tuned={path}"])
    assert changed.settings(MAML, "B-1").inner_rate == 0.5
    assert changed.settings(MAML, "B-2").inner_rate == FULL.common["inner_rate"]
    assert Path(changed.tuned).is_absolute() and changed.asked == (f"tuned={path}",)
    path = tmp_path / "own.json"
    path.write_text('{"B-1": {"Own": {"sharpness": 3}}}')  # of module:Own, known by its name alone
    assert change(FULL, [f"tuned={path}"]).chosen("Own", "B-1") == {"sharpness": 3}
    maml = '{"B-1": {"MAML": {%s}}}'
    wrong = ("{", "[1]", "{}", '{"B-1": {"Maml": {"inner_rate": 1.0}}}', maml % '"rate": 1')
    for number, text in enumerate((*wrong, maml % '"inner_rate": "fast"', maml % '"tasks": -5')):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(UserError, match=path.name):
            change(FULL, [f"tuned={path}"])
    with pytest.raises(UserError, match="absent.json"):
        change(FULL, ["tuned=absent.json"])


def test_a_change_goes_before_what_tuning_chose(monkeypatch):
    chosen = {"B-1": {"MAML": {"inner_rate": 0.5}}}
    monkeypatch.setattr("benchmarks.presets._tuned", lambda name: chosen)
    assert FULL.settings(MAML, "B-1").inner_rate == 0.5
    assert change(FULL, ["inner_rate=0.2"]).settings(MAML, "B-1").inner_rate == 0.2
    both = change(FULL, ["inner_rate=0.2", "MAML.inner_rate=0.3"])
    assert both.settings(MAML, "B-1").inner_rate == 0.3


@pytest.mark.parametrize(
    "text",
    [
        *("size", "size=big", "tasks=1.5", "flat=1", "sizes=64", "WG.inner=1", "common={}"),
        *("size=0", "size=40", "episodes=0", "queries=0", "channels=0", "precision=float16"),
        *("network=vgg", "base_optimiser=lion", "crops=some", "tuned=fulll"),
        *("network=some.json", "crops=some.json"),
    ],
)
def test_mistakes_are_one_line(text):
    with pytest.raises(UserError) as error:
        change(FULL, [text])
    assert "\n" not in str(error.value) and text.partition("=")[0] in str(error.value)


def test_the_paper_s_numbers():
    """Section 4.2."""
    settings = PAPER.settings(METACLOTH, "B-1")
    assert (PAPER.size, PAPER.network, PAPER.network_options["channels"]) == (384, "resnet50", 512)
    assert (PAPER.base_epochs, PAPER.base_rate) == (20, 0.01)
    assert (settings.tasks, settings.ppnet_tasks) == (40_000, 40_000)
    assert (settings.inner_steps, settings.inner_rate, settings.outer_rate) == (12, 0.01, 2e-4)
    assert settings.head_rate == 0.002 and settings.flat


@pytest.mark.parametrize("seed", ["-1", "9" * 30, "one"])
def test_a_seed_is_a_whole_number(seed, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--all", "--seed", seed])
    assert ended.value.code == 2 and repr(seed) in capsys.readouterr().err
