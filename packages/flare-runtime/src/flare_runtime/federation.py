"""The server's side of a run: gives tasks to the sites, yields their replies in order, and notices who is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flare_core import (
    FLModel,
    JobAborted,
    RecipeError,
    Reply,
    Sample,
    SiteError,
)
from flare_core.events import (
    EventBus,
    MetricLogged,
    ModelSaved,
    RoundEnded,
    RoundStarted,
    SiteFailed,
    SiteLeft,
    SiteReplied,
    SiteReturned,
    TableMade,
    WarningRaised,
)
from flare_core.filters import FilterChain
from flare_runtime.checkpoints import Keeper
from flare_runtime.dispatch import Dispatch
from flare_runtime.inbox import Inbox
from flare_runtime.open_task import OpenTask
from flare_runtime.post import Ended, Failed, Left, Logged, Post, Ready, Result, Warned
from flare_runtime.record import MetricsFile
from flare_runtime.roster import Roster
from flare_tensor_downloader import Downloader
from flare_transport import Cell, Message
from flare_transport.address import speaks_for

__all__ = ["SitesFederation", "Waits"]

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 16  # replies that wait until the server looks at them; each holds a small model


@dataclass(frozen=True, slots=True)
class Waits:
    """What the server waits for.

    Attributes:
        reconnect_grace_s: how long it waits for sites while there are too few.
        round_deadline_s: when a round goes on without those that have not answered, if enough have.
    """

    reconnect_grace_s: float = 600.0
    round_deadline_s: float | None = None


class SitesFederation:
    """A federation of sites that are reached through cells.

    Everything that arrives goes through one queue, which the workflow's thread empties while it waits; so workflows,
    aggregators and event handlers need no locks.

    Args:
        roster: the sites.
        waits: for whom, and how long.
        random: the run's own generator.
    Attributes:
        reading: the site whose reply was taken last; its tensors may still be at the site.
    """

    def __init__(
        self,
        *,
        job_id: str,
        seed: int,
        roster: Roster,
        cell: Cell,
        downloader: Downloader,
        checkpoints: Keeper,
        metrics: MetricsFile,
        task_filters: list[FilterChain],
        result_filters: list[FilterChain],
        waits: Waits | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.job_id = job_id
        self.sites = roster.sites
        self.roster = roster
        self.random = np.random.default_rng(seed)
        self.events = EventBus()
        self.config: Mapping[str, Any] = dict(config or {})
        self.round: int | None = None
        self.total_rounds: int | None = None
        self._first_round = 0
        self.reading: str | None = None
        self._waiting_for: tuple[str | OpenTask, float] = ("its start", time.time())
        self._cell = cell
        self._checkpoints = checkpoints
        self._metrics = metrics
        self._dispatch = Dispatch(cell, downloader, roster, task_filters, result_filters)
        self._waits = waits or Waits()
        self._inbox: Inbox[Post] = Inbox()
        self._task_id = 0
        self._open: OpenTask | None = None
        self._round_started: float | None = None
        self._last_means: dict[str, float] = {}
        self._ended: set[str] = set()
        self._is_finishing = False
        cell.handle("result", lambda message: self._inbox.put(Result(message), can_wait=True), inline=True)
        cell.handle("failed", lambda message: self._inbox.put(Failed.read(message, roster)), inline=True)
        cell.handle("log", lambda message: self._inbox.put(Logged.read(message, roster)), inline=True)
        cell.handle("warning", lambda message: self._inbox.put(Warned.read(message, roster)), inline=True)
        cell.handle("ready", lambda message: self._inbox.put(Ready.read(message, roster)), inline=True)

    @property
    def state(self) -> dict[str, Any]:
        """What must be kept of a completed round, besides its model and what the workflow says."""
        return {"tasks": self._task_id, "random": self.random.bit_generator.state}

    def go_on(self, state: Mapping[str, Any] | None, first_round: int) -> None:
        """Go on as after the round with that state; a task that is given again has the id that it had before.

        Args:
            state: what :attr:`state` was; None leaves all as it is.
            first_round: the round that comes next.
        """
        self._first_round = first_round
        if state is not None:
            self._task_id = int(state["tasks"])
            self.random.bit_generator.state = state["random"]

    def rounds(self, count: int) -> Iterator[int]:
        self.total_rounds = count
        for round_ in range(self._first_round, count):
            self.round = round_
            self._last_means = {}
            self._round_started = time.monotonic()
            self.events.emit(RoundStarted(round_, count))
            yield round_
            self._end_round()

    def _end_round(self) -> None:
        """Announce the end of the round that is open, if one is; a round that failed has none."""
        if self._round_started is not None and self.round is not None and self.total_rounds is not None:
            seconds, self._round_started = time.monotonic() - self._round_started, None
            self._metrics.flush()
            self._checkpoints.commit(self.round)
            self.events.emit(RoundEnded(self.round, self.total_rounds, seconds, self._last_means))

    def sample(self, minimum: int, *, count: int | None = None) -> Sample:
        self._await_present(minimum)
        present = self.roster.present
        if count is None or count >= len(present):
            return Sample(present, minimum)
        chosen = set(self.random.choice(len(present), size=max(count, minimum), replace=False).tolist())
        return Sample((site for index, site in enumerate(present) if index in chosen), minimum)

    def _await_present(self, minimum: int) -> None:
        """Wait until enough sites are there."""
        until = time.monotonic() + self._waits.reconnect_grace_s
        while self.roster.starting and self._take_until(until, f"{', '.join(sorted(self.roster.starting))} to start"):
            pass
        while (there := len(self.roster.present)) < minimum:
            if not self.roster.can_leave:
                raise SiteError(
                    f"a round needs {minimum} sites, {there} are there ({self.roster.missing()})", site=self.sites[0]
                )
            if not self._take_until(until, f"{minimum - there} more of {', '.join(self.roster.absent)} to come"):
                raise self._too_few(minimum, there)

    def broadcast(self, task: str, model: FLModel, *, to: Sequence[str] | None = None) -> Iterator[Reply]:
        targets = self.sites if to is None else tuple(to)
        for site in targets:
            if site not in self.roster.hosts:
                raise RecipeError(f"a task '{task}' is addressed to {site!r}; the sites are {', '.join(self.sites)}")
        self._dispatch.release_kept()
        if self._open is not None:  # a round was left in its middle
            self._dispatch.close(self._open)
        self._task_id += 1
        quorum = to.quorum if isinstance(to, Sample) else len(targets)
        given = self._open = OpenTask(self._task_id, task, self._stamped(model), targets, quorum)
        for site in targets:
            if site in self.roster.absent:  # it left while the workflow did something else
                given.left(site)
        if there := [site for site in targets if site not in given.passed_over]:
            self._dispatch.send(given, there)
        started = time.monotonic()
        try:
            for site in targets:
                while site not in given.arrived and site not in given.passed_over:
                    self._await_reply(given, site, started)
                if site in given.passed_over:
                    continue
                model = self._dispatch.receive(given, site)
                given.read.add(site)
                params = model.params
                self.reading = site
                yield Reply(site, task, self._dispatch.filtered(model, site, given), self.round)
                self.reading = None
                self._dispatch.done_with(params)
        finally:
            self._dispatch.close(given)
            if self._open is given:  # and not one of the same round that has begun again
                self._open = None
                self._waiting_for = ("the workflow's own work on the server", time.time())

    def _await_reply(self, task: OpenTask, site: str, started: float) -> None:
        """Take what comes next while a site's reply is awaited, and see whether the wait must end."""
        deadline = self._waits.round_deadline_s
        limit = None if deadline is None or task.is_overdue else started + deadline
        gone = [each for each in task.awaited if each in self.roster.absent] if self.roster.absent else []
        if gone:
            since = max(self.roster.absent[each].since for each in gone)
            grace = since + self._waits.reconnect_grace_s
            limit = grace if limit is None else min(limit, grace)
        wanted = min(task.missing, max(1, len(task.targets) // 16), MOST_AT_ONCE)
        if not self._take_until(limit, task, wanted):
            if gone and time.monotonic() >= grace:
                raise self._too_few(task.quorum, len(task.read) + len(task.arrived))
            task.is_overdue = True
        if task.is_overdue:
            for late in task.pass_over_late():
                self.warn(f"round {self.round}: {late} has not answered within {deadline} s; the round goes on without")

    def _too_few(self, needed: int, there: int) -> SiteError:
        first = next(iter(self.roster.absent), self.sites[0])
        return SiteError(
            f"{needed} sites are needed, {there} were there, and nobody came within {self._waits.reconnect_grace_s:g} s"
            f" ({self.roster.missing()}); start the sites that are missing, or allow more time with reconnect_grace_s",
            site=first,
        )

    def load(self, name: str = "global") -> FLModel:
        return self._checkpoints.load(name)

    def save(self, model: FLModel, *, name: str = "global", metric: float | None = None) -> None:
        self._checkpoints.save(model, name)
        self.events.emit(ModelSaved(name, self.round, metric))

    def record(self, metrics: dict[str, float], *, site: str | None = None) -> None:
        if site is None:
            self._last_means = metrics
        self._note_metrics(self.round, site, metrics)

    def write(self, name: str, text: str) -> None:
        self._checkpoints.write(name, text)

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.events.emit(TableMade(title, tuple(columns), tuple(tuple(row) for row in rows)))

    def warn(self, message: str) -> None:
        logger.warning("%s", message)
        self.events.emit(WarningRaised(message))

    def fail(self, site: str, message: str, details: str = "") -> None:
        """Take note, from any thread, that a site is lost for good."""
        self._inbox.put(Failed(site, message, details))

    def leave(self, host: str, reason: str) -> None:
        """Take note, from any thread, that a cell is gone, and with it the sites that it serves; they may come back."""
        self._inbox.put(Left(host, reason))

    def leave_below(self, peer: str, reason: str) -> None:
        """Take note, from any thread, that all cells below a peer are gone, and it itself."""
        for host in self.roster.hosts.copy().values():
            if speaks_for(peer, host):
                self.leave(host, reason)

    def site_ended(self, host: str) -> None:
        """Take note, from any thread, that what served a site has ended in order."""
        self._inbox.put(Ended(host))

    def abort(self, reason: str) -> None:
        """End the run from another thread."""
        self._inbox.put(JobAborted(reason))

    def take_ready(self, message: Message) -> None:
        """Take a site's word that it is ready, which came before this federation was made."""
        self._inbox.put(Ready.read(message, self.roster))

    def wait_ready(self, hosts: int) -> None:
        """Wait until so many hosts have said that their sites are ready.

        Raises:
            SiteError: a site could not be prepared.
        """
        ready = 0
        while ready < hosts:
            ready += isinstance(self._handle(self._inbox.take()), Ready)

    def finish(self) -> None:
        """Tell all sites that no task will come any more."""
        self._end_round()  # the workflow may have left the loop
        self._dispatch.release_kept()
        self._is_finishing = True
        for host in self.roster.by_host(self.roster.present):
            self._cell.send(host, "end")

    def wait_ended(self) -> None:
        """Wait until what serves the sites has ended: what a script does after the last round is its own."""
        while running := [site for site in self.roster.present if site not in self._ended]:
            self._take_until(None, f"the scripts of {', '.join(running)} to end")

    def drain(self) -> None:
        """Take what has arrived without waiting for more; failures are noted, not raised."""
        while (item := self._inbox.take_now()) is not None:
            if isinstance(item, Failed):
                self._note_failure(item)
            elif isinstance(item, Logged):
                self._record_log(item)
            elif isinstance(item, Warned):
                self.warn(f"{item.site}: {item.text}")

    def _stamped(self, model: FLModel) -> FLModel:
        return replace(model, current_round=self.round, total_rounds=self.total_rounds, metrics=None)

    @property
    def waiting_for(self) -> tuple[str, float]:
        """What the run waits for, and since when in seconds of the epoch; readable from any thread."""
        what, since = self._waiting_for
        if isinstance(what, OpenTask):
            what = f"results of '{what.name}' in round {self.round} from {', '.join(what.awaited)}"
        return what, since

    def _take_until(self, limit: float | None, what: str | OpenTask, wanted: int = 1) -> bool:
        """Take one item, or wait for ``wanted``; false when the time is over first."""
        self._waiting_for = (what, time.time())
        item = self._inbox.take(wanted, None if limit is None else max(0.0, limit - time.monotonic()))
        if item is not None:
            self._handle(item)
        return item is not None

    def _handle(self, item: Post) -> Post:
        match item:
            case Result():
                self._take_result(*item.content(self.roster))
            case Logged():
                self._record_log(item)
            case Warned():
                self.warn(f"{item.site}: {item.text}")
            case Failed():
                raise self._note_failure(item)
            case Ready():
                self._note_ready(item)
            case Left():
                self._note_left(item)
            case Ended():
                self._ended.update(self.roster.sites_of(item.host))
            case BaseException():
                raise item
        return item

    def _take_result(self, sender: str, task_id: int, site: str, model: FLModel) -> None:
        task = self._open
        if not self.roster.speaks_for(sender, site):
            logger.error("%s spoke for the site %r, which is not its own; ignored", sender, site)
        elif task is None or task_id != task.number or not task.take(site, model):
            logger.warning("late result ignored site=%s task_id=%s", site, task_id)
            self._dispatch.release([model])
        else:
            done = len(task.targets) - task.missing
            self.events.emit(SiteReplied(site, task.name, self.round, done, len(task.targets)))

    def _note_ready(self, item: Ready) -> None:
        if self._is_finishing and self.roster.can_leave:  # it came too late
            self._cell.send(item.host, "end")
        for site in item.sites:
            if not self.roster.can_leave or not self.roster.arrive(site, item.host):
                continue
            self._ended.discard(site)
            self.events.emit(SiteReturned(site))
            task = self._open
            if task is not None and site in task.awaited:  # it was given the task before, and has lost it
                self._dispatch.send(task, (site,))

    def _note_left(self, item: Left) -> None:
        if self._is_finishing:  # nothing is wanted of it any more
            self._ended.update(self.roster.sites_of(item.host))
            return
        self.roster.will_not_come(item.host, item.reason)
        for site in self.roster.sites_of(item.host):
            if not self.roster.leave(site, item.host, item.reason):
                continue
            logger.warning("site left site=%s reason=%s", site, item.reason)
            self.events.emit(SiteLeft(site, item.reason))
            if self._open is not None:
                self._open.left(site)

    def _note_failure(self, failure: Failed) -> SiteError:
        error = SiteError(failure.message, site=failure.site, details=failure.details)
        if failure.site not in self.roster.failures:
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
        """Put numbers into the run's record, and tell those who follow it, if anybody does."""
        self._metrics.write(round_, site, metrics, **({} if step is None else {"step": step}))
        if self.events.has_subscribers(MetricLogged):
            for key, value in metrics.items():
                self.events.emit(MetricLogged(key, value, round_, site, step, kind))
