"""Replies that are under way: which request each belongs to, and who waits for it."""

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

__all__ = ["Opener", "PendingReplies", "PendingReply", "remote_error"]

logger = logging.getLogger(__name__)

_REPLY, _ERROR = int(Kind.REPLY), int(Kind.ERROR)

Opener: TypeAlias = Callable[[Message], Message]


class PendingReply:
    """A reply that is under way; made by :meth:`Cell.start_request`."""

    __slots__ = ("_done", "_error", "_message", "_opener", "_replies", "into", "link", "number", "to")

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
        self._done = threading.Lock()
        self._done.acquire()

    def result(self, timeout_s: float | None = None) -> Message:
        """Wait for the reply.

        Raises:
            RemoteError: the handler raised.
            PeerLostError: the link ended first.
            TimeoutError: no reply within ``timeout_s`` seconds (None waits as long as the link lasts). It may still
                come; :meth:`cancel` if nobody will ask again.
        """
        if not self._done.acquire(blocking=False):
            with blocking():
                if not self._done.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s)):
                    raise TimeoutError(f"{self.to} did not reply within {timeout_s} s")
        try:
            return self._outcome()
        finally:
            self._done.release()

    def _outcome(self) -> Message:
        """The reply, opened if it is sealed; while the lock is held, so that it is opened once."""
        if self._opener is not None and self._message is not None:
            opener, self._opener = self._opener, None
            try:
                self._message = opener(self._message)
            except FlareError as error:
                self._error = error
        if self._error is not None:
            raise self._error
        assert self._message is not None
        if self._message.kind == _ERROR:
            raise remote_error(self._message)
        return self._message

    def cancel(self) -> None:
        """Forget the request: a reply that begins to arrive from now on is dropped.

        One that has begun to arrive may still be written to ``into``.
        """
        self._replies.drop(self)

    def settle(self, outcome: Message | FlareError) -> None:
        """Hand over the reply or what prevented it; called once, by the cell."""
        if isinstance(outcome, Message):
            self._message = outcome
        else:
            self._error = outcome
        self._done.release()


class PendingReplies:
    """The replies that a cell waits for, by number. Whoever takes one out settles it, so each is settled once."""

    def __init__(self) -> None:
        self._by_number: dict[int, PendingReply] = {}
        self._numbers = itertools.count(1)

    def begin(self, link: Link, to: str, into: memoryview | None = None, opener: Opener | None = None) -> PendingReply:
        """Expect a reply of the cell ``to`` over ``link``; ``opener`` makes of it what the asker gets."""
        number = next(self._numbers)
        pending = self._by_number[number] = PendingReply(self, number, link, to, into, opener)
        return pending

    def take(self, number: int, link: Link, sender: str) -> PendingReply | None:
        """Stop to expect the reply of that number, if one is expected of that cell: none may answer for others."""
        pending = self._by_number.get(number)
        if pending is None or pending.link is not link or pending.to != sender:
            return None
        return self._by_number.pop(number, None)

    def drop(self, pending: PendingReply) -> None:
        """Stop to expect a reply."""
        self._by_number.pop(pending.number, None)

    def destination(self, link: Link, header: list[Any], size: int) -> memoryview | None:
        """Where the asker wants the body of a raw reply of ``size`` bytes."""
        kind, _, sender, _, number, lengths, _ = header
        if kind != _REPLY or lengths is not None:
            return None
        pending = self._by_number.get(number)
        if pending is None or pending.link is not link or pending.to != sender:
            return None
        return pending.into if pending.into is not None and len(pending.into) == size else None

    def fail(self, link: Link, reason: str, *, lost: str | None = None) -> None:
        """Settle what is expected over a link that has ended, or of a cell which it leads to no more."""
        for pending in self._by_number.copy().values():  # copied at once: other threads change it meanwhile
            if pending.link is not link or (lost is not None and not speaks_for(lost, pending.to)):
                continue
            if self._by_number.pop(pending.number, None) is not None:
                pending.settle(
                    PeerLostError(f"the link to {lost or link.peer} ended before {pending.to} replied ({reason})")
                )


def remote_error(message: Message) -> RemoteError:
    """The exception that stands for an error of a peer's."""
    try:
        payload = message.payload
        return RemoteError(f"{message.sender}: {payload['message']}", kind=str(payload["kind"]))
    except Exception:
        logger.exception("error of a peer cannot be read sender=%s", message.sender)
        return RemoteError(f"{message.sender}: an error that cannot be read")
