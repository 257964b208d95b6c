"""A visitor's session as it goes on, and the searches of all visitors, one step of each in turn."""

import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.photos.page.session import Session
from fewshot_landmarks.support.errors import UserError


class Worker:
    """Does long work in steps: a single one at a time, and those of several in turns. A process
    ends behind the step that is being done."""

    def __init__(self) -> None:
        self._one = ThreadPoolExecutor(1, "search")

    def begin(self, steps: Iterator[None]) -> None:
        """Do these steps, between those of others."""
        self._one.submit(self._step, steps)

    def _step(self, steps: Iterator[None]) -> None:
        try:
            next(steps)
        except StopIteration:
            return
        except Exception:  # of a learner of somebody's own: others are searched on
            traceback.print_exc()
            return
        self._one.submit(self._step, steps)


class Visit:
    """One visitor's session. Steps are taken one after the other, from whatever thread."""

    def __init__(self) -> None:
        self.session = Session()
        self.progress: tuple[int, int] | None = None  # photos searched, and to search
        self.trouble: str | None = None  # why a search ended, until it is said
        self.download: object = None  # the latest, as long as it may be asked for
        self.told: list = []  # what the browser has
        self._search: object = None  # the latest
        self._lock = threading.RLock()

    def __deepcopy__(self, _memo) -> "Visit":
        """Gradio makes each visitor's state of the first one, which nobody uses."""
        return Visit()

    def step(self, go: Callable[[Session], Session]) -> None:
        """Go on. Raises `UserError` where that cannot be; then all is as before."""
        with self._lock:
            self.session = go(self.session)

    def adapt(self, model: Model, worker: Worker) -> None:
        """Begin to search; a search that goes on is given up. Raises `UserError` where there is
        nothing to adapt to, or to search."""
        with self._lock:
            self.session.check()
            self._search, self.trouble = object(), None
            self.progress = 0, len(self.session.others)
            worker.begin(_steps(weakref.ref(self), self._search, self.session, model))

    def is_latest(self, search: object) -> bool:
        return self._search is search

    def take(self, search: object, found: dict, since: Session) -> None:
        """What a search has found."""
        with self._lock:
            if not self.is_latest(search) or self.progress is None:
                return
            idle = self.session is since  # nothing was clicked since, and nothing shown yet
            self.session = self.session.take(found, since)
            self.progress = self.progress[0] + len(found), self.progress[1]
            if idle and (queue := self.session.queue()) and found:
                self.session = self.session.choose(queue[0])

    def end(self, search: object, trouble: str | None = None) -> None:
        """A search is over."""
        with self._lock:
            if self.is_latest(search):
                self.progress, self.trouble = None, trouble


def _steps(
    visitor: "weakref.ref[Visit]", search: object, session: Session, model: Model
) -> Iterator[None]:
    """A search's steps; it ends when a newer one began, or the visitor is gone."""
    trouble: str | None = "The search broke off: the page's terminal says why."
    try:
        for found in session.adapt(model):
            visit = visitor()
            if visit is None or not visit.is_latest(search):
                break
            visit.take(search, found, session)
            del visit
            yield
        trouble = None
    except UserError as error:
        trouble = str(error)
    finally:
        if (visit := visitor()) is not None:
            visit.end(search, trouble)
