"""The server's side of a run: gives tasks to the sites, yields their replies in order, and notices who fails."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flare_core import (
    FilterContext,
    FilterPoint,
    FlareError,
    FLModel,
    JobAborted,
    RecipeError,
    Reply,
    SiteError,
)
from flare_core.events import (
    EventBus,
    MetricLogged,
    ModelSaved,
    RoundEnded,
    RoundStarted,
    SiteFailed,
    SiteReplied,
    WarningRaised,
)
from flare_core.filters import FilterChain, apply_filters, filters_for
from flare_core.model import Key
from flare_runtime.checkpoints import Checkpoints
from flare_runtime.inbox import Inbox
from flare_runtime.record import MetricsFile
from flare_tensor_downloader import (
    Downloader,
    LazyParams,
    Offer,
    read_file,
    receive_params,
    release_params,
    send_params,
)
from flare_transport import Cell, Message, encode

__all__ = ["SitesFederation"]

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 16  # replies that wait until the server looks at them; each holds a small model


@dataclass(frozen=True, slots=True)
class _Failure:
    site: str
    message: str
    details: str


@dataclass(frozen=True, slots=True)
class _Log:
    site: str
    key: str
    value: Any
    kind: str
    step: int | None


@dataclass(frozen=True, slots=True)
class _Ready:
    host: str


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a site fetches a task's model from, and the tensors that it may say it sends back as they were."""

    offer: Offer
    arrays: dict[Key, Any]  # noted before anything is sent: the offer lets go of them once they were fetched


class SitesFederation:
    """A federation of sites that are reached through cells.

    Everything that arrives goes through one queue, which the workflow's thread empties while it waits; so workflows,
    aggregators and event handlers need no locks.

    Args:
        hosts: by site, the name of the cell that serves it.
    """

    def __init__(
        self,
        *,
        job_id: str,
        seed: int,
        hosts: Mapping[str, str],
        cell: Cell,
        downloader: Downloader,
        checkpoints: Checkpoints,
        metrics: MetricsFile,
        task_filters: list[FilterChain],
        result_filters: list[FilterChain],
    ) -> None:
        self.job_id = job_id
        self.sites = tuple(hosts)
        self.random = np.random.default_rng(seed)
        self.events = EventBus()
        self.round: int | None = None
        self.total_rounds: int | None = None
        self.failures: dict[str, SiteError] = {}
        self._hosts = dict(hosts)
        self._sites_of_host = Counter(hosts.values())
        self._cell = cell
        self._downloader = downloader
        self._checkpoints = checkpoints
        self._metrics = metrics
        self._task_filters = task_filters
        self._result_filters = result_filters
        self._inbox: Inbox[Message | _Failure | _Log | _Ready | BaseException] = Inbox()
        self._task_id = 0
        self._kept: list[LazyParams] = []
        self._unchanged: set[Key] = set()
        self._round_started: float | None = None
        self._last_means: dict[str, float] = {}
        cell.handle("result", lambda message: self._inbox.put(message, can_wait=True), inline=True)
        cell.handle("failed", self._on_failed, inline=True)
        cell.handle("log", self._on_log, inline=True)
        cell.handle("ready", lambda message: self._inbox.put(_Ready(message.sender)), inline=True)

    def rounds(self, count: int) -> Iterator[int]:
        self.total_rounds = count
        for round_ in range(count):
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
            self.events.emit(RoundEnded(self.round, self.total_rounds, seconds, self._last_means))

    def sample(self, minimum: int, *, count: int | None = None) -> tuple[str, ...]:
        present = tuple(site for site in self.sites if site not in self.failures)
        if len(present) < minimum:
            missing = ", ".join(self.failures) or "none failed"
            raise RecipeError(f"a round needs {minimum} sites, {len(present)} are there (failed: {missing})")
        if count is None or count >= len(present):
            return present
        chosen = set(self.random.choice(len(present), size=max(count, minimum), replace=False).tolist())
        return tuple(site for index, site in enumerate(present) if index in chosen)

    def broadcast(self, task: str, model: FLModel, *, to: Sequence[str] | None = None) -> Iterator[Reply]:
        targets = self.sites if to is None else tuple(to)
        for site in targets:
            if site not in self._hosts:
                raise RecipeError(f"a task '{task}' is addressed to {site!r}; the sites are {', '.join(self.sites)}")
        self._release_kept()
        self._task_id += 1
        sent = self._send(task, self._stamped(model), targets)
        arrived: dict[str, FLModel] = {}
        try:
            for taken, site in enumerate(targets):
                while site not in arrived:
                    self._take(arrived, task, len(targets), len(targets) - taken - len(arrived))
                arrays = sent[site].arrays if site in sent else {}
                model = receive_params(arrived.pop(site), self._cell, arrays)
                params = model.params
                self._note_unchanged(params)
                yield Reply(site, task, self._filtered(model, site, task), self.round)
                self._done_with(params)
        finally:
            for offer in {each.offer for each in sent.values()}:
                offer.close()
            for model in arrived.values():
                release_params(model, self._cell)

    def load(self) -> FLModel:
        path = self._checkpoints.initial
        params = None if path is None else read_file(path)  # page by page, when it is touched
        model = FLModel() if params is None else FLModel(params=params)
        if params is not None:
            self._checkpoints.note_initial(model)
        return model

    def save(self, model: FLModel, *, name: str = "global", metric: float | None = None) -> None:
        self._checkpoints.save(model, name)
        self.events.emit(ModelSaved(name, self.round, metric))

    def record(self, metrics: dict[str, float], *, site: str | None = None) -> None:
        if site is None:
            self._last_means = metrics
        self._metrics.write(self.round, site, metrics)

    def warn(self, message: str) -> None:
        logger.warning("%s", message)
        self.events.emit(WarningRaised(message))

    def fail(self, site: str, message: str, details: str = "") -> None:
        """Take note, from any thread, that a site is lost."""
        self._inbox.put(_Failure(site, message, details))

    def abort(self, reason: str) -> None:
        """End the run from another thread."""
        self._inbox.put(JobAborted(reason))

    def wait_ready(self, hosts: int) -> None:
        """Wait until so many hosts have said that their sites are ready.

        Raises:
            SiteError: a site could not be prepared.
        """
        ready = 0
        while ready < hosts:
            item = self._inbox.take()
            if isinstance(item, _Ready):
                ready += 1
            elif isinstance(item, _Failure):
                raise self._note_failure(item)
            elif isinstance(item, BaseException):
                raise item

    def finish(self) -> None:
        """Tell all sites that no task will come any more."""
        self._end_round()  # the workflow may have left the loop
        self._release_kept()
        for host in dict.fromkeys(self._hosts.values()):
            self._cell.send(host, "end")

    def drain(self) -> None:
        """Take what has arrived without waiting for more; failures are noted, not raised."""
        while (item := self._inbox.take_now()) is not None:
            if isinstance(item, _Failure):
                self._note_failure(item)
            elif isinstance(item, _Log):
                self._record_log(item)

    def _stamped(self, model: FLModel) -> FLModel:
        return replace(model, current_round=self.round, total_rounds=self.total_rounds, metrics=None)

    def _send(self, task: str, model: FLModel, targets: tuple[str, ...]) -> dict[str, _Sent]:
        """Give a task to sites; return by site what was sent, if it has to be fetched."""
        known, self._unchanged = self._unchanged, set()
        if all(each.same_for_all_sites for each in filters_for(self._task_filters, task)):
            filtered = self._filtered_task(model, "*", task)
            by_host = self._by_host(targets)
            receivers = {host: len(sites) for host, sites in by_host.items()}
            outgoing, offer = send_params(filtered, self._downloader, receivers=receivers, with_digest=known)
            sent = None if offer is None else _Sent(offer, offer.arrays())
            to_all = encode([self._task_id, None, task, outgoing])  # serialized once, if hosts serve all their sites
            for host, sites in by_host.items():
                is_all = len(sites) == self._sites_of_host[host]
                self._cell.send(host, "task", to_all if is_all else [self._task_id, sites, task, outgoing])
            return {} if sent is None else dict.fromkeys(targets, sent)
        sent_to: dict[str, _Sent] = {}
        for site in targets:
            filtered = self._filtered_task(model, site, task)
            outgoing, offer = send_params(filtered, self._downloader, with_digest=known)
            if offer is not None:
                sent_to[site] = _Sent(offer, offer.arrays())
            self._cell.send(self._hosts[site], "task", [self._task_id, [site], task, outgoing])
        return sent_to

    def _filtered_task(self, model: FLModel, site: str, task: str) -> FLModel:
        if not self._task_filters:
            return model
        return apply_filters(
            self._task_filters, model, FilterContext(FilterPoint.SERVER_OUTPUT, site, task, self.round)
        )

    def _note_unchanged(self, params: Any) -> None:
        """Note which tensors a site has sent back as they were: it may hold them when the next model is sent."""
        if isinstance(params, LazyParams):
            self._unchanged.update(key for key, leaf in params.leaves() if leaf.entry.same)

    def _by_host(self, targets: tuple[str, ...]) -> dict[str, list[str]]:
        grouped: dict[str, list[str]] = defaultdict(list)
        for site in targets:
            grouped[self._hosts[site]].append(site)
        return grouped

    def _take(self, arrived: dict[str, FLModel], task: str, expected: int, missing: int) -> None:
        """Take one item; sleep until a sixteenth of the replies are there, of many sites that are quick."""
        item = self._inbox.take(min(missing, max(1, expected // 16), MOST_AT_ONCE))
        if isinstance(item, Message):
            task_id, site, model = self._read_result(item)
            if not self._speaks_for(item.sender, site):
                logger.error("%s spoke for the site %r, which is not its own; ignored", item.sender, site)
            elif task_id != self._task_id:
                logger.warning("late result ignored site=%s task_id=%s", site, task_id)
                release_params(model, self._cell)
            else:
                arrived[site] = model
                self.events.emit(SiteReplied(site, task, self.round, expected - missing + 1, expected))
        elif isinstance(item, _Log):
            self._record_log(item)
        elif isinstance(item, _Failure):
            raise self._note_failure(item)
        elif isinstance(item, BaseException):
            raise item

    def _read_result(self, message: Message) -> tuple[int, str, FLModel]:
        try:
            task_id, site, model = message.payload
        except (FlareError, TypeError, ValueError) as error:
            sites = [site for site, host in self._hosts.items() if host == message.sender]
            raise SiteError(
                f"{message.sender} (which serves {', '.join(sites)}) sent a reply that cannot be read here: {error}",
                site=sites[0] if sites else message.sender,
            ) from error
        return task_id, site, model

    def _filtered(self, model: FLModel, site: str, task: str) -> FLModel:
        if not self._result_filters:
            return model
        return apply_filters(
            self._result_filters, model, FilterContext(FilterPoint.SERVER_INPUT, site, task, self.round)
        )

    def _done_with(self, params: Any) -> None:
        if isinstance(params, LazyParams):
            if params.kept:
                self._kept.append(params)
            else:
                params.release()

    def _release_kept(self) -> None:
        for params in self._kept:
            params.release()
        self._kept = []

    def _note_failure(self, failure: _Failure) -> SiteError:
        error = SiteError(failure.message, site=failure.site, details=failure.details)
        if failure.site not in self.failures:
            self.failures[failure.site] = error
            logger.error("site failed site=%s\n%s", failure.site, error)
            self.events.emit(SiteFailed(failure.site, str(error)))
        return error

    def _record_log(self, item: _Log) -> None:
        extra = {"step": item.step} if item.step is not None else {}
        self._metrics.write(self.round, item.site, {item.key: item.value}, **extra)
        self.events.emit(MetricLogged(item.key, item.value, self.round, item.site, item.step, item.kind))

    def _on_failed(self, message: Message) -> None:
        site, text, details = message.payload
        self._inbox.put(_Failure(self._checked(site, message), text, details))

    def _on_log(self, message: Message) -> None:
        site, key, value, kind, step, _extra = message.payload
        self._inbox.put(_Log(self._checked(site, message), key, value, kind, step))

    def _checked(self, site: str, message: Message) -> str:
        if not self._speaks_for(message.sender, site):
            raise SiteError(f"{message.sender} spoke for the site {site!r}, which is not its own", site=str(site))
        return site

    def _speaks_for(self, sender: str, site: str) -> bool:
        host = self._hosts.get(site)
        return host is not None and (sender == host or sender.startswith(f"{host}."))
