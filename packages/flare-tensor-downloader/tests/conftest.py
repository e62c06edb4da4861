from __future__ import annotations

import socket

import pytest

from flare_tensor_downloader import Downloader
from flare_transport import Cell, InprocLink, SocketLink


def link(first: Cell, second: Cell, kind: str) -> None:
    if kind == "inproc":
        ours, theirs = InprocLink.pair(first.name, second.name)
    else:
        here, there = socket.socketpair()
        ours, theirs = SocketLink(second.name, here), SocketLink(first.name, there)
    first.attach(ours)
    second.attach(theirs)


@pytest.fixture(params=["inproc", "socket"])
def kind(request):
    return request.param


@pytest.fixture
def cells(kind):
    """The cell that offers, and the cell that fetches."""
    with Cell("site-1") as owner, Cell("server") as receiver:
        link(owner, receiver, kind)
        yield owner, receiver


@pytest.fixture
def downloader(cells):
    made = Downloader(cells[0])
    yield made
    made.close()


@pytest.fixture
def receiver(cells):
    return cells[1]


@pytest.fixture
def another(cells, kind):
    """One more cell that fetches."""
    with Cell("site-2") as made:
        link(cells[0], made, kind)
        yield made
