"""Byte streams: any number of bytes, in order, with credit-based flow control.

The frames of a stream have kind STREAM and the stream's number, chosen by the cell that opened it. The meaning of a
frame is in its ``extra``:

    from the writer                             from the reader
    {"open": window}   body: meta, in fobs      {"credit": n}             n more bytes may be sent
    {"at": offset}     body: a chunk            {"done": true}            the handler has read all and returned
    {"end": total}     no more chunks           {"stop": [kind, reason]}  the handler raised, or there is none
    {"abort": reason}  aborted

The writer may send chunks that cost ``window`` bytes in total, and more as it gets credit; a chunk costs its length, or
256 if it is shorter. The reader grants credit for chunks when they are read. Links keep the order of chunks; readers
tolerate another order all the same, and duplicates. Frames of a stream that has ended at the receiver are dropped.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import flare_fobs
from flare_core.errors import FlareError
from flare_transport.address import speaks_for
from flare_transport.errors import (
    PeerLostError,
    ProtocolError,
    RemoteError,
    StreamAbortedError,
    UnreachableError,
    describe,
)
from flare_transport.frames import Buffer, Kind, Message, Raw, pack
from flare_transport.links.base import Link
from flare_transport.stream_reader import StreamReader
from flare_transport.stream_writer import MAX_REASON, SendStreamFrame, StreamWriter
from flare_transport.workers import HandlerPool

logger = logging.getLogger(__name__)

StreamHandler: TypeAlias = Callable[[StreamReader], None]

MIN_WINDOW_BYTES = 1 << 12
MAX_WINDOW_BYTES = 1 << 28


class Streams:
    """The streams that one cell writes and reads."""

    def __init__(self, name: str, pool: HandlerPool) -> None:
        self._name = name
        self._pool = pool
        self._handlers: dict[str, StreamHandler] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._writers: dict[tuple[Link, str, int], StreamWriter] = {}
        self._readers: dict[tuple[Link, str, int], StreamReader] = {}

    def handle(self, topic: str, handler: StreamHandler) -> None:
        """Register the handler that reads the streams of a topic."""
        self._handlers[topic] = handler

    def open(self, link: Link, to: str, topic: str, meta: Any, window_bytes: int) -> StreamWriter:
        """Open a stream over a link.

        Raises:
            ValueError: ``window_bytes`` is out of bounds.
        """
        if not MIN_WINDOW_BYTES <= window_bytes <= MAX_WINDOW_BYTES:
            raise ValueError(f"window_bytes is {window_bytes}, must be from {MIN_WINDOW_BYTES} to {MAX_WINDOW_BYTES}")
        number = next(self._numbers)
        send = partial(self._send, link, to, number)
        key = (link, to, number)
        writer = StreamWriter(
            to, topic, window_bytes=window_bytes, send=send, forget=lambda: self._forget(self._writers, key)
        )
        encoded = b"" if meta is None else flare_fobs.dumps(meta)
        with (
            self._lock
        ):  # registered before the first frame: credit may arrive at once, and so may the loss of the link
            self._writers[key] = writer
        try:
            link.send(pack(Kind.STREAM, to, self._name, topic, number, Raw(encoded, {"open": window_bytes})))
        except BaseException:
            self._forget(self._writers, key)
            raise
        return writer

    def deliver(self, link: Link, message: Message) -> None:
        """Process a frame that arrived; called on the link's thread.

        Raises:
            ProtocolError: it is invalid, or exceeds the credit.
        """
        key = (link, message.sender, message.id)
        reader, writer = self._readers.get(key), self._writers.get(key)
        match message.extra:
            case {"at": int(offset)}:
                if reader is not None:
                    reader.receive(offset, message.body)
            case {"open": int(window)}:
                self._accept(link, message, window)
            case {"end": int(total)}:
                if reader is not None:
                    reader.end(total)
            case {"abort": str(reason)}:
                if reader is not None:
                    reader.fail(StreamAbortedError(f"{reader.sender} aborted the stream '{reader.topic}': {reason}"))
            case {"credit": int(credit)} if credit > 0:
                if writer is not None:
                    writer.grant(credit)
            case {"done": True}:
                if writer is not None:
                    writer.acknowledge()
            case {"stop": [str(kind), str(reason)]}:
                if writer is not None:
                    writer.fail(RemoteError(f"{writer.to}: {reason}", kind=kind))
            case _:
                raise ProtocolError(f"{message.sender} sent an invalid frame of a stream: {message.extra!r}")

    def fail(self, link: Link, reason: str, *, lost: str | None = None) -> None:
        """Fail the streams over a link that has ended, or with a cell that it does not lead to any more."""
        with self._lock:
            ends: list[StreamWriter | StreamReader] = [
                end
                for table in (self._writers, self._readers)
                for key, end in table.items()
                if key[0] is link and (lost is None or speaks_for(lost, key[1]))
            ]
        for end in ends:  # not under the lock, which the threads that this wakes may need
            end.fail(
                PeerLostError(f"the link to {lost or link.peer} ended before the stream '{end.topic}' did ({reason})")
            )

    def _accept(self, link: Link, message: Message, window: int) -> None:
        key = (link, message.sender, message.id)
        if key in self._readers or not MIN_WINDOW_BYTES <= window <= MAX_WINDOW_BYTES:
            raise ProtocolError(f"{message.sender} opened a stream twice, or with an invalid window of {window} bytes")
        send = partial(self._send, link, message.sender, message.id)
        reader = StreamReader(message.sender, message.topic, message.body, window_bytes=window, send=send)
        with self._lock:
            self._readers[key] = reader
        handler = self._handlers.get(message.topic, self._no_handler)
        self._pool.submit(partial(self._serve, key, reader, handler, send))

    def _serve(
        self, key: tuple[Link, str, int], reader: StreamReader, handler: StreamHandler, send: SendStreamFrame
    ) -> None:
        """Run a handler and send its outcome to the writer."""
        outcome: dict[str, Any] = {"done": True}
        try:
            handler(reader)
            reader.finish()
        except BaseException as error:
            if not isinstance(error, FlareError):
                logger.exception("stream handler failed topic=%r sender=%s", reader.topic, reader.sender)
            described = describe(error)
            outcome = {"stop": [described["kind"], described["message"][:MAX_REASON]]}
        self._forget(self._readers, key)  # first, as sending may block: an ended stream holds no memory
        try:
            send(outcome, b"")
        except PeerLostError:
            logger.info("end of stream not confirmed, peer is lost topic=%r peer=%s", reader.topic, reader.sender)

    def _no_handler(self, reader: StreamReader) -> None:
        raise UnreachableError(f"{self._name} does not serve streams of '{reader.topic}'")

    def _send(self, link: Link, to: str, number: int, extra: dict[str, Any], body: Buffer) -> None:
        link.send(pack(Kind.STREAM, to, self._name, "", number, Raw(body, extra)))

    def _forget(self, table: dict[tuple[Link, str, int], Any], key: tuple[Link, str, int]) -> None:
        with self._lock:
            table.pop(key, None)
