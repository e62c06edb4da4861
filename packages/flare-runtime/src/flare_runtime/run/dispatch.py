"""Dispatch: what goes to the sites with a task, what comes back with a result, and what is held for both."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from flare_core import FilterContext, FilterPoint, FLModel, SiteError
from flare_core.filters import FilterChain, apply_filters, filters_for
from flare_core.model import Key
from flare_runtime.run.open_task import OpenTask, Sent
from flare_runtime.run.roster import Roster
from flare_tensor_downloader import (
    Downloader,
    DownloadError,
    LazyParams,
    OfferedParams,
    receive_params,
    release_params,
    send_params,
)
from flare_transport import Cell, TransportError, encode

__all__ = ["Dispatch"]

logger = logging.getLogger(__name__)


class Dispatch:
    """Sends tasks and receives results, through the filters of the server's side.

    Args:
        roster: who is reached through which cell.
    """

    def __init__(
        self,
        cell: Cell,
        downloader: Downloader,
        roster: Roster,
        task_filters: list[FilterChain],
        result_filters: list[FilterChain],
    ) -> None:
        self._cell = cell
        self._downloader = downloader
        self._roster = roster
        self._task_filters = task_filters
        self._result_filters = result_filters
        self._highest = 0  # task that was given
        self._kept: list[LazyParams] = []
        self._unchanged: set[Key] = set()

    def send(self, task: OpenTask, targets: Sequence[str]) -> None:
        """Give a task to sites, once more if they were given it before."""
        if not task.is_given:
            task.is_given = True
            task.is_again = task.number <= self._highest
            self._highest = max(self._highest, task.number)
        known, self._unchanged = self._unchanged, set()
        if all(each.same_for_all_sites for each in filters_for(self._task_filters, task.name)):
            self._send_the_same(task, targets, known)
            return
        for site in targets:
            outgoing, offer = send_params(self._filtered_task(task, site), self._downloader, with_digest=known)
            if offer is not None:
                task.sent[site] = Sent(offer, offer.arrays())
            self._cell.send(self._roster.hosts[site], "task", task.message_to(site, outgoing))

    def _send_the_same(self, task: OpenTask, targets: Sequence[str], known: set[Key]) -> None:
        by_host = self._roster.by_host(targets)
        receivers = {host: len(sites) for host, sites in by_host.items()}
        filtered = self._filtered_task(task, "*")
        outgoing, offer = send_params(filtered, self._downloader, receivers=receivers, with_digest=known)
        if offer is not None:
            task.sent.update(dict.fromkeys(targets, Sent(offer, offer.arrays())))
        to_all = encode(task.message(None, outgoing))  # serialized once, if hosts serve all their sites
        for host, sites in by_host.items():
            told = [site for site in sites if site in task.unused_since]
            for site in told:
                self._cell.send(host, "task", task.message_to(site, outgoing))
            if told:
                sites = [site for site in sites if site not in told]
                if not sites:
                    continue
            is_all = self._roster.are_all_of(host, sites)
            self._cell.send(host, "task", to_all if is_all else task.message(sites, outgoing))

    def receive(self, task: OpenTask, site: str, *, patience_s: float | None = None) -> FLModel:
        """Return a result that has arrived, with params that are fetched when they are read, or only told about.

        Args:
            patience_s: for how long nothing may come of it; None waits as long as its link lasts.
        Raises:
            SiteError: the site says that its params lie at another one, or that it sends back what it was not sent.
        """
        model = task.arrived.pop(site)
        if isinstance(model.params, OfferedParams) and not self._roster.speaks_for(model.params.owner, site):
            raise SiteError(f"{site}: its reply names {model.params.owner} as the holder of its params", site=site)
        if task.result_stays:
            return model
        arrays = task.sent[site].arrays if site in task.sent else {}
        try:
            model = receive_params(model, self._cell, arrays, timeout_s=patience_s)
        except DownloadError as error:
            raise SiteError(f"{site}: its reply cannot be used: {error}", site=site) from error
        if isinstance(model.params, LazyParams):  # what came back as it was, the site may hold for the next model
            self._unchanged.update(key for key, leaf in model.params.leaves() if leaf.entry.same)
        return model

    def filtered(self, model: FLModel, site: str, task: OpenTask) -> FLModel:
        """A result as the job's filters leave it."""
        if not self._result_filters or task.result_stays:
            return model
        context = FilterContext(FilterPoint.SERVER_INPUT, site, task.name, task.model.current_round)
        return apply_filters(self._result_filters, model, context)

    def done_with(self, params: Any) -> None:
        """Let a site drop its tensors, or not before the next task, if somebody has asked for that."""
        if isinstance(params, LazyParams):
            if params.kept:
                self._kept.append(params)
            else:
                params.release()

    def release(self, models: Iterable[FLModel]) -> None:
        """Let sites drop the tensors of results that nobody wants."""
        for model in models:
            release_params(model, self._cell)

    def close(self, task: OpenTask) -> None:
        """Let go of all that was held for a task; sites that may still look at it are told first."""
        if task.is_closed:
            return
        task.is_closed = True
        if task.is_again or len(task.read) < len(task.targets):
            self._withdraw(task)
        sent, task.sent = task.sent, {}
        for offer in {each.offer for each in sent.values()}:
            offer.close()
        self.release(task.arrived.values())

    def _withdraw(self, task: OpenTask) -> None:
        there = [site for site in task.targets if site not in self._roster.absent]
        if task.outlives_round:  # who has answered may have been given another one
            there = [site for site in there if site not in task.read]
        for host, sites in self._roster.by_host(there).items():
            try:
                self._cell.send(host, "withdraw", sites)
            except TransportError as error:
                logger.debug("task not withdrawn host=%s reason=%s", host, error)

    @property
    def has_kept(self) -> bool:
        """Whether sites hold tensors of results that were taken, as somebody has asked for that."""
        return bool(self._kept)

    def release_kept(self) -> None:
        """Let sites drop the tensors that were kept."""
        for params in self._kept:
            params.release()
        self._kept = []

    def _filtered_task(self, task: OpenTask, site: str) -> FLModel:
        if not self._task_filters:
            return task.model
        context = FilterContext(FilterPoint.SERVER_OUTPUT, site, task.name, task.model.current_round)
        return apply_filters(self._task_filters, task.model, context)
