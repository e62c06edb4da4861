"""Receiver: the base class that passes logged values to a tracker, without letting a slow or failing one harm the run.

A thread does everything that can be slow, so that rounds do not wait for a network or a disk. The first failure ends
the tracking with a warning, but never the run: ``metrics.jsonl`` has every number in any case. A tracker that accepts
nothing for a while is given up in the same way, and the end of the run does not wait for it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, Literal

from flare_core import ObservedRun, Observer, RecipeError
from flare_core.client.tracking import AnalyticsDataType as Kind
from flare_core.events import Event, MetricLogged, RoundEnded, RunEnded, RunStarted
from flare_core.files import write_text
from flare_core.selection import as_number

logger = logging.getLogger(__name__)

_naming = threading.Lock()

MOST_WAITING = 10_000  # queued events; beyond that, whoever logs waits for the tracker
MOST_AT_ONCE = 500
PATIENCE_S = 5.0  # at the end of the run, before a warning says that it waits for the tracker
MOST_S = 300.0  # at the end of the run, however much is left to write


@dataclass(frozen=True, slots=True)
class Entry:
    """One value to write.

    Attributes:
        kind: its kind.
        name: ``site-1/accuracy`` for a site's value, ``accuracy`` for the average over the sites.
        value: a float for a number, a string for a text, or the value of a parameter or tag.
        step: the script's ``global_step``, else the round.
        site: the site; None for the average.
    """

    kind: Literal["number", "parameter", "tag", "text"]
    name: str
    value: bool | int | float | str
    step: int
    site: str | None = None


def check_texts(receiver: Receiver, *names: str) -> None:
    """Check that arguments of a receiver are strings, if they are given.

    Raises:
        RecipeError: one is not; names it.
    """
    for name in names:
        text = getattr(receiver, name)
        if text is not None and (not isinstance(text, str) or not text):
            raise RecipeError(f"{name} is {text!r}; give a string, or leave it out")


def check_mappings(receiver: Receiver, *names: str) -> None:
    """Check that arguments of a receiver are mappings, if they are given.

    Raises:
        RecipeError: one is not; names it.
    """
    for name in names:
        value = getattr(receiver, name)
        if value is not None and not isinstance(value, Mapping):
            raise RecipeError(f"{name} is {value!r}; give a dict of names and values")


class Receiver(Observer):
    """The base class of the receivers for all trackers."""

    tracker: ClassVar[str]
    """The tracker's name, for messages."""

    extra: ClassVar[str]
    """The extra of flare-runtime that installs its package, which is imported by the same name."""

    opens_within_s: ClassVar[float] = 15.0
    """How long the start of a run waits for the tracker; tracking starts later if it answers later."""

    stalls_after_s: ClassVar[float] = 60.0
    """How long a tracker may accept nothing, while events are queued, before it is given up."""

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
        self._opened = threading.Event()  # open() has returned or failed
        self._moved = time.monotonic()  # the time of the last progress
        self._thread = threading.Thread(target=self._work, name=f"flare-{self.tracker}", daemon=True)
        self._thread.start()
        # Before scripts start, which may import the same modules on other threads.
        if not self._opened.wait(self.opens_within_s):
            self.warn(f"no answer for {self.opens_within_s:g} s; the run starts, and tracking begins when it answers")
        run.events.subscribe(MetricLogged, self._take)
        for kind in (RunStarted, RoundEnded):
            run.events.subscribe(kind, self._tell)
        run.events.subscribe(RunEnded, self._end)

    @abstractmethod
    def open(self, run: ObservedRun) -> None:
        """Import the tracker's package and start tracking. Called, like the others, on the receiver's thread."""

    @abstractmethod
    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries in their order, and flush them, so that they are visible soon."""

    @abstractmethod
    def close(self, end: RunEnded) -> None:
        """Write everything that is left, and release all resources."""

    def warn(self, text: str) -> None:
        """Show a warning where the run is watched; thread-safe."""
        self._warnings.append(text)

    def identity(self) -> str:
        """Return a globally unique name of the run, which it keeps when it continues in a new process.

        Job ids contain only a time, so runs in different workspaces or on different servers can share one.
        """
        path = self._run.folder / ".tracked-as"
        with _naming:  # the threads of several receivers call this at the same time
            if not path.is_file():
                write_text(path, f"{uuid.uuid4().hex}\n")
            return path.read_text(encoding="ascii").strip()

    def _take(self, event: MetricLogged) -> None:
        if not self._has_failed and not self._is_given_up:
            self._put(event)

    def _put(self, event: MetricLogged | RunEnded) -> None:
        """Queue an event; if the queue stays full for too long, give the tracker up."""
        try:
            self._queue.put(event, timeout=self.stalls_after_s)
        except queue.Full:
            self._give_up(f"it has accepted nothing for {self.stalls_after_s:g} s")

    def _give_up(self, why: str) -> None:
        self._is_given_up = True
        self.warn(f"{why}, and is given up; the run continues without it, and metrics.jsonl has all numbers")

    def _tell(self, event: Event) -> None:
        """Show pending warnings, on the thread of the run, which may emit events."""
        while self._warnings:
            self._run.warn(f"{self.tracker}: {self._warnings.popleft()}")

    def _end(self, event: RunEnded) -> None:
        until = time.monotonic() + MOST_S
        if self._is_given_up:
            with suppress(queue.Full):
                self._queue.put_nowait(event)  # so that the thread ends if the tracker ever recovers
        else:
            self._put(event)
        if not self._is_given_up:
            self._thread.join(PATIENCE_S)
        if not self._is_given_up and self._thread.is_alive() and self._is_open:
            self.warn("the run is over and waits until everything is written")
            self._tell(event)
            while (left_s := self._left_s(until)) > 0 and self._thread.is_alive():
                self._thread.join(left_s)
        if self._thread.is_alive() and not self._is_given_up:
            self._give_up("it has not accepted everything that was logged")
        self._tell(event)

    def _left_s(self, until: float) -> float:
        """Return how much longer the end of the run waits: as long as there is progress, up to a limit."""
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
            for _ in self._batches():  # drain the queue, so that nobody waits for room in it
                pass
        if self._is_open and self._end_of_run is not None:
            try:
                self.close(self._end_of_run)
            except Exception as error:
                self._fail(error)

    def _batches(self) -> Iterator[list[MetricLogged]]:
        """Yield queued events in batches, until the end of the run."""
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
                return Entry("parameter" if event.kind == Kind.PARAMETER else "tag", name, value, step, event.site)
            case Kind.SCALAR | Kind.METRIC if (number := as_number(event.value)) is not None:
                return Entry("number", name, number, step, event.site)
            case Kind.SCALAR | Kind.METRIC | Kind.TEXT | Kind.LOG_RECORD:
                return Entry("text", name, str(event.value), step, event.site)
        if event.kind not in self._ignored:
            self._ignored.add(event.kind)
            self.warn(f"'{name}' is left out; values of the kind {event.kind} are not supported")
        return None

    def _fail(self, error: Exception) -> None:
        logger.warning("tracking failed tracker=%s", self.tracker, exc_info=error)
        if self._has_failed:  # the first failure was shown, and later ones follow from it
            return
        self._has_failed = True
        first = next(iter(str(error).strip().splitlines()), "")
        remedy = f"; pip install 'flare-runtime[{self.extra}]' there" if isinstance(error, ImportError) else ""
        self.warn(f"tracking failed ({type(error).__name__}: {first}){remedy}; the run continues without it")
