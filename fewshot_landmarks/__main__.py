"""fewshot-landmarks COMMAND, or python -m fewshot_landmarks COMMAND"""

import sys
from collections.abc import Sequence
from importlib import import_module

from fewshot_landmarks.photos.commands.parsers import parser
from fewshot_landmarks.support.console import answer, begin

if __name__ == "__main__" or sys.argv[0].endswith("fewshot-landmarks"):
    begin()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; see `fewshot_landmarks.support.console.answer`."""
    asked = parser().parse_args(arguments)
    work = import_module(f"fewshot_landmarks.photos.commands.{asked.command}")
    return answer(work.execute, asked)


if __name__ == "__main__":
    sys.exit(main())
