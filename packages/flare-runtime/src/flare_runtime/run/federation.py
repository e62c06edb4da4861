"""The server's side of a run: gives tasks to the sites, yields their replies in order, and notices who is lost."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flare_core import FLModel, JobEndpoint, RecipeError, Reply, Sample, SiteError
from flare_core.events import ModelSaved, RoundEnded, RoundStarted, TableMade
from flare_runtime.run.arrivals import Arrivals
from flare_runtime.run.checkpoints import Keeper
from flare_runtime.run.dispatch import Dispatch
from flare_runtime.run.open_task import OpenTask
from flare_runtime.run.post import Failed
from flare_runtime.run.record import MetricsFile
from flare_runtime.run.roster import Roster
from flare_transport import Cell

__all__ = ["SitesFederation", "Waits"]


@dataclass(frozen=True, slots=True)
class Waits:
    """What the server waits for.

    Attributes:
        reconnect_grace_s: how long it waits for sites while there are too few.
        round_deadline_s: when a round goes on without those that have not answered, if enough have.
    """

    reconnect_grace_s: float = 600.0
    round_deadline_s: float | None = None


class SitesFederation(Arrivals):
    """A federation of sites that are reached through cells.

    Args:
        roster: the sites.
        dispatch: what brings tasks to them, and results back.
        checkpoints: where models are kept.
        metrics: where numbers are recorded.
        waits: for whom, and how long.
        config: the server's settings of the job.
        to_framework: brings params into the form of the job's framework.
    Attributes:
        reading: the site whose reply was taken last; its tensors may still be at the site.
        endpoint: the server's access to the sites' services; None outside a run.
    """

    def __init__(
        self,
        *,
        job_id: str,
        seed: int,
        roster: Roster,
        cell: Cell,
        dispatch: Dispatch,
        checkpoints: Keeper,
        metrics: MetricsFile,
        waits: Waits | None = None,
        config: Mapping[str, Any] | None = None,
        to_framework: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ) -> None:
        super().__init__(roster=roster, cell=cell, dispatch=dispatch, metrics=metrics)
        self.job_id = job_id
        self.random = np.random.default_rng(seed)
        self.config: Mapping[str, Any] = dict(config or {})
        self.total_rounds: int | None = None
        self.reading: str | None = None
        self._being_read: Any = None  # the params of that reply
        self._to_framework = to_framework
        self._first_round = 0
        self._checkpoints = checkpoints
        self._waits = waits or Waits()
        self._task_id = 0
        self._round_started: float | None = None
        self.endpoint: JobEndpoint | None = None
        self._stalled: set[str] = set()  # in this round
        # By task, and site whose last result of it was not used: the round of the first such result.
        self._unused_since: dict[str, dict[str, int]] = {}

    @property
    def is_reading(self) -> bool:
        """Whether tensors of replies may be read, which can lie at their sites: that of the reply taken last, or those
        that an aggregator looks at when it has all of them."""
        return self.reading is not None or self._dispatch.has_kept

    @property
    def state(self) -> dict[str, Any]:
        """What must be kept of a completed round, besides its model and what the workflow says."""
        return {
            "tasks": self._task_id,
            "random": self.random.bit_generator.state,
            "unused_since": copy.deepcopy(self._unused_since),
        }

    def go_on(self, state: Mapping[str, Any] | None, first_round: int) -> None:
        """Go on as after the round with that state; a task that is given again has the id that it had before.

        Args:
            state: what :attr:`state` was; None leaves all as it is.
            first_round: the round that comes next.
        """
        self._first_round = first_round
        self._close_open()
        self._release_read()
        if state is not None:
            self._task_id = int(state["tasks"])
            self._unused_since = copy.deepcopy(state.get("unused_since", {}))
            self.random.bit_generator.state = state["random"]
        if first_round == 0:  # of a workflow that has nothing to do with the results of the one before
            self._unused_since = {}

    def leave_out(self, host: str) -> None:
        """Do without the sites that a cell serves, if the others are enough, when this round begins again."""
        self._stalled.update(self.roster.sites_of(host))

    def rounds(self, count: int) -> Iterator[int]:
        self.total_rounds = count
        for round_ in range(self._first_round, count):
            self.round = round_
            self._last_means = {}
            self._round_started = time.monotonic()
            self.events.emit(RoundStarted(round_, count))
            yield round_
            self.end_round()

    def end_round(self) -> None:
        """Announce the end of the round that is open, if one is; a round that failed has none."""
        if self._round_started is not None and self.round is not None and self.total_rounds is not None:
            seconds, self._round_started = time.monotonic() - self._round_started, None
            self._stalled.clear()
            self._metrics.flush()
            self._checkpoints.commit(self.round)
            self.events.emit(RoundEnded(self.round, self.total_rounds, seconds, self._last_means))

    def sample(self, minimum: int, *, count: int | None = None) -> Sample:
        self._await_present(minimum)
        present = self.roster.present
        if self._stalled:
            rest = tuple(site for site in present if site not in self._stalled)
            present = rest if len(rest) >= minimum else present
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
            if self.roster.removed and self.roster.possible < minimum:
                raise self._too_few_left(minimum)
            if not self.roster.can_leave:
                raise SiteError(
                    f"a round needs {minimum} sites, {there} are there ({self.roster.missing()})", site=self.sites[0]
                )
            if not self._take_until(until, f"{minimum - there} more of {', '.join(self.roster.absent)} to come"):
                raise self._too_few(minimum, there)

    def broadcast(
        self, task: str, model: FLModel, *, to: Sequence[str] | None = None, result_stays: bool = False
    ) -> Iterator[Reply]:
        targets = self.sites if to is None else tuple(to)
        for site in targets:
            if site not in self.roster.hosts:
                raise RecipeError(f"a task '{task}' is addressed to {site!r}; the sites are {', '.join(self.sites)}")
        self._release_read()
        self._close_open()
        quorum = to.quorum if isinstance(to, Sample) else len(targets)
        given = self._give(task, model, targets, quorum, result_stays=result_stays)
        started = time.monotonic()
        try:
            for site in targets:
                while site not in given.arrived and site not in given.passed_over:
                    self._await_reply(given, site, started)
                if site not in given.passed_over:
                    yield from self._read(given, site, to)
        finally:
            self._close(given)

    def collect(self, task: str, model: FLModel, *, to: Sample, quorum: int, max_staleness: int) -> Iterator[Reply]:
        self._release_read()
        for old in self._open:
            if not old.outlives_round or self._age(old) > max_staleness:
                self._close(old)
        started = time.monotonic()
        self._give_to_idle(task, model, to)
        if quorum >= len(self._open.under_way) and (yield from self._collect_all(to, started)):
            return
        while (there := len(self._open.arrived)) < (wanted := self._wanted(to, quorum, started)) or not there:
            if not there and not self._open.awaited:  # all that worked have left
                self._give_to_idle(task, model, self.sample(to.quorum))
                continue
            self._await_replies(wanted - there, started)
        for site, given in sorted(self._open.arrived.items(), key=lambda item: self.sites.index(item[0])):
            yield from self._read(given, site, to)
        self._close_answered()

    def _collect_all(self, to: Sample, started: float) -> Generator[Reply, None, bool]:
        """Yield the replies of all that work, each while those after it still do; false if none has come."""
        taken = 0
        for site, given in sorted(self._open.under_way.items(), key=lambda item: self.sites.index(item[0])):
            while site not in given.arrived and site not in given.passed_over:
                if self._is_overdue(started) and taken + len(self._open.arrived) >= to.quorum:
                    break
                self._await_replies(1, started)
            if site in given.arrived:
                yield from self._read(given, site, to)
                taken += 1
        self._close_answered()
        return taken > 0

    def _close_answered(self) -> None:
        """Let go of what no reply is awaited to any more."""
        for given in self._open:
            if not given.missing and not given.arrived:
                self._close(given)

    def _give(
        self, task: str, model: FLModel, targets: Sequence[str], quorum: int, *, result_stays: bool = False
    ) -> OpenTask:
        """Give a task to those of its sites that are there."""
        self._task_id += 1
        given = OpenTask(self._task_id, task, self._stamped(model), targets, quorum)
        given.result_stays = result_stays
        given.unused_since = dict(self._unused_since.get(task, {}))
        self._open.add(given)
        for site in targets:
            if site in self.roster.absent:  # it left while the workflow did something else
                given.left(site)
        if there := [site for site in targets if site not in given.passed_over]:
            self._dispatch.send(given, there)
        return given

    def _give_to_idle(self, task: str, model: FLModel, sites: Sequence[str]) -> None:
        """Give a task that outlives its round to those of the sites that work on none."""
        busy = self._open.under_way
        if idle := [site for site in sites if site not in busy]:
            self._give(task, model, idle, 0).outlives_round = True

    def _read(self, given: OpenTask, site: str, to: Sequence[str] | None) -> Iterator[Reply]:
        """Yield a reply that has arrived, and let the site drop its tensors when the next is taken."""
        try:
            model = self._dispatch.receive(given, site, patience_s=self._patience_s(site, to))
        except SiteError as error:
            raise self._note_failure(Failed(site, str(error), "")) from error
        given.read.add(site)
        self._unused_since.get(given.name, {}).pop(site, None)
        self.reading, self._being_read = site, model.params
        filtered = self._dispatch.filtered(model, site, given)
        yield Reply(site, given.name, filtered, given.model.current_round, given.model)
        self._end_reading()

    def _end_reading(self) -> None:
        params, self.reading, self._being_read = self._being_read, None, None
        self._dispatch.done_with(params)

    def _release_read(self) -> None:
        """Let sites drop the tensors of results that were taken, also of one that was not read to its end: its script
        waits for that."""
        self._end_reading()
        self._dispatch.release_kept()

    def _patience_s(self, site: str, to: Sequence[str] | None) -> float | None:
        """For how long nothing may come of a site's result, if the round can begin again without the site."""
        deadline = self._waits.round_deadline_s
        if deadline is None or not self.roster.can_leave or not isinstance(to, Sample):
            return None
        others = set(self.roster.present) - self._stalled - {site}
        return deadline if len(others) >= to.quorum else None

    def _close(self, given: OpenTask) -> None:
        if not given.is_closed and given.model.current_round is not None:
            unused_since = self._unused_since.setdefault(given.name, {})
            for site in set(given.targets) - given.read:
                unused_since.setdefault(site, given.model.current_round)
        self._dispatch.close(given)
        self._open.drop(given)
        self._waiting_for = ("the workflow's own work on the server", time.time())

    def _close_open(self) -> None:
        """Let go of what an earlier round has left open."""
        for given in self._open:
            self._close(given)

    def _age(self, given: OpenTask) -> int:
        """How many rounds ago the sites were given a task."""
        return (self.round or 0) - (given.model.current_round or 0)

    def _wanted(self, to: Sample, quorum: int, started: float) -> int:
        """How many replies the round takes: all, if no more are under way; after its deadline, as few as can be."""
        if self._is_overdue(started):
            quorum = min(quorum, to.quorum)
        return min(quorum, len(self._open.under_way))

    def _is_overdue(self, started: float) -> bool:
        """Whether the deadline of a round is over."""
        deadline = self._waits.round_deadline_s
        return deadline is not None and time.monotonic() >= started + deadline

    def _await_replies(self, wanted: int, started: float) -> None:
        """Handle the next item; a round's deadline ends the wait once."""
        deadline = self._waits.round_deadline_s
        limit = None if deadline is None or self._is_overdue(started) else started + deadline
        what = f"{wanted} more results in round {self.round} from {', '.join(self._open.awaited)}"
        self._take_until(limit, what)

    def _await_reply(self, task: OpenTask, site: str, started: float) -> None:
        """Handle the next item while waiting for a site's reply, and check whether the wait must end."""
        if self.roster.removed.intersection(task.awaited):  # without whom there are not enough
            raise self._too_few_left(task.quorum)
        deadline = self._waits.round_deadline_s
        limit = None if deadline is None or task.is_overdue else started + deadline
        gone = [each for each in task.awaited if each in self.roster.absent] if self.roster.absent else []
        if gone:
            since = max(self.roster.absent[each].since for each in gone)
            grace = since + self._waits.reconnect_grace_s
            limit = grace if limit is None else min(limit, grace)
        if not self._take_until(limit, task):
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

    def _too_few_left(self, needed: int) -> SiteError:
        left = self.roster.possible
        text = f"{needed} sites are needed, and {left} {'is' if left == 1 else 'are'} left ({self.roster.missing()})"
        return SiteError(text, site=min(self.roster.removed))

    def in_framework(self, model: FLModel) -> Mapping[str, Any]:
        return self._to_framework(model.params or {})

    def release(self, model: FLModel) -> None:
        self._dispatch.release([model])

    def load(self, name: str = "global") -> FLModel:
        return self._checkpoints.load(name)

    def save(
        self, model: FLModel, *, name: str = "global", metric: float | None = None, of_round: int | None = None
    ) -> None:
        self._checkpoints.save(model, name)
        self.events.emit(ModelSaved(name, self.round if of_round is None else of_round, metric))

    def write(self, name: str, text: str) -> None:
        self._checkpoints.write(name, text)

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.events.emit(TableMade(title, tuple(columns), tuple(tuple(row) for row in rows)))

    def finish(self) -> None:
        """Tell all sites that no task will come any more."""
        self.end_round()  # the workflow may have left the loop
        self._close_open()
        self._release_read()
        self._is_finishing = True
        for host in self.roster.by_host(self.roster.present):
            self._cell.send(host, "end")

    def wait_ended(self) -> None:
        """Wait until what serves the sites has ended: what a script does after the last round is its own.

        A reply that comes now is not wanted any more, and its script is told so; until then it would wait for that.
        """
        while running := [site for site in self.roster.present if site not in self._ended]:
            self._take_until(None, f"the scripts of {', '.join(running)} to end")

    def _stamped(self, model: FLModel) -> FLModel:
        return replace(model, current_round=self.round, total_rounds=self.total_rounds, metrics=None)
