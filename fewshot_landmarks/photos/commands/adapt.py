"""Learn a category from a few annotated photos.

    fewshot-landmarks adapt --support kimono.json --learner MetaCloth --out kimono.safetensors

Any names and any number of landmarks, 1 to many photos. What comes out finds these landmarks in
other photos: fewshot-landmarks predict.
"""

import argparse
from pathlib import Path

from fewshot_landmarks.photos.commands.common import (
    adapt_to,
    add_annotations,
    add_model,
    check_out,
    model_file,
    open_model,
)
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.outputs import add_overwrite


def add_to(commands) -> None:
    """Add the command to a parser's commands."""
    made = commands.add_parser(
        "adapt", help="learn a category from a few annotated photos", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_annotations(made, "--support", "the annotated photos")
    add_model(made)
    made.add_argument("--out", type=Path, required=True, metavar="FILE", help=".safetensors")
    add_overwrite(made)
    made.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Adapt, save, and say what was learnt."""
    path = model_file(arguments.model, arguments.learner)
    check_out(arguments, path, arguments.support, kind=".safetensors")
    model = open_model(path, arguments.learner, find_device(arguments.device))
    finder = adapt_to(arguments.support, arguments.images, arguments.category, model)
    finder.save(arguments.out)
    labelled = finder.support.boxed.labelled
    print(
        f"{model.learner.name} adapted to {finder.support.category!r}: {labelled.shape[1]} landmarks "
        f"from {labelled.shape[0]} annotated objects, in {arguments.out}"
    )
    if never := [name for name, any_ in zip(finder.names, labelled.any(0)) if not any_]:
        print(f"no photo labels {', '.join(never)}: they will not be found, and score 0")
    return 0
