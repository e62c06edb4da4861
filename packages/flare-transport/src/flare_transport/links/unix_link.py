"""Links over unix sockets with a path: processes of one user on one machine."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import stat
import threading
from pathlib import Path

from flare_transport.address import Address, speaks_for
from flare_transport.authentication import check_peer_user, check_secret, greet_connector, greet_listener
from flare_transport.errors import AddressError, AuthenticationError, TransportError, UnreachableError
from flare_transport.links.base import HANDSHAKE_S, Identity, Reception, Reservation
from flare_transport.links.socket_link import SocketLink

__all__ = ["UnixListener", "connect", "listen"]

logger = logging.getLogger(__name__)

MAX_HANDSHAKES = 64
_BACKLOG = 256
_PAUSE_S = 1.0


def listen(address: Address, reception: Reception, identity: Identity) -> UnixListener:
    """Listen at a path; a socket that a dead process has left there is replaced."""
    secret = check_secret(identity.secret, address)
    return UnixListener(address, reception, secret)


def connect(address: Address, reception: Reception, identity: Identity, *, peer: str | None, timeout_s: float) -> str:
    """Make a link to the cell that listens at a path."""
    secret = check_secret(identity.secret, address)
    connection = _new_socket(address)
    try:
        _dial(connection, address, timeout_s)
        with Reservation(reception) as reservation:

            def accept(found: str) -> None:
                if peer is not None and not speaks_for(peer, found):
                    raise AuthenticationError(f"{found} listens there, expected {peer}")
                reservation.take(found)

            found = greet_listener(connection, name=reception.name, secret=secret, timeout_s=timeout_s, accept=accept)
            reservation.admit(SocketLink(found, connection))
            return found
    except BaseException as error:
        connection.close()
        if isinstance(error, TransportError):
            raise type(error)(f"{reception.name} got no link to {address}: {error}") from error
        raise


class UnixListener:
    """Accepts connections at a path. Each gets a thread for its handshake, so that none waits for another."""

    def __init__(self, address: Address, reception: Reception, secret: bytes) -> None:
        self.address = address
        self._reception = reception
        self._secret = secret
        self._socket = _bind(address)
        self._path = Path(address.target)
        self._file = _file_id(self._path)
        self._waker, self._wakes = socket.socketpair()
        self._lock = threading.Lock()
        self._greeted: dict[socket.socket, threading.Thread] = {}
        self._thread = threading.Thread(target=self._serve, name=f"flare-listen-{reception.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let nobody in any more, and remove the path."""
        self._waker.close()
        self._thread.join()
        if _file_id(self._path) == self._file:
            self._path.unlink(missing_ok=True)
        with self._lock:
            greeted = list(self._greeted.items())
        for connection, thread in greeted:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            if thread is not threading.current_thread():
                thread.join()

    def _serve(self) -> None:
        with self._socket, self._wakes, selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._wakes, selectors.EVENT_READ)
            while all(key.fileobj is not self._wakes for key, _ in selector.select()):
                try:
                    connection, _ = self._socket.accept()
                except (BlockingIOError, ConnectionError):
                    continue  # the peer has left already
                except OSError as error:
                    logger.error("cannot accept a connection address=%s error=%s", self.address, error)
                    self._pause()
                    continue
                self._begin(connection)

    def _pause(self) -> None:
        """Let descriptors become free; the closing of the listener ends the pause."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakes, selectors.EVENT_READ)
            selector.select(_PAUSE_S)

    def _begin(self, connection: socket.socket) -> None:
        name = f"flare-greet-{self._reception.name}"
        thread = threading.Thread(target=self._greet, args=(connection,), name=name, daemon=True)
        with self._lock:
            if len(self._greeted) >= MAX_HANDSHAKES:
                logger.warning(
                    "connection refused, %d handshakes are under way address=%s", MAX_HANDSHAKES, self.address
                )
                connection.close()
                return
            self._greeted[connection] = thread
        thread.start()

    def _greet(self, connection: socket.socket) -> None:
        try:
            check_peer_user(connection)
            with Reservation(self._reception) as reservation:
                peer = greet_connector(
                    connection,
                    name=self._reception.name,
                    secret=self._secret,
                    timeout_s=HANDSHAKE_S,
                    accept=reservation.take,
                )
                reservation.admit(SocketLink(peer, connection))
        except TransportError as error:
            connection.close()
            logger.warning("connection refused address=%s reason=%s", self.address, error)
        except BaseException:
            connection.close()
            logger.exception("handshake failed address=%s", self.address)
        finally:
            with self._lock:
                del self._greeted[connection]


def _new_socket(address: Address) -> socket.socket:
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise AddressError(f"{address}: this system has no unix sockets; use grpc:// or inproc://")
    return socket.socket(family, socket.SOCK_STREAM)


def _dial(connection: socket.socket, address: Address, timeout_s: float) -> None:
    connection.settimeout(timeout_s)
    try:
        connection.connect(address.target)
    except OSError as error:
        raise UnreachableError(f"nobody listens there ({error.strerror or error})") from error
    check_peer_user(connection)


def _bind(address: Address) -> socket.socket:
    """Return a socket that listens at a path which only this user can connect to."""
    _remove_stale(address)
    bound = _new_socket(address)
    try:
        os.fchmod(bound.fileno(), 0o600)  # what Linux gives the file from its first moment
        bound.bind(address.target)
        os.chmod(address.target, 0o600)  # elsewhere
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise AddressError(f"cannot listen at {address} ({error.strerror or error}); choose another path") from error
    return bound


def _remove_stale(address: Address) -> None:
    """Remove a socket that nobody listens at any more.

    Raises:
        AddressError: somebody does, or it is no socket.
    """
    path = Path(address.target)
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(
            f"cannot listen at {address}: there is a file of that name; remove it or choose another path"
        )
    with _new_socket(address) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.target)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass  # alive, and busy
    raise AddressError(f"cannot listen at {address}: another cell does; close it or choose another path")


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
