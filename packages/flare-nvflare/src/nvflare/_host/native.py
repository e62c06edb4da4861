"""Jobs whose components have a counterpart in Flare that does the whole work, such as swarm learning and statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flare_core.job import ClientApp, ServerApp

if TYPE_CHECKING:
    from nvflare._host.jobs import AppConfig


def native_server(app: AppConfig, clients: list[AppConfig]) -> ServerApp | None:
    """Return the server's app if Flare has the same; None if the components must be hosted."""
    return None


def native_client(app: AppConfig, server: AppConfig) -> ClientApp | None:
    """Return a site's app if Flare has the same; None if the components must be hosted."""
    return None
