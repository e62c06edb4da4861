"""Links over connected sockets: socket pairs that a process shares with its child, and unix sockets with a path."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading

from flare_transport.errors import PeerLostError, ProtocolError
from flare_transport.frame_reader import FrameReader, Receiver
from flare_transport.frames import Frame
from flare_transport.links.base import Link, OnEnd

logger = logging.getLogger(__name__)

_MAX_VECTOR = 512  # buffers per system call; the limit of Linux (IOV_MAX) is 1024
_SOCKET_BUFFER = 1 << 20


class SocketLink(Link):
    """A link over a connected stream socket, which it owns from now on; a thread of its own delivers the frames.

    Prompt and bulk frames share the socket, in the order in which they were sent.

    Args:
        peer: the name of the cell at the other end.
        connection: the socket.
    """

    def __init__(self, peer: str, connection: socket.socket) -> None:
        super().__init__(peer)
        connection.setblocking(True)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        self._socket = connection
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # held for a whole frame, so that frames of several threads do not mix

    @classmethod
    def pair(cls, name: str, other: str) -> tuple[SocketLink, SocketLink]:
        """Make a link between two cells of this process; return the end of ``name``, then that of ``other``."""
        ours, theirs = socket.socketpair()
        return cls(other, ours), cls(name, theirs)

    def start(self, receiver: Receiver, on_end: OnEnd) -> None:
        name = f"flare-link-{self.peer}"
        self._thread = threading.Thread(target=self._serve, args=(receiver, on_end), name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self, receiver: Receiver, on_end: OnEnd) -> None:
        error: BaseException | None = None
        try:
            self._read(receiver)
        except (ProtocolError, PeerLostError, OSError) as problem:  # expected: the peer misbehaves or has gone
            error = problem
        except BaseException as problem:
            logger.exception("link failed peer=%s", self.peer)
            error = problem
        try:
            # Closing first makes all later sends fail, so nothing can be started after the cell has failed what was
            # in flight.
            self.close()
            self._release()
        finally:
            on_end(self, error)

    def _read(self, receiver: Receiver) -> None:
        reader = FrameReader(receiver)
        while count := self._socket.recv_into(reader.free_space):
            self.bytes_received += count
            reader.advance(count)
            if receiver.congested:
                # While this thread does not read, the socket's buffers fill and the peer's send blocks.
                receiver.wait_until_clear()
        reader.end()

    def send(self, frame: Frame) -> None:
        try:
            with self._lock:
                self._send_all([memoryview(each) for each in frame.buffers if len(each)])
                self.bytes_sent += sum(map(len, frame.buffers))
        except OSError as error:
            self.close()  # part of the frame may have been sent, so the peer could not parse what follows
            raise PeerLostError(f"the link to {self.peer} has ended ({error.strerror or error})") from error
        except BaseException:  # KeyboardInterrupt, for example; close for the same reason
            self.close()
            raise

    def _send_all(self, views: list[memoryview]) -> None:
        """Send buffers without joining them; a system call may stop in the middle of any."""
        while views:
            sent = self._socket.sendmsg(views[:_MAX_VECTOR])
            done = 0
            while done < len(views) and sent >= len(views[done]):
                sent -= len(views[done])
                done += 1
            del views[:done]
            if sent:
                views[0] = views[0][sent:]

    def close(self) -> None:
        # Shutting down wakes the threads that read and send. The descriptor stays open until they have returned: its
        # number could otherwise be reused for another file, which they would then write to.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread is None:
            self._release()

    def _release(self) -> None:
        with self._lock:  # a thread that is sending still uses the descriptor
            self._socket.close()
