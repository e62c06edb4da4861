"""The server's inbox: messages from the sites and notifications about them, and the changes that they cause."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from flare_core import FlareError, FLModel, JobAborted, SiteError
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
from flare_runtime.run.roster import Roster
from flare_runtime.run.warnings import RunWarnings
from flare_tensor_downloader.payload import Payload
from flare_transport import Cell, Message
from flare_transport.address import speaks_for

logger = logging.getLogger(__name__)

NOTICE_S = 60.0  # after which the display says what the run waits for
NOTICE_FACTOR = 3.0  # or after this many times the longest wait so far, if that is longer: rounds can take hours
MOST_CHARACTERS = 1 << 16  # of a text that is shown to people


class Arrivals:
    """Receives messages from the sites, and notifications about them.

    A site can send anything, so a message is checked on the thread of its link; other cells that are connected to the
    server cannot end the run. What it changes goes through one queue, which the workflow's thread empties while it
    waits. So workflows, aggregators and event handlers need no locks, and events are emitted in the order of arrival.

    Attributes:
        notice_s: seconds without news after which the display says what the run waits for.
        hub: connects the parties of the job; it is told which of them are lost.
    """

    def __init__(self, *, roster: Roster, cell: Cell, hub: ServerHub, dispatch: Dispatch) -> None:
        self.sites = roster.sites
        self.roster = roster
        self.events = EventBus()
        self.round: int | None = None
        self.warnings = RunWarnings()
        self._cell = cell
        self._dispatch = dispatch
        self._open: list[SitesConversation] = []  # oldest first
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waiting_for: tuple[str | SitesConversation, float] = ("its start", time.time())
        self.notice_s = NOTICE_S
        self.hub = hub
        self._longest_wait_s = 0.0
        self._last_means: dict[str, float] = {}
        self._ready: set[str] = set()  # the cells that have announced their sites
        self._ended: set[str] = set()
        self._is_finishing = False
        # Inline, on the link's thread: the messages of a cell enter the inbox in the order in which they were sent.
        cell.handle("result", self._on_result, inline=True)
        cell.handle("failed", self._on_failed, inline=True)
        cell.handle("log", self._on_log, inline=True)
        cell.handle("warning", self._on_warning, inline=True)
        cell.handle("ready", self.take_ready, inline=True)

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
        self._put(self._fail, site, message, details)

    def leave(self, host: str, reason: str) -> None:
        """Report the loss of a cell and the sites that it serves, which may return; thread-safe."""
        self._put(self._note_left, host, reason)
        self.hub.leave(host, reason)

    def remove(self, site: str, reason: str) -> None:
        """Report that a site was removed and will not return; thread-safe."""
        self._put(self._note_removed, site, reason)
        self.hub.remove(site, reason)

    def leave_below(self, peer: str, reason: str) -> None:
        """Report the loss of a peer and of all cells below it, which the hub knows by itself; thread-safe."""
        self._put(self._note_left_below, peer, reason)

    def site_ended(self, host: str, ended_by: str | None = None) -> None:
        """Report that a cell has ended without an error; thread-safe.

        Args:
            host: the cell.
            ended_by: the site whose script ended the process with ``os._exit(0)``; None if it served to the end.
        """
        self._put(self._note_ended, host, ended_by)

    def abort(self, reason: str) -> None:
        """Abort the run; thread-safe."""
        self.end_with(JobAborted(reason))

    def end_with(self, error: FlareError) -> None:
        """Fail the run; thread-safe."""
        self._put(_raise, error)

    def report_warning(self, text: str) -> None:
        """Record a warning of the server's own; thread-safe."""
        self._put(self.warn, text)

    def report_value(self, key: str, value: float) -> None:
        """Record a value of the server's own; thread-safe."""
        self._put(self._record_value, None, key, value, "METRIC", None, None)

    def call(self, handle: Callable[[], None]) -> None:
        """Call ``handle`` on the workflow's thread as soon as it waits for something; thread-safe."""
        self._put(handle)

    def wait(self, what: str) -> None:
        """Wait for one item, whatever it is, and handle it.

        Args:
            what: what the run waits for, for people.
        """
        self._take_until(None, what)

    def take_ready(self, message: Message) -> None:
        """Handle the list of sites that a cell is ready to serve.

        Raises:
            SiteError: the message is malformed, or the cell may not serve a site that it names.
        """
        sites = message.payload
        if not isinstance(sites, list) or not all(isinstance(site, str) for site in sites):
            raise SiteError(f"{message.sender} did not list the sites that it serves", site=message.sender)
        for site in sites:
            if not self.roster.may_serve(message.sender, site):
                raise SiteError(f"{message.sender} may not serve the site {site!r}", site=str(site))
        self._put(self._note_ready, message.sender, sites)

    def wait_ready(self, hosts: int) -> None:
        """Wait until this many hosts have announced that their sites are ready.

        Raises:
            SiteError: a site could not be prepared.
        """
        while len(self._ready) < hosts:
            self._inbox.get()()

    def drain(self) -> None:
        """Handle what has arrived without waiting for more; failures are recorded, not raised."""
        self._is_finishing = True
        while not self._inbox.empty():
            with suppress(FlareError):
                self._inbox.get()()

    def record(self, metrics: dict[str, float], *, site: str | None = None) -> None:
        if site is None:
            self._last_means = metrics
        for key, value in metrics.items():
            self.events.emit(MetricLogged(key, value, self.round, site))

    def warn(self, message: str, *, site: str | None = None) -> None:
        whole = message if site is None else f"{site}: {message}"
        logger.warning("%s", whole)
        if self.warnings.add(message, site):
            self.events.emit(WarningRaised(whole))

    def _put(self, handle: Callable[..., None], *arguments: Any) -> None:
        """Queue a call for the workflow's thread."""
        self._inbox.put(partial(handle, *arguments))

    def _on_result(self, message: Message) -> None:
        """Queue a reply; it is decoded on the workflow's thread, so that large ones do not hold up the link."""
        if not self.roster.knows(message.sender):
            raise SiteError(f"{message.sender} does not serve a site of this run", site=message.sender)
        self._put(self._take_result, message)

    def _on_failed(self, message: Message) -> None:
        site, text, details = self._fields_of_site(message, str, str, str)
        self.fail(site, text[:MOST_CHARACTERS], details[-MOST_CHARACTERS:])

    def _on_log(self, message: Message) -> None:
        number = (int, type(None))
        self._put(self._record_value, *self._fields_of_site(message, str, str, object, str, number, number))

    def _on_warning(self, message: Message) -> None:
        site, text = self._fields_of_site(message, str, str)
        self._inbox.put(partial(self.warn, text[:MOST_CHARACTERS], site=site))

    def _fields_of_site(self, message: Message, *types: Any) -> Any:
        """Return the fields of a site's message, the first of which is the site.

        Raises:
            SiteError: the payload has other fields, or the sender does not serve the site.
        """
        fields = _fields(message, *types)
        if not self.roster.speaks_for(message.sender, fields[0]):
            raise SiteError(
                f"{message.sender} spoke for the site {fields[0]!r}, which it does not serve", site=fields[0]
            )
        return fields

    def _take_until(self, limit: float | None, what: str | SitesConversation) -> bool:
        """Wait for one item and handle it; return False if none has arrived by ``limit``.

        A wait far longer than all before it is announced, at intervals that double.
        """
        self._waiting_for = (what, time.time())
        began = time.monotonic()
        notice_s = max(self.notice_s, NOTICE_FACTOR * self._longest_wait_s)
        while True:
            until = began + notice_s if limit is None else min(limit, began + notice_s)
            try:
                handle = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                waited = time.monotonic() - began
                if limit is not None and began + waited >= limit:
                    self._longest_wait_s = max(self._longest_wait_s, waited)
                    return False
                if waited >= notice_s:
                    self.events.emit(StillWaiting(self.waiting_for[0], round(waited)))
                    notice_s *= 2
            else:
                self._longest_wait_s = max(self._longest_wait_s, time.monotonic() - began)
                handle()
                return True

    def _take_result(self, message: Message) -> None:
        task_id, site, answer = self._reply_in(message)
        conversation = next((each for each in self._open if each.number == task_id), None)
        if not self.roster.speaks_for(message.sender, site):
            # One process of a project must not be able to end another site's part in the run.
            logger.error("reply ignored: %s spoke for the site %r, which it does not serve", message.sender, site)
        elif conversation is None or not conversation.accept(site, answer):
            logger.warning("late result ignored site=%s task_id=%s", site, task_id)
            self._dispatch.release(answer)  # else the site would hold its arrays until the end of the run
        else:
            done, expected = conversation.answered, len(conversation.sites)
            self.events.emit(SiteReplied(site, conversation.task, self.round, done, expected))

    def _reply_in(self, message: Message) -> tuple[int, str, Answer]:
        """Return the task's id, the site and the answer.

        Raises:
            SiteError: the message cannot be decoded here, or is not a reply. If only one site can have sent it, that
                one has failed.
        """
        try:
            task_id, site, answer = _fields(message, int, str, (FLModel, Payload))
        except FlareError as error:
            served = [site for site in self.sites if self.roster.speaks_for(message.sender, site)]
            with suppress(FlareError, TypeError, LookupError):  # the payload cannot be decoded, or is not a list
                served = [site for site in served if site == message.payload[1]] or served
            whose = ", ".join(served) or "a lost site"
            text = f"{whose} (served by {message.sender}) sent a reply that cannot be read here: {error}"
            if len(served) == 1:
                raise self._note_failure(served[0], text) from error
            raise SiteError(text, site=message.sender) from error
        return task_id, site, answer

    def _note_ready(self, host: str, sites: list[str]) -> None:
        self._ready.add(host)
        if not self.roster.can_leave:
            return
        if self._is_finishing:  # it has missed the announcement of the end
            self._cell.send(host, "end")
        for site in sites:
            is_awaited = site in self.roster.starting  # the run has begun with it in mind
            former = self.roster.hosts[site]
            if former != host and site in self.roster.present:
                self._note_left(former, f"{host} has taken its place")
            if not self.roster.arrive(site, host):
                continue
            self._ended.discard(site)
            if not is_awaited:
                self.events.emit(SiteReturned(site))
            for conversation in self._open:
                if site in conversation.awaited:  # its new process knows nothing of the task
                    self._dispatch.send(conversation, (site,))

    def _note_left_below(self, peer: str, reason: str) -> None:
        for host in list(self.roster.hosts.values()):
            if speaks_for(peer, host):
                self._note_left(host, reason)

    def _note_left(self, host: str, reason: str) -> None:
        if self._is_finishing:  # no task is left, so the loss costs the run nothing
            self._ended.update(self.roster.sites_of(host))
            return
        self.roster.will_not_come(host, reason)
        for site in self.roster.sites_of(host):
            if self.roster.leave(site, reason):
                logger.warning("site left site=%s reason=%s", site, reason)
                self.events.emit(SiteLeft(site, reason))
                self._leave_all(site)

    def _note_removed(self, site: str, reason: str) -> None:
        if self._is_finishing:
            self._ended.add(site)
        elif site in self.roster.hosts:
            if self.roster.remove(site, reason):
                self.events.emit(SiteLeft(site, reason))
            logger.warning("site removed site=%s reason=%s", site, reason)
            self._leave_all(site)

    def _leave_all(self, site: str) -> None:
        for conversation in self._open:
            conversation.leave(site)

    def _note_ended(self, host: str, ended_by: str | None) -> None:
        sites = self.roster.sites_of(host)
        if ended_by is None or self._is_finishing:
            self._ended.update(sites)
            return
        error = self._note_failure(
            ended_by,
            f"{ended_by}: its script ended its process with exit code 0, as os._exit(0) does, before the run was"
            " over; keep it in its 'while flare.is_running():' loop until that is false",
        )
        for site in sites:
            if site != ended_by:
                self._note_failure(site, f"{site}: lost with the process that it shared with {ended_by}")
        raise error

    def _fail(self, site: str, message: str, details: str) -> None:
        raise self._note_failure(site, message, details)

    def _note_failure(self, site: str, message: str, details: str = "") -> SiteError:
        error = SiteError(message, site=site, details=details)
        if site not in self.roster.failures:  # the first failure is the cause; later ones may follow from it
            self.roster.failures[site] = error
            logger.error("site failed site=%s\n%s", site, error)
            self.events.emit(SiteFailed(site, str(error)))
        return error

    def _record_value(
        self, site: str | None, key: str, value: Any, kind: str, step: int | None, round_: int | None
    ) -> None:
        """Record a value; ``round_`` is the round of the last task that the site was given."""
        self.events.emit(MetricLogged(key, value, self.round if round_ is None else round_, site, step, kind))


def _fields(message: Message, *types: Any) -> Any:
    """Return the fields of a site's message, after checking their number and types.

    Raises:
        SiteError: the payload has other fields.
    """
    payload = message.payload
    if not isinstance(payload, list | tuple) or len(payload) != len(types) or not all(map(isinstance, payload, types)):
        raise SiteError(f"{message.sender} sent a '{message.topic}' that cannot be read here", site=message.sender)
    return payload


def _raise(error: FlareError) -> NoReturn:
    raise error
