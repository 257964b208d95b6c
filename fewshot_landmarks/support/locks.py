"""What processes of several runs share: one at a time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


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
