"""Receiver: hands what is logged in a run to a tracker; neither a slow tracker nor one that fails disturbs the run.

A thread of the receiver's own does all that can take long, so that rounds do not wait for a network or a disk. The
first failure ends the tracking, with a warning, and never the run: ``metrics.jsonl`` has every number in any case. A
tracker that has taken nothing for a while is given up likewise, and the end of a run waits no longer.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, Literal

from flare_core import ObservedRun, Observer, RecipeError
from flare_core.client.tracking import AnalyticsDataType as Kind
from flare_core.events import Event, MetricLogged, RoundEnded, RunEnded, RunStarted
from flare_core.files import write_text
from flare_core.selection import as_number

__all__ = ["Entry", "Receiver"]

logger = logging.getLogger(__name__)

_naming = threading.Lock()

MOST_WAITING = 10_000  # entries, before whoever logs waits for the tracker
MOST_AT_ONCE = 500
PATIENCE_S = 5.0  # at the end of the run, before it says what it waits for
MOST_S = 300.0  # at the end of the run, however much there is to write


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to write.

    Attributes:
        kind: which of what trackers tell apart.
        name: ``site-1/accuracy`` for what a site reports, ``accuracy`` for the average over the sites.
        value: a float for a number, a text for a text; what a parameter or a tag is set to.
        step: the script's ``global_step``, else the round.
    """

    kind: Literal["number", "parameter", "tag", "text"]
    name: str
    value: bool | int | float | str
    step: int


class Receiver(Observer):
    """What the receivers of all trackers share."""

    tracker: ClassVar[str]
    """The tracker's name, for messages."""

    extra: ClassVar[str]
    """The extra of flare-runtime that brings its package, and the name under which that is imported."""

    opens_within_s: ClassVar[float] = 15.0
    """For how long the start of a run waits for the tracker; afterwards it begins to track when that answers."""

    stalls_after_s: ClassVar[float] = 60.0
    """For how long a tracker may take nothing of what waits for it before it is given up."""

    @classmethod
    def check_installed(cls) -> None:
        if find_spec(cls.extra) is None:
            raise RecipeError(f"{cls.tracker} is not installed here; pip install 'flare-runtime[{cls.extra}]'")

    def attach(self, run: ObservedRun) -> None:
        self._run = run
        self._warnings: deque[str] = deque()
        self._ignored: set[str] = set()
        self._has_failed = False
        self._is_given_up = False
        self._end_of_run: RunEnded | None = None
        self._queue: queue.Queue[MetricLogged | RunEnded] = queue.Queue(MOST_WAITING)
        self._is_open = False
        self._opened = threading.Event()  # or failed to
        self._moved = time.monotonic()  # when the tracker has last taken something
        self._thread = threading.Thread(target=self._work, name=f"flare-{self.tracker}", daemon=True)
        self._thread.start()
        if not self._opened.wait(self.opens_within_s):  # so that no script is there yet that imports the same modules
            self.warn(f"it has not answered for {self.opens_within_s:g} s; the run goes on, and tells it when it does")
        run.events.subscribe(MetricLogged, self._take)
        for kind in (RunStarted, RoundEnded):
            run.events.subscribe(kind, self._tell)
        run.events.subscribe(RunEnded, self._end)

    @abstractmethod
    def open(self, run: ObservedRun) -> None:
        """Import what is needed and begin to track; as all of these, on the receiver's own thread."""

    @abstractmethod
    def write(self, entries: Sequence[Entry]) -> None:
        """Write what has come since the last call, in its order, so that it can be seen soon."""

    @abstractmethod
    def close(self, end: RunEnded) -> None:
        """Write what is left and let go of everything."""

    def warn(self, text: str) -> None:
        """Have the people who watch the run see a warning; from any thread."""
        self._warnings.append(text)

    def identity(self) -> str:
        """A name that no other run has, anywhere, and that this one keeps when it goes on in a new process.

        Ids of jobs are times, which runs of different workspaces and servers can share.
        """
        path = self._run.folder / ".tracked-as"
        with _naming:  # several trackers of a run ask at the same time
            if not path.is_file():
                write_text(path, f"{uuid.uuid4().hex}\n")
            return path.read_text(encoding="ascii").strip()

    def _take(self, event: MetricLogged) -> None:
        if not self._has_failed and not self._is_given_up:
            self._put(event)

    def _put(self, event: MetricLogged | RunEnded) -> None:
        """Hand over what is to be written; if there is no room for it, and none comes, give the tracker up."""
        try:
            self._queue.put(event, timeout=self.stalls_after_s)
        except queue.Full:
            self._give_up(f"it has taken nothing for {self.stalls_after_s:g} s")

    def _give_up(self, why: str) -> None:
        self._is_given_up = True
        self.warn(f"{why}, and is given up; the run goes on without it, and metrics.jsonl has all numbers")

    def _tell(self, event: Event) -> None:
        """Show warnings on the thread on which the run does."""
        while self._warnings:
            self._run.warn(f"{self.tracker}: {self._warnings.popleft()}")

    def _end(self, event: RunEnded) -> None:
        until = time.monotonic() + MOST_S
        if self._is_given_up:
            with suppress(queue.Full):
                self._queue.put_nowait(event)  # so that the thread ends if the tracker ever goes on
        else:
            self._put(event)
        if not self._is_given_up:
            self._thread.join(PATIENCE_S)
        if not self._is_given_up and self._thread.is_alive() and self._is_open:
            self.warn("the run is over and waits for it to take what was logged")
            self._tell(event)
            while (left_s := self._left_s(until)) > 0 and self._thread.is_alive():
                self._thread.join(left_s)
        if self._thread.is_alive() and not self._is_given_up:
            self._give_up("it has not taken all that was logged in the run")
        self._tell(event)

    def _left_s(self, until: float) -> float:
        """How much longer the end of the run waits: while something is taken now and then, and never for ever."""
        return min(until, self._moved + self.stalls_after_s) - time.monotonic()

    def _work(self) -> None:
        try:
            try:
                self.open(self._run)
                self._is_open = True
            finally:
                self._opened.set()
            for batch in self._batches():
                self.write([entry for event in batch if (entry := self._entry(event)) is not None])
        except Exception as error:
            self._fail(error)
            for _ in self._batches():  # nobody may wait for room in the queue
                pass
        if self._is_open and self._end_of_run is not None:
            try:
                self.close(self._end_of_run)
            except Exception as error:
                self._fail(error)

    def _batches(self) -> Iterator[list[MetricLogged]]:
        """What has come, as much at once as is there; ends with the run."""
        while self._end_of_run is None:
            batch: list[MetricLogged] = []
            while not batch or (len(batch) < MOST_AT_ONCE and not self._queue.empty()):
                event = self._queue.get()
                self._moved = time.monotonic()
                if isinstance(event, RunEnded):
                    self._end_of_run = event
                    break
                batch.append(event)
            if batch:
                yield batch
                self._moved = time.monotonic()

    def _entry(self, event: MetricLogged) -> Entry | None:
        name = event.key if event.site is None else f"{event.site}/{event.key}"
        step = event.step if event.step is not None else event.round or 0
        match event.kind:
            case Kind.PARAMETER | Kind.TAG:
                value = event.value if isinstance(event.value, bool | int | float | str) else str(event.value)
                return Entry("parameter" if event.kind == Kind.PARAMETER else "tag", name, value, step)
            case Kind.SCALAR | Kind.METRIC if (number := as_number(event.value)) is not None:
                return Entry("number", name, number, step)
            case Kind.SCALAR | Kind.METRIC | Kind.TEXT | Kind.LOG_RECORD:
                return Entry("text", name, str(event.value), step)
        if event.kind not in self._ignored:
            self._ignored.add(event.kind)
            self.warn(f"'{name}' is left out; things of the kind {event.kind} are not written there")
        return None

    def _fail(self, error: Exception) -> None:
        logger.warning("tracking failed tracker=%s", self.tracker, exc_info=error)
        if self._has_failed:  # and it was said
            return
        self._has_failed = True
        first = next(iter(str(error).strip().splitlines()), "")
        remedy = f"; pip install 'flare-runtime[{self.extra}]' there" if isinstance(error, ImportError) else ""
        self.warn(f"it cannot be written to ({type(error).__name__}: {first}){remedy}; the run goes on without it")
