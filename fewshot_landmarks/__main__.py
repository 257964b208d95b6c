"""fewshot-landmarks COMMAND, or python -m fewshot_landmarks COMMAND"""

import argparse
import sys
from collections.abc import Sequence

from fewshot_landmarks.commands import adapt, compare, doctor, draw, evaluate, page, predict
from fewshot_landmarks.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its own status, or 2 after a user's mistake."""
    made = argparse.ArgumentParser("fewshot-landmarks")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for command in (adapt, predict, evaluate, compare, draw, doctor, page):
        command.add_to(commands)
    asked = made.parse_args(arguments)
    try:
        return asked.execute(asked)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
