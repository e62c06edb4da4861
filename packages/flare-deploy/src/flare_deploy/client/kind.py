"""The kind ``client``: a site, which runs jobs where its data is."""

from __future__ import annotations

from pathlib import Path

from flare_deploy.participants import Daemon, ParticipantKind


def _daemon(folder: Path) -> Daemon:
    from flare_deploy.client.daemon import ClientDaemon  # not at the top: the server needs the kind, not the daemon

    return ClientDaemon(folder)


CLIENT = ParticipantKind(daemon=_daemon, kit_folder="sites", takes_jobs=True)
