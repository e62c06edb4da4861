"""Pending replies: matching of replies to requests, and waiting for them."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from flare_core.errors import FlareError
from flare_transport.address import speaks_for
from flare_transport.errors import PeerLostError, RemoteError
from flare_transport.frames import Kind, Message
from flare_transport.links.base import Link
from flare_transport.workers import blocking

logger = logging.getLogger(__name__)

Opener: TypeAlias = Callable[[Message], Message]


class PendingReply:
    """The future reply to a request; made by :meth:`Cell.start_request`."""

    def __init__(
        self, replies: PendingReplies, number: int, link: Link, to: str, into: memoryview | None, opener: Opener | None
    ) -> None:
        self.number = number
        self.link = link
        self.to = to
        self.into = into
        self._replies = replies
        self._opener = opener
        self._message: Message | None = None
        self._error: FlareError | None = None
        self._done = threading.Event()
        self._opening = threading.Lock()

    def result(self, timeout_s: float | None = None) -> Message:
        """Wait for the reply.

        Raises:
            RemoteError: the handler raised.
            PeerLostError: the link ended first.
            TimeoutError: no reply within ``timeout_s`` seconds; None waits as long as the link lasts. The reply may
                still arrive; call :meth:`cancel` if it is not needed any more.
        """
        if not self._done.is_set():
            with blocking():
                if not self._done.wait(timeout_s):
                    raise TimeoutError(f"{self.to} did not reply within {timeout_s} s")
        with self._opening:  # several threads may wait, and a sealed reply can be opened only once
            return self._outcome()

    def _outcome(self) -> Message:
        """Return the reply, opened if it is sealed."""
        if self._opener is not None and self._message is not None:
            opener, self._opener = self._opener, None
            try:
                self._message = opener(self._message)
            except FlareError as error:
                self._error = error
        if self._error is not None:
            raise self._error
        assert self._message is not None
        if self._message.kind == Kind.ERROR:
            raise remote_error(self._message)
        return self._message

    def cancel(self) -> None:
        """Forget the request: a reply that starts to arrive from now on is dropped.

        A reply that is already arriving may still be written to ``into``.
        """
        self._replies.drop(self)

    def fail(self, error: FlareError) -> None:
        """Fail the request, unless its reply is there, for a reason that the cell does not know; from any thread."""
        if self._replies.take(self.number, self.link, self.to) is not None:
            self.settle(error)

    def settle(self, outcome: Message | FlareError) -> None:
        """Set the reply, or the error that prevented it; called once, by the cell."""
        if isinstance(outcome, Message):
            self._message = outcome
        else:
            self._error = outcome
        self._done.set()


class PendingReplies:
    """The replies that a cell waits for, by number of the request.

    A reply, the loss of its link and a cancellation may happen at the same time. Whichever removes the entry settles
    it, and a dictionary's ``pop`` is atomic, so each is settled at most once, without a lock.
    """

    def __init__(self) -> None:
        self._by_number: dict[int, PendingReply] = {}
        self._numbers = itertools.count(1)

    def begin(self, link: Link, to: str, into: memoryview | None = None, opener: Opener | None = None) -> PendingReply:
        """Expect a reply of the cell ``to`` over ``link``; ``opener`` decrypts it, if it is sealed."""
        number = next(self._numbers)
        pending = self._by_number[number] = PendingReply(self, number, link, to, into, opener)
        return pending

    def take(self, number: int, link: Link, sender: str) -> PendingReply | None:
        """Remove and return the pending reply of that number, if that cell was asked: no other may answer."""
        pending = self._by_number.get(number)
        if pending is None or pending.link is not link or pending.to != sender:
            return None
        return self._by_number.pop(number, None)

    def drop(self, pending: PendingReply) -> None:
        """Remove a pending reply."""
        self._by_number.pop(pending.number, None)

    def destination(self, link: Link, header: list[Any], size: int) -> memoryview | None:
        """Return the requester's buffer for a raw reply of ``size`` bytes, if it has provided one of that length."""
        kind, _, sender, _, number, lengths, _ = header
        if kind != Kind.REPLY or lengths is not None:
            return None
        pending = self._by_number.get(number)
        if pending is None or pending.link is not link or pending.to != sender:
            return None
        return pending.into if pending.into is not None and len(pending.into) == size else None

    def fail(self, link: Link, reason: str, *, lost: str | None = None) -> None:
        """Fail the replies expected over a link that has ended, or from a cell that it does not lead to any more."""
        for pending in self._by_number.copy().values():  # a copy, as other threads change it
            if pending.link is not link or (lost is not None and not speaks_for(lost, pending.to)):
                continue
            if self._by_number.pop(pending.number, None) is not None:
                pending.settle(
                    PeerLostError(f"the link to {lost or link.peer} ended before {pending.to} replied ({reason})")
                )


def remote_error(message: Message) -> RemoteError:
    """Return the exception for an error reply of a peer."""
    try:
        payload = message.payload
        return RemoteError(f"{message.sender}: {payload['message']}", kind=str(payload["kind"]))
    except Exception:
        logger.exception("cannot decode an error reply sender=%s", message.sender)
        return RemoteError(f"{message.sender}: an error that cannot be decoded")
