"""What a command imports, what `load` does, and what is said of a package that is missing."""

import json
import subprocess
import sys
from argparse import Namespace
from importlib import import_module

import cv2
import numpy as np
import pytest

import fewshot_landmarks
from fewshot_landmarks.photos.commands.parsers import parser
from fewshot_landmarks.support.console import answer
from fewshot_landmarks.support.extras import LEARN2LEARN

COMMANDS = ("adapt", "predict", "evaluate", "compare", "draw", "doctor", "page")
TOLD_AT_ONCE = [
    *(["--help"], [], ["nothing"], ["adapt", "--nothing"], ["page", "--port", "x"]),
    *([command, "--help"] for command in COMMANDS),
]
WORK = {"torch", "numpy", "pandas", "scipy", "matplotlib", "cv2", "PIL"}
CALL = """
import json, sys
from COMMAND import main
for arguments in json.loads(sys.argv[1]):
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    assert status == int(sys.argv[2]) or arguments[-1:] == ["--help"] and not status, arguments
print(*sys.modules, sep="\\n", file=sys.stderr)
"""


def imported(*calls: list[str], status: int, of: str = "fewshot_landmarks.__main__") -> set[str]:
    """Modules that a process has after these calls of a command, which all end in a status."""
    code = CALL.replace("COMMAND", of)
    command = [sys.executable, "-c", code, json.dumps(calls), str(status)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return set(done.stderr.splitlines())


def test_help_and_wrong_arguments_import_no_work():
    here = imported(*TOLD_AT_ONCE, status=2)
    assert "argparse" in here and not here & WORK


def test_help_of_the_benchmark_imports_no_work():
    assert not imported(["--help"], ["--nothing"], status=2, of="benchmarks.run") & WORK


def test_adapt_imports_what_it_needs_alone(tmp_path):
    random = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, 6):
        name = f"{number}.png"
        cv2.imwrite(str(tmp_path / name), random.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        images.append({"id": number, "file_name": name, "width": 80, "height": 60})
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "area": 2400, "num_keypoints": 2,
             "bbox": [10, 10, 60, 40], "keypoints": [20, 20, 2, 60, 40, 2]}
        )  # fmt: skip
    kinds = [{"id": 1, "name": "kite", "keypoints": ["top", "tail"]}]
    content = {"images": images, "annotations": annotations, "categories": kinds}
    (tmp_path / "five.json").write_text(json.dumps(content))
    paths = ["--support", str(tmp_path / "five.json"), "--out", str(tmp_path / "m.safetensors")]
    here = imported(["adapt", *paths, "--device", "cpu"], status=0)
    assert (tmp_path / "m.safetensors").exists() and "torch" in here
    others = {"learn2learn", "scipy", "pandas", "matplotlib", "torch._dynamo"}
    assert not here & others


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_offered_and_its_module_is_there(name):
    assert f"    {name} " in parser().format_help()
    assert callable(import_module(f"fewshot_landmarks.photos.commands.{name}").execute)


def test_load_is_there_without_torch_until_it_is_used():
    code = (
        "import sys, fewshot_landmarks; assert 'torch' not in sys.modules\n"
        "from fewshot_landmarks import load; from fewshot_landmarks.photos import model\n"
        "assert load is model.load and 'torch' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="nothing"):
        fewshot_landmarks.nothing


@pytest.mark.parametrize("package, extra", [("gradio", "page"), ("learn2learn.data", "bench")])
def test_a_missing_package_is_one_line_that_names_its_extra(package, extra, capsys):
    def execute(asked):
        raise ModuleNotFoundError(name=package)

    assert answer(execute, Namespace()) == 2
    said = capsys.readouterr().err
    assert f"fewshot-landmarks[{extra}]" in said and said.count("\n") == 1
    assert (LEARN2LEARN in said) == package.startswith("learn2learn")


def test_another_missing_module_is_an_error_of_ours():
    def execute(asked):
        raise ModuleNotFoundError(name="fewshot_landmarks.none")

    with pytest.raises(ModuleNotFoundError):
        answer(execute, Namespace())


def test_a_package_missing_before_the_work_begins_is_one_line_too():
    code = (
        "import sys; sys.argv = ['-m']; sys.modules['learn2learn'] = None\n"
        "import benchmarks; import fewshot_landmarks.tasks"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "fewshot-landmarks[bench]" in done.stderr and done.stderr.count("\n") == 1
