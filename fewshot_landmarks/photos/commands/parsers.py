"""The arguments of every command.

They stand apart from the work: what does it imports torch, which takes seconds, and neither a
question for help nor a mistyped option needs that.
"""

import argparse
import inspect
import re
from pathlib import Path

from fewshot_landmarks.photos.commands.options import (
    UNTRAINED_ON,
    add_backbone,
    add_device,
    add_learner,
    add_model,
)
from fewshot_landmarks.support.console import positive, probability, thresholds, whole
from fewshot_landmarks.support.outputs import add_overwrite

MADE_WITH = "the network that the model was made with, where no package carries its weights"
MOST_OBJECTS = 50  # that are looked for in a photo
SOURCES = (
    "COCO keypoint JSON, a folder of LabelMe files, CVAT XML, Label Studio's JSON, a YOLO pose "
    "data.yaml, DeepLabCut's CollectedData_SCORER.csv, or SLEAP's .slp"
)
FORMS = "results", "coco", "labelme", "cvat", "label-studio", "yolo", "deeplabcut", "sleap"


def parser() -> argparse.ArgumentParser:
    """Of all commands; the `command` that it returns is the name of a module of this package."""
    made = argparse.ArgumentParser("fewshot-landmarks")
    commands = made.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for command in (adapt, predict, suggest, evaluate, compare, draw, doctor, page):
        said = inspect.getdoc(command) or command.__name__  # python -OO has no docstrings
        command(
            commands.add_parser(
                command.__name__,
                help=said.splitlines()[0],
                description=said,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return made


def adapt(made: argparse.ArgumentParser) -> None:
    """Learn a category from a few annotated photos.

        fewshot-landmarks adapt --support kimono.json --out kimono.safetensors

    Any names and any number of landmarks, 1 to many photos. What comes out finds these landmarks in
    other photos: fewshot-landmarks predict. Photos left out in turn say what error to expect, and
    which landmarks these photos do not settle; and whether photos without labels help.
    """
    made.add_argument(
        "--support",
        type=Path,
        required=True,
        metavar="PATH",
        help=f"the annotated photos: {SOURCES}",
    )
    made.add_argument("--images", type=Path, metavar="DIR", help="where its photos are")
    made.add_argument("--category", metavar="NAME", help="which, where there are several")
    made.add_argument(
        "--unlabelled",
        type=Path,
        metavar="DIR",
        help="more photos of such objects, without labels, to learn from where that helps (CLM)",
    )
    add_model(made)
    made.add_argument("--out", type=Path, required=True, metavar="FILE", help=".safetensors")
    add_overwrite(made)


def predict(made: argparse.ArgumentParser) -> None:
    """Find landmarks in photos.

        fewshot-landmarks predict --model kimono.safetensors --images DIR --out predictions.json

    Writes COCO keypoint results, in which each keypoint's third number is the probability that the
    landmark is there and found within a tenth of the object's size; and a picture of each photo.
    With --format it writes annotations instead, to be opened and corrected in an annotator.
    With --objects N a photo has up to N results, those first that look most like the annotated objects.
    A photo that cannot be read is skipped and said. Stopped and run again, it goes on.
    Of a clip, --images clip.mp4, every frame is searched, or with --every N each N-th.
    """
    made.add_argument("--model", type=Path, required=True, help="what `adapt` wrote")
    add_learner(made, "default: the model's")
    add_backbone(made, MADE_WITH)
    made.add_argument("--images", type=Path, metavar="PATH", help="photos, or one photo; or a clip")
    made.add_argument(
        "--every",
        type=positive,
        metavar="N",
        help="of a clip, search frames 0, N, 2 N and so on (default: 1, all of them)",
    )
    made.add_argument(
        "--frames",
        type=Path,
        metavar="DIR",
        help="of a clip, write the frames that are searched as photos, which every --format can name",
    )
    made.add_argument(
        "--boxes",
        type=Path,
        metavar="PATH",
        help="annotations whose boxes are searched, one object each; without them the object is "
        "found in the whole photo first, which is less sure",
    )
    made.add_argument("--category", metavar="NAME", help="of --boxes, where there are several")
    made.add_argument(
        "--objects",
        type=_objects,
        default=1,
        metavar="N",
        help="how many objects to look for in each photo, where there are no --boxes: 1 to "
        f"{MOST_OBJECTS} (default: 1). There is one result in any case, and another for each further "
        "object that looks like the annotated ones. Of the learners CLM alone finds several, where "
        "objects have two landmarks or more. The more are looked for, the longer it takes",
    )
    made.add_argument(
        "--level",
        type=probability,
        default=0.9,
        metavar="P",
        help="with which probability each landmark lies within its radius, which annotated photos "
        "left out tell: below 1 (default: 0.9); 0 for no radii",
    )
    made.add_argument(
        "--format",
        choices=FORMS,
        default="results",
        help="of --out: COCO results (default), or annotations as COCO keypoints, or as an "
        "annotator opens them; what somebody annotated or changed is never replaced",
    )
    made.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help=".json; cvat: .xml; deeplabcut: CollectedData_SCORER.csv; sleap: .slp; labelme, yolo: "
        "a folder",
    )
    made.add_argument(
        "--drawings", type=Path, metavar="DIR", help="default: NAME-drawn beside --out"
    )
    made.add_argument("--no-drawings", action="store_true", help="write no pictures")
    add_overwrite(made)
    add_device(made)


def suggest(made: argparse.ArgumentParser) -> None:
    """Say which photos to label next, and what that brings.

        fewshot-landmarks suggest --model kimono.safetensors --predictions found.json --images DIR

    Photos whose landmarks are expected to be far off come first, if many are like them, and neither
    a photo that was labelled nor one before them is. Says the error that is to be expected without
    these labels and with them, from labelled photos that are left out.
    """
    made.add_argument("--model", type=Path, required=True, help="what `adapt` wrote")
    add_learner(made, "default: the model's")
    add_backbone(made, MADE_WITH)
    made.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="FILE",
        help="what `predict` found with it: COCO results",
    )
    made.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="where its photos are"
    )
    made.add_argument(
        "--count", type=positive, default=5, metavar="N", help="how many photos (default: 5)"
    )
    made.add_argument(
        "--format",
        choices=FORMS[1:],
        help="write what was found in them to --out, as an annotator opens it; photos that have a "
        "file in a folder there (labelme, yolo) count as labelled",
    )
    made.add_argument(
        "--out", type=Path, metavar="PATH", help="their names, a line each, or as --format says"
    )
    add_overwrite(made)
    add_device(made)


def evaluate(made: argparse.ArgumentParser) -> None:
    """Compare predictions with annotations: how good they are.

        fewshot-landmarks evaluate --predictions predictions.json --annotations coco.json

    Predictions are a COCO results file, as `predict` writes it. Each is matched with one annotated
    object: by annotation_id where it has one, else within its photo (by the photo's name, or its id)
    and category by the boxes that overlap most. Landmarks that are annotated are scored; one that is
    not counts for calibration alone, as a miss, for a score is the probability that the landmark is
    there and close to its place. Landmarks that no prediction has, because no support photo labels
    them, are left out, and named. Beside the errors stands what the mean position of the support has on
    the same landmarks, a control that looks at no photo.
    """
    made.add_argument("--predictions", type=Path, required=True, metavar="FILE")
    made.add_argument("--annotations", type=Path, required=True, metavar="PATH", help=SOURCES)
    made.add_argument(
        "--images", type=Path, metavar="DIR", help="photos, where they are not beside these"
    )
    made.add_argument("--category", metavar="NAME", help="only this one (default: all)")
    made.add_argument(
        "--pck",
        type=thresholds,
        default=(0.05, 0.1, 0.2),
        metavar="T,T,...",
        help="thresholds of PCK; AUC is up to the largest (default: 0.05,0.1,0.2)",
    )
    made.add_argument(
        "--by",
        choices=("area", "side"),
        default="area",
        help="errors are in units of the square root of the object's area (default), or of the "
        "longer side of its box, as MP-100 has them",
    )
    made.add_argument("--out", type=Path, metavar="DIR", help="for tables and a figure")
    add_overwrite(made)


def compare(made: argparse.ArgumentParser) -> None:
    """Try all learners on your photos: which is best, and would more photos help?

        fewshot-landmarks compare --support kimono.json --query more.json

    Every learner adapts to the same few objects of --support, drawn several times, and finds the
    landmarks of all objects of --query, each in its annotated box. Errors are in units of the square
    root of an object's area. Give a file twice, with --shots well below the number of its objects, if
    there is only one: objects in a photo of a draw's support are then left out of its query. The last
    row is a control that looks at no photo: the mean position of the support's landmarks in their boxes.
    """
    made.add_argument(
        "--support", type=Path, required=True, metavar="PATH", help=f"to learn from: {SOURCES}"
    )
    made.add_argument(
        "--query", type=Path, required=True, metavar="PATH", help="to be tested on: the same"
    )
    made.add_argument("--support-images", type=Path, metavar="DIR", help="where its photos are")
    made.add_argument("--query-images", type=Path, metavar="DIR", help="where its photos are")
    made.add_argument("--category", metavar="NAME", help="which, where there are several")
    made.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="a folder of LEARNER.safetensors (default: the project's own, in the package)",
    )
    made.add_argument(
        "--learner",
        nargs="+",
        metavar="L",
        help="which; module:Class for one of your own, whose code is run (default: all of the "
        "folder, and CLM; untrained as it is are RIDGE, NEAREST and PLACE)",
    )
    add_backbone(made, UNTRAINED_ON)
    made.add_argument(
        "--shots",
        nargs="+",
        type=positive,
        metavar="K",
        help="support objects to adapt to (default: as many of 1, 3, 5, 8 and 10 as there are, "
        "and all there are)",
    )
    made.add_argument(
        "--draws", type=positive, default=10, metavar="N", help="of the support (default: 10)"
    )
    made.add_argument("--seed", type=whole, default=0, help="of the draws (default: 0)")
    made.add_argument("--out", type=Path, metavar="DIR", help="for tables and a figure")
    add_overwrite(made)
    add_device(made)


def draw(made: argparse.ArgumentParser) -> None:
    """Draw annotated or predicted landmarks as a contact sheet.

        fewshot-landmarks draw --annotations kimono.json --out sheet.png

    Some objects, spread evenly over the file. Of annotations, a dot is a visible
    landmark and a ring an occluded one; of predictions, colours run from red (score 0) to green (1).
    """
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("--annotations", type=Path, metavar="PATH", help=SOURCES)
    source.add_argument("--predictions", type=Path, metavar="JSON", help="what predict wrote")
    made.add_argument("--images", type=Path, metavar="DIR", help="folder of the photos")
    made.add_argument("--category", metavar="NAME", help="draw this one only (name or id)")
    made.add_argument("--count", type=int, default=24, help="objects at most (default: 24)")
    made.add_argument("--columns", type=int, default=6, help="objects in a row (default: 6)")
    made.add_argument("--side", type=int, default=400, help="pixels of an object (default: 400)")
    made.add_argument("--out", type=Path, required=True, metavar="PICTURE")
    add_overwrite(made)


def doctor(made: argparse.ArgumentParser) -> None:
    """Check data before a run, or say what a model is.

        fewshot-landmarks doctor --data PATH       DeepFashion2's folder, a split file, or annotations
        fewshot-landmarks doctor --model FILE      what a model was trained on, what it finds and
                                                   what error to expect

    Of data: objects by category, files that are broken or odd, and categories with too few photos: all
    that would end or falsify a run, before any of it. Of annotations, objects that are annotated twice
    or have their landmarks outside their box; and with --mistakes, landmarks that do not fit those of
    other photos: swapped, or far off.
    """
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, metavar="PATH")
    what.add_argument("--model", type=Path, metavar="FILE")
    add_learner(made, "of --model its own; of --mistakes CLM")
    add_backbone(made, MADE_WITH)
    add_device(made)
    made.add_argument("--images", type=Path, metavar="DIR", help="photos of annotations in --data")
    made.add_argument(
        "--mistakes",
        action="store_true",
        help="compare landmarks of annotations with what others teach; some minutes for a hundred "
        "photos",
    )
    made.add_argument(
        "--mended",
        type=Path,
        metavar="FILE",
        help="a new COCO file (.json): the annotations, with landmarks that --mistakes says are "
        "swapped exchanged, and those far off not labelled",
    )
    made.add_argument(
        "--shots",
        type=int,
        metavar="K",
        help="accepted as a run takes it; a task has ten support photos whatever it is",
    )
    preset = "as the run's preset has it"
    made.add_argument(
        "--queries", type=whole, default=24, help=f"of an episode, {preset} (default: 24; smoke: 4)"
    )
    made.add_argument(
        "--train-queries",
        type=whole,
        default=12,
        metavar="N",
        help=f"of a training task, {preset} (default: 12; smoke: 4)",
    )
    made.add_argument(
        "--decode", type=whole, default=500, metavar="N", help="photos to decode (default: 500)"
    )
    made.add_argument("--cache", type=Path, metavar="DIR", help="where the index is kept")


def page(made: argparse.ArgumentParser) -> None:
    """Annotate, adapt and correct in a browser.

        fewshot-landmarks page

    A page on this machine alone: it answers no other machine, and fetches nothing from any. It takes
    photos and nothing else, and removes them when it ends.
    """
    add_model(made)
    made.add_argument("--port", type=int, default=7860, help="default: 7860")
    made.add_argument(
        "--host",
        action="append",
        default=[],
        type=_host,
        metavar="NAME",
        help="another name by which browsers reach the page, through a proxy of yours",
    )


def _objects(text: str) -> int:
    if (number := positive(text)) > MOST_OBJECTS:
        raise argparse.ArgumentTypeError(f"{number} is impossible: choose 1 to {MOST_OBJECTS}")
    return number


def _host(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]", name):
        raise argparse.ArgumentTypeError(f"{name!r}: give a name without a port, as my.server")
    return name.lower()
