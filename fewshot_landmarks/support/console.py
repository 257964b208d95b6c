"""How every command begins and ends."""

import argparse
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.extras import missing


class Stopped(KeyboardInterrupt):
    """Ctrl-C, or SIGTERM; its first argument is the signal's number."""


def whole(text: str, least: int = 0) -> int:
    """A whole number of an argument, of `least` or more, that fits 63 bits."""
    if not (text.isascii() and text.isdigit() and least <= int(text) < 2**63):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number of {least} or more")
    return int(text)


def positive(text: str) -> int:
    """A whole number of an argument, of 1 or more."""
    return whole(text, least=1)


def probability(text: str) -> float:
    """A number of an argument, of 0 or more and less than 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no probability: 0 or more, and less than 1")
    return value


def thresholds(text: str) -> tuple[float, ...]:
    """Numbers of an argument, above 0, in order."""
    try:
        values = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        values = ()
    if not values or not all(0 < value < math.inf for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers above 0: 0.05,0.1,0.2")
    return values


def answer(
    execute: Callable[[argparse.Namespace], int | None],
    asked: argparse.Namespace,
    stopped: str = "stopped",
) -> int:
    """Run a command: its own status or 0; 2 after `obey` raised, 130 or 143 where stopped."""
    try:
        with _stoppable():
            return obey(execute, asked)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if not (line := missing(error)):
            raise
        print(f"error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(stopped, file=sys.stderr)
        return 128 + int(stop.args[0] if isinstance(stop, Stopped) else signal.SIGINT)


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
                    value.stat()
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


@contextmanager
def _stoppable() -> Iterator[None]:
    """Raise `Stopped` where Python or the system would end this process otherwise.

    Under torchrun, which waits for the processes that it ends, SIGTERM is the system's.
    """
    numbers = [signal.SIGINT] + [signal.SIGTERM] * (int(os.environ.get("WORLD_SIZE", 1)) == 1)
    usual = (signal.SIG_DFL, signal.default_int_handler, _leave)
    here = threading.current_thread() is threading.main_thread()
    before = {n: signal.getsignal(n) for n in numbers if here and signal.getsignal(n) in usual}
    for number in before:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(each) is _stop:
            signal.signal(each, signal.SIG_DFL)  # a second one ends this process at once
    raise Stopped(number)


def begin() -> None:
    """Until `answer` takes over: a command imports for seconds, and has nothing to tidy up yet.

    Stopped then, it ends at once; a package that an extra brings and that is not there is one line.
    """
    sys.excepthook = _tell_missing
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame) -> None:
    os.write(2, b"stopped\n")
    os._exit(128 + number)


def _tell_missing(kind: type[BaseException], error: BaseException, trace) -> None:
    if isinstance(error, ModuleNotFoundError) and (line := missing(error)):
        os.write(2, f"error: {line}\n".encode())
        os._exit(2)
    sys.__excepthook__(kind, error, trace)
