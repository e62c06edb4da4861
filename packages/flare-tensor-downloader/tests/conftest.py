from __future__ import annotations

import pytest

from flare_tensor_downloader import Downloader
from flare_transport import Cell, SocketLink


def link(first: Cell, second: Cell) -> None:
    ours, theirs = SocketLink.pair(first.name, second.name)
    first.attach(ours)
    second.attach(theirs)


@pytest.fixture
def cells():
    """The cell that offers, and the cell that fetches."""
    with Cell("site-1") as owner, Cell("server") as receiver:
        link(owner, receiver)
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
def another(cells):
    """One more cell that fetches."""
    with Cell("site-2") as made:
        link(cells[0], made)
        yield made
