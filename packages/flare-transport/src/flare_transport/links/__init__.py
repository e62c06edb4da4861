"""Links, which carry frames between two cells. Each address scheme has a module, imported when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from flare_transport.address import Address

if TYPE_CHECKING:
    from flare_transport.links.base import Scheme

__all__ = ["scheme"]

_MODULES = {"inproc": "inproc_link", "unix": "unix_link", "grpc": "grpc_link"}


def scheme(address: Address) -> Scheme:
    """Return the module that listens at and connects to such an address."""
    return cast("Scheme", importlib.import_module(f"{__name__}.{_MODULES[address.scheme]}"))
