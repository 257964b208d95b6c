"""Run the benchmark: python -m benchmarks.run --all

Trains and evaluates what is missing, then writes the tables, and with --all the figures, the claims
and the report too. Killed at any moment and run again, it goes on where it was.
"""

import argparse
import sys

from benchmarks.commands.options import Command


def options(parser: argparse.ArgumentParser) -> None:
    """What this command alone is asked."""
    parser.add_argument(
        "--all",
        action="store_true",
        help="every cell of the tables, figures, claims and the report",
    )
    parser.add_argument(
        "--shots", type=int, action="append", default=[], metavar="K", help="may be repeated"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where processes run: on this machine, or on a Ray cluster (default: local)",
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first bad garment")
    parser.add_argument("--dry-run", action="store_true", help="say what is missing, do nothing")


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    from benchmarks.commands import cells  # torch takes seconds, and --help does not need it

    cells.execute(arguments)


main = Command(
    "run",
    __doc__,
    execute,
    options,
    preset="mini",
    seed_of="training",
    benchmarks="B-1 to B-4",
    learners="all",
)

if __name__ == "__main__":
    sys.exit(main())
