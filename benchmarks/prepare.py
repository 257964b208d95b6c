"""Store all crops once, before training: python -m benchmarks.prepare --preset paper --data DIR

What `python -m benchmarks.run` would do first, by itself: on a machine without a GPU, say. Stopped
at any moment and run again, it goes on where it was.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.commands import add_work_options, asked_preset, command, open_workshop


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser("python -m benchmarks.prepare", description=__doc__)
    made.add_argument("--preset", default="paper", help="default: paper")
    add_work_options(made, seed_of="training")
    return made


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    preset = asked_preset(arguments)
    _, workshop = open_workshop(arguments, preset, [])
    for garments in (workshop.train, workshop.validation):
        usable = int(garments.usable.sum())
        print(f"{garments.split}: {usable} crops of {preset.size} x {preset.size}", end="")
        print(f", {len(garments.skipped)} files or garments left out" if garments.skipped else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see `benchmarks.commands.command`."""
    return command(execute, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
