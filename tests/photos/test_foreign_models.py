"""Model files from anywhere: what they may make this program do, which is little."""

import json
import os
import resource
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from fewshot_landmarks.__main__ import main
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.photos.model import MODELS, Model, load
from fewshot_landmarks.photos.stored import HEADER
from fewshot_landmarks.protocol import LEARNERS
from fewshot_landmarks.support.errors import UserError
from tests.colours import OPTIONS, SIZE, model, photos
from tests.mutants import byte_mutants, json_mutants
from tests.photos.test_predict import annotate

MINE = """
from pathlib import Path
from tests.colours import Colours

Path(__file__).with_name("was_run").touch()


class Mine(Colours):
    name = "MINE"
"""


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    """A file of FT, which takes the most steps of its own, adapted to three photos."""
    path = tmp_path_factory.mktemp("finder") / "finder.safetensors"
    images, landmarks, boxes = photos(range(3))
    model("FT").adapt(images, landmarks, boxes=boxes, names="abcd").save(path)
    return path


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A model of somebody's own learner, whose module says when it is run."""
    (tmp_path / "somebodys.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    fitted = model("tests.colours:Colours").learner
    path = tmp_path / "models" / "MINE.safetensors"
    Model(fitted, "somebodys:Mine", "small", OPTIONS["small"], SIZE, None, {}).save(path)
    yield path
    sys.modules.pop("somebodys", None)


def said(path) -> dict:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER])


def changed(header: dict, place: str, value: object) -> str:
    """The header as JSON, with another value at a place such as "base.seen"."""
    header = json.loads(json.dumps(header))
    *path, last = place.split(".")
    inside = header
    for key in path:
        inside = inside[key]
    inside[last] = "VALUE" if isinstance(value, bytes) else value
    text = json.dumps(header)
    return text.replace('"VALUE"', value.decode()) if isinstance(value, bytes) else text


def refused_with(model, folder, name, change):
    """A model's file with one tensor changed, or left out where that gives None, is refused."""
    path, tensors = folder / "model.safetensors", load_file(model)
    tensors[name] = change(tensors.get(name))
    kept = {key: tensor for key, tensor in tensors.items() if tensor is not None}
    path.write_bytes(save(kept, {HEADER: json.dumps(said(model))}))
    refused(path)


def refused(path, **options) -> str:
    with pytest.raises(UserError) as error:
        load(path, **options)
    assert path.name in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


# ------------------------------------------------------------------------------ learners


def test_what_a_file_names_is_not_imported(mine):
    assert "somebodys:Mine" in refused(mine)
    assert "somebodys:Mine" in refused(mine, learner="MINE")
    refused(mine, learner="other:Mine")
    refused(mine, learner="PROTO")
    assert "somebodys" not in sys.modules and not (mine.parents[1] / "was_run").exists()


def test_a_learner_of_ones_own_is_loaded_where_it_is_named(mine):
    found = load(mine, learner="somebodys:Mine")
    assert found.learner.name == "MINE"
    assert load(mine, learner=type(found.learner)).name == "somebodys:Mine"


def test_a_file_is_of_the_learner_asked_for():
    for asked in ("PROTO", "baselines.proto:PROTO", find_learner("PROTO"), None):
        assert load("PROTO", learner=asked).learner.name == "PROTO"
    with pytest.raises(UserError, match="PROTO"):
        load("PROTO", learner="WG")
    with pytest.raises(UserError, match="PROTO"):
        load("PROTO", learner=find_learner("WG"))


def test_commands_load_a_learner_of_ones_own_where_it_is_named(mine, tmp_path, capsys):
    support = annotate(tmp_path / "support", range(4))
    named = ["--learner", "somebodys:Mine"]
    out = tmp_path / "finder.safetensors"
    for command in (
        ["doctor", "--model", str(mine)],
        ["adapt", "--support", str(support), "--model", str(mine.parent), "--out", str(out)],
        ["predict", "--model", str(out), "--images", str(support.parent), "--no-drawings"]
        + ["--out", str(tmp_path / "found.json")],
        ["compare", "--support", str(support), "--query", str(support), "--shots", "1"]
        + ["--models", str(mine.parent), "--draws", "1"],
    ):
        sys.modules.pop("somebodys", None)
        without = [*command, "--learner", "MINE"] if command[0] == "adapt" else command
        assert main(without) == 2
        assert "somebodys:Mine" in capsys.readouterr().err and "somebodys" not in sys.modules
        assert main([*command, *named]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", LEARNERS)
def test_models_of_version_0_1_go_on_loading(name):
    """Their headers name modules, which are found in the registry."""
    before = said(MODELS / f"{name}.safetensors")["learner"]
    found = load(name)
    assert found.learner.name == name and found.name == before and ":" in before


# ------------------------------------------------------------------------------- headers


@pytest.mark.parametrize(
    "place, value",
    [
        ("network_options.width", 4000),
        ("network_options.width", 9),
        ("network_options.channels", 0),
        ("network_options.channels", 10**19),
        ("network_options.channels", True),
        ("network_options.precision", "int8"),
        ("network_options.weights", "/dev/zero"),
        ("network", "large"),
        ("network", ["small"]),
        ("size", 10**6),
        ("size", 33),
        ("size", 32.0),
        ("base.seen", {"7": 10**9}),
        ("base.seen", {}),
        ("base.seen", {"x": 18}),
        ("base.kind", "round"),
        ("base.most_landmarks", 10**12),
        ("settings.tuning_steps", 10**19),
        ("settings.tuning_steps", 2.5),
        ("settings.tuning_steps", -1),
        ("settings.inner_rate", b"NaN"),
        ("settings.inner_rate", b"1e999"),
        ("settings.inner_rate", "0.1"),
        ("settings.inner_rate", 10**400),
        ("settings.inner_rate", b"1" * 5000),
        ("settings.feature_cache", 10**19),
        ("settings.outer_falls", [None]),
        ("settings.more", 1),
        ("calibration", {"weights": [0.0], "bias": 0.0}),
        ("calibration", {"weights": [0.0] * 10 + [float("nan")], "bias": 0.0}),
        ("calibration", {"weights": [0.0] * 11, "bias": float("inf")}),
        ("names", ["a", "b", "c"]),
        ("names", ["a", "b", "c", 4]),
        ("names", ["a", "b", "c", "\ud800"]),
        ("names", "abcd"),
        ("category", None),
        ("about", []),
        ("about.seen", [1]),
        ("about.seed", b"-Infinity"),
        ("about.seed", b"[" * 100_000),
        ("learner", None),
        ("learner", ":"),
        ("learner", "a\nb"),
        ("learner", "unittest.__main__:X"),
        ("kind", ["finder"]),
        ("format", None),
    ],
)
def test_a_header_of_wrong_values_is_one_line(finder, tmp_path, place, value):
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(load_file(finder), {HEADER: changed(said(finder), place, value)}))
    refused(path)


@pytest.mark.parametrize(
    "name, change",
    [
        ("base.omega", lambda tensor: tensor[:1]),
        ("base.omega", lambda tensor: tensor.double()),
        ("base.omega", lambda tensor: tensor * float("nan")),
        ("fenet.head.bias", lambda tensor: None),
        ("fenet.more", lambda tensor: torch.zeros(3)),
        ("support.more", lambda tensor: torch.zeros(3)),
        ("support.boxed.images", lambda tensor: tensor[:0]),
        ("support.boxed.images", lambda tensor: tensor.float()),
        ("support.whole.labelled", lambda tensor: tensor[:2]),
        ("support.boxed.landmarks", lambda tensor: tensor + 1000),
        ("support.boxed.scale", lambda tensor: -tensor),
        ("support.shape", lambda tensor: tensor.T.contiguous()),
    ],
)
def test_tensors_that_do_not_belong_are_one_line(finder, tmp_path, name, change):
    refused_with(finder, tmp_path, name, change)


def test_no_more_features_are_kept_than_a_machine_has_room_for(finder):
    assert load(finder).model.learner.settings.feature_cache == 0  # what the file says
    assert load("PROTO").learner.settings.feature_cache <= 2**28


def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors")
    with pytest.raises(UserError):
        load("x" * 5000)


def test_a_support_too_large_is_refused_before_it_is_saved():
    images, landmarks, boxes = photos(range(1))
    many = np.repeat(np.array(landmarks)[:, :1], 5000, 1)
    with pytest.raises(UserError, match="5000"):
        model("tests.colours:Colours").adapt(images, many, boxes=boxes)


@pytest.mark.parametrize("length", [17_000_000, 90_000_000])
def test_a_long_header_is_refused_before_it_is_parsed(tmp_path, length, monkeypatch):
    monkeypatch.setattr(json, "loads", None)
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({}, {HEADER: "[]," * (length // 3)}))
    refused(path)


# ----------------------------------------------------------------------- slow: thousands

WIDE = """
import resource, sys
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.photos.model import load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load(sys.argv[1])
except UserError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, base",
    [({"channels": 4000, "width": 4000}, {}), ({"channels": 1, "width": 1}, {"most": 1000})],
)
def test_a_small_file_takes_little_memory(tmp_path, options, base):
    header = {
        "format": 1, "kind": "learner", "learner": "MAML", "settings": {}, "network": "small",
        "network_options": options, "size": 32, "calibration": None, "about": {},
        "base": {"seen": {"1": 1000}, "kind": "linear", "most_landmarks": 1000},
    }  # fmt: skip
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"base.omega": torch.zeros(1)}, {HEADER: json.dumps(header)}))
    command = [sys.executable, "-c", WIDE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 * 1024, done


@pytest.mark.slow
def test_thousands_of_mutants_are_one_line_or_predict(finder, tmp_path):
    path, whole = tmp_path / "mutant.safetensors", finder.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    table, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    header = said(finder)
    header["settings"]["tuning_steps"] = 1

    def packed(table: bytes) -> bytes:
        return struct.pack("<Q", len(table)) + table + body

    def files():
        for mutant in json_mutants(header, 2000):
            yield packed(json.dumps({**table, "__metadata__": {HEADER: mutant.decode()}}).encode())
        yield from map(packed, json_mutants(table, 1000, seed=1))
        yield from byte_mutants(whole, 500, seed=2)
        for mutant in byte_mutants(whole[: 8 + length], 500, seed=3):
            yield mutant + body

    images, _, boxes = photos(range(5, 7))
    load(finder).predict(images, boxes)
    load(finder).predict(images)
    modules, peak = set(sys.modules), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = 0
    for number, content in enumerate(files()):
        path.write_bytes(content)
        began = time.monotonic()
        try:
            found = load(path)
        except UserError as error:
            assert "mutant.safetensors" in str(error) and "\n" not in str(error), number
        else:
            read += 1
            if hasattr(found, "predict"):
                assert found.predict(images[:1]).landmarks.shape == (1, 4, 2), number
                assert np.isfinite(found.predict(images[:1], boxes[:1]).scores).all(), number
        assert time.monotonic() - began < 60, number
    assert set(sys.modules) == modules
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**20
    assert number == 3999 and read > 100
