"""The arrays that a site receives, in memory or in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flare_tensor_downloader import Downloader
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.memory import TensorMemory

RECEIVED = "received.safetensors"


def fetch_params(
    params: RemoteParams, downloader: Downloader, memory: TensorMemory | None, folder: Path
) -> dict[str, Any]:
    """Fetch arrays into memory, or into a mapped file in the site's folder if they exceed ``spill_bytes``."""
    limit = downloader.settings.spill_bytes
    return params.materialize(memory, folder / RECEIVED if limit is not None and params.nbytes > limit else None)
