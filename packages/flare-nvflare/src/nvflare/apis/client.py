"""Client, a site as the server's components see it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any


class ClientPropKey:
    """Names of a client's properties."""

    FQCN = "fqcn"
    FQSN = "fqsn"
    IS_LEAF = "is_leaf"
    ORG = "org"
    SITE_CONFIG = "site_config"


class ClientDictKey:
    """Names in the dict of a client."""

    NAME = "name"
    FQCN = "fqcn"
    FQSN = "fqsn"
    IS_LEAF = "is_leaf"
    SITE_CONFIG = "site_config"


class Client:
    """A site.

    Args:
        name: its name.
        token: any text that identifies its session.
    """

    def __init__(self, name: str, token: str = "") -> None:
        self.name = name
        self.token = token
        self.last_connect_time = time.time()
        self.props: dict[str, Any] = {ClientPropKey.FQCN: name, ClientPropKey.FQSN: name, ClientPropKey.IS_LEAF: True}

    def set_token(self, token: str) -> None:
        """Set the text that identifies the session."""
        self.token = token

    def get_token(self) -> str:
        """Return the text that identifies the session."""
        return self.token

    def set_prop(self, name: str, value: Any) -> None:
        """Set a property."""
        self.props[name] = value

    def get_prop(self, name: str, default: Any = None) -> Any:
        """Return a property."""
        return self.props.get(name, default)

    def set_fqcn(self, value: str) -> None:
        """Set the site's address."""
        self.props[ClientPropKey.FQCN] = value

    def get_fqcn(self) -> Any:
        """Return the site's address."""
        return self.props.get(ClientPropKey.FQCN)

    def set_fqsn(self, value: str) -> None:
        """Set the site's name in the hierarchy."""
        self.props[ClientPropKey.FQSN] = value

    def get_fqsn(self) -> Any:
        """Return the site's name in the hierarchy."""
        return self.props.get(ClientPropKey.FQSN)

    def set_is_leaf(self, value: bool) -> None:
        """Set whether no site is below this one."""
        self.props[ClientPropKey.IS_LEAF] = value

    def get_is_leaf(self) -> Any:
        """Return True if no site is below this one."""
        return self.props.get(ClientPropKey.IS_LEAF)

    def set_site_config(self, value: Any) -> None:
        """Set the site's own settings."""
        self.props[ClientPropKey.SITE_CONFIG] = value

    def get_site_config(self) -> Any:
        """Return the site's own settings."""
        return self.props.get(ClientPropKey.SITE_CONFIG)

    def to_dict(self) -> dict[str, Any]:
        """Return the client as a dict."""
        keys = (ClientDictKey.FQCN, ClientDictKey.FQSN, ClientDictKey.IS_LEAF, ClientDictKey.SITE_CONFIG)
        return {ClientDictKey.NAME: self.name, **{key: self.props.get(key) for key in keys}}

    def __repr__(self) -> str:
        return f"Client({self.name!r})"


def from_dict(d: Mapping[str, Any]) -> Client:
    """Return the client of a dict."""
    client = Client(d[ClientDictKey.NAME], "")
    client.props.update({key: value for key, value in d.items() if key != ClientDictKey.NAME})
    return client
