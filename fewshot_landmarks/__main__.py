"""fewshot-landmarks COMMAND, or python -m fewshot_landmarks COMMAND"""

import argparse
import sys
from collections.abc import Sequence

from fewshot_landmarks.support.console import answer, leave_at_once

if __name__ == "__main__" or sys.argv[0].endswith("fewshot-landmarks"):
    leave_at_once()

from fewshot_landmarks.photos.commands import adapt, compare, doctor, draw, evaluate, page, predict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; see `fewshot_landmarks.support.console.answer`."""
    made = argparse.ArgumentParser("fewshot-landmarks")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for command in (adapt, predict, evaluate, compare, draw, doctor, page):
        command.add_to(commands)
    asked = made.parse_args(arguments)
    return answer(asked.execute, asked)


if __name__ == "__main__":
    sys.exit(main())
