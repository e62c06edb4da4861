"""Dispatch: sends tasks to the sites and reads their replies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flare_core import FilterContext, FLModel, Reply, SiteError
from flare_core.filters import FilterChain, FilterPoint, apply_filters, filters_for
from flare_core.model import Key
from flare_fobs import FobsError
from flare_runtime.run.conversation import Answer, Sent, SitesConversation
from flare_runtime.run.roster import Roster
from flare_tensor_downloader import Downloader, DownloadError, Offer
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.payload import Payload, pack_payload
from flare_tensor_downloader.wire import OfferedParams, leased_params, receive_params, release_params, send_params
from flare_transport import Cell, TransportError

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Dispatch:
    """Sends tasks and receives replies, applying the server's filters.

    Attributes:
        cell: the server's cell.
        downloader: serves the arrays of tasks to the sites.
        roster: maps each site to the cell that serves it.
        task_filters: applied to tasks before they leave the server.
        result_filters: applied to replies that arrive.
        job_id: the run's id, for filters.
    """

    cell: Cell
    downloader: Downloader
    roster: Roster
    task_filters: list[FilterChain]
    result_filters: list[FilterChain]
    job_id: str
    _unchanged: set[Key] = field(default_factory=set)  # they came back unchanged: the next task has their digests

    def send(self, conversation: SitesConversation, targets: Sequence[str]) -> None:
        """Send a task to sites; sites that have received it before receive it again."""
        known, self._unchanged = self._unchanged, set()
        filters = filters_for(self.task_filters, conversation.task)
        # One task for all sites is filtered and packed once.
        is_same = len({id(each) for each in conversation.data.values()}) <= 1
        if is_same and all(each.same_for_all_sites for each in filters):
            self._send_task(conversation, "*", targets, known)
        else:
            for site in targets:
                self._send_task(conversation, site, [site], known)

    def _send_task(self, conversation: SitesConversation, name: str, sites: Sequence[str], known: set[Key]) -> None:
        """Send the same task to sites; ``name`` is the site's as filters see it."""
        by_host = self.roster.by_host(sites)
        receivers = {host: len(served) for host, served in by_host.items()}
        context = FilterContext(FilterPoint.SERVER_OUTPUT, name, conversation.task, conversation.round, self.job_id)
        data = apply_filters(self.task_filters, conversation.data[sites[0]], context)
        offer: Offer | None
        if isinstance(data, FLModel):
            data, offer = send_params(data, self.downloader, receivers=receivers, with_digest=known)
        else:
            data, offer = pack_payload(data, self.downloader, receivers=receivers)
        if offer is not None:
            conversation.sent.update(dict.fromkeys(sites, Sent(offer, offer.arrays())))
        for host, served in by_host.items():
            # Sites with unused results get messages of their own: the message says since which round.
            single = [site for site in served if site in conversation.unused_since]
            others = [site for site in served if site not in single]
            for group in (*([site] for site in single), others):
                if group:
                    given = conversation.for_site(group[0], data)
                    fields = [conversation.number, group, conversation.task, conversation.round, given]
                    self.cell.send(host, "task", [*fields, conversation.result_stays])

    def reply(self, conversation: SitesConversation, site: str, *, patience_s: float | None = None) -> Reply:
        """Return a reply that has arrived; its arrays are fetched when they are read.

        Args:
            conversation: the conversation that it belongs to.
            site: the site that sent it.
            patience_s: how long the transfer of its arrays may stall; None waits as long as the link lasts.
        Raises:
            SiteError: the reply names another site as the holder of its arrays, or refers to arrays that the site was
                not sent.
        """
        answer = conversation.arrived.pop(site)
        offered = answer.params if isinstance(answer, FLModel) else answer
        # Otherwise a site could make the server fetch, and release, what another site holds.
        if isinstance(offered, OfferedParams | Payload) and not self.roster.speaks_for(offered.owner, site):
            raise SiteError(f"{site}: its reply names {offered.owner} as the holder of its arrays", site=site)
        data: Any = answer
        read: Callable[[], Any] | None = None
        release: Callable[[], None] | None = None
        if isinstance(answer, Payload):
            data, read = None, partial(self._read, answer, site, conversation, patience_s)
            release = _holding(conversation, site, partial(answer.release, self.cell))
        elif not conversation.result_stays:
            arrays = conversation.sent[site].arrays if site in conversation.sent else {}
            try:
                model = receive_params(answer, self.cell, arrays, timeout_s=patience_s)
                if model.params is not None and not isinstance(model.params, RemoteParams):
                    model.params = leased_params(model.params, site)
            except DownloadError as error:
                raise SiteError(f"{site}: its reply cannot be used: {error}", site=site) from error
            if isinstance(model.params, RemoteParams):
                self._unchanged.update(key for key, leaf in model.params.leaves() if leaf.entry.same)
                release = _holding(conversation, site, model.params.release)
            data = self._filtered(model, site, conversation)
        sent = conversation.data[site]
        return Reply(site, conversation.task, data, conversation.round, sent, read=read, release=release)

    def _filtered(self, data: Any, site: str, conversation: SitesConversation) -> Any:
        """Apply the server's filters to the data of a reply."""
        context = FilterContext(FilterPoint.SERVER_INPUT, site, conversation.task, conversation.round, self.job_id)
        return apply_filters(self.result_filters, data, context)

    def _read(self, payload: Payload, site: str, conversation: SitesConversation, patience_s: float | None) -> Any:
        """Return the data of a reply that is not a model.

        Raises:
            DownloadError: an array cannot be fetched, or the reply was released.
            SiteError: the data cannot be decoded here; names the site.
        """
        if site not in conversation.held:
            raise DownloadError(
                f"the reply of {site} to '{conversation.task}' was released before its data was read; read it while"
                " the conversation is open"
            )
        try:
            data = payload.read(self.cell, timeout_s=patience_s)
        except FobsError as error:
            raise SiteError(
                f"{site}: its reply to '{conversation.task}' cannot be read here: {error}", site=site
            ) from error
        return self._filtered(data, site, conversation)

    def release(self, answer: Answer) -> None:
        """Let a site drop the arrays of a reply that is not used, or whose arrays stayed there."""
        if isinstance(answer, Payload):
            answer.release(self.cell)
        else:
            release_params(answer, self.cell)

    def stop(self, conversation: SitesConversation) -> None:
        """Expect no more replies: withdraw the task from sites that may still work on it, and drop its arrays."""
        # Before the offers are closed: a site that finds its arrays gone waits for the withdrawal.
        if conversation.is_repeat or len(conversation.read) < len(conversation.sites):
            self._withdraw(conversation)
        conversation.is_stopped = True
        sent, conversation.sent = conversation.sent, {}
        for offer in {each.offer for each in sent.values()}:
            offer.close()
        arrived, conversation.arrived = conversation.arrived, {}
        for answer in arrived.values():
            self.release(answer)

    def _withdraw(self, conversation: SitesConversation) -> None:
        there = [site for site in conversation.sites if site not in self.roster.absent]
        if not conversation.is_repeat:  # of a repeat, a site that replied may still work on the earlier copy
            there = [site for site in there if site not in conversation.read]
        for host, sites in self.roster.by_host(there).items():
            try:
                self.cell.send(host, "withdraw", [conversation.number, sites])
            except TransportError as error:
                logger.debug("task not withdrawn host=%s reason=%s", host, error)


def _holding(conversation: SitesConversation, site: str, drop: Callable[[], None]) -> Callable[[], None]:
    """Record that a site holds arrays for its reply; return a function that has them dropped, once."""

    def release() -> None:
        if conversation.held.pop(site, None) is not None:
            drop()

    conversation.held[site] = release
    return release
