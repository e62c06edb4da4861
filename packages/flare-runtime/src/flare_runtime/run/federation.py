"""The server's side of a run: sends tasks to the sites, yields their replies in order, and handles lost sites."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flare_core import FLModel, RecipeError, Reply, Sample, SiteError
from flare_core.events import ModelSaved, RoundEnded, RoundStarted, TableMade
from flare_runtime.endpoint.at_server import ServerHub
from flare_runtime.endpoint.directory import SERVER
from flare_runtime.run.arrivals import Arrivals
from flare_runtime.run.checkpoint_store import CheckpointStore
from flare_runtime.run.conversation import SitesConversation
from flare_runtime.run.dispatch import Dispatch
from flare_runtime.run.roster import Roster
from flare_transport import Cell


class SitesFederation(Arrivals):
    """A federation whose sites are served by cells; used on the workflow's thread, but for what says thread-safe.

    Args:
        roster: the sites.
        dispatch: sends tasks and receives replies.
        checkpoints: stores the models.
        reconnect_grace_s: how long the server waits for sites while too few are connected.
        round_deadline_s: when a round continues without the sites that have not answered, if enough have.
        config: the job's settings for the server.
        to_framework: converts params to arrays of the job's framework.
    Attributes:
        reading: the site whose reply the workflow is using; its tensors may still be at the site.
        endpoint: the server's access to the endpoints of the sites.
    """

    def __init__(
        self,
        *,
        job_id: str,
        seed: int,
        roster: Roster,
        cell: Cell,
        hub: ServerHub,
        dispatch: Dispatch,
        checkpoints: CheckpointStore,
        reconnect_grace_s: float = 600.0,
        round_deadline_s: float | None = None,
        config: Mapping[str, Any] | None = None,
        to_framework: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ) -> None:
        super().__init__(roster=roster, cell=cell, hub=hub, dispatch=dispatch)
        self.job_id = job_id
        self.random = np.random.default_rng(seed)
        self.config: Mapping[str, Any] = dict(config or {})
        self.total_rounds: int | None = None
        self.reading: str | None = None
        self._finished: list[SitesConversation] = []  # no reply is awaited, but the sites still hold read ones
        self._to_framework = to_framework
        self._first_round = 0
        self._checkpoints = checkpoints
        self._reconnect_grace_s = reconnect_grace_s
        self._round_deadline_s = round_deadline_s
        self._task_id = 0
        self._highest_task_id = 0  # lower ones are sent again, in a round that begins again
        self._round_started: float | None = None
        self.endpoint = hub.endpoint(SERVER)
        self._stalled: set[str] = set()  # in this round
        # By task and site: the round of its first result in a row that was not used. Filters with a state need it.
        self._unused_since: dict[str, dict[str, int]] = {}

    @property
    def is_reading(self) -> bool:
        """True while arrays of replies that are still at their sites may be read."""
        return self.reading is not None or any(each.held for each in self._open)

    @property
    def state(self) -> dict[str, Any]:
        """The part of a completed round's state that is neither in its model nor in the workflow's state."""
        return {
            "tasks": self._task_id,
            "random": self.random.bit_generator.state,
            "unused_since": copy.deepcopy(self._unused_since),
        }

    def continue_from(self, state: Mapping[str, Any] | None, first_round: int) -> None:
        """Continue after the round that left this state; tasks sent again get the ids that they had before.

        Args:
            state: an earlier value of :attr:`state`; None keeps the current one.
            first_round: the next round.
        """
        self._first_round = first_round
        self._close_all()
        if state is not None:
            self._task_id = int(state["tasks"])
            self._unused_since = copy.deepcopy(state.get("unused_since", {}))
            self.random.bit_generator.state = state["random"]
        if first_round == 0:  # a new workflow, which does not build on the results of the one before
            self._unused_since = {}

    def leave_out(self, host: str) -> None:
        """Leave the sites of a cell out when this round begins again, if the others are enough."""
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
        """Announce the end of the open round, if there is one; a round that fails does not end."""
        self._end_reading()
        if self._round_started is not None and self.round is not None and self.total_rounds is not None:
            seconds, self._round_started = time.monotonic() - self._round_started, None
            self._stalled.clear()
            # Durable before it is announced: after a restart, no observer has seen a round that is run again.
            self._checkpoints.commit(self.round)
            self.events.emit(RoundEnded(self.round, self.total_rounds, seconds, self._last_means))

    @property
    def next_round(self) -> int:
        """The round with which :meth:`rounds` begins."""
        return self._first_round

    @property
    def is_in_round(self) -> bool:
        """True between the start of a round and its end."""
        return self._round_started is not None

    def checkpoint(self) -> None:
        if self.round is not None and self.is_in_round:
            self._checkpoints.commit_within(self.round)

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
        """Wait until enough sites are connected."""
        until = time.monotonic() + self._reconnect_grace_s
        # Sites that are just starting take part in the first round, which would otherwise go to whoever is fastest.
        while self.roster.starting and self._take_until(until, f"{', '.join(sorted(self.roster.starting))} to start"):
            pass
        while (there := len(self.roster.present)) < minimum:
            if self.roster.removed and self.roster.possible < minimum:
                raise self.roster.too_few_left(minimum)
            if not self.roster.can_leave:
                raise SiteError(
                    f"a round needs {minimum} sites, {there} are left ({self.roster.missing()})", site=self.sites[0]
                )
            if not self._take_until(until, f"{minimum - there} more of {', '.join(self.roster.absent)} to connect"):
                raise self.roster.too_few(minimum, there, self._reconnect_grace_s)

    def ask(
        self,
        task: str,
        data: Any = None,
        *,
        to: Sequence[str] | None = None,
        quorum: int | None = None,
        deadline_s: float | None = None,
        result_stays: bool = False,
    ) -> SitesConversation:
        targets = self.sites if to is None else to
        if quorum is None:
            quorum = targets.quorum if isinstance(targets, Sample) else len(targets)
        given = dict.fromkeys(targets, self._stamped(data))
        restarts = isinstance(to, Sample)
        return self._send(task, given, quorum, deadline_s, may_restart=restarts, result_stays=result_stays)

    def scatter(
        self, task: str, data: Mapping[str, Any], *, quorum: int | None = None, deadline_s: float | None = None
    ) -> SitesConversation:
        stamped = {site: self._stamped(each) for site, each in data.items()}
        return self._send(task, stamped, len(data) if quorum is None else quorum, deadline_s)

    def broadcast(self, task: str, data: Any = None, *, to: Sequence[str] | None = None) -> Iterator[Reply]:
        self._end_reading()
        conversation = self.ask(task, data, to=to)
        self._finished.append(conversation)
        try:
            yield from conversation
        finally:
            self._stop(conversation)

    def collect(self, task: str, model: FLModel, *, to: Sample, quorum: int, max_staleness: int) -> Iterator[Reply]:
        self._end_reading()
        for old in self._lasting():
            if (self.round or 0) - (old.round or 0) > max_staleness:
                self.close(old)
        deadline = None if self._round_deadline_s is None else time.monotonic() + self._round_deadline_s
        self._send_to_idle(task, model, to)
        while True:
            under_way = self._under_way()
            arrived = [site for site in self.sites if site in under_way and site in under_way[site].arrived]
            is_overdue = deadline is not None and time.monotonic() >= deadline
            wanted = min(quorum, len(under_way), to.quorum if is_overdue else quorum)
            if arrived and len(arrived) >= wanted:
                break
            if not under_way:  # every working site was lost
                self._send_to_idle(task, model, self.sample(to.quorum))
                continue
            awaited = ", ".join(site for site in under_way if site not in arrived)
            what = f"{wanted - len(arrived)} more results in round {self.round} from {awaited}"
            self._take_until(None if is_overdue else deadline, what)
        for site in arrived:
            yield from self.take(under_way[site], site)
        for conversation in self._lasting():
            if not conversation.awaited and not conversation.arrived:
                self._stop(conversation)
                self._finished.append(conversation)

    def _lasting(self) -> list[SitesConversation]:
        """Return the conversations that outlive their round and still await replies."""
        return [each for each in self._open if each.outlives_round and not each.is_stopped]

    def _under_way(self) -> dict[str, SitesConversation]:
        """Return the sites that work on a task that outlives its round, or whose replies were not read yet."""
        return {site: each for each in self._lasting() for site in (*each.awaited, *each.arrived)}

    def _send(
        self,
        task: str,
        data: Mapping[str, Any],
        quorum: int,
        deadline_s: float | None,
        *,
        may_restart: bool = False,
        result_stays: bool = False,
        outlives_round: bool = False,
    ) -> SitesConversation:
        """Send a task to those of its sites that are connected."""
        for site in data:
            if site not in self.roster.hosts:
                raise RecipeError(f"a task '{task}' is addressed to {site!r}; the sites are {', '.join(self.sites)}")
        self._task_id += 1
        is_repeat = self._task_id <= self._highest_task_id
        self._highest_task_id = max(self._highest_task_id, self._task_id)
        conversation = SitesConversation(
            self,
            self._task_id,
            task,
            data,
            quorum,
            self.round,
            deadline_s=self._round_deadline_s if deadline_s is None else deadline_s,
            unused_since=dict(self._unused_since.get(task, {})),
            is_repeat=is_repeat,
            may_restart=may_restart,
            result_stays=result_stays,
            outlives_round=outlives_round,
        )
        self._open.append(conversation)
        for site in conversation.sites:
            if site in self.roster.absent:  # it was lost after the workflow had chosen it
                conversation.leave(site)
        if there := [site for site in conversation.sites if site not in conversation.passed_over]:
            self._dispatch.send(conversation, there)
        return conversation

    def _send_to_idle(self, task: str, model: FLModel, sites: Sequence[str]) -> None:
        """Send a task that outlives its round to those of the sites that are not working on one."""
        busy = self._under_way()
        if idle := [site for site in sites if site not in busy]:
            self._send(task, dict.fromkeys(idle, self._stamped(model)), 0, None, outlives_round=True, may_restart=True)

    def take(self, conversation: SitesConversation, site: str) -> Iterator[Reply]:
        """Yield a reply that has arrived; ``reading`` names its site until the caller asks for the next one."""
        try:
            reply = self._dispatch.reply(conversation, site, patience_s=self._patience_s(conversation, site))
        except SiteError as error:
            raise self._note_failure(site, str(error)) from error
        conversation.read.add(site)
        self._unused_since.get(conversation.task, {}).pop(site, None)
        self.reading = site
        yield reply
        self.reading = None

    def _patience_s(self, conversation: SitesConversation, site: str) -> float | None:
        """Return how long the transfer of a site's result may stall, if the round can begin again without the site."""
        if conversation.deadline_s is None or not self.roster.can_leave or not conversation.may_restart:
            return None
        others = set(self.roster.present) - self._stalled - {site}
        return conversation.deadline_s if len(others) >= conversation.quorum else None

    def _stop(self, conversation: SitesConversation) -> None:
        """Stop expecting replies in a conversation."""
        if conversation.is_stopped:
            return
        if conversation.round is not None:
            unused_since = self._unused_since.setdefault(conversation.task, {})
            for site in set(conversation.sites) - conversation.read:
                unused_since.setdefault(site, conversation.round)
        self._dispatch.stop(conversation)
        self._waiting_for = ("the workflow's own work on the server", time.time())

    def close(self, conversation: SitesConversation) -> None:
        """End a conversation, and let the sites drop the rest of their replies."""
        self._stop(conversation)
        conversation.release_held()
        if conversation in self._open:
            self._open.remove(conversation)

    def _end_reading(self) -> None:
        """Let the sites drop their replies to broadcasts, and those that were collected."""
        self.reading = None
        finished, self._finished = self._finished, []
        for conversation in finished:
            self.close(conversation)
        for conversation in self._lasting():
            conversation.release_held()

    def _close_all(self) -> None:
        """Close the conversations that an earlier round or the workflow has left open."""
        self._end_reading()
        for conversation in self._open.copy():
            self.close(conversation)

    def await_reply(self, conversation: SitesConversation) -> None:
        """Handle the next item while a conversation awaits replies, and end the wait when a limit is reached.

        The deadline lets the quorum suffice. If awaited sites are absent, the run fails ``reconnect_grace_s`` after the
        last of them was lost: each loss starts the grace period anew, as the network may be unstable for a while.
        """
        awaited = conversation.awaited
        if self.roster.removed.intersection(awaited):  # it is awaited since the quorum cannot do without it
            raise self.roster.too_few_left(conversation.quorum)
        deadline = conversation.deadline_s
        limit = None if deadline is None or conversation.is_overdue else conversation.started + deadline
        gone = [each for each in awaited if each in self.roster.absent] if self.roster.absent else []
        if gone:
            since = max(self.roster.absent[each].since for each in gone)
            grace = since + self._reconnect_grace_s
            limit = grace if limit is None else min(limit, grace)
        if not self._take_until(limit, conversation):
            if gone and time.monotonic() >= grace:
                there = len(conversation.read) + len(conversation.arrived)
                raise self.roster.too_few(conversation.quorum, there, self._reconnect_grace_s)
            conversation.is_overdue = True
        if conversation.is_overdue:
            for late in conversation.pass_over_late():
                where = f"'{conversation.task}'" if conversation.round is None else f"round {conversation.round}"
                self.warn(f"{where}: {late} has not answered within {deadline} s; the run continues without it")

    def in_framework(self, model: FLModel) -> Mapping[str, Any]:
        return self._to_framework(model.params or {})

    def release(self, model: FLModel) -> None:
        self._dispatch.release(model)

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
        """Tell all sites that no task will follow."""
        self.end_round()  # the workflow may have left its loop early
        self._close_all()
        self._is_finishing = True
        for host in self.roster.by_host(self.roster.present):
            self._cell.send(host, "end")

    def wait_ended(self) -> None:
        """Wait until the processes of all sites have ended; a script may do more work after the last round.

        Late replies are released meanwhile: a script waits until its reply was read or refused.
        """
        while running := [site for site in self.roster.present if site not in self._ended]:
            self._take_until(None, f"the scripts of {', '.join(running)} to end")

    def _stamped(self, data: Any) -> Any:
        """Return a model with the current round set; return other data unchanged."""
        if not isinstance(data, FLModel):
            return data
        return replace(data, current_round=self.round, total_rounds=self.total_rounds, metrics=None)
