"""WandBReceiver, which writes the metrics of a run to Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flare_runtime import tracking

_NAMES = {"project": "project", "entity": "entity", "group": "group", "name": "run_name", "tags": "run_tags"}


class WandBReceiver(tracking.WandBReceiver):
    """Writes the metrics of a run to Weights & Biases, with :class:`flare_runtime.tracking.WandBReceiver`.

    Args:
        wandb_args: ``project``, ``entity``, ``group``, ``name``, ``tags``, ``notes``.
        mode: ``offline``, ``online`` or ``disabled``.
        events: without effect; all metrics are written.
        process_timeout: without effect.
    """

    def __init__(
        self,
        wandb_args: Mapping[str, Any],
        mode: str = "offline",
        events: Sequence[str] | None = None,
        process_timeout: float = 10.0,
    ) -> None:
        super().__init__(mode=mode, **of_wandb(wandb_args))
        self.wandb_args = wandb_args
        self.events = events
        self.process_timeout = process_timeout


def of_wandb(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of :class:`flare_runtime.tracking.WandBReceiver`, given those of ``wandb.init``."""
    return {_NAMES[name]: value for name, value in given.items() if name in _NAMES and value is not None}
