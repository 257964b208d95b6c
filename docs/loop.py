"""The loop of docs/loop.md, done by the commands: python docs/loop.py

Draws photos of a lizard, labels five, and then corrects what is found in suggested ones, as a person
would who knows all landmarks. Prints the error after each round, and draws the page's pictures.

    python docs/loop.py --annotations all.json --images DIR --work DIR     # of photos of your own
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.formats.annotators import labelme
from fewshot_landmarks.data.formats.found import Searched
from fewshot_landmarks.data.images import read_photo
from fewshot_landmarks.data.jointed import SHAPES
from fewshot_landmarks.data.jointed.drawing import draw_photo
from fewshot_landmarks.support.rng import permutation

PICTURES = Path(__file__).with_name("loop")
KIND, PHOTOS, SIZE = "lizard", 70, 320
FIRST, MORE, ROUNDS, TESTED = 5, 5, 2, 30


def lizards(folder: Path) -> tuple[Path, Path]:
    """Drawn photos of a lizard alone: their annotations, and where they are."""
    shape = next(shape for shape in SHAPES if shape.name == KIND)
    names = [joint.name for joint in shape.joints]
    coco: dict = {"images": [], "annotations": [], "categories": [
        {"id": 1, "name": KIND, "keypoints": names, "skeleton": []}]}  # fmt: skip
    images, seed = folder / "all", 0
    images.mkdir(parents=True)
    while len(coco["images"]) < PHOTOS:
        seed += 1
        picture, found = draw_photo(shape, SHAPES, SIZE, np.random.default_rng(seed))
        if len(found) == 1:
            number = len(coco["images"]) + 1
            name = f"{number:03d}.jpg"
            cv2.imwrite(str(images / name), picture)
            coco["images"].append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
            coco["annotations"].append(
                found[0][1] | {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0}
            )
    path = folder / "all.json"
    path.write_text(json.dumps(coco))
    return path, images


def run(*command: object) -> str:
    """A command's output."""
    line = [sys.executable, "-m", "fewshot_landmarks", *map(str, command)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(line)}\n{done.stdout}{done.stderr}")
    return done.stdout


class Loop:
    """Photos of a kind, half of them to label and half to test on."""

    def __init__(self, annotations: Path, images: Path, work: Path):
        self.work, self.known = work, read_annotations(annotations, images=images)
        index, order = self.known.index, permutation(len(self.known.index), 0).tolist()
        self.pool, self.test = order[TESTED:], order[:TESTED]
        for name, rows in (("photos", self.pool), ("test", self.test)):
            (work / name).mkdir()
            for i in rows:
                photo = self.known.photos[index.photo[i]]
                shutil.copy(photo.path, work / name / photo.path.name)
        self.row = {self.known.photos[index.photo[i]].path.name: i for i in order}
        coco = json.loads(annotations.read_text())
        tested = {self.known.photos[index.photo[i]].path.name for i in self.test}
        ids = {each["id"] for each in coco["images"] if Path(each["file_name"]).name in tested}
        coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] in ids]
        coco["images"] = [each for each in coco["images"] if each["id"] in ids]
        (work / "truth.json").write_text(json.dumps(coco))

    def label(self, names: list[str], folder: Path) -> None:
        """What a person makes of photos in LabelMe."""
        for name in names:
            i = self.row[name]
            points, seen = self.known.index.landmarks(i)
            x1, y1, x2, y2 = map(float, self.known.index.box[i])
            kind = self.known.categories[int(self.known.index.category[i])]
            path = self.work / "photos" / name
            height, width = read_photo(path).shape[:2]
            marks = np.column_stack([np.where(seen[:, None] > 0, points, 0), seen]).ravel().tolist()
            photo = Searched(1, path, name, width, height)
            row = {"keypoints": marks, "keypoint_names": kind.names, "category_id": 1,
                   "bbox": [x1, y1, x2 - x1, y2 - y1], "score": None}  # fmt: skip
            photo.add(row, kind.name)
            folder.mkdir(exist_ok=True)
            for file, text in labelme.contents(folder, [photo]):
                Path(file).write_text(text)

    def error(self, labels: Path, name: str) -> tuple[float, str]:
        """The mean error on the test photos of what learns from labels, and what `adapt` says."""
        model, found, out = (self.work / f"{name}{end}" for end in (".safetensors", ".json", ""))
        said = run("adapt", "--support", labels, "--out", model, "--overwrite")
        ask = ["--model", model, "--images", self.work / "test", "--no-drawings"]
        run("predict", *ask, "--out", found, "--overwrite")
        truth = ["--annotations", self.work / "truth.json"]
        run("evaluate", "--predictions", found, *truth, "--out", out, "--overwrite")
        metrics = pd.read_csv(out / "metrics.csv").set_index("metric")["value"]
        return metrics["mean NE"], said


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--annotations", type=Path, help="COCO keypoints of all photos, one each")
    made.add_argument("--images", type=Path, help="the photos")
    made.add_argument("--work", type=Path, help="a new folder (default: one for the time being)")
    asked = made.parse_args()
    work = asked.work or Path(tempfile.mkdtemp())
    work.mkdir(exist_ok=True)
    own = asked.annotations is None
    loop = Loop(*(lizards(work) if own else (asked.annotations, asked.images)), work)
    labels, names = work / "labels", sorted(p.name for p in (work / "photos").iterdir())
    shuffled = [names[i] for i in permutation(len(names), 1).tolist()]
    loop.label(shuffled[:FIRST], labels)
    for round_ in range(ROUNDS + 1):
        count = FIRST + round_ * MORE
        error, said = loop.error(labels, f"round{round_}")
        print(f"{count} labels: error {error:.4f}\n  {said.splitlines()[1]}")
        if own and round_ == 0:
            picture("labels", "--annotations", labels, "--count", FIRST)
        if round_ == ROUNDS:
            break
        model, found = work / f"round{round_}.safetensors", work / "found.json"
        ask = ["--model", model, "--images", work / "photos"]
        print("  " + run("predict", *ask, "--out", found, "--no-drawings", "--overwrite").strip())
        ask += ["--predictions", found, "--count", MORE]
        print("  " + run("suggest", *ask, "--format", "labelme", "--out", labels).strip())
        new = [f"{path.stem}{Path(names[0]).suffix}" for path in labels.glob("*.json")]
        new = [n for n in new if json.loads((labels / f"{Path(n).stem}.json").read_text())
               ["shapes"][0]["description"]]  # fmt: skip
        if own and round_ == 0:
            chosen = [row for row in json.loads(found.read_text()) if row["file_name"] in new]
            (work / "chosen.json").write_text(json.dumps(chosen))
            seen = ["--predictions", work / "chosen.json", "--images", work / "photos"]
            picture("suggested", *seen, "--count", MORE)
        loop.label(new, labels)
    count = FIRST + MORE * ROUNDS
    for number, some in ((FIRST + MORE, "ten"), (count, "all")):
        loop.label(shuffled[:number], work / f"random-{some}")
        error, _ = loop.error(work / f"random-{some}", f"random{number}")
        print(f"{number} labels by chance: error {error:.4f}")
    if own:
        seen = ["--predictions", work / f"round{ROUNDS}.json", "--images", work / "test"]
        picture("found", *seen, "--count", 2 * MORE)
        shutil.rmtree(work)


def picture(name: str, *ask: object) -> None:
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / f"{name}.jpg"
    run("draw", *ask, "--columns", MORE, "--side", 180, "--out", path, "--overwrite")


if __name__ == "__main__":
    main()
