"""A site's folder, and the arrays that are received into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from flare_tensor_downloader import Downloader
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.memory import TensorMemory

RECEIVED = "received.safetensors"


@dataclass(frozen=True, slots=True)
class SiteFolder:
    """A site's folder and log.

    Attributes:
        path: the folder.
        log: the site's log.
        temporary: its folder for temporary files; None for the system's.
        is_durable: the run continues if the site's process dies.
    """

    path: Path
    log: TextIO
    temporary: Path | None = None
    is_durable: bool = False


def fetch_params(
    params: RemoteParams, downloader: Downloader, memory: TensorMemory | None, folder: Path
) -> dict[str, Any]:
    """Fetch arrays into memory, or into a mapped file in the site's folder if they exceed ``spill_bytes``."""
    limit = downloader.settings.spill_bytes
    return params.materialize(memory, folder / RECEIVED if limit is not None and params.nbytes > limit else None)
