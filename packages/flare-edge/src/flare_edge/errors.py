"""EdgeError: settings, messages or updates of a fleet that cannot be used."""

from __future__ import annotations

from flare_core import FlareError


class EdgeError(FlareError, ValueError):
    """Settings, a message or an update that cannot be used; names gateway, device, key or value and the remedy."""
