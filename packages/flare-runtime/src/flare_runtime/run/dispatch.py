"""Dispatch: sends tasks to the sites and reads their replies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from flare_core import FilterContext, FilterPoint, FLModel, Reply, SiteError
from flare_core.filters import FilterChain, apply_filters, filters_for
from flare_core.model import Key
from flare_fobs import FobsError
from flare_runtime.run.conversation import Answer, Sent, SitesConversation
from flare_runtime.run.roster import Roster
from flare_tensor_downloader import (
    Downloader,
    DownloadError,
    Offer,
    OfferedParams,
    Payload,
    RemoteParams,
    leased_params,
    pack_payload,
    receive_params,
    release_params,
    send_params,
)
from flare_transport import Cell, TransportError
from flare_transport.frames import encode

__all__ = ["Dispatch"]

logger = logging.getLogger(__name__)


class Dispatch:
    """Sends tasks and receives replies, applying the server's filters.

    Args:
        cell: the server's cell.
        downloader: serves the arrays of tasks to the sites.
        roster: maps each site to the cell that serves it.
        task_filters: applied to tasks before they leave the server.
        result_filters: applied to replies that arrive.
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
        self._highest = 0  # the highest task id sent; a lower one is a repeat, in a round that begins again
        self._unchanged: set[Key] = set()  # tensors that came back unchanged, so the next task carries their digests

    def send(self, conversation: SitesConversation, targets: Sequence[str]) -> None:
        """Send a task to sites; sites that have received it before receive it again."""
        if not conversation.is_given:
            conversation.is_given = True
            conversation.is_repeat = conversation.number <= self._highest
            self._highest = max(self._highest, conversation.number)
        known, self._unchanged = self._unchanged, set()
        filters = filters_for(self._task_filters, conversation.task)
        if conversation.is_shared and all(each.same_for_all_sites for each in filters):
            self._send_to_all(conversation, targets, known)
            return
        for site in targets:
            outgoing, offer = self._packed(self._filtered_task(conversation, site), known)
            if offer is not None:
                conversation.sent[site] = Sent(offer, offer.arrays())
            self._cell.send(self._roster.hosts[site], "task", self._message(conversation, [site], outgoing))

    def _send_to_all(self, conversation: SitesConversation, targets: Sequence[str], known: set[Key]) -> None:
        """Send one task to all targets, filtered and serialized once."""
        by_host = self._roster.by_host(targets)
        receivers = {host: len(sites) for host, sites in by_host.items()}
        outgoing, offer = self._packed(self._filtered_task(conversation, "*"), known, receivers)
        if offer is not None:
            conversation.sent.update(dict.fromkeys(targets, Sent(offer, offer.arrays())))
        to_all = encode(self._message(conversation, None, outgoing))
        for host, sites in by_host.items():
            # Sites with unused results get messages of their own: the message says since which round.
            single = [site for site in sites if site in conversation.unused_since]
            for site in single:
                self._cell.send(host, "task", self._message(conversation, [site], outgoing))
            if others := [site for site in sites if site not in single]:
                is_all = self._roster.are_all_of(host, others)
                self._cell.send(host, "task", to_all if is_all else self._message(conversation, others, outgoing))

    def _packed(
        self, data: Any, known: set[Key], receivers: Mapping[str, int] | None = None
    ) -> tuple[Answer, Offer | None]:
        if isinstance(data, FLModel):
            return send_params(data, self._downloader, receivers=receivers, with_digest=known)
        return pack_payload(data, self._downloader, receivers=receivers)

    def _message(self, conversation: SitesConversation, sites: Sequence[str] | None, data: Answer) -> list[Any]:
        """Build the message for a cell that serves sites; None stands for all of its sites."""
        if sites is not None and len(sites) == 1:
            data = conversation.for_site(sites[0], data)
        return [
            conversation.number,
            sites,
            conversation.task,
            conversation.round,
            data,
            conversation.result_stays,
        ]

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
        if isinstance(offered, OfferedParams | Payload) and not self._roster.speaks_for(offered.owner, site):
            raise SiteError(f"{site}: its reply names {offered.owner} as the holder of its arrays", site=site)
        data: Any = answer
        read: Callable[[], Any] | None = None
        release: Callable[[], None] | None = None
        if isinstance(answer, Payload):
            data, read = None, partial(self._read, answer, site, conversation, patience_s)
            release = _holding(conversation, site, partial(answer.release, self._cell))
        elif not conversation.result_stays:
            arrays = conversation.sent[site].arrays if site in conversation.sent else {}
            try:
                model = receive_params(answer, self._cell, arrays, timeout_s=patience_s)
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
        if not self._result_filters or conversation.result_stays:
            return data
        context = FilterContext(FilterPoint.SERVER_INPUT, site, conversation.task, conversation.round)
        return apply_filters(self._result_filters, data, context)

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
            data = payload.read(self._cell, timeout_s=patience_s)
        except FobsError as error:
            raise SiteError(
                f"{site}: its reply to '{conversation.task}' cannot be read here: {error}", site=site
            ) from error
        return self._filtered(data, site, conversation)

    def release(self, answer: Answer) -> None:
        """Let a site drop the arrays of a reply that is not used, or whose arrays stayed there."""
        if isinstance(answer, Payload):
            answer.release(self._cell)
        else:
            release_params(answer, self._cell)

    def stop(self, conversation: SitesConversation) -> None:
        """Expect no more replies: withdraw the task from sites that may still work on it, and drop its arrays."""
        if conversation.is_stopped:
            return
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

    def close(self, conversation: SitesConversation) -> None:
        """Stop a conversation, and let the sites drop the rest of their replies."""
        self.stop(conversation)
        conversation.release_held()

    def _withdraw(self, conversation: SitesConversation) -> None:
        there = [site for site in conversation.sites if site not in self._roster.absent]
        if not conversation.is_repeat:  # of a repeat, a site that replied may still work on the earlier copy
            there = [site for site in there if site not in conversation.read]
        for host, sites in self._roster.by_host(there).items():
            try:
                self._cell.send(host, "withdraw", [conversation.number, sites])
            except TransportError as error:
                logger.debug("task not withdrawn host=%s reason=%s", host, error)

    def _filtered_task(self, conversation: SitesConversation, site: str) -> Any:
        data = conversation.data[site] if site in conversation.data else next(iter(conversation.data.values()), None)
        if not self._task_filters:
            return data
        context = FilterContext(FilterPoint.SERVER_OUTPUT, site, conversation.task, conversation.round)
        return apply_filters(self._task_filters, data, context)


def _holding(conversation: SitesConversation, site: str, drop: Callable[[], None]) -> Callable[[], None]:
    """Record that a site holds arrays for its reply; return a function that has them dropped, once."""

    def release() -> None:
        if conversation.held.pop(site, None) is not None:
            drop()

    conversation.held[site] = release
    return release
