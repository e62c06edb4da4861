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
from flare_transport.authentication import check_peer_user, check_secret, connector_handshake, listener_handshake
from flare_transport.errors import AddressError, AuthenticationError, TransportError, UnreachableError
from flare_transport.links.base import HANDSHAKE_S, Identity, LinkOwner, Reservation
from flare_transport.links.socket_link import SocketLink

logger = logging.getLogger(__name__)

MAX_HANDSHAKES = 64
_BACKLOG = 256
_PAUSE_S = 1.0  # after a failed accept, usually for lack of file descriptors


def listen(address: Address, owner: LinkOwner, identity: Identity) -> UnixListener:
    """Listen at a path, replacing a socket that a dead process has left there."""
    secret = check_secret(identity.secret, address)
    return UnixListener(address, owner, secret)


def connect(address: Address, owner: LinkOwner, identity: Identity, *, peer: str | None, timeout_s: float) -> str:
    """Make a link to the cell that listens at a path."""
    secret = check_secret(identity.secret, address)
    connection = _new_socket(address)
    try:
        _dial(connection, address, timeout_s)
        with Reservation(owner) as reservation:

            def accept(found: str) -> None:
                if peer is not None and not speaks_for(peer, found):
                    raise AuthenticationError(f"{found} listens there, expected {peer}")
                reservation.take(found)

            # The name is reserved inside the handshake, before this end's proof is sent: once the listener has seen
            # that, it uses the link.
            found = connector_handshake(connection, name=owner.name, secret=secret, timeout_s=timeout_s, accept=accept)
            reservation.admit(SocketLink(found, connection))
            return found
    except BaseException as error:
        connection.close()
        if isinstance(error, TransportError):
            raise type(error)(f"{owner.name} cannot connect to {address}: {error}") from error
        raise


class UnixListener:
    """Accepts connections at a path; each handshake has a thread of its own, so that a slow peer delays no other."""

    def __init__(self, address: Address, owner: LinkOwner, secret: bytes) -> None:
        self.address = address
        self._owner = owner
        self._secret = secret
        self._socket = _bind(address)
        self._path = Path(address.target)
        self._file = _file_id(self._path)  # another listener may replace the path before this one is closed
        self._close_signal, self._closing = socket.socketpair()  # closing the first wakes whoever selects the second
        self._lock = threading.Lock()
        self._handshakes: dict[socket.socket, threading.Thread] = {}
        self._thread = threading.Thread(target=self._serve, name=f"flare-listen-{owner.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting connections, abort handshakes in progress and remove the path."""
        self._close_signal.close()
        self._thread.join()
        if _file_id(self._path) == self._file:
            self._path.unlink(missing_ok=True)
        with self._lock:
            handshakes = list(self._handshakes.items())
        for connection, thread in handshakes:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            if thread is not threading.current_thread():
                thread.join()

    def _serve(self) -> None:
        with self._socket, self._closing, selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._closing, selectors.EVENT_READ)
            while all(key.fileobj is not self._closing for key, _ in selector.select()):
                try:
                    connection, _ = self._socket.accept()
                except (BlockingIOError, ConnectionError):
                    continue  # the peer has hung up already
                except OSError as error:
                    logger.error("cannot accept a connection address=%s error=%s", self.address, error)
                    self._pause()
                    continue
                self._start_handshake(connection)

    def _pause(self) -> None:
        """Wait for file descriptors to become free, or until the listener is closed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._closing, selectors.EVENT_READ)
            selector.select(_PAUSE_S)

    def _start_handshake(self, connection: socket.socket) -> None:
        name = f"flare-handshake-{self._owner.name}"
        thread = threading.Thread(target=self._run_handshake, args=(connection,), name=name, daemon=True)
        with self._lock:
            if len(self._handshakes) >= MAX_HANDSHAKES:
                logger.warning(
                    "connection refused, %d handshakes are in progress address=%s", MAX_HANDSHAKES, self.address
                )
                connection.close()
                return
            self._handshakes[connection] = thread
        thread.start()

    def _run_handshake(self, connection: socket.socket) -> None:
        try:
            check_peer_user(connection)
            with Reservation(self._owner) as reservation:
                peer = listener_handshake(
                    connection,
                    name=self._owner.name,
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
                del self._handshakes[connection]


def _new_socket(address: Address) -> socket.socket:
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise AddressError(f"{address}: this system has no unix sockets; use grpc://")
    return socket.socket(family, socket.SOCK_STREAM)


def _dial(connection: socket.socket, address: Address, timeout_s: float) -> None:
    connection.settimeout(timeout_s)
    try:
        connection.connect(address.target)
    except OSError as error:
        raise UnreachableError(f"nothing listens there ({error.strerror or error})") from error
    check_peer_user(connection)


def _bind(address: Address) -> socket.socket:
    """Return a socket that listens at a path to which only this user can connect."""
    _remove_stale(address)
    bound = _new_socket(address)
    try:
        os.fchmod(bound.fileno(), 0o600)  # on Linux the file has this mode from the moment it is created
        bound.bind(address.target)
        os.chmod(address.target, 0o600)  # other systems ignore the mode of the descriptor
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise AddressError(f"cannot listen at {address} ({error.strerror or error}); choose another path") from error
    return bound


def _remove_stale(address: Address) -> None:
    """Remove a socket that no process listens at any more.

    Raises:
        AddressError: a process listens there, or the path is not a socket.
    """
    path = Path(address.target)
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(
            f"cannot listen at {address}: the path exists and is not a socket; remove it or choose another path"
        )
    with _new_socket(address) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.target)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass  # a process listens there, with a full backlog
    raise AddressError(f"cannot listen at {address}: another cell listens there; close it or choose another path")


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
