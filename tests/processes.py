"""What tests see of processes, in /proc, and what they let them do."""

import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path


def children(pid: int) -> list[int]:
    """The worker processes that a process has started, as they are now."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:  # a thread that has ended
            pass
    return [child for child in found if "spawn_main" in _command(child)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()  # empty once it has ended
    except OSError:
        return ""


def gone(pids: Iterable[int]) -> bool:
    """Whether all of these processes have ended."""
    return not any(map(_command, pids))


def of_session(leader: int) -> list[int]:
    """The processes of the session that a process began, those aside that have ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended meanwhile
            continue
        if int(session) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


def wait_for(look: Callable, seconds: float = 60):
    """What a function finds as soon as it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
    return found


def one_process(experiment, jobs, workers):
    """`benchmarks.engine.pool.run`, without waiting for processes to start."""
    from benchmarks.engine import pool

    waiting = list(jobs)
    while waiting:
        job = pool.ready(waiting)[0]
        waiting.remove(job)
        pool.finish(experiment, job, pool.do(experiment, job, lambda share: None))


class InThisProcess:
    """`Processes` whose work is done at once, where it is handed in."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, work, *arguments):
        done = Future()
        done.set_result(work(*arguments))
        return done


class NumpyAndWait:
    """What takes long to arrive in a process."""

    def __reduce__(self):
        return _numpy_and_wait, ()


def _numpy_and_wait() -> None:
    import numpy  # noqa: F401

    time.sleep(60)


_kept: list[bytes] = []


def keep(state: bytes) -> None:
    """What a process may begin with."""
    _kept.append(state)


def kept() -> int:
    """The sum of what it has kept."""
    return zlib.crc32(_kept[0])
