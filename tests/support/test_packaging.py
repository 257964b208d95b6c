"""What the package holds, and that everything it imports is asked for in setup.cfg."""

import ast
import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fewshot_landmarks
from fewshot_landmarks.protocol import LEARNERS
from fewshot_landmarks.support.extras import EXTRAS, LEARN2LEARN

ROOT = Path(__file__).parents[2]
OURS = ("fewshot_landmarks", "baselines", "benchmarks")
NOBODYS = {"pillow_heif"}  # in no extra: README says how to have it


def setup() -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg")
    return found


def required(extra: str | None = None) -> list[Requirement]:
    """What setup.cfg asks for, always or by an extra."""
    found = setup()
    lines = found["options"]["install_requires"] if extra is None else None
    lines = lines or found["options.extras_require"][extra]
    return [Requirement(line) for line in lines.strip().splitlines()]


EXTRA_NAMES = tuple(setup()["options.extras_require"])


def imports(file: Path) -> set[str]:
    """The packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - set(OURS)


def test_what_is_imported_is_required_or_brought_by_an_extra():
    always = {canonicalize_name(one.name) for one in required()}
    distributions = packages_distributions()
    for package in OURS:
        for file in (ROOT / package).rglob("*.py"):
            for name in imports(file) - set(EXTRAS) - NOBODYS:
                by = {canonicalize_name(one) for one in distributions.get(name, ())}
                assert by & always, f"{file} imports {name}, which setup.cfg does not require"


def test_every_extra_that_an_error_names_is_there_and_the_tests_install_it():
    assert set(EXTRAS.values()) <= set(EXTRA_NAMES)
    (ours,) = [one for one in required("test") if one.name == "fewshot-landmarks"]
    assert ours.extras == set(EXTRA_NAMES) - {"test"}


@pytest.mark.parametrize("extra", [None, *EXTRA_NAMES])
def test_what_is_required_is_pinned_within_its_range(extra):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    for one in required(extra):
        if one.name == "fewshot-landmarks":
            continue
        own = [pin for pin in pins if canonicalize_name(pin.name) == canonicalize_name(one.name)]
        assert own, f"{one.name} has no version in constraints.txt"
        for pin in own:
            (version,) = pin.specifier
            assert one.specifier.contains(version.version)


def test_versions_are_stated_alike():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", text, re.M)[1] == fewshot_landmarks.__version__
    of_learn2learn = LEARN2LEARN.split()[-1]
    assert of_learn2learn in (ROOT / "requirements-learn2learn.txt").read_text()


def test_a_wheel_holds_the_models_and_all_that_is_read(tmp_path):
    source = tmp_path / "source"
    for name in OURS:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyi")  # Gradio writes these
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for learner in LEARNERS:
        assert f"fewshot_landmarks/photos/models/{learner}.safetensors" in held
    read = [file for name in OURS for file in (source / name).rglob("*") if file.is_file()]
    assert {file.relative_to(source).as_posix() for file in read} <= held
