"""What the commands are asked. It imports no torch, so that --help need not wait for it."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.presets import PRESETS
from fewshot_landmarks.support.console import answer, whole
from fewshot_landmarks.support.outputs import add_overwrite


@dataclass(frozen=True)
class Command:
    """`python -m benchmarks.NAME`: called with its arguments, it returns the exit status."""

    name: str
    about: str  # the module's docstring
    execute: Callable[[argparse.Namespace], None]
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None  # adds its own
    preset: str = ""  # the default, of a command that does work; others have no options of work
    seed_of: str = ""  # what --seed is of
    benchmarks: str = ""  # which, by default; without it there is no --benchmark
    learners: str = ""

    def parser(self) -> argparse.ArgumentParser:
        """Its arguments."""
        made = argparse.ArgumentParser(
            f"python -m benchmarks.{self.name}",
            description=self.about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, what, default in (
            ("--benchmark", "a benchmark's name", self.benchmarks),
            ("--learner", "a learner's name or module:Class", self.learners),
        ):
            if default:
                usage = f"{what}; may be repeated (default: {default})"
                made.add_argument(name, action="append", default=[], metavar="NAME", help=usage)
        if self.preset:
            names = f"{', '.join(PRESETS)} (default: {self.preset})"
            made.add_argument("--preset", default=self.preset, help=names)
            add_work_options(made, self.seed_of)
        self.options(made)
        return made

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        asked = self.parser().parse_args(arguments)
        from fewshot_landmarks.support.distributed import leave  # imports torch

        try:
            return answer(self.execute, asked, "stopped; the same command goes on from here")
        finally:
            leave()


def add_work_options(made: argparse.ArgumentParser, seed_of: str) -> None:
    """What every command that does work asks for."""
    usage = "change a number of the preset or a learner's setting; may be repeated"
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=usage)
    usage = "weights of ResNet-50 or of a network of timm, or of EfficientNet-Lite0 as .pth"
    made.add_argument("--weights", type=Path, metavar="FILE", help=usage)
    usage = "DeepFashion2's folder, or a split file of a COCO keypoint set; without it, garments"
    made.add_argument("--data", type=Path, help=f"{usage} are drawn")
    made.add_argument("--images", type=Path, metavar="DIR", help="photos of a COCO file in --data")
    usage = "categories of a COCO file, by commas"
    for name in ("--seen", "--unseen"):
        made.add_argument(name, default="", metavar="NAMES", help=usage)
    made.add_argument("--out", type=Path, help="default: results/PRESET")
    add_overwrite(made)
    made.add_argument("--seed", type=whole, default=0, help=f"of {seed_of} (default: 0)")
    made.add_argument("--workers", type=int, default=os.cpu_count(), help="default: all cores")
    made.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
