from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from flare_transport import Cell, Credentials, SocketLink, UnreachableError
from flare_transport.certificates import issue, make_authority

sys.path.insert(0, str(Path(__file__).parent))  # for second_wire.py

KINDS = ["socketpair", "unix", "grpc"]
AUTHORITY = make_authority("test authority")


class Network:
    """Makes cells and links of one kind between them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.cells: list[Cell] = []
        self.addresses: dict[Cell, str] = {}
        self.secret = secrets.token_bytes(32)
        self.folder = Path(
            tempfile.mkdtemp(prefix="flare-test-")
        )  # a short path: those of sockets have at most 103 bytes

    def cell(self, name: str, **arguments) -> Cell:
        cell = Cell(name, **arguments)
        self.cells.append(cell)
        return cell

    @staticmethod
    def settle(listener: Cell, connector: Cell) -> None:
        """Wait until the listener has the link, too: the connector has it a moment earlier."""
        topic = f"settle.{connector.name}"
        listener.handle(topic, lambda message: None)
        connector.request(listener.name, topic, timeout_s=20)

    def link(self, listener: Cell, connector: Cell) -> None:
        """Connect two cells."""
        if self.kind != "socketpair":
            connector.connect(self.listen(listener), **self.proof(connector, listener.name))
            self.settle(listener, connector)
            return
        here, there = SocketLink.pair(listener.name, connector.name)
        try:
            listener.attach(here)
            connector.attach(there)
        except UnreachableError:
            here.close()
            there.close()
            raise

    def listen(self, cell: Cell) -> str:
        """Make a cell listen, if it does not yet; return the address."""
        if cell not in self.addresses:
            self.addresses[cell] = self._listen(cell)
        return self.addresses[cell]

    def _listen(self, cell: Cell) -> str:
        addresses = {
            "unix": f"unix://{self.folder}/{cell.name}",
            "grpc": "grpc://127.0.0.1:0",
        }
        proof = self.proof(cell)
        return cell.listen(addresses[self.kind], **proof)

    def proof(self, cell: Cell, peer: str | None = None) -> dict:
        if self.kind == "unix":
            return {"secret": self.secret}
        if self.kind == "grpc":
            return {"credentials": credentials(cell.name.partition(".")[0]), **({"peer": peer} if peer else {})}
        return {}

    def two(self) -> tuple[Cell, Cell]:
        server, site = self.cell("server"), self.cell("site-1")
        self.link(server, site)
        return server, site

    def close(self) -> None:
        for cell in self.cells:
            cell.close()
        shutil.rmtree(self.folder)


class Proxy:
    """A TCP relay whose connections a test can cut or refuse.

    It passes bytes between those who connect to :attr:`port` and a port of this machine.

    Attributes:
        refusing: new connections are closed at once.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.refusing = False
        self.connections = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def cut(self) -> None:
        """Break all connections, in the middle of their data."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def wait_for_sockets(self, count: int) -> bool:
        """Wait until at most that many sockets are open; return false on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._sockets) <= count, 20)

    def hold(self) -> None:
        """Forward nothing, but keep the connections open."""
        self._flowing.clear()

    def let_go(self) -> None:
        """Forward again."""
        self._flowing.set()

    def close(self) -> None:
        self.refusing = True
        self.let_go()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target, *args) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                near.close()
                continue
            self.connections += 1
            try:
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
            self._spawn(self._pump, near, far)
            self._spawn(self._pump, far, near)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._flowing.wait()
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._sockets -= {source}
            self._changed.notify_all()
        source.close()


def credentials(name: str) -> Credentials:
    return issue(AUTHORITY, name)


@pytest.fixture(params=KINDS)
def network(request):
    made = Network(request.param)
    yield made
    made.close()


@pytest.fixture
def unix_network():
    made = Network("unix")
    yield made
    made.close()


@pytest.fixture
def grpc_network():
    made = Network("grpc")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_thread_is_left_behind(request):
    """Fail if a closed cell has left threads; those of gRPC's poller are excepted."""
    before = set(threading.enumerate())
    yield
    left = [each for each in threading.enumerate() if each not in before and each.name.startswith("flare-")]
    for thread in left:
        thread.join(5)
    assert not [each for each in left if each.is_alive()]


@pytest.fixture
def make_network():
    """Return a factory of networks, by kind."""
    made: list[Network] = []

    def make(kind: str) -> Network:
        made.append(Network(kind))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def proxy_to():
    """Return a factory of proxies in front of a port."""
    made: list[Proxy] = []

    def make(port: int) -> Proxy:
        made.append(Proxy(port))
        return made[-1]

    yield make
    for each in made:
        each.close()
