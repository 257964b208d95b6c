"""python -m fewshot_landmarks.data.garments: write a set of photos, or a sheet to look at."""

import argparse
import sys
from pathlib import Path

import cv2

from fewshot_landmarks.data.categories import CATEGORIES
from fewshot_landmarks.data.garments.scene import DIFFICULTIES
from fewshot_landmarks.data.garments.sheet import write_sheet
from fewshot_landmarks.data.garments.writer import write_garments
from fewshot_landmarks.support.console import answer
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.outputs import add_overwrite, claim


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = argparse.ArgumentParser(
        prog="python -m fewshot_landmarks.data.garments", description=__doc__
    )
    p.add_argument("--sheet", type=Path, metavar="PNG", help="draw a contact sheet and stop")
    p.add_argument("--columns", type=int, default=8, help="garments in a row of the sheet")
    p.add_argument(
        "--categories", type=int, nargs="+", help="ids of the sheet's rows (default: all)"
    )
    p.add_argument("--no-marks", action="store_true", help="a sheet without landmarks")
    p.add_argument("--root", type=Path, help="folder to write a set of photos to")
    p.add_argument("--photos-train", type=int, default=2000)
    p.add_argument("--photos-validation", type=int, default=500)
    p.add_argument(
        "--minimum-train", type=int, default=0, help="garments of each category at least"
    )
    p.add_argument("--minimum-validation", type=int, default=0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--difficulty", default="outfits", help=", ".join(DIFFICULTIES))
    p.add_argument("--workers", type=int, default=1)
    add_overwrite(p)
    return p


def main(arguments=None) -> int:
    """Run the command; returns the exit status."""
    cv2.setNumThreads(1)
    p = parser()
    args = p.parse_args(arguments)
    if not (args.sheet or args.root):
        p.error("nothing to do: give --sheet or --root")
    return answer(execute, args)


def execute(args: argparse.Namespace) -> None:
    """Write what is asked for."""
    if args.difficulty not in DIFFICULTIES:
        names = ", ".join(DIFFICULTIES)
        raise UserError(f"unknown difficulty {args.difficulty!r}: choose one of {names}")
    if args.sheet:
        known = {category.id for category in CATEGORIES}
        strange = not known.issuperset(args.categories or ())
        if strange or args.seed < 0 or not 1 <= args.columns <= 100:
            raise UserError(
                f"--columns is 1 to 100, --seed 0 or more, --categories of 1 to {max(known)}"
            )
        claim([args.sheet], args.overwrite)
        write_sheet(args.sheet, args.columns, args.seed, args.difficulty,
                    categories=args.categories, marks=not args.no_marks)  # fmt: skip
    else:
        write_garments(
            args.root,
            photos={"train": args.photos_train, "validation": args.photos_validation},
            minimum={"train": args.minimum_train, "validation": args.minimum_validation},
            seed=args.seed,
            difficulty=args.difficulty,
            workers=args.workers,
        )


if __name__ == "__main__":
    sys.exit(main())
