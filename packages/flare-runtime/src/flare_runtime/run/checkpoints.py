"""The name under which federation.py still imports the store of a run's models."""

from __future__ import annotations

from flare_runtime.run.checkpoint_store import CheckpointStore as Keeper

__all__ = ["Keeper"]
