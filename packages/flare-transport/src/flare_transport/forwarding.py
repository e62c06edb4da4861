"""Forwarding of frames for other cells, without decoding their bodies.

Cells form a tree: those that a cell has links to are below it, except the one at the other end of its uplink. A cell
always forwards between the cells whose names are below its own and the rest of the tree. Its policy decides whether two
other cells, such as two sites of a server, may communicate through it.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from flare_transport.address import speaks_for
from flare_transport.errors import PeerLostError, TransportError
from flare_transport.frames import PROMPT_BYTES, Buffer, Frame, Kind, Raw, pack, repack
from flare_transport.link_table import LinkTable
from flare_transport.links.base import Link
from flare_transport.workers import HandlerPool, Strand, blocking

logger = logging.getLogger(__name__)

Policy: TypeAlias = Callable[[str, str], bool]

MAX_WAITING_BYTES = 1 << 26  # backpressure: a link is not read while as many bytes of its frames wait for slow peers
MAX_REPLY_BYTES = 1 << 26  # small replies that wait for one peer; beyond this its link ends
FRAME_BYTES = 1 << 10  # estimated memory of a frame besides its body


class Forwarder:
    """Forwards frames over the links of one cell, each lane in order."""

    def __init__(self, name: str, links: LinkTable, pool: HandlerPool, policy: Policy | None) -> None:
        self._name = name
        self._links = links
        self._pool = pool
        self._policy = policy
        self._changed = threading.Condition()
        self._strands: dict[tuple[Link, bool], Strand] = {}  # by target and lane; a strand keeps the order
        self._waiting: dict[Link, int] = defaultdict(int)
        self._waiting_replies: dict[Link, int] = defaultdict(int)
        # Cells elsewhere that communicate with cells beyond a link.
        self._talking: dict[Link, set[str]] = defaultdict(set)

    def forward(self, source: Link, header: list[Any], body: Buffer) -> None:
        """Forward a frame that arrived over ``source``; called on the thread of that link, so never blocks.

        If there is no route, the sender is notified.
        """
        kind, to, sender = header[0], header[1], header[2]
        try:
            target = self._route(source, sender, to)
        except TransportError as error:
            if kind != Kind.LOST:  # two cells must not send each other notifications about notifications forever
                self._report_lost(source, sender, to, str(error))
            return
        frame = repack(header, body)
        size = len(body) + FRAME_BYTES
        # A peer that requests much and reads no replies must not stop the cell that answers it, and so everybody else:
        # small replies do not count as backpressure on their source. Instead the peer's link ends if they pile up.
        is_small_reply = kind in (Kind.REPLY, Kind.ERROR) and len(body) <= PROMPT_BYTES
        waiting, of = (self._waiting_replies, target) if is_small_reply else (self._waiting, source)
        with self._changed:
            waiting[of] += size
            is_deaf = is_small_reply and waiting[of] > MAX_REPLY_BYTES
            self._talking[target].add(sender)
            self._talking[source].add(to)
            strand = self._strands.get((target, frame.bulk))
            if strand is None:
                strand = self._strands[target, frame.bulk] = Strand(self._pool)
        if is_deaf:
            logger.warning("link closed, the peer sends requests and reads no replies peer=%s", target.peer)
            target.close()
        strand.submit(partial(self._send, target, frame, waiting, of, size))

    def is_stuck(self, source: Link) -> bool:
        """Return whether too many bytes that came over a link wait to be forwarded."""
        return self._waiting.get(source, 0) > MAX_WAITING_BYTES

    def wait_while_stuck(self, source: Link) -> None:
        """Wait until fewer do."""
        with self._changed:
            while self.is_stuck(source) and not self._links.closed:
                self._changed.wait()

    def link_ended(self, link: Link, reason: str) -> None:
        """Notify the cells that communicated with cells beyond a link that it has ended."""
        with self._changed:
            talking = self._talking.pop(link, set())
            for key in [key for key in self._strands if key[0] is link]:
                del self._strands[key]
            self._waiting.pop(link, None)
            self._waiting_replies.pop(link, None)
            self._changed.notify_all()
        for name in talking:
            try:
                self._links.route(name).send(self._lost(name, link.peer, reason))
            except TransportError:
                logger.debug("cannot report that a peer is lost to=%s peer=%s", name, link.peer)

    def _route(self, source: Link, sender: str, to: str) -> Link:
        if not (speaks_for(self._name, sender) or speaks_for(self._name, to)) and (
            self._policy is None or not self._policy(sender, to)
        ):
            raise TransportError(f"{self._name} does not let {sender} communicate with {to}")
        target = self._links.route(to)
        if target is source:  # it would go back and forth forever
            raise TransportError(f"{self._name} has no route from {sender} to {to}")
        return target

    def _send(self, target: Link, frame: Frame, waiting: dict[Link, int], of: Link, size: int) -> None:
        try:
            with blocking():  # a slow target must not use up the pool's threads
                target.send(frame)
        except PeerLostError:
            # link_ended notifies the sender.
            logger.debug("frame not forwarded, its link has ended peer=%s", target.peer)
        with self._changed:
            if of in waiting:
                waiting[of] -= size
            self._changed.notify_all()

    def _report_lost(self, source: Link, sender: str, to: str, reason: str) -> None:
        def report() -> None:
            try:
                source.send(self._lost(sender, to, reason))
            except PeerLostError:
                logger.debug("cannot report that there is no route to=%s", sender)

        self._pool.submit(report)

    def _lost(self, to: str, lost: str, reason: str) -> Any:
        text = reason.encode("utf-8", "backslashreplace")[:4000]
        return pack(Kind.LOST, to, self._name, lost, 0, Raw(text))
