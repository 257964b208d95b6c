"""Names of work: what makes new work, and what does not; versions that are raised by hand."""

import importlib
import json
import linecache
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import export
from benchmarks.engine import keys, probes
from benchmarks.engine.experiment import Data, Experiment
from benchmarks.presets import SMOKE
from fewshot_landmarks import learner as registry
from fewshot_landmarks.protocol import BENCHMARKS

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"  # syntax trees differ between them
STATED = Path(__file__).parents[1] / "versions.json"
SHARED = """evaluation heatmaps inner_loop protocol samples tasks training data.crops
metrics.landmarks networks.base networks.depthwise networks.efficientnet networks.fenet networks.fenets
networks.heads networks.pretrained networks.resnet50 networks.small support.rng""".split()

MINE = """
import math
from fewshot_landmarks.learner import Learner
class Mine(Learner):
    def adapt(self, support):
        if not len(support):
            raise ValueError("no support")
        return lambda images: 2 * images
"""


def of(text, tmp_path, monkeypatch, module="mine"):
    """Versions of the learner of a module with this text."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{module}.py").write_text(text)
    sys.modules.pop(module, None)
    importlib.invalidate_caches()
    linecache.clearcache()
    keys.code.cache_clear()
    return keys.versions(importlib.import_module(module).Mine)


def test_other_words_or_another_place_make_no_new_work(tmp_path, monkeypatch):
    plain = of(MINE, tmp_path, monkeypatch)
    other = MINE.replace("no support", "give a photo").replace("import math", "import json  # for")
    assert (
        of(other.replace("        if", '        """Doc."""\n        if'), tmp_path, monkeypatch)
        == plain
    )
    assert of(MINE, tmp_path, monkeypatch, "moved") == plain


def test_another_algorithm_or_version_makes_new_work(tmp_path, monkeypatch):
    plain = of(MINE, tmp_path, monkeypatch)
    assert of(MINE.replace("2 *", "3 *"), tmp_path, monkeypatch) != plain
    stated = MINE.replace("    def adapt", "    version = 1\n    def adapt")
    one = of(stated, tmp_path, monkeypatch)
    assert of(stated.replace("2 *", "3 *"), tmp_path, monkeypatch) == one
    assert of(stated.replace("version = 1", "version = 2"), tmp_path, monkeypatch) != one
    derived = "from baselines.maml import MAML\nclass Mine(MAML):\n    pass\n"
    assert [name for name, _ in of(derived, tmp_path, monkeypatch)] == ["Mine", "MAML"]
    benchmark, metacloth = BENCHMARKS["B-2"], registry.find_learner("MetaCloth")
    place = Experiment.of(SMOKE, Path("data/smoke"), tmp_path)
    monkeypatch.setattr(Data, "train", SimpleNamespace(fingerprint="one"))
    key = keys.fit_key(place, benchmark, metacloth)
    monkeypatch.setattr(metacloth, "version", 2)
    assert keys.fit_key(place, benchmark, metacloth) != key
    monkeypatch.undo()
    monkeypatch.setattr(Data, "train", SimpleNamespace(fingerprint="one"))
    for package, version in ((torch, "9.9"), (np, "9.9")):
        monkeypatch.setattr(package, "__version__", version)
        assert keys.fit_key(place, benchmark, metacloth) != key


def stated() -> dict[str, list]:
    """The version of each thing that computes, with the digest of its code."""
    found = {"python": PYTHON}
    for name in registry.REGISTRY:
        kind = registry.find_learner(name)
        found[name] = [vars(kind)["version"], _one(kind.__module__)]
    shared = [f"fewshot_landmarks.{name}" for name in SHARED]
    digests = [_one(name) for name in shared]
    found["all learners"] = [keys.ALGORITHMS, keys.key(digests=digests)]
    for module in (probes, export):
        found[module.__name__] = [module.VERSION, _one(module.__name__)]
    return found


def _one(module: str) -> str:
    """Digest of a module alone."""
    return keys.key(code=keys.ast.dump(keys._bare(keys._parsed(module))))


@pytest.mark.parametrize(
    "name", [*registry.REGISTRY, "all learners", "benchmarks.engine.probes", "benchmarks.export"]
)
def test_a_change_of_code_is_looked_at(name):
    """If it computes something else, raise the version; then run `python -m tests.harness.test_fingerprints`."""
    known = json.loads(STATED.read_text())
    if known["python"] != PYTHON:
        pytest.skip(f"digests are those of Python {known['python']}")
    assert stated()[name] == known[name]


if __name__ == "__main__":
    STATED.write_text(json.dumps(stated(), indent=1) + "\n")
