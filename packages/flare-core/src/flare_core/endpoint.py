"""The vocabulary of communication between the parties of a job: requests, messages and byte streams.

The parties of a job are the server, called ``"server"``, and its sites. A party is addressed by its name, wherever it
runs; its endpoint is the same in a simulation, in separate processes and across real sites.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable


@runtime_checkable
class Stream(Protocol):
    """A byte stream to another party, which both ends read and write.

    One thread may read while another writes; any thread may close or abort. As a context manager it is closed at the
    end of the block, or aborted if the block raises.

    Attributes:
        peer: the party at the other end.
        topic: the subject with which it was opened.
        meta: an object that the party which opened the stream has sent along.
    """

    peer: str
    topic: str
    meta: Any

    def read(self, most: int = -1) -> bytes:
        """Wait until bytes are there and return them, at most ``most`` if that is not negative; ``b""`` at the end.

        Raises:
            PartyError: the other end aborted the stream or is gone, or the run is over; names the party.
        """

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, all of them; wait while the other end is slow to read. They may be changed afterwards.

        Raises:
            PartyError: as :meth:`read`, or the other end has closed the stream, or this end has.
        """

    def close_write(self) -> None:
        """Tell the other end that no more bytes follow; reading is still possible."""

    def close(self) -> None:
        """Write and read no more. The other end still reads what was written; its own writes fail."""

    def abort(self, reason: str) -> None:
        """Give the stream up: whatever is under way is lost, and reading and writing fail at both ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


RequestHandler: TypeAlias = Callable[[str, Any], Any]
"""A function of the sending party and its data; the return value is the reply to a request."""

StreamHandler: TypeAlias = Callable[[Stream], None]
"""A function of a stream that another party opened; it runs on its own thread, and the stream ends when it returns."""


@runtime_checkable
class JobEndpoint(Protocol):
    """One party's access to the other parties of its job; safe from any thread.

    Data are anything that Flare serializes: numbers, text, bytes, arrays, lists, dicts, and types registered by the
    job. The sender of what arrives is proved, and what sites send to each other only they can read in a deployment.

    A party can be reached as soon as the services there have started. Until then ``send``, ``request`` and
    ``open_stream`` wait.

    Attributes:
        party: this party's own name: ``"server"`` or a site's.
    """

    party: str

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties of the job: ``"server"`` and the sites in their order."""

    def send(self, to: str, topic: str, data: Any = None) -> None:
        """Send a message without a reply.

        Messages from one party to another are handled one at a time, in the order in which they were sent. One that
        nobody handles is dropped with a warning in the log.

        Args:
            to: the party that handles ``topic``.
            topic: the subject.
            data: anything that can be serialized.

        Raises:
            PartyError: ``to`` is no party, has failed or left for good, or cannot be reached.
        """

    def request(self, to: str, topic: str, data: Any = None, *, timeout_s: float | None = None) -> Any:
        """Send a request and return what the handler at the other party returns.

        Args:
            to: the party that handles ``topic``.
            topic: the subject.
            data: anything that can be serialized.
            timeout_s: how long to wait, in seconds, for the party to be there and for its reply; None waits as long as
                the run lasts.

        Raises:
            PartyError: as :meth:`send`; or the handler raised, or the party was lost before it replied.
            TimeoutError: no reply in time.
        """

    def handle(self, topic: str, handler: RequestHandler) -> None:
        """Handle requests and messages of ``topic``. Requests are handled at the same time, on several threads."""

    def open_stream(self, to: str, topic: str, meta: Any = None, *, timeout_s: float | None = None) -> Stream:
        """Open a byte stream to a party that handles streams of ``topic``; errors as those of :meth:`request`.

        Args:
            to: the party.
            topic: the subject.
            meta: a small object for the handler there.
            timeout_s: how long to wait, in seconds, for the party and for it to take the stream; None waits as long as
                the run lasts.
        """

    def handle_stream(self, topic: str, handler: StreamHandler) -> None:
        """Handle the streams of ``topic`` that other parties open, each on a thread of its own.

        A stream is closed when the handler returns, and aborted with the error's text if it raises.
        """
