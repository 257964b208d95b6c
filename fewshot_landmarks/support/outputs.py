"""What a command writes, and nobody's file in its place.

A folder that commands write to holds a record of what this project wrote there: a digest of each
file's name and content. What is not in it is somebody's own, or somebody has changed it since.
"""

import argparse
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from fewshot_landmarks.support.errors import UserError

RECORD = ".fewshot-landmarks"
_LONGEST = 2**26  # bytes of what folders of others say
_RESULTS = re.compile(  # what runs and their tables, without a record, have written
    r"(adequacy|calibration|claims|costs|curves|episodes|figure\w+|heatmaps|horizon|metrics|report|run"
    r"|similarities|table\d|trials)\.(csv(\.gz)?|html|json|md|npz|pdf|png|tex)"
)


def add_overwrite(made: argparse.ArgumentParser) -> None:
    """Ask whether files of others may be replaced."""
    made.add_argument(
        "--overwrite", action="store_true", help="replace files that this project did not write"
    )


def claim(paths: Iterable[Path], overwrite: bool | None) -> None:
    """Make the folders of all that a command will write ready for it, before any work.

    Raises `UserError` where a folder cannot be written to, where something that is no file is in
    the way, and, without `overwrite`, where a file is that this project did not write. None stands
    for files that are not replaced even if the user asks for it.
    """
    folder, known, others = Path(), {}, []
    try:
        for folder, own in groupby(sorted(paths, key=_folder), _folder):
            known[folder] = _known(folder)
            others += [path for path in own if not _ours(path, known[folder])]
        if others and not overwrite:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            raise UserError(
                f"{others[0]}{more} would be replaced, which this project did not write, or "
                "somebody has changed since: choose another place"
                + ("" if overwrite is None else ", or give --overwrite")
            )
        for folder, digests in known.items():
            folder.mkdir(parents=True, exist_ok=True)
            with _opened(folder / RECORD) as record:
                if not record.tell():
                    record.write("".join(f"{digest}\n" for digest in sorted(digests)))
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        why = getattr(error, "strerror", None) or error
        raise UserError(f"cannot write to {folder}: {why}; choose another place") from None


def unchanged(paths: Iterable[Path], overwrite: bool | None) -> None:
    """Ask again, right before files that were claimed are replaced.

    Raises `UserError` where, without `overwrite`, one is there that somebody has saved since.
    """
    known = cache(_known)
    for path in () if overwrite else paths:
        try:
            ours = _ours(path, known(path.parent))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None
        if not ours:
            raise UserError(
                f"{path} was saved by somebody while photos were searched, and stays: move it away "
                "and give the same command again, which searches none of them twice"
            )


def note(path: Path, written: Path) -> None:
    """Record the content that is about to be put under `path`, if its folder has a record."""
    if os.path.lexists(path.parent / RECORD):
        digest = _digest(path.name, written)
        with _opened(path.parent / RECORD) as record:
            record.write(f"\n{digest}\n")  # the line before may have been cut short


_folder = attrgetter("parent")


def _opened(record: Path):
    """To append to; not through a link, and not to what would let us wait."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK
    return open(record, "a", opener=lambda path, mode: os.open(path, mode | flags, 0o666))


def _known(folder: Path) -> set[str]:
    """Digests of what this project wrote to a folder; of results without a record, of these."""
    record, run = folder / RECORD, folder / "run.json"
    if record.is_file():
        return set(_start(record).decode("ascii", errors="replace").split())
    if run.is_file() and _is_run(run):
        files = (path for path in folder.iterdir() if _RESULTS.fullmatch(path.name))
        return {_digest(path.name, path) for path in files if path.is_file()}
    return set()


def _is_run(path: Path) -> bool:
    """Whether a file is what a run of the benchmark notes of itself."""
    try:
        said = json.loads(_start(path))
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and {"preset", "plan"} <= said.keys()


def _start(path: Path) -> bytes:
    """What a file says, as far as it is no longer than such files are."""
    with path.open("rb") as file:
        return file.read(_LONGEST)


def _ours(path: Path, known: set[str]) -> bool:
    """Whether nothing is there, or what this project wrote."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return True
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise UserError(f"{path} is a folder or a device: give the name of a file")
    return stat.S_ISREG(mode) and _digest(path.name, path) in known


def _digest(name: str, path: Path) -> str:
    with path.open("rb") as file:
        return sha256_of(file, os.fsencode(name) + b"\0")


def sha256_of(file: BinaryIO, before: bytes = b"") -> str:
    """SHA-256 of what an open file holds, after some bytes."""
    found = hashlib.sha256(before)
    while part := file.read(2**20):
        found.update(part)
    return found.hexdigest()
