"""How every command begins and ends."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from fewshot_landmarks.errors import UserError


def answer(execute: Callable[[], int | None]) -> int:
    """Run a command: its own status or 0; after one line, 2 for a mistake that a user can mend or
    what the machine refuses (a full disk, say), and 130 where it was interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files that the terminal has no letters for
            stream.reconfigure(errors="backslashreplace")
    try:
        status = execute() or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        said = str(error)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        said = f"{named}{error.strerror or error}"
        _give_up_output()
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"error: {said}", file=sys.stderr)
    return 2


def checked(asked: argparse.Namespace) -> argparse.Namespace:
    """The arguments, if all their paths can be those of files; raises `UserError` otherwise."""
    for name, given in vars(asked).items():
        for value in given if isinstance(given, list) else [given]:
            try:
                if isinstance(value, Path):
                    value.lstat()
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                pass
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                raise UserError(f"--{name.replace('_', '-')} {value}: {why}") from None
    return asked


def _give_up_output() -> None:
    """Let nothing be written to an output that takes no more, as Python does when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
