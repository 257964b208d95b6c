"""Jointed shapes: a drawn keypoint set of things other than clothes, in COCO keypoint JSON.

python -m fewshot_landmarks.data.jointed --out DIR
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fewshot_landmarks.data.jointed.writer import PHOTOS, write_jointed
from fewshot_landmarks.support.console import answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    summary, train = __doc__.partition("\n")[0], PHOTOS["train"]
    made = argparse.ArgumentParser("python -m fewshot_landmarks.data.jointed", description=summary)
    made.add_argument("--out", type=Path, required=True, metavar="DIR")
    made.add_argument(
        "--photos",
        type=int,
        default=train,
        metavar="N",
        help=f"in train.json (default: {train}); test.json has half as many",
    )
    made.add_argument("--seed", type=int, default=0)
    return answer(execute, made.parse_args(arguments))


def execute(asked: argparse.Namespace) -> None:
    """Draw what is asked for."""
    photos = {"train": asked.photos, "test": asked.photos // 2}
    write_jointed(asked.out, photos=photos, seed=asked.seed)


if __name__ == "__main__":
    sys.exit(main())
