"""Processes that share work on this machine: all that the project starts are started here.

- One that dies, be it while it starts, is noticed, and told in one line. What a process begins
  with lies in a nameless file: in the pipe that multiprocessing fills before the process reads,
  the parent of one that died would wait for ever.
- They end with their parent, however that ends, and from their first moment they leave Ctrl-C to
  it: they watch it before they import what the work needs.
"""

import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import spawn
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import DupFd
from types import ModuleType
from typing import BinaryIO

from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import advice


class Processes(ProcessPoolExecutor):
    """`count` processes for a with statement, each of which calls `start(*args)` first, if given.

    main: whether functions and classes of the program that was started, `__main__`, are sent to
    them. If not, they do not import it.

    At the end of the block, or where it fails, they are killed: what they write is whole or not
    there. Raises `UserError` where a process dies, none can be started or none is asked for.
    """

    def __init__(
        self, count: int, start: Callable | None = None, *args, main: bool = False
    ) -> None:
        if count < 1:
            raise UserError(f"{count} processes cannot work: give --workers 1 or more")
        context = SpawnContext()
        context.Process = self._new  # type: ignore[assignment, misc]
        self._begun: list[SpawnProcess] = []
        self._queue = context.SimpleQueue()
        self._file = _nameless((start, args))
        program = spawn.get_preparation_data("") if main else {}
        program = {name: value for name, value in program.items() if name.startswith("init_main")}
        handed = (_Inherited(self._file.fileno()), program, self._queue)
        super().__init__(count, context, _begin, handed)

    def _new(self, **how) -> SpawnProcess:
        self._begun.append(_Process(**how))
        return self._begun[-1]

    def submit(self, *work):
        """Have a function called with arguments; see `Executor.submit`."""
        with _signals_wait():  # it starts processes, and the thread that ends them
            return super().submit(*work)

    def told(self) -> Iterator:
        """What the processes have told by `tell`."""
        while not self._queue.empty():
            yield self._queue.get()

    def __exit__(self, kind, error, trace) -> None:
        for process in self._begun:
            if process.pid:
                process.kill()
        self.shutdown(cancel_futures=True)
        self._file.close()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a process ended before its work, for want of memory perhaps: run the same command "
                "again to go on, with fewer --workers"
            ) from None


class _Process(SpawnProcess):
    def start(self) -> None:
        program = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # imported by `_begin`, not before `run`
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # it inherits that
        try:
            super().start()
        except OSError as error:
            raise UserError(
                f"cannot start a process ({error.strerror or error}): run the same command again "
                "to go on, with fewer --workers"
            ) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            sys.modules["__main__"] = program

    def run(self) -> None:
        threading.Thread(target=_watch_parent, daemon=True).start()
        super().run()


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Let what would end this process wait until the block is through: half a start is none."""
    came, before = [], {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in came:
            signal.raise_signal(number)


def _nameless(thing: object) -> BinaryIO:
    """A file that holds a thing and is gone with the last process that has it open."""
    try:
        file = tempfile.TemporaryFile()
        pickle.dump(thing, file)
        file.flush()
    except OSError as error:
        raise UserError(
            f"cannot write to {tempfile.gettempdir()}: {advice(error)}, by TMPDIR"
        ) from None
    return file


class _Inherited:
    """A file descriptor that a process which is started gets; there, what it holds by `load`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self):
        return _inherited, (DupFd(self._descriptor),)

    def load(self) -> tuple:
        with (
            open(self._descriptor, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return pickle.loads(content)


# ---------------------------------------------------------------------- in a process


def _inherited(handle) -> _Inherited:
    return _Inherited(handle.detach())


_parent: list = []  # the queue to it


def _begin(handed: _Inherited, program: dict, queue) -> None:
    _parent[:] = [queue]
    spawn.prepare(program)
    start, args = handed.load()
    if start:
        start(*args)


def tell(thing: object) -> None:
    """Tell the parent something small."""
    _parent[0].put(thing)


def _watch_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])  # type: ignore[union-attr]
    os._exit(1)
