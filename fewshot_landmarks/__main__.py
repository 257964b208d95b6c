"""python -m fewshot_landmarks doctor --data DIR"""

import argparse
import sys
from collections.abc import Sequence

from fewshot_landmarks import doctor
from fewshot_landmarks.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its own status, or 2 after a user's mistake."""
    made = argparse.ArgumentParser("python -m fewshot_landmarks")
    doctor.add_to(made.add_subparsers(required=True, metavar="COMMAND"))
    asked = made.parse_args(arguments)
    try:
        return asked.execute(asked)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
