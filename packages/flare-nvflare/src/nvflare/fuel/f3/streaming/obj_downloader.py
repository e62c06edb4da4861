"""ObjectDownloader: offers of tensors and files to other cells, with :class:`flare_tensor_downloader.Downloader`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flare_tensor_downloader import Downloader


class ObjectDownloader:
    """Offers tensors and files to other cells. All parts of an offer are dropped by :meth:`delete_transaction`.

    Args:
        cell: the cell that offers them.
        timeout: ignored: an offer lasts as long as it is needed.
        num_receivers: how many cells fetch them; 0 if that is unknown.
        tx_id: an id for the callback.
        transaction_done_cb: called with the id, a status, the objects and ``cb_kwargs`` when all is dropped.
        cb_kwargs: given to the callback.
    """

    def __init__(
        self,
        cell: Any,
        timeout: float = 0.0,
        num_receivers: int = 0,
        tx_id: str | None = None,
        transaction_done_cb: Callable[..., None] | None = None,
        **cb_kwargs: Any,
    ) -> None:
        self.downloader = Downloader(cell)
        self.num_receivers = num_receivers
        self.tx_id = tx_id or ""
        self._done = transaction_done_cb
        self._kwargs = cb_kwargs
        self._offers: dict[str, Any] = {}

    def offer(self, parts: Mapping[str, Any]) -> str:
        """Offer arrays or files by name, and return the reference."""
        # Each receiver sends one release; so many of them that only delete_transaction() closes the offer.
        receivers = None if self.num_receivers == 1 else {self.downloader.cell.name: 1 << 30}
        offer = self.downloader.offer(parts, inline=False, receivers=receivers)
        self._offers[offer.ref_id] = offer
        return offer.ref_id

    def delete_transaction(self) -> None:
        """Drop all offers."""
        objects = list(self._offers)
        for offer in self._offers.values():
            offer.close()
        self._offers.clear()
        if self._done is not None:
            self._done(self.tx_id, "deleted", objects, **self._kwargs)
