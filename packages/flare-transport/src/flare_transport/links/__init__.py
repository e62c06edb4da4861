"""Links, which carry frames between two cells.

Each address scheme has a module, imported when it is first used. Packages add schemes in the entry-point group
``flare.links``; the module has the functions of :class:`flare_transport.links.base.Scheme`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flare_core.extensions import find, load
from flare_transport.address import Address

if TYPE_CHECKING:
    from flare_transport.links.base import Scheme

__all__ = ["scheme"]


def scheme(address: Address) -> Scheme:
    """Return the module that listens at and connects to such an address.

    Raises:
        ExtensionError: it cannot be imported.
    """
    return cast("Scheme", load(find("flare.links", address.scheme)))
