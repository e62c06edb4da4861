"""Peers: params that sites hand to each other, which the server does not get to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flare_core import FLModel
from flare_core.model import Params, copied, unflatten
from flare_tensor_downloader import Downloader, DownloadError
from flare_tensor_downloader.fetch import RemoteOffer
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.wire import OfferedParams, keep_params
from flare_transport import Cell
from flare_transport.address import speaks_for


@dataclass(frozen=True, slots=True)
class Peers:
    """Keeps params for other sites, and fetches those that other sites keep.

    Attributes:
        cell: the cell of this process.
        downloader: the downloader of that cell.
        server: the server's cell, which may release params that are kept here, but not read them.
    """

    cell: Cell
    downloader: Downloader
    server: str

    def keep(self, model: FLModel, *, copies: bool) -> FLModel:
        """Keep a model's params until the server releases them; return a model that refers to them.

        Args:
            model: the model.
            copies: keep copies, since a script may change its arrays after it has sent them.
        """
        if model.params is not None and (copies or isinstance(model.params, RemoteParams)):
            model = replace(model, params=copied(model.params))
        return keep_params(model, self.downloader, self.server)

    def resolve(self, params: Params) -> Params:
        """Return params that a site keeps; they are fetched when they are read, and must not be changed."""
        if not isinstance(params, OfferedParams):
            return params
        if params.owner == self.cell.name:
            return unflatten(self.downloader.own(params.ref_id))
        # What another site keeps passes through the server on its way, which must not be able to read it.
        is_sites = not speaks_for(self.server.partition(".")[0], params.owner)
        offered = RemoteOffer(self.cell, params.owner, params.ref_id, sealed=self.downloader.seals and is_sites)
        return RemoteParams(offered, params.entries)

    def fetch(self, places: Sequence[Params | None]) -> Params | None:
        """Fetch params from the first of several sites that can be reached.

        Raises:
            DownloadError: no site can be reached; gives the reason for each.
        """
        problems = []
        for params in places:
            try:
                found = None if params is None else self.resolve(params)
                if isinstance(found, RemoteParams):
                    return found.materialize()
                return None if found is None else copied(found)
            except DownloadError as error:
                problems.append(str(error))
        raise DownloadError("; ".join(problems))
