"""The kind ``relay``: forwards the messages of a group of sites, and runs no jobs."""

from __future__ import annotations

from pathlib import Path

from flare_deploy.participants import Daemon, ParticipantKind


def _daemon(folder: Path) -> Daemon:
    from flare_deploy.relay.daemon import RelayDaemon  # not at the top: the server needs the kind, not the daemon

    return RelayDaemon(folder)


RELAY = ParticipantKind(daemon=_daemon, kit_folder="relays", forwards=True)
