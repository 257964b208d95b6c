"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fewshot_landmarks.errors import UserError
from fewshot_landmarks.outputs import note


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that appears under `path` when the block ends, and not if it fails.

    Raises `OSError` where the folder cannot be written or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        note(path, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises `UserError` where the folder cannot be written or the disk is full.
    """
    try:
        with written_whole(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free space there or choose another "
            "folder (--out); finished work is kept"
        ) from error


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text in UTF-8; of a name that has no letters, the escaped bytes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))
