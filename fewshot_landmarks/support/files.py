"""Files: written whole or not at all, and read only where they are files, and whole.

A finished piece of work has its digest beside it, in NAME.sum, in the form of `sha256sum`.
"""

import errno
import hashlib
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.outputs import note, sha256_of

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows, where a file that is open cannot be removed anyway
    LOCK_EX = LOCK_NB = 0  # type: ignore[misc]

    def flock(file: int, operation: int) -> None:  # type: ignore[misc]
        """No lock."""


LIMIT = 2**30  # bytes of a file that is read at once
SMALL = 2**24  # of one that says a few things, such as a split file
_PARTIAL = re.compile(r"\.[0-9a-f]{16}\.partial")

# ------------------------------------------------------------------------------- reading


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """A file, opened for reading; raises `OSError` for a pipe, a device, a folder, or no name."""
    try:
        file = open(path, "rb", opener=_open_at_once)
    except ValueError:  # a NUL in its name, or half a character
        raise OSError(errno.EINVAL, "no file can have this name", repr(path)) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file but a pipe or a device", str(path))
    return file


def _open_at_once(path: str, flags: int) -> int:
    """A pipe is opened without waiting for its other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_regular(path: str | os.PathLike, limit: int = LIMIT) -> bytes:
    """A file's content; raises `OSError` for what `open_regular` refuses, or above the limit."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read() if size <= limit else b""
    if max(size, len(content)) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit >> 20} MiB", str(path))
    return content


# ------------------------------------------------------------------------------- writing


@contextmanager
def written_whole(path: Path, summed: bool = False) -> Iterator[BinaryIO]:
    """A file to write to that appears under `path` when the block ends, and not if it fails.

    It is on the disk before it appears there. summed: with its digest beside it, see `is_whole`.

    Raises `OSError` where the folder cannot be written or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path.parent)
    file = _new(path.parent)
    partial = Path(file.name)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            note(path, partial)
            if summed:
                _note_sum(path, _digest(partial))
            if os.name == "nt":
                file.close()
            os.replace(partial, path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, summed: bool = False) -> None:
    """Write a file, whole or not at all; summed: as of `written_whole`.

    Raises `UserError` where the folder cannot be written or the disk is full.
    """
    try:
        with written_whole(path, summed) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {advice(error)}; finished work is kept") from error


def write_text(path: Path, text: str, summed: bool = False) -> None:
    """`write_bytes` of a text in UTF-8; of a name that has no letters, the escaped bytes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"), summed)


def advice(error: OSError) -> str:
    """Why a file could not be written, and what to do about it."""
    return f"{error.strerror or error}; {_HINTS.get(error.errno, 'choose another folder')}"


_HINTS = {
    errno.ENOSPC: "free space there or choose another folder",
    getattr(errno, "EDQUOT", errno.ENOSPC): "free space there or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: "choose another folder or change its permissions",
    errno.EPERM: "choose another folder or change its permissions",
    errno.EMFILE: "let more files be open (ulimit -n)",
    errno.EIO: "check the disk or choose another",
}


def _new(folder: Path) -> BinaryIO:
    """An unfinished file, locked for as long as it is open, so that no other process clears it."""
    while True:
        path = folder / f".{secrets.token_hex(8)}.partial"
        file = path.open("xb")
        flock(file.fileno(), LOCK_EX)
        if path.exists():  # it was not cleared before it was locked
            return file
        file.close()


@cache
def _clear(folder: Path) -> None:
    """Remove what killed processes left in a folder, once a process."""
    with os.scandir(folder) as entries:
        left = [folder / entry.name for entry in entries if _PARTIAL.fullmatch(entry.name)]
    for path in left:
        try:
            with open_regular(path) as file:
                flock(file.fileno(), LOCK_EX | LOCK_NB)
                path.unlink()
        except OSError:
            continue  # a living process has it, or has finished it


def _sync(folder: Path) -> None:
    """Bring the names of a folder's files to the disk, where the system can."""
    if os.name == "nt":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:
        pass  # not every file system has it
    finally:
        os.close(opened)


# ------------------------------------------------------------------------- finished work


def is_whole(path: Path) -> bool:
    """Whether a piece of work is there, as it was written.

    One that is damaged is named and put aside, NAME.damaged, so that it is made again. One
    without a digest, of an earlier version, is taken as it is.
    """
    if not os.path.lexists(path):
        return False
    try:
        *stamp, changed = _stamp(path)
        if (*stamp, changed) in _whole:
            return True
        sums, digest = _sums(path), _digest(path)  # in this order: another may put both aside
        if not sums or digest in sums:
            if time.time_ns() - changed > 10**9:  # the clock of files goes in coarse steps
                _whole.add((*stamp, changed))
            return True
        why = "not as it was written"
    except OSError as error:
        why = error.strerror or str(error)
    put_aside(path, why)
    return False


_whole: set[tuple[int, ...]] = set()  # files that this process found whole, as they were then


def _stamp(path: Path) -> tuple[int, ...]:
    said = os.stat(path)
    return said.st_dev, said.st_ino, said.st_size, said.st_mtime_ns, said.st_ctime_ns


def remove(path: Path) -> None:
    """Remove a piece of work that is needed no more, and its digest."""
    path.unlink(missing_ok=True)
    beside(path, "sum").unlink(missing_ok=True)


def put_aside(path: Path, why: str) -> None:
    """Name a damaged piece of work, and give it another name, which nothing has."""
    names = chain(["damaged"], map("damaged{}".format, count(2)))
    aside = next(name for ending in names if not os.path.lexists(name := beside(path, ending)))
    try:
        os.replace(path, aside)
        beside(path, "sum").unlink(missing_ok=True)
        done = f"put aside as {aside.name}, to be made again"
    except FileNotFoundError:
        return  # by another process
    except OSError as error:
        done = f"to be made again, but it cannot be put aside: {advice(error)}"
    print(f"{path} is damaged ({why}): {done}", file=sys.stderr)


def sum_line(text: str) -> str:
    """A line of an unfinished piece of work with a digest before it."""
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}"


def summed_lines(lines: Iterable[str]) -> Iterator[str]:
    """What `sum_line` was given, as far as the lines are as they were written."""
    for line in lines:
        text = line[17:]
        if sum_line(text) != line:
            return
        yield text


def beside(path: Path, ending: str) -> Path:
    """A name beside a file's that is never too long: of a long name, the end."""
    return path.with_name(f"{path.name[-60:]}.{ending}")


def _note_sum(path: Path, digest: str) -> None:
    """Write the digest of what `path` will be; before it, those of what it may still be."""
    known = [digest, *(old for old in _sums(path) if old not in (digest, ""))][:4]
    with written_whole(beside(path, "sum")) as file:
        file.writelines(f"{each}  {path.name}\n".encode() for each in known)


def _sums(path: Path) -> list[str]:
    """The digests that a piece of work may have."""
    try:
        said = read_regular(beside(path, "sum"), SMALL)
    except FileNotFoundError:
        return []
    return [line.partition(" ")[0] for line in said.decode("ascii", "replace").split("\n")]


def _digest(path: Path) -> str:
    with open_regular(path) as file:
        return sha256_of(file)


# --------------------------------------------------------------------------------- locks


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in a block of this lock file, then go through one's own.

    A lock ends with its process, however that ends. Where the file cannot be made the block goes
    on without: nothing else can be written there either.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=1)
    except Timeout:
        print(f"another process is at work in {path.parent}: waiting for it", file=sys.stderr)
        lock.acquire()
    except OSError:
        pass
    try:
        yield
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)  # who waits sees that, and makes a new one
            lock.release()
