"""A link over gRPC with two lanes, so that small frames do not wait behind large ones."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from flare_transport.errors import PeerLostError, ProtocolError
from flare_transport.frame_reader import FrameReader, Receiver
from flare_transport.frames import Buffer, Frame
from flare_transport.links.base import Link, OnEnd
from flare_transport.links.grpc_lane import LANES, Lane, Reconnect
from flare_transport.links.grpc_loop import EventLoop
from flare_transport.links.outbox import ACKNOWLEDGEMENT, COUNT, END, FRAMES, MAX_CHUNK_BYTES

logger = logging.getLogger(__name__)

CLOSE_GRACE_S = 1.0
SMALL_CHUNK_BYTES = 1 << 18  # chunk size while prompt frames are sent too, which a large chunk would delay
PROMPT_RECENTLY_S = 0.1  # time for which chunks stay small after a prompt frame


class GrpcLink(Link):
    """A link that survives the loss of its connections.

    Args:
        peer: name of the cell at the other end.
        loop: the event loop of the connections.
        reconnect, grace_s: as for :class:`Lane`.
    Attributes:
        on_release: called on the loop's thread when both lanes have ended.
    """

    def __init__(self, peer: str, loop: EventLoop, *, reconnect: Reconnect | None, grace_s: float) -> None:
        super().__init__(peer)
        self.lanes = {name: Lane(name, loop, reconnect, grace_s, self._piece_bytes) for name in LANES}
        self.on_release: Callable[[], None] = lambda: None
        self._loop = loop
        self._outboxes = [self.lanes[name].outbox for name in LANES]  # indexed by Frame.bulk
        self._last_prompt = 0.0
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._end_thread: threading.Thread | None = None
        self._gone = threading.Event()

    @property
    def interrupted(self) -> bool:
        """True if a lane has lost its connection and waits for another."""
        return any(lane.interrupted for lane in self.lanes.values())

    def start(self, receiver: Receiver, on_end: OnEnd) -> None:
        self._loop.call(self._begin, receiver, on_end)

    def send(self, frame: Frame) -> None:
        if not frame.bulk:  # chunks of the bulk lane become smaller for a while; see _piece_bytes
            self._last_prompt = time.monotonic()
        try:
            self.bytes_sent += self._outboxes[frame.bulk].put(frame.buffers)
        except PeerLostError as error:
            raise PeerLostError(f"the link to {self.peer} has ended") from error
        except BaseException:  # KeyboardInterrupt, for example: the peer could not parse what follows half a frame
            self.close()
            raise

    def close(self) -> None:
        """End the link once the outboxes are sent, or after :data:`CLOSE_GRACE_S` if the peer does not read them."""
        for outbox in self._outboxes:
            outbox.end()
        self._loop.call(self._close)

    def join(self) -> None:
        if not self._loop.over and not self._loop.is_current and self._end_thread is not threading.current_thread():
            self._gone.wait()

    async def abandon(self) -> None:
        """End the link without sending what is queued, and wait for its end."""
        for outbox in self._outboxes:
            outbox.drop()
        self._close()
        self._cancel()
        await asyncio.to_thread(self._gone.wait)

    async def decline(self) -> None:
        """End a link that was made but not admitted."""
        self._begin(_DiscardingReceiver(), lambda link, error: None)
        self.close()
        await asyncio.to_thread(self._gone.wait)

    def _begin(self, receiver: Receiver, on_end: OnEnd) -> None:
        self._task = self._loop.asyncio.create_task(self._run(receiver, on_end))

    async def _run(self, receiver: Receiver, on_end: OnEnd) -> None:
        # Both lanes must have ended before on_end is called: it promises that no frame follows.
        await asyncio.gather(*(self._run_lane(lane, receiver) for lane in self.lanes.values()))
        self.on_release()
        # Callbacks for a lost link may block, so they must not run on the loop's thread.
        self._end_thread = threading.Thread(
            target=self._report_end, args=(on_end,), name=f"flare-link-{self.peer}", daemon=True
        )
        self._end_thread.start()

    def _report_end(self, on_end: OnEnd) -> None:
        try:
            on_end(self, self._error)
        finally:
            self._gone.set()
            self._loop.call(self._loop.give_back_memory)

    async def _run_lane(self, lane: Lane, receiver: Receiver) -> None:
        reader = FrameReader(receiver)
        try:
            await lane.run(partial(self._on_chunk, lane, reader), receiver)
        except (ProtocolError, PeerLostError) as problem:
            self._error = self._error or type(problem)(f"{self.peer}: {problem}")
        except BaseException as problem:
            logger.exception("link failed peer=%s", self.peer)
            self._error = self._error or problem
        self.close()  # a link without one of its lanes is of no use

    def _on_chunk(self, lane: Lane, reader: FrameReader, chunk: bytes) -> bool:
        """Process a chunk; return whether it ends the lane."""
        mark = chunk[0] if chunk else -1
        if mark == FRAMES:
            lane.outbox.note_received(len(chunk))
            self.bytes_received += len(chunk) - 1
            reader.feed(memoryview(chunk), 1)
        elif mark == ACKNOWLEDGEMENT and len(chunk) == COUNT.size:
            lane.outbox.acknowledge(COUNT.unpack(chunk)[1])
        elif mark == END:
            lane.outbox.note_received(len(chunk))
            reader.end()
            return True
        else:
            raise ProtocolError(f"it sent a chunk of {len(chunk)} bytes of unknown kind {mark}")
        return False

    def _close(self) -> None:
        if not self.lanes[LANES[0]].closing.is_set():
            self._loop.asyncio.call_later(CLOSE_GRACE_S, self._cancel)
        for lane in self.lanes.values():
            lane.close()

    def _cancel(self) -> None:
        for lane in self.lanes.values():
            lane.cancel()

    def _piece_bytes(self) -> int:
        return SMALL_CHUNK_BYTES if time.monotonic() - self._last_prompt < PROMPT_RECENTLY_S else MAX_CHUNK_BYTES


class _DiscardingReceiver:
    """A receiver that discards all frames."""

    congested = False

    def wait_until_clear(self) -> None:
        """Return at once."""

    def destination(self, header: list[Any], size: int) -> memoryview | None:
        return None

    def deliver(self, header: list[Any], body: Buffer) -> None:
        logger.debug("frame dropped, the link was declined")
