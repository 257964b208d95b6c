"""The work of `fewshot-landmarks adapt`: `parsers.adapt` says what it is."""

import argparse

from fewshot_landmarks.photos.commands.common import (
    adapt_to,
    check_out,
    model_file,
    open_model,
)
from fewshot_landmarks.photos.errors.expected import expected
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.names import listed


def execute(arguments: argparse.Namespace) -> int:
    """Adapt, save, and say what was learnt and what error to expect."""
    path = arguments.model and model_file(arguments.model, arguments.learner)
    check_out(arguments, path, arguments.support, kind=".safetensors")
    device, on = find_device(arguments.device), (arguments.backbone, arguments.weights)
    model = open_model(path, arguments.learner, device, *on)
    finder = adapt_to(
        arguments.support, arguments.images, arguments.category, model, arguments.unlabelled
    )
    finder.save(arguments.out)
    labelled = finder.support.boxed.labelled
    print(
        f"{model.learner.name} adapted to {finder.support.category!r}: {labelled.shape[1]} landmarks "
        f"from {labelled.shape[0]} annotated objects, in {arguments.out}"
    )
    if never := [name for name, any_ in zip(finder.names, labelled.any(0)) if not any_]:
        print(f"no photo labels {listed(never)}: they will not be found, and score 0")
    if finder.unlabelled:
        print(*finder.unlabelled.lines(), sep="\n")
    print(*expected(finder), sep="\n")
    return 0
