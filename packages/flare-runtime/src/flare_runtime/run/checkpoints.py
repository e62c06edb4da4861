"""Names that federation.py and server_run.py still import from here."""

from __future__ import annotations

from flare_runtime.run.checkpoint_store import CheckpointStore as Keeper
from flare_runtime.run.persistor import Persistor

__all__ = ["Keeper", "Persistor"]
