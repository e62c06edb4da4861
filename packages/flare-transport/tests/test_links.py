"""Every kind of link passes the suite of tests for links."""

from __future__ import annotations

from functools import partial

import pytest

from flare_transport import Credentials
from flare_transport.certificates import issue, make_authority
from flare_transport.testing import LinkConformance


class TestLinks(LinkConformance):
    @pytest.fixture(autouse=True)
    def _network(self, network):
        self.network = network
        self.refusal = {"unix": "secret", "grpc": "authority"}.get(network.kind, "")

    def two(self):
        return self.network.two()

    def with_wrong_proof(self):
        if self.network.kind not in ("unix", "grpc"):
            return None
        server, site = self.network.cell("server"), self.network.cell("site-1")
        address = self.network.listen(server)
        if self.network.kind == "unix":
            return server, partial(site.connect, address, secret=b"another secret of enough bytes")
        stranger = issue(make_authority("others"), "site-1")
        knows_ours = Credentials(
            stranger.certificate, stranger.private_key, self.network.proof(site)["credentials"].authority
        )
        return server, partial(site.connect, address, peer="server", credentials=knows_ours)
