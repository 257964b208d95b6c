"""What several commands ask: a learner, its backbone, a device."""

import argparse
from pathlib import Path

UNTRAINED_ON = (
    "a network of the library timm, on whose features an untrained learner stands (default: "
    "tf_efficientnet_lite0, which needs no download)"
)


def add_model(made: argparse.ArgumentParser) -> None:
    """Ask for a learner, trained or not."""
    made.add_argument(
        "--model",
        type=Path,
        metavar="PATH",
        help="a trained model, or a folder of LEARNER.safetensors (default: the project's own, "
        "in the package)",
    )
    add_learner(
        made,
        "default: CLM, which needs no training, nor do RIDGE, NEAREST and PLACE; of a folder "
        "MetaCloth; of a model's file its own",
    )
    add_backbone(made, UNTRAINED_ON)
    add_device(made)


def add_learner(made: argparse.ArgumentParser, default: str) -> None:
    """Ask for a learner, so that one's own may be imported for a model's file."""
    made.add_argument(
        "--learner",
        metavar="L",
        help=f"its name, or module:Class for one of your own, whose code is run ({default})",
    )


def add_backbone(made: argparse.ArgumentParser, what: str) -> None:
    made.add_argument("--backbone", metavar="NAME", help=what)
    made.add_argument(
        "--weights",
        metavar="FILE",
        help="of the backbone: 'package' (default), 'hub' (fetched), or a file of timm's tensors",
    )


def add_device(made: argparse.ArgumentParser) -> None:
    made.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
