"""A federation in one process, without threads or sockets, for unit tests of workflows."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flare_core.endpoint import JobEndpoint
from flare_core.errors import FlareError, RecipeError, SiteError
from flare_core.events import (
    EventBus,
    MetricLogged,
    ModelSaved,
    RoundEnded,
    RoundStarted,
    SiteReplied,
    TableMade,
    WarningRaised,
)
from flare_core.executor import Executor
from flare_core.model import FLModel, flatten
from flare_core.task import Reply, Sample, Task
from flare_core.testing.replies import Answer, FakeConversation, Kept
from flare_core.testing.sites import FakeSites, Rounds, SiteFunction
from flare_core.workflow import Workflow


class FakeFederation:
    """Sites that a test plays; implements :class:`~flare_core.TrainingFederation`.

    Tasks are done in :meth:`ask` itself, one site after the other. What is sent, in both directions, is copied. Filters
    are not applied, and a site is not told that its last result was not used.

    Args:
        sites: by name, an :class:`~flare_core.Executor`, or a function of the task that returns the data of the reply
            as a training script does.
        initial: the initial model, or its params.
        seed: seeds ``random``.
        config: the server's settings of the job.
        site_config: by site, the settings that an executor finds in its context.
        site_local: by site, the folder of its owner's settings, ``context.local`` of an executor.
        late: by site, the rounds in which it replies after the deadline: its reply is used only if the quorum needs it.
        leaves: by site, the rounds in which it leaves when it is given a task; it is back in the next round.
        absent: by site, the rounds in which it is not connected.
        travel: maps what is sent to what arrives, beyond the copy. With ``lambda data: loads(dumps(data))`` of
            :mod:`flare_fobs`, data that a real run refuses are refused.
    Attributes:
        saved: by name, the model that was saved last; one that is changed after it was saved raises an error.
        metrics: all that was recorded, by the workflow and by executors.
        warnings: each once.
        tables: those that were shown.
        files: by name, the text of those that were written.
        tasks: each site that was given a task, and the task with the data as the workflow gave them.
        completed: how many rounds were completed.
        checkpoints: how many checkpoints were made in the middle of rounds.

    Example:
        >>> from flare_core.workflows import FedAvg
        >>> sites = {"site-1": lambda task: FLModel(params={"w": task.model.params["w"] + 1})}
        >>> fed = FakeFederation(sites, initial={"w": np.zeros(2)})
        >>> fed.run(FedAvg(min_clients=1, num_rounds=2))
        >>> fed.saved["global"].params["w"]
        array([2., 2.])
    """

    def __init__(
        self,
        sites: Mapping[str, Executor | SiteFunction],
        *,
        initial: FLModel | Mapping[str, Any] | None = None,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
        site_config: Mapping[str, Mapping[str, Any]] | None = None,
        site_local: Mapping[str, Path] | None = None,
        late: Rounds | None = None,
        leaves: Rounds | None = None,
        absent: Rounds | None = None,
        travel: Callable[[Any], Any] = lambda data: data,
    ) -> None:
        self.sites = tuple(sites)
        self.job_id = "fake"
        self.random = np.random.default_rng(seed)
        self.events = EventBus()
        self.round: int | None = None
        self.total_rounds: int | None = None
        self.config: Mapping[str, Any] = dict(config or {})
        self.saved: dict[str, FLModel] = {}
        self.metrics: list[MetricLogged] = []
        self.warnings: list[str] = []
        self.tables: list[TableMade] = []
        self.files: dict[str, str] = {}
        self.tasks: list[tuple[str, Task]] = []
        self.completed = 0
        self.checkpoints = 0
        self._sites = FakeSites(
            sites,
            site_config or {},
            local=site_local or {},
            late=late or {},
            leaves=leaves or {},
            absent=absent or {},
            travel=travel,
            events=self.events,
        )
        self._initial = initial if isinstance(initial, FLModel) else FLModel(params=initial)
        self._task_id = 0
        self._is_in_round = False
        self._means: dict[str, float] = {}
        self._open: list[FakeConversation] = []
        self._close_next: list[Callable[[], None]] = []  # at the next broadcast, or the end of the round
        self._pending: dict[str, tuple[int, Answer]] = {}  # of collect(): the round of the task, and its answer
        self._workflow: Workflow | None = None
        self._state: dict[str, Any] = {}  # of the workflow, after the last completed round
        self._first_round = 0
        self._interrupt_after: int | None = None
        self._interrupt_at: int | None = None  # a checkpoint
        self.events.subscribe(MetricLogged, self.metrics.append)
        self.events.subscribe(TableMade, self.tables.append)
        self.events.subscribe(WarningRaised, self._note_warning)

    @property
    def endpoint(self) -> JobEndpoint:
        """Not available: endpoints need the other parties' processes.

        Raises:
            FlareError: always.
        """
        raise FlareError("a fake federation has no endpoint; test services in SimEnv")

    def run(self, workflow: Workflow) -> None:
        """Run a workflow to its end, as the server does: with its state kept after each round.

        Raises:
            FlareError: the workflow breaks a rule, such as reading a reply that was released; or ``state()`` returns
                what cannot be stored.
        """
        self._workflow = workflow
        workflow.run(self)
        self._end_round()  # the workflow may have left the loop
        self._close_all()
        self._workflow, self._first_round = None, 0

    def _close_all(self) -> None:
        self._pending.clear()
        for conversation in self._open:
            conversation.close()

    def rounds(self, count: int) -> Iterator[int]:
        self.total_rounds = count
        for round_ in range(self._first_round, count):
            self.round, self._means, self._is_in_round = round_, {}, True
            self._sites.begin_round(round_)
            self.events.emit(RoundStarted(round_, count))
            yield round_
            self._end_round()
            if round_ == self._interrupt_after:
                raise _Interrupted

    def _end_round(self) -> None:
        self._end_reading()
        if not self._is_in_round or self.round is None:
            return
        self._is_in_round = False
        if self._workflow is not None:
            self._state = _stored(self._workflow.state())
        self.completed += 1
        self.events.emit(RoundEnded(self.round, self.total_rounds or 0, 0.0, self._means))

    def checkpoint(self) -> None:
        if self._is_in_round and self.round is not None and self._workflow is not None:
            self._state = _stored(self._workflow.state())
            self.checkpoints += 1
            if self.checkpoints == self._interrupt_at:
                raise _Interrupted

    def _end_reading(self) -> None:
        for close in self._close_next:
            close()
        self._close_next.clear()

    def sample(self, minimum: int, *, count: int | None = None) -> Sample:
        present = tuple(site for site in self.sites if not self._sites.is_gone(site))
        if len(present) < minimum:
            gone = [site for site in self.sites if site not in present]
            raise SiteError(
                f"{minimum} sites are needed, {len(present)} are there (absent: {', '.join(gone) or 'none'})",
                site=next(iter(gone), self.sites[0]),
            )
        if count is None or count >= len(present):
            return Sample(present, minimum)
        chosen = set(self.random.choice(len(present), size=max(count, minimum), replace=False).tolist())
        return Sample((site for index, site in enumerate(present) if index in chosen), minimum)

    def ask(
        self,
        task: str,
        data: Any = None,
        *,
        to: Sequence[str] | None = None,
        quorum: int | None = None,
        deadline_s: float | None = None,
        result_stays: bool = False,
    ) -> FakeConversation:
        targets = self.sites if to is None else to
        if quorum is None:
            quorum = targets.quorum if isinstance(targets, Sample) else len(targets)
        return self._give(task, dict.fromkeys(targets, data), quorum, result_stays=result_stays)

    def scatter(
        self, task: str, data: Mapping[str, Any], *, quorum: int | None = None, deadline_s: float | None = None
    ) -> FakeConversation:
        return self._give(task, data, len(data) if quorum is None else quorum)

    def broadcast(self, task: str, data: Any = None, *, to: Sequence[str] | None = None) -> Iterator[Reply]:
        self._end_reading()
        conversation = self.ask(task, data, to=to)
        self._close_next.append(conversation.close)
        yield from conversation

    def collect(self, task: str, model: FLModel, *, to: Sample, quorum: int, max_staleness: int) -> Iterator[Reply]:
        self._end_reading()
        now = self.round or 0
        under_way = {
            site: (round_, answer)
            for site, (round_, answer) in self._pending.items()
            if now - round_ <= max_staleness and not self._sites.is_gone(site)
        }
        idle = self._answers(task, {site: model for site in to if site not in under_way})
        under_way |= {site: (now, answer) for site, answer in idle.items() if answer is not None}
        if len(under_way) < min(quorum, to.quorum):
            raise SiteError(f"{to.quorum} sites are needed, {len(under_way)} work", site=self.sites[0])
        late = {site for site in under_way if self._sites.is_late(site)}
        here = [site for site in self.sites if site in under_way]
        here.sort(key=lambda site: (site in late, under_way[site][0]))
        taken = here[: max(min(quorum, len(here) - len(late)), min(quorum, to.quorum))]
        self._pending = {site: answer for site, answer in under_way.items() if site not in taken}
        answers = {site: under_way[site][1] for site in self.sites if site in taken}
        conversation = FakeConversation(task, answers, quorum=0, late=(), warn=self.warn)
        self._close_next.append(conversation.close)
        yield from conversation

    def _give(self, task: str, data: Mapping[str, Any], quorum: int, *, result_stays: bool = False) -> FakeConversation:
        answers = self._answers(task, data, result_stays=result_stays)
        late = [site for site in answers if self._sites.is_late(site)]
        conversation = FakeConversation(task, answers, quorum=quorum, late=late, warn=self.warn)
        self._open.append(conversation)
        return conversation

    def _answers(self, name: str, data: Mapping[str, Any], *, result_stays: bool = False) -> dict[str, Answer | None]:
        """Execute a task at sites and return their answers; None for a site that is not connected."""
        for site in data:
            if site not in self.sites:
                raise RecipeError(f"a task '{name}' is addressed to {site!r}; the sites are {', '.join(self.sites)}")
        self._task_id += 1
        answers: dict[str, Answer | None] = {}
        for site, each in data.items():
            task = Task(name, self._stamped(each), self._task_id, round=self.round, result_stays=result_stays)
            answers[site] = self._sites.give(site, task)
            if answers[site] is not None:
                self.tasks.append((site, task))
                self.events.emit(SiteReplied(site, name, self.round, len(answers), len(data)))
        return answers

    def _stamped(self, data: Any) -> Any:
        if not isinstance(data, FLModel):
            return data
        return replace(data, current_round=self.round, total_rounds=self.total_rounds, metrics=None)

    def record(self, metrics: dict[str, float], *, site: str | None = None) -> None:
        if site is None:
            self._means = metrics
        for key, value in metrics.items():
            self.events.emit(MetricLogged(key, value, self.round, site))

    def write(self, name: str, text: str) -> None:
        self.files[name] = text

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.events.emit(TableMade(title, tuple(columns), tuple(tuple(row) for row in rows)))

    def warn(self, message: str) -> None:
        self.events.emit(WarningRaised(message))

    def _note_warning(self, event: WarningRaised) -> None:
        if event.message not in self.warnings:
            self.warnings.append(event.message)

    def release(self, model: FLModel) -> None:
        if isinstance(model.params, Kept):
            model.params.release()

    def load(self, name: str = "global") -> FLModel:
        model = self.saved.get(name, self._initial if name != "best" else FLModel())
        return copy.deepcopy(model)

    def in_framework(self, model: FLModel) -> Mapping[str, Any]:
        return model.params or {}

    def save(
        self, model: FLModel, *, name: str = "global", metric: float | None = None, of_round: int | None = None
    ) -> None:
        for _, value in flatten(model.params or {}):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self.saved[name] = copy.deepcopy(model)
        self.events.emit(ModelSaved(name, self.round if of_round is None else of_round, metric))


class _Interrupted(BaseException):
    """The server was killed; no workflow handles it."""


def resumed(
    make: Callable[[], Workflow],
    fed: FakeFederation,
    *,
    after_round: int | None = None,
    after_checkpoint: int | None = None,
) -> None:
    """Run a workflow that is interrupted, and continued by a new object with the stored state.

    The outcome, in ``fed``, must be that of an undisturbed run.

    Args:
        make: makes the workflow; called twice.
        fed: the federation to run in, fresh.
        after_round: interrupt it after this round, from 0.
        after_checkpoint: interrupt it after this many checkpoints in the middle of rounds instead.
    Raises:
        FlareError: as :meth:`FakeFederation.run`, or the workflow ended before that.
    """
    fed._interrupt_after, fed._interrupt_at = after_round, after_checkpoint
    try:
        fed.run(make())
    except _Interrupted:
        round_ = fed.round or 0
        fed._first_round = round_ if after_round is None else round_ + 1
        fed._interrupt_after = fed._interrupt_at = None
    else:
        if after_round is not None and fed.completed > after_round:  # it has left its loop, and is not run again
            return
        where = f"checkpoint {after_checkpoint}" if after_round is None else f"round {after_round}"
        raise FlareError(f"{where} was not reached; the workflow ended after {fed.completed} rounds")
    fed._end_reading()
    fed._is_in_round = False
    fed._close_all()
    successor = make()
    successor.restore(fed._state)
    fed.run(successor)


def _stored(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a workflow's state as it is after it was written to files and read.

    Raises:
        FlareError: a value is neither JSON nor a mapping of name to numpy array; names it.
    """
    stored: dict[str, Any] = {}
    for name, value in state.items():
        leaves = [leaf for _, leaf in flatten(value)] if isinstance(value, Mapping) else []
        try:
            is_arrays = leaves and all(isinstance(leaf, np.ndarray) for leaf in leaves)
            stored[name] = copy.deepcopy(value) if is_arrays else json.loads(json.dumps(value))
        except (TypeError, ValueError) as error:
            raise FlareError(
                f"state()[{name!r}] can be neither JSON nor a mapping of name to numpy array: {error}"
            ) from error
    return stored
