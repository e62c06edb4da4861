"""Addresses and names of cells.

    unix:///<path>           a unix socket on this machine; both ends prove knowledge of a secret
    grpc://<host>:<port>     TCP with mutual TLS; on loopback addresses a shared secret may replace the certificates
    <scheme>://<target>      a scheme of another package's (entry-point group flare.links), which checks the target

Names of cells are hierarchical: ``server``, ``site-1``, ``site-1.job-7``. The identity of a cell covers the names below
it: a certificate for ``site-1`` is also valid for ``site-1.job-7``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from flare_core.extensions import names
from flare_transport.errors import AddressError

MAX_NAME = 200
_MAX_PATH = 103  # bytes; the smallest limit among systems with unix sockets
_NAME = re.compile(r"[A-Za-z0-9_@+-]+(\.[A-Za-z0-9_@+-]+)*")
_FORMS = "unix:///path or grpc://host:port"


@dataclass(frozen=True, slots=True)
class Address:
    """An address that a cell listens at.

    Attributes:
        scheme: ``unix``, ``grpc``, or one that an installed package adds.
        target: an absolute path or a host; for an added scheme, everything after ``://``.
        port: for ``grpc``; 0 requests any free port.
    """

    scheme: str
    target: str
    port: int = 0

    def __str__(self) -> str:
        if self.scheme != "grpc":
            return f"{self.scheme}://{self.target}"
        host = f"[{self.target}]" if ":" in self.target else self.target
        return f"grpc://{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse an address.

    Raises:
        AddressError: it has none of the forms above.
    Example:
        >>> parse_address("grpc://localhost:8002")
        Address(scheme='grpc', target='localhost', port=8002)
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix":
        return _unix(text, rest)
    if separator and scheme == "grpc":
        return _grpc(text)
    added = [name for name in names("flare.links") if name not in ("unix", "grpc")]
    if scheme in added and rest:
        return Address(scheme, rest)
    raise AddressError(f"{text!r} is not an address; write {', '.join([*(f'{name}://…' for name in added), _FORMS])}")


def check_name(name: str) -> str:
    """Return ``name`` if it is a valid name of a cell.

    Raises:
        AddressError: it is not.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise AddressError(
            f"{name[:MAX_NAME]!r} cannot be the name of a cell; use up to {MAX_NAME} letters, digits and any of _@+-, "
            "in parts separated by dots, such as 'site-1.job-7'"
        )
    return name


def speaks_for(owner: str, name: str) -> bool:
    """Return whether a cell authenticated as ``owner`` may act as ``name``."""
    return name == owner or name.startswith(f"{owner}.")


def _unix(text: str, path: str) -> Address:
    if not path.startswith("/") or path.endswith("/"):
        raise AddressError(f"{text!r} contains no absolute path of a socket; write unix:///path, with three slashes")
    if "\0" in path:
        raise AddressError(f"{text!r} contains a null byte, which is not allowed in paths")
    if len(os.fsencode(path)) > _MAX_PATH:
        raise AddressError(
            f"{text!r}: the path of a unix socket has at most {_MAX_PATH} bytes; choose a shorter folder"
        )
    return Address("unix", path)


def _grpc(text: str) -> Address:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressError(f"{text!r} is not an address ({error}); write grpc://host:port") from error
    if not host or port is None:
        raise AddressError(f"{text!r} lacks a host or a port; write grpc://host:port")
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        raise AddressError(f"{text!r} contains more than a host and a port; write grpc://host:port")
    return Address("grpc", host, port)
