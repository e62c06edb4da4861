"""Links over connected sockets: pairs that a process shares with its child, and unix sockets with a path."""

from __future__ import annotations

import contextlib
import socket
import threading

from flare_transport.errors import PeerLostError
from flare_transport.frame_reader import FrameReader, Receiver
from flare_transport.frames import Frame
from flare_transport.links.base import ThreadLink

__all__ = ["SocketLink"]

_JOIN_BELOW = 1 << 16  # small frames: one copy and one system call beat a vector of buffers
_MAX_VECTOR = 512
_SOCKET_BUFFER = 1 << 20


class SocketLink(ThreadLink):
    """A link over a connected stream socket, which it owns from now on.

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
        self._lock = threading.Lock()  # one frame at a time

    def run(self, receiver: Receiver) -> None:
        reader = FrameReader(receiver)
        while count := self._socket.recv_into(reader.room):
            self.bytes_received += count
            reader.took(count)
            if receiver.congested:
                receiver.wait_until_clear()
        reader.end()

    def send(self, frame: Frame) -> None:
        buffers = frame.buffers
        size = sum(map(len, buffers))
        try:
            with self._lock:
                if size < _JOIN_BELOW:
                    self._socket.sendall(b"".join(buffers))
                else:
                    self._send_vector([memoryview(each) for each in buffers if len(each)])
                self.bytes_sent += size
        except OSError as error:
            self.close()  # the peer may have got a part of the frame, and can make no sense of what would follow
            raise PeerLostError(f"the link to {self.peer} has ended ({error.strerror or error})") from error
        except BaseException:  # such as a KeyboardInterrupt
            self.close()
            raise

    def _send_vector(self, views: list[memoryview]) -> None:
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
        # Wakes the threads that read and send. The descriptor stays until they are gone: its number could else become
        # that of another file, which they would then write to.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread is None:
            self.release()

    def release(self) -> None:
        with self._lock:
            self._socket.close()
