"""Who may read what a site offers to other sites: those who seal, and not the server that it goes through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core import FLModel
from flare_tensor_downloader import Downloader, DownloadError
from flare_tensor_downloader.errors import UnknownReferenceError
from flare_tensor_downloader.fetch import RemoteOffer
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.wire import keep_params, receive_params
from flare_transport import Cell, SocketLink
from flare_transport.certificates import issue, make_authority

AUTHORITY = make_authority("test authority")
VALUES = np.arange(20_000.0)
REFUSED = "may not read this offer, or only in a sealed message"


class Site:
    """A site that has offered its model to others, and is linked to whoever asks for it."""

    def __init__(self, seals: bool) -> None:
        self.cells = [Cell("site-1")]
        self.cells[0].seal_with(issue(AUTHORITY, "site-1"))
        self.downloader = Downloader(self.cells[0])
        self.downloader.seals = seals
        outgoing = keep_params(FLModel(params={"w": VALUES}), self.downloader, "server.job-1")
        self.offered = outgoing.params

    def read_by(self, name: str, *, sealed: bool) -> np.ndarray:
        cell = Cell(name)
        self.cells.append(cell)
        cell.seal_with(issue(AUTHORITY, name))
        ours, theirs = SocketLink.pair("site-1", name)
        self.cells[0].attach(ours)
        cell.attach(theirs)
        offered = RemoteOffer(cell, self.offered.owner, self.offered.ref_id, sealed=sealed)
        return RemoteParams(offered, self.offered.entries)["w"]


@pytest.fixture(params=[True, False], ids=["seals", "does not seal"])
def seals(request):
    return request.param


@pytest.fixture
def site(seals):
    made = Site(seals)
    yield made
    for cell in made.cells:
        cell.close()


@pytest.mark.parametrize("seals", [True], indirect=True)
def test_another_site_reads_it_sealed(site):
    np.testing.assert_array_equal(site.read_by("site-2", sealed=True), VALUES)


@pytest.mark.parametrize("seals", [True], indirect=True)
@pytest.mark.parametrize("name", ["server.job-1", "server", "server.job-2"])
def test_the_server_reads_it_in_no_way(site, name):
    with pytest.raises(DownloadError, match=REFUSED):
        site.read_by(name, sealed=True)


@pytest.mark.parametrize("name", ["site-2", "server"])
def test_nobody_reads_it_unsealed_where_cells_can_seal(site, seals, name):
    if not seals:
        np.testing.assert_array_equal(site.read_by(name, sealed=False), VALUES)
        return
    with pytest.raises(DownloadError, match=REFUSED):
        site.read_by(name, sealed=False)


def test_the_holder_lets_it_go(cells, downloader, another):
    offered = keep_params(FLModel(params={"w": VALUES}), downloader, "server").params
    RemoteOffer(another, "site-1", offered.ref_id).release()  # which is not for a reader to say
    another.request("site-1", "tensor.manifest", [offered.ref_id])
    RemoteOffer(cells[1], "site-1", offered.ref_id).release()
    params = receive_params(FLModel(params=offered), cells[1]).params
    with pytest.raises(UnknownReferenceError, match="offers nothing under the reference"):
        params["w"]


def test_other_refusals_are_no_unknown_references(cells, downloader):
    offered = keep_params(FLModel(params={"w": VALUES}), downloader, "server").params
    more = replace(offered.entries[0], key="v")  # which is not offered
    params = RemoteParams(RemoteOffer(cells[1], "site-1", offered.ref_id), [*offered.entries, more])
    with pytest.raises(DownloadError, match="'v' from site-1") as raised:
        params["v"]
    assert not isinstance(raised.value, UnknownReferenceError)
