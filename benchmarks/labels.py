"""What labels bring in photos of one kind: python -m benchmarks.labels --annotations FILE --out DIR

All objects are annotated. In each draw some are put aside to test on, and of a pool of others five
are labelled, drawn by chance. CLM learns from these; then five more of the pool are labelled, and
again, which they are being said by chance ("random"), by the lowest mean score ("lowest score"), or
by `fewshot-landmarks suggest` ("suggest"). Measured are the error on the objects that were put
aside, the share of landmarks within their radii of 90%, and whether the error that the outlook
expects is what it is afterwards. Writes labels.csv, labels.md and labels.png (.pdf). Killed at any
moment and run again, it goes on where it was.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.commands.options import Command
from benchmarks.figures.style import PLACES, legend_line, styled
from fewshot_landmarks.data.categories import DEEPFASHION2, Category
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.images import read_photo
from fewshot_landmarks.data.index import load_index
from fewshot_landmarks.learner import find_learner
from fewshot_landmarks.metrics.intervals import Estimate, mean_interval
from fewshot_landmarks.photos.errors.outlook import outlook_of
from fewshot_landmarks.photos.errors.suggest import choose, described, doubts_of, likeness
from fewshot_landmarks.photos.model import Model, untrained
from fewshot_landmarks.support.console import positive
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import read_regular, write_bytes, write_text
from fewshot_landmarks.support.markup import csv_text, pipes
from fewshot_landmarks.support.outputs import add_overwrite, claim
from fewshot_landmarks.support.rng import permutation

FILES = "labels.csv", "labels.json", "labels.md", "labels.png", "labels.pdf"
WAYS = "random", "lowest score", "suggest"
STEP = 5  # labels of a round, and at the beginning
LEVEL = 0.9  # of radii
TESTED, SHARE = 30, 0.4  # objects that are put aside, and of all, at most
POOL = 60  # others, at most
KEPT = 2**32  # bytes of features in memory


@dataclass(frozen=True, eq=False)
class Objects:
    """Annotated objects of a category, each with its photo's path."""

    category: str
    names: tuple[str, ...]  # of the N landmarks
    paths: list[Path]
    points: np.ndarray  # (M, N, 2), NaN where not labelled
    boxes: np.ndarray  # (M, 4)

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def read(cls, source: Path, images: Path | None, category: str | None) -> "Objects":
        """Of annotations, or of a split's folder of DeepFashion2."""
        kinds: Mapping[int, Category]
        if (source / "annos").is_dir():
            kinds = DEEPFASHION2
            index, photo = load_index(source.parent, source.name), source / "image"
            paths = [photo / f"{number:06d}.jpg" for number in index.photo]
        else:
            found = read_annotations(source, images=images, category=category)
            index, kinds = found.index, found.categories
            paths = [found.photos[number].path for number in index.photo]
        numbers = sorted({int(number) for number in index.category})
        chosen = [n for n in numbers if category in (None, kinds[n].name)]
        if len(chosen) != 1:
            names = ", ".join(kinds[n].name for n in numbers)
            raise UserError(f"{source} has the categories {names}: choose one, --category")
        rows = np.flatnonzero(index.category == chosen[0]).tolist()
        told = [index.landmarks(i) for i in rows]
        points = np.stack([np.where(seen[:, None] > 0, each, np.nan) for each, seen in told])
        kind = kinds[chosen[0]]
        return cls(kind.name, kind.names, [paths[i] for i in rows], points, index.box[rows])


class Study:
    """The draws of one set of objects."""

    def __init__(self, objects: Objects, model: Model, rounds: int):
        self.objects, self.model, self.rounds = objects, model, rounds

    def draw(self, number: int) -> list[dict]:
        """A row for each way and number of labels."""
        count = len(self.objects)
        order = permutation(count, number).tolist()
        tested = order[: min(TESTED, int(SHARE * count))]
        self.pool = order[len(tested) :][:POOL]
        photos = {i: read_photo(self.objects.paths[i]) for i in {*tested, *self.pool}}
        self.shots = {
            i: self.model.shot(photo, *self._labels(i), self.objects.boxes[i], f"object {i}")
            for i, photo in photos.items()
        }
        self.photos = photos
        self.crops = {
            i: described(self.model.learner, shot.boxed.image.unsqueeze(0))[0]
            for i, shot in self.shots.items()
        }
        rows: list[dict] = []
        first = self._row(self.pool[:STEP], tested)
        for way in WAYS:
            labelled, (row, scores) = self.pool[:STEP], first
            rows.append({"draw": number, "way": way, **row})
            for round_ in range(self.rounds):
                labelled = labelled + self._next(way, labelled, scores, (number, round_))
                row, scores = self._row(labelled, tested, last=round_ == self.rounds - 1)
                rows.append({"draw": number, "way": way, **row})
        return rows

    def _others(self, labelled: Sequence[int]) -> list[int]:
        return [i for i in self.pool if i not in labelled]

    def _labels(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        points = self.objects.points[i]
        return np.nan_to_num(points), np.isfinite(points).all(1).astype(np.float32)

    def _row(
        self, labelled: Sequence[int], tested: Sequence[int], last: bool = False
    ) -> tuple[dict, np.ndarray]:
        """What is measured with some labels, and scores of the pool's others (not the last time)."""
        objects = self.objects
        shots = [self.shots[i] for i in labelled]
        finder = self.model.learn(shots, objects.names, objects.category)
        boxes = objects.boxes[list(tested)]
        found = finder.predict([self.photos[i] for i in tested], boxes, level=LEVEL)
        size = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], 1))[:, None]
        off = np.linalg.norm(found.landmarks - objects.points[list(tested)], axis=2)
        told = np.isfinite(off)
        row = {
            "labels": len(labelled),
            "error": (off / size)[told].mean(),
            "median": np.median((off / size)[told]),
            "level": getattr(finder.promise(LEVEL), "level", math.nan),
            "within": (off <= found.radii)[told].mean(),
            "radius": (found.radii / size)[told].mean(),
        }
        outlook, scores = None, np.zeros((0, len(objects.names)))
        if not last:
            others = self._others(labelled)
            photos = [self.photos[i] for i in others]
            scores = finder.predict(photos, objects.boxes[others]).scores
            outlook = outlook_of(finder, doubts_of(scores), STEP)
        for name in ("now", "then"):
            said = getattr(outlook, name, Estimate(math.nan))
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), said, strict=True))
        return row, scores

    def _next(
        self, way: str, labelled: Sequence[int], scores: np.ndarray, seed: tuple
    ) -> list[int]:
        """Which of the pool are labelled next."""
        others = self._others(labelled)
        if way == "random":
            chosen = permutation(len(others), 1, *seed)[:STEP].tolist()
        elif way == "lowest score":
            chosen = scores.mean(1).argsort(kind="stable")[:STEP].tolist()
        else:
            crops, known = (np.stack([self.crops[i] for i in own]) for own in (others, labelled))
            alike = likeness(crops, crops), likeness(crops, known)
            chosen = choose(*alike, doubts_of(scores), STEP)
        return [others[i] for i in chosen]


def summary(frame: pd.DataFrame) -> str:
    """Tables of errors by labels and way, and of what was promised, as Markdown."""
    heads = ["labels", *WAYS, *(f"{way} less random" for way in WAYS[1:])]
    rows = [heads]
    for labels, some in frame.groupby("labels"):
        errors = some.pivot(index="draw", columns="way", values="error")
        cells = [f"{errors[way].mean():.4f}" for way in WAYS]
        rows.append(
            [str(labels), *cells, *(_shown(errors[w] - errors["random"]) for w in WAYS[1:])]
        )
    held = frame.drop_duplicates(["draw", "labels", "error"])
    promised = [["labels", "level", "within radii", "mean radius", "by the median error"]]
    for labels, some in held.groupby("labels"):
        width = some["radius"].mean() / some["median"].median()
        cells = (
            f"{some['level'].mean():.3f}",
            _shown(some["within"]),
            f"{some['radius'].mean():.4f}",
        )
        promised.append([str(labels), *cells, f"{width:.1f}"])
    after = frame.assign(
        after=frame.groupby(["draw", "way"])["error"].shift(-1)
    ).dropna(subset=["then", "after"])  # fmt: skip
    outlook = [["labels", "way", "error now within", "error with five more within", "said, and is"]]
    for (labels, way), some in after.groupby(["labels", "way"]):
        now = some["error"].between(some["now_low"], some["now_high"]).mean()
        then = some["after"].between(some["then_low"], some["then_high"]).mean()
        said = f"{some['then'].mean():.4f}, {some['after'].mean():.4f}"
        outlook.append([str(labels), way, f"{now:.2f}", f"{then:.2f}", said])
    return "\n\n".join([
        f"{frame['draw'].nunique()} draws. Errors in units of the object's size; differences with "
        "95% intervals over draws.",
        pipes(rows),
        "Landmarks of objects that were put aside within their radii, and radii in units of the "
        "object's size:",
        pipes(promised),
        "Draws in which the error is within the 95% interval that is said of it:",
        pipes(outlook),
    ]) + "\n"  # fmt: skip


def _shown(values: pd.Series) -> str:
    mean, half = mean_interval(values.to_numpy())
    return f"{mean:.4f} ({mean - half:.4f} to {mean + half:.4f})"


@styled
def figure(frame: pd.DataFrame, title: str) -> Figure:
    """Errors by labels, a line a way, with 95% intervals over draws."""
    drawn = Figure(figsize=(3.4, 2.8), layout="constrained")
    ax = drawn.subplots()
    for way, colour in zip(WAYS, PLACES):
        some = frame[frame["way"] == way].groupby("labels")["error"]
        means = [mean_interval(errors.to_numpy()) for _, errors in some]
        value, half = zip(*means)
        ax.errorbar(list(some.groups), value, half, label=way, color=colour, marker="o", ms=3)
    ax.set(xlabel="labelled photos", ylabel="mean error", title=title, ylim=(0, None))
    ax.set_xticks(sorted(frame["labels"].unique()))
    legend_line(drawn, len(WAYS))
    return drawn


def model() -> Model:
    """CLM, which keeps more features in memory than it would for a user."""
    plain = untrained()
    kind = find_learner(plain.name)
    learner = kind(plain.learner.base, kind.Settings(feature_cache=KEPT)).eval()
    return replace(plain, learner=learner)


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="PATH",
        help="of all photos; or a split's folder of DeepFashion2, with annos/ and image/",
    )  # fmt: skip
    parser.add_argument("--images", type=Path, metavar="DIR", help="where its photos are")
    parser.add_argument("--category", metavar="NAME", help="which, where there are several")
    parser.add_argument("--draws", type=positive, default=20, help="default: 20")
    parser.add_argument("--rounds", type=positive, default=2, help="of five more (default: 2)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_overwrite(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    out = arguments.out
    claim([out / name for name in FILES], arguments.overwrite)
    objects = Objects.read(arguments.annotations, arguments.images, arguments.category)
    fewest = STEP * (arguments.rounds + 1) + 5
    if len(objects) < 2 * fewest:
        raise UserError(f"{len(objects)} objects of {objects.category}: {2 * fewest} are needed")
    study = Study(objects, model(), arguments.rounds)
    asked = {"category": objects.category, "objects": len(objects), "rounds": arguments.rounds}
    frame = _finished(out, asked)
    done = set(frame["draw"]) if len(frame) else set()
    write_text(out / "labels.json", json.dumps(asked) + "\n")
    for number in tqdm(range(arguments.draws), "draws", unit="draw"):
        if number not in done:
            frame = pd.concat([frame, pd.DataFrame(study.draw(number))], ignore_index=True)
            write_text(out / "labels.csv", csv_text(frame, float_format="%.6g"))
    frame = pd.read_csv(out / "labels.csv")  # what another call would go on with
    frame = frame[frame["draw"] < arguments.draws].sort_values(["draw", "way", "labels"])
    write_text(out / "labels.md", text := summary(frame))
    drawn = figure(frame, objects.category)
    for name in ("labels.png", "labels.pdf"):
        write_bytes(out / name, saved(drawn, name))
    print(text)


def _finished(out: Path, asked: dict) -> pd.DataFrame:
    """The rows of an earlier call for the same."""
    try:
        if json.loads(read_regular(out / "labels.json")) == asked:
            return pd.read_csv(out / "labels.csv")
    except (OSError, ValueError):
        pass
    return pd.DataFrame()


def saved(drawn: Figure, name: str) -> bytes:
    """A figure as a file's bytes, the same each time."""
    content, kind = BytesIO(), Path(name).suffix[1:]
    blank = {"Software": None} if kind == "png" else {"CreationDate": None}
    drawn.savefig(content, format=kind, metadata=blank)
    return content.getvalue()


main = Command("labels", __doc__, execute, options)

if __name__ == "__main__":
    sys.exit(main())
