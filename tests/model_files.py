"""Where a run's last model lies, for tests of every recipe."""

from __future__ import annotations

from pathlib import Path


def model_file(folder: Path, at_site: Path | None = None) -> Path:
    """The file at the server; or, of a swarm, whose server has none, at its first site.

    Args:
        folder: of the run.
        at_site: the first site's own folder, if it is not below that.
    """
    at_server = folder / "server" / "global_model.safetensors"
    return at_server if at_server.is_file() else (at_site or folder / "sites" / "site-1") / at_server.name
