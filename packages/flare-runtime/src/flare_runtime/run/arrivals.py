"""The server's inbox: messages from the sites and notifications about them, and the changes that they cause."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Mapping
from typing import Any

from flare_core import FlareError, JobAborted, SiteError
from flare_core.events import (
    EventBus,
    MetricLogged,
    SiteFailed,
    SiteLeft,
    SiteReplied,
    SiteReturned,
    StillWaiting,
    WarningRaised,
)
from flare_runtime.endpoint.at_server import ServerHub
from flare_runtime.run.conversation import Answer, SitesConversation
from flare_runtime.run.dispatch import Dispatch
from flare_runtime.run.incoming import Ended, Failed, Incoming, Left, Logged, Ready, Removed, Result, Warned
from flare_runtime.run.roster import Roster
from flare_runtime.run.warnings import RunWarnings
from flare_transport import Cell, Message
from flare_transport.address import speaks_for

__all__ = ["Arrivals"]

logger = logging.getLogger(__name__)

NOTICE_S = 60.0  # after which the display says what the run waits for
NOTICE_FACTOR = 3.0  # or after this many times the longest wait so far, if that is longer: rounds can take hours


class Arrivals:
    """Receives messages from the sites, and notifications about them.

    Everything that arrives goes through one queue, which the workflow's thread empties while it waits. So workflows,
    aggregators and event handlers need no locks, and events are emitted in the order of arrival.

    Attributes:
        notice_s: seconds without news after which the display says what the run waits for.
        hub: connects the parties of the job; it is told which of them are lost.
    """

    def __init__(
        self,
        *,
        roster: Roster,
        cell: Cell,
        dispatch: Dispatch,
    ) -> None:
        self.sites = roster.sites
        self.roster = roster
        self.events = EventBus()
        self.round: int | None = None
        self.warnings = RunWarnings()
        self._cell = cell
        self._dispatch = dispatch
        self._open: list[SitesConversation] = []  # oldest first
        self._inbox: queue.SimpleQueue[Incoming] = queue.SimpleQueue()
        self._waiting_for: tuple[str | SitesConversation, float] = ("its start", time.time())
        self.notice_s = NOTICE_S
        self.hub: ServerHub | None = None
        self._longest_wait_s = 0.0
        self._last_means: dict[str, float] = {}
        self._ended: set[str] = set()
        self._is_finishing = False
        # Inline, on the link's thread: the messages of a cell enter the inbox in the order in which they were sent.
        cell.handle("result", lambda message: self._inbox.put(Result.read(message, roster)), inline=True)
        cell.handle("failed", lambda message: self._inbox.put(Failed.read(message, roster)), inline=True)
        cell.handle("log", lambda message: self._inbox.put(Logged.read(message, roster)), inline=True)
        cell.handle("warning", lambda message: self._inbox.put(Warned.read(message, roster)), inline=True)
        cell.handle("ready", lambda message: self._inbox.put(Ready.read(message, roster)), inline=True)

    @property
    def waiting_for(self) -> tuple[str, float]:
        """The cause of the current wait, and its start in seconds since the epoch; thread-safe."""
        what, since = self._waiting_for
        if isinstance(what, SitesConversation):
            in_round = "" if what.round is None else f" in round {what.round}"
            what = f"results of '{what.task}'{in_round} from {', '.join(what.awaited)}"
        return what, since

    def fail(self, site: str, message: str, details: str = "") -> None:
        """Report that a site's script failed; thread-safe."""
        self._inbox.put(Failed(site, message, details))

    def leave(self, host: str, reason: str) -> None:
        """Report the loss of a cell and the sites that it serves, which may return; thread-safe."""
        self._inbox.put(Left(host, reason))
        if self.hub is not None:
            self.hub.leave(host, reason)

    def remove(self, site: str, reason: str) -> None:
        """Report that a site was removed and will not return; thread-safe."""
        self._inbox.put(Removed(site, reason))
        if self.hub is not None:
            self.hub.remove(site, reason)

    def leave_below(self, peer: str, reason: str) -> None:
        """Report the loss of a peer and of all cells below it; thread-safe."""
        for host in self.roster.hosts.copy().values():
            if speaks_for(peer, host):
                self.leave(host, reason)

    def site_ended(self, host: str, ended_by: str | None = None) -> None:
        """Report that a cell has ended without an error; thread-safe.

        Args:
            host: the cell.
            ended_by: the site whose script ended the process with ``os._exit(0)``; None if it served to the end.
        """
        self._inbox.put(Ended(host, ended_by))

    def abort(self, reason: str) -> None:
        """Abort the run; thread-safe."""
        self._inbox.put(JobAborted(reason))

    def end_with(self, error: FlareError) -> None:
        """Fail the run; thread-safe."""
        self._inbox.put(error)

    def report(self, item: Logged | Warned) -> None:
        """Record a value or a warning of the server's own; thread-safe."""
        self._inbox.put(item)

    def take_ready(self, message: Message) -> None:
        """Handle a ``ready`` message that arrived before this object existed."""
        self._inbox.put(Ready.read(message, self.roster))

    def wait_ready(self, hosts: int) -> None:
        """Wait until this many hosts have announced that their sites are ready.

        Raises:
            SiteError: a site could not be prepared.
        """
        ready = 0
        while ready < hosts:
            ready += isinstance(self._handle(self._inbox.get()), Ready)

    def drain(self) -> None:
        """Handle what has arrived without waiting for more; failures are recorded, not raised."""
        while (item := self._next_item()) is not None:
            if isinstance(item, Failed):
                self._note_failure(item)
            elif isinstance(item, Logged):
                self._record_log(item)
            elif isinstance(item, Warned):
                self.warn(item.text, site=item.site)

    def record(self, metrics: dict[str, float], *, site: str | None = None) -> None:
        if site is None:
            self._last_means = metrics
        self._note_metrics(self.round, site, metrics)

    def warn(self, message: str, *, site: str | None = None) -> None:
        whole = message if site is None else f"{site}: {message}"
        logger.warning("%s", whole)
        if self.warnings.add(message, site):
            self.events.emit(WarningRaised(whole))

    def _take_until(self, limit: float | None, what: str | SitesConversation) -> bool:
        """Wait for one item and handle it; return False if none has arrived by ``limit``."""
        self._waiting_for = (what, time.time())
        item = self._await_item(limit)
        if item is not None:
            self._handle(item)
        return item is not None

    def _next_item(self, timeout_s: float = 0.0) -> Incoming | None:
        try:
            return self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _await_item(self, limit: float | None) -> Incoming | None:
        """Return the next item, or None if none has arrived by ``limit``.

        A wait far longer than all before it is announced, at intervals that double.
        """
        began = time.monotonic()
        notice_s = max(self.notice_s, NOTICE_FACTOR * self._longest_wait_s)
        while True:
            now = time.monotonic()
            until = began + notice_s if limit is None else min(limit, began + notice_s)
            item = self._next_item(max(0.0, until - now))
            waited = time.monotonic() - began
            if item is not None or (limit is not None and began + waited >= limit):
                self._longest_wait_s = max(self._longest_wait_s, waited)
                return item
            if waited >= notice_s:
                self.events.emit(StillWaiting(self.waiting_for[0], round(waited)))
                notice_s *= 2

    def _handle(self, item: Incoming) -> Incoming:
        match item:
            case Result():
                self._take_result(*self._content_of(item))
            case Logged():
                self._record_log(item)
            case Warned():
                self.warn(item.text, site=item.site)
            case Failed():
                raise self._note_failure(item)
            case Ready():
                self._note_ready(item)
            case Left():
                self._note_left(item)
            case Removed():
                self._note_removed(item)
            case Ended():
                self._note_ended(item)
            case BaseException():
                raise item
        return item

    def _content_of(self, item: Result) -> tuple[str, int, str, Answer]:
        try:
            return item.content(self.roster)
        except SiteError as error:
            if error.site in self.roster.hosts:  # only one site can have sent the reply, so that one has failed
                raise self._note_failure(Failed(error.site, str(error), "")) from error
            raise

    def _take_result(self, sender: str, task_id: int, site: str, answer: Answer) -> None:
        conversation = next((each for each in self._open if each.number == task_id), None)
        if not self.roster.speaks_for(sender, site):
            # One process of a project must not be able to end another site's part in the run.
            logger.error("reply ignored: %s spoke for the site %r, which it does not serve", sender, site)
        elif conversation is None or not conversation.accept(site, answer):
            logger.warning("late result ignored site=%s task_id=%s", site, task_id)
            self._dispatch.release(answer)  # else the site would hold its arrays until the end of the run
        else:
            done, expected = conversation.answered, len(conversation.sites)
            self.events.emit(SiteReplied(site, conversation.task, self.round, done, expected))

    def _note_ready(self, item: Ready) -> None:
        if self._is_finishing and self.roster.can_leave:  # it has missed the announcement of the end
            self._cell.send(item.host, "end")
        for site in item.sites:
            is_awaited = site in self.roster.starting  # the run has begun with it in mind
            if not self.roster.can_leave or not self.roster.arrive(site, item.host):
                continue
            self._ended.discard(site)
            if not is_awaited:
                self.events.emit(SiteReturned(site))
            for conversation in self._open:
                if site in conversation.awaited:  # its new process knows nothing of the task
                    self._dispatch.send(conversation, (site,))

    def _note_left(self, item: Left) -> None:
        if self._is_finishing:  # no task is left, so the loss costs the run nothing
            self._ended.update(self.roster.sites_of(item.host))
            return
        self.roster.will_not_come(item.host, item.reason)
        for site in self.roster.sites_of(item.host):
            if not self.roster.leave(site, item.host, item.reason):
                continue
            logger.warning("site left site=%s reason=%s", site, item.reason)
            self.events.emit(SiteLeft(site, item.reason))
            self._leave_all(site)

    def _note_removed(self, item: Removed) -> None:
        if self._is_finishing:
            self._ended.add(item.site)
        elif item.site in self.roster.hosts:
            if self.roster.remove(item.site, item.reason):
                self.events.emit(SiteLeft(item.site, item.reason))
            logger.warning("site removed site=%s reason=%s", item.site, item.reason)
            self._leave_all(item.site)

    def _leave_all(self, site: str) -> None:
        for conversation in self._open:
            conversation.leave(site)

    def _note_ended(self, item: Ended) -> None:
        sites = self.roster.sites_of(item.host)
        if item.ended_by is None or self._is_finishing:
            self._ended.update(sites)
            return
        text = (
            f"{item.ended_by}: its script ended its process with exit code 0, as os._exit(0) does, before the run was"
            " over; keep it in its 'while flare.is_running():' loop until that is false"
        )
        error = self._note_failure(Failed(item.ended_by, text, ""))
        for site in sites:
            if site != item.ended_by:
                lost = f"{site}: lost with the process that it shared with {item.ended_by}"
                self._note_failure(Failed(site, lost, ""))
        raise error

    def _note_failure(self, failure: Failed) -> SiteError:
        error = SiteError(failure.message, site=failure.site, details=failure.details)
        if failure.site not in self.roster.failures:  # the first failure is the cause; later ones may follow from it
            self.roster.failures[failure.site] = error
            logger.error("site failed site=%s\n%s", failure.site, error)
            self.events.emit(SiteFailed(failure.site, str(error)))
        return error

    def _record_log(self, item: Logged) -> None:
        round_ = self.round if item.round is None else item.round
        self._note_metrics(round_, item.site, {item.key: item.value}, item.step, item.kind)

    def _note_metrics(
        self,
        round_: int | None,
        site: str | None,
        metrics: Mapping[str, Any],
        step: int | None = None,
        kind: str = "METRIC",
    ) -> None:
        """Emit an event for each metric, which is how it gets into the run's record."""
        for key, value in metrics.items():
            self.events.emit(MetricLogged(key, value, round_, site, step, kind))
