"""Frames that threads send over one lane arrive once and in order, however often its connection breaks."""

from __future__ import annotations

import asyncio
import gc
import random
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flare_transport.links.grpc_lane import Connection, Lane
from flare_transport.links.grpc_loop import event_loop
from flare_transport.links.outbox import END, FRAMES

WAIT_S = 30
SENDERS, FRAMES_EACH = 4, 200
FRAME = struct.Struct("<II")  # number of the sender, and how many frames it had sent before


class Clear:
    """A receiver that is never congested."""

    congested = False


class Peer:
    """The other end of a lane; each of its connections breaks after a random number of chunks."""

    def __init__(self, seed: int, breaks_after: float) -> None:
        self.random = random.Random(seed)
        self.breaks_after = breaks_after
        self.chunks: list[bytes] = []
        self.connections = 0
        self.problems: list[str] = []
        self.ended = threading.Event()
        self.frames: set[tuple[int, int]] = set()
        self.progress = threading.Condition()

    def wait_for(self, *frame: int) -> None:
        with self.progress:
            assert self.progress.wait_for(lambda: frame in self.frames, WAIT_S), "the lane stands still"

    async def connect(self, lane=None) -> Connection:
        self.connections += 1
        number, writing = self.connections, False
        limit = self.random.expovariate(1 / self.breaks_after) if self.breaks_after else float("inf")
        taken = 0

        def take(chunk):
            if number == self.connections:  # chunks of earlier connections are lost
                with self.progress:
                    self.chunks.append(chunk)
                    self.frames.update(FRAME.iter_unpack(chunk[1:]))
                    self.progress.notify_all()
                if chunk[0] == END:
                    self.ended.set()

        def settle(future):
            if not future.cancelled() and number == self.connections:
                future.set_result(None)
            elif not future.cancelled():
                future.set_exception(OSError("it broke meanwhile"))

        async def write(chunk):
            nonlocal writing, taken
            if writing:
                self.problems.append("two write at once")
            writing = True
            try:
                taken += 1
                if taken > limit:
                    raise OSError("the connection broke")
                way = self.random.randrange(4)
                if way == 0:
                    return take(chunk)
                if way == 1:
                    take(chunk)
                    return await asyncio.sleep(0)
                if way == 2:
                    future = event_loop().asyncio.create_future()
                    event_loop().asyncio.call_soon_threadsafe(settle, future)
                    await future
                await asyncio.sleep(0)
                take(chunk)
            finally:
                writing = False

        connection = Connection(read=event_loop().asyncio.create_future, write=write, abort=lambda: None)
        connection.peer_received = len(self.chunks)
        connection.authenticated.set()
        return connection


@pytest.fixture
def open_lane():
    opened = []

    def open_(peer: Peer) -> Lane:
        loop = event_loop()

        async def start():
            lane = Lane("prompt", loop, peer.connect, 5.0, lambda: 1 << 18)
            lane.prepare(await peer.connect())
            opened.append((lane, asyncio.ensure_future(lane.run(lambda chunk: False, Clear()))))
            return lane

        return loop.run(start())

    yield open_
    for lane, running in opened:

        async def stop(lane=lane, running=running):
            lane.close()
            lane.cancel()
            await running

        event_loop().run(stop())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("breaks_after", [0, 2, 8])
def test_every_frame_arrives_once_and_in_order(open_lane, seed, breaks_after, caplog):
    peer = Peer(seed, breaks_after)
    lane = open_lane(peer)

    def send(sender):
        for number in range(FRAMES_EACH):
            lane.outbox.put([FRAME.pack(sender, number)])
            if number % 4 == 3:  # otherwise all frames would share a few chunks
                peer.wait_for(sender, number)

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, range(SENDERS)))
    lane.outbox.end()
    assert peer.ended.wait(WAIT_S), "the lane stands still"
    *chunks, end = peer.chunks
    assert (end, {chunk[0] for chunk in chunks}) == (bytes([END]), {FRAMES})
    frames = list(FRAME.iter_unpack(b"".join(chunk[1:] for chunk in chunks)))
    for sender in range(SENDERS):
        assert [number for who, number in frames if who == sender] == list(range(FRAMES_EACH))
    assert not peer.problems
    gc.collect()
    assert not [each.getMessage() for each in caplog.records if each.name == "asyncio"]
    assert (peer.connections > 1) == bool(breaks_after)
