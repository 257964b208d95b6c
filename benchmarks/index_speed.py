"""How long data of DeepFashion2's size take to be found: python -m benchmarks.index_speed

Writes a tree of annotation files and small photos in the data set's layout, then times, each in a
fresh process of its own: the index built, opened again, built again after a few files changed, and
tasks drawn. Writes data.csv.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.commands.options import Command
from benchmarks.speed.measure import machine
from fewshot_landmarks.data.categories import CATEGORIES
from fewshot_landmarks.data.deepfashion2 import DeepFashion2
from fewshot_landmarks.support.devices import peak_mib
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_text
from fewshot_landmarks.support.markup import csv_text
from fewshot_landmarks.support.outputs import add_overwrite, claim
from fewshot_landmarks.support.processes import Processes
from fewshot_landmarks.tasks import LandmarkTasks

WIDTH, HEIGHT = 96, 128  # of the photos
FILES = TABLE, MACHINE = "data.csv", "data_machine.json"
CHANGED = 100  # files that change between two runs
DRAWN = 1000  # tasks
MARK = "synthetic.txt"  # in a tree that this wrote: it rewrites files there


def write_tree(root: Path, photos: int) -> None:
    """A split `train` of photos that hold one or two garments each, as many bytes as real ones'."""
    annos, images = root / "train" / "annos", root / "train" / "image"
    annos.mkdir(parents=True)
    images.mkdir(parents=True)
    random = np.random.default_rng(0)
    (root / MARK).write_text(f"{photos}\n")
    grey = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 128, np.uint8))[1].tobytes()
    for number in tqdm(range(1, photos + 1), desc="writing", unit="photo"):
        (images / f"{number:06d}.jpg").write_bytes(grey)
        write_annotation(annos / f"{number:06d}.json", random)


def write_annotation(path: Path, random: np.random.Generator) -> None:
    """A photo's annotation, of random garments."""
    items = {f"item{i + 1}": _item(random) for i in range(random.integers(1, 3))}
    path.write_text(json.dumps({"source": "user", "pair_id": 1, **items}))


def _item(random: np.random.Generator) -> dict:
    kind = CATEGORIES[random.integers(len(CATEGORIES))]
    points = random.integers((8, 8), (WIDTH - 8, HEIGHT - 8), (kind.landmarks, 2))
    marks = np.column_stack([points, random.integers(1, 3, kind.landmarks)])
    outline = random.integers((8, 8), (WIDTH - 8, HEIGHT - 8), (80, 2))
    return {
        "segmentation": [outline.ravel().tolist()],
        "scale": 2, "viewpoint": 2, "zoom_in": 1, "occlusion": 2, "style": 0,
        "bounding_box": [4, 4, WIDTH - 4, HEIGHT - 4],
        "landmarks": marks.ravel().tolist(),
        "category_id": kind.id,
        "category_name": kind.name,
    }  # fmt: skip


def opened(root: Path) -> DeepFashion2:
    """The data set, its index built or found."""
    return DeepFashion2(root, "train", size=32, progress=True)


def draw_tasks(root: Path) -> None:
    """Which garments make up tasks, without reading their photos."""
    tasks = LandmarkTasks(opened(root), [c.id for c in CATEGORIES], queries=24, seed=0)
    began = time.perf_counter()
    for i in range(DRAWN):
        tasks.draw(i)
    print(f"{(time.perf_counter() - began) / DRAWN * 1e3:.3f} ms a task drawn")


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and the peak of this process's memory in MiB."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began, peak_mib("cpu")


def measure(name: str, work: Callable[[], object]) -> dict:
    """`_timed` in a process of its own."""
    with Processes(1, main=True) as process:
        seconds, peak = process.submit(_timed, work).result()
    print(f"{name}: {seconds:.1f} s, {peak:.0f} MiB")
    return {"work": name, "seconds": round(seconds, 2), "peak_mib": round(peak)}


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument("--photos", type=int, default=200_000, help="default: 200000")
    parser.add_argument("--data", type=Path, help="where the tree is, or is written and kept")
    parser.add_argument("--out", type=Path, default=Path("results/speed"))
    add_overwrite(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    if not 1000 <= arguments.photos <= 999_999:
        raise UserError(f"--photos {arguments.photos}: from 1000 to 999999")
    claim([arguments.out / file for file in FILES], arguments.overwrite)
    kept = arguments.data is not None
    root = arguments.data or Path(tempfile.mkdtemp())
    if root.exists() and any(root.iterdir()) and not (root / MARK).exists():
        raise UserError(f"{root} holds other files: give an empty folder, or one written by this")
    try:
        if not (root / "train").exists():
            write_tree(root, arguments.photos)
        photos = int((root / MARK).read_text())
        for index in root.glob("fewshot_landmarks-*"):
            index.unlink()
        rows = [measure("index built", partial(opened, root))]
        rows.append(measure("index found", partial(opened, root)))
        random = np.random.default_rng(time.time_ns())
        for number in range(1, CHANGED + 1):
            write_annotation(root / "train" / "annos" / f"{number:06d}.json", random)
        rows.append(measure(f"index built after {CHANGED} files changed", partial(opened, root)))
        rows.append(measure(f"index found, {DRAWN} tasks drawn", partial(draw_tasks, root)))
    finally:
        if not kept:
            shutil.rmtree(root)
    frame = pd.DataFrame(rows).assign(photos=photos)
    print(frame.to_string(index=False))
    write_text(arguments.out / TABLE, csv_text(frame))
    about = json.dumps(machine("cpu"), indent=1) + "\n"
    write_text(arguments.out / MACHINE, about)


main = Command("index_speed", __doc__, execute, options)

if __name__ == "__main__":
    sys.exit(main())
