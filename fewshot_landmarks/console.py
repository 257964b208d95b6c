"""How every command begins and ends."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from fewshot_landmarks.errors import UserError


def answer(
    execute: Callable[[argparse.Namespace], int | None],
    asked: argparse.Namespace,
    stopped: str = "stopped",
) -> int:
    """Run a command: its own status or 0; 2 after `obey` raised, 130 where it was interrupted."""
    try:
        return obey(execute, asked)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130


def obey(execute: Callable[[argparse.Namespace], int | None], asked: argparse.Namespace) -> int:
    """Execute what was asked for, with all that it prints; its own status or 0.

    Raises `UserError` for a mistake that a user can mend, and for what the machine refuses: a path
    that no file can have, a disk that is full, an output that is closed.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files that the terminal has no letters for
            stream.reconfigure(errors="backslashreplace")
    try:
        status = execute(_checked(asked)) or 0
        sys.stdout.flush()
        return status
    except OSError as error:
        _give_up_output()
        named = f"{error.filename}: " if error.filename else ""
        raise UserError(f"{named}{error.strerror or error}") from error


def _checked(asked: argparse.Namespace) -> argparse.Namespace:
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
