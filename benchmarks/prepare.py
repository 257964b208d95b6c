"""Store all crops once, before training: python -m benchmarks.prepare --preset paper --data DIR

What `python -m benchmarks.run` would do first, by itself: on a machine without a GPU, say. Stopped
at any moment and run again, it goes on where it was.
"""

import argparse
import sys

from benchmarks.commands.options import Command
from benchmarks.commands.work import asked_preset, open_experiment


def execute(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    preset = asked_preset(arguments)
    _, experiment = open_experiment(arguments, preset, [])
    for garments in (experiment.data.train, experiment.data.validation):
        usable = int(garments.usable.sum())
        print(f"{garments.split}: {usable} crops of {preset.size} x {preset.size}", end="")
        print(f", {len(garments.skipped)} files or garments left out" if garments.skipped else "")


main = Command("prepare", __doc__, execute, preset="paper", seed_of="training")

if __name__ == "__main__":
    sys.exit(main())
