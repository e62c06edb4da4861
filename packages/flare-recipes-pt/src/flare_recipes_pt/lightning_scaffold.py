"""SCAFFOLD's corrections in the loop of a Lightning trainer, if the received model brings control variates."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from flare_core import ClientApiError, FLModel
from flare_recipes_pt.scaffold import Scaffold


class ScaffoldSteps:
    """The corrected steps of one round.

    Args:
        received: the received model, with the server's control variates as ``optimizer_params``.
        module: the module to train, which has its params.
        trainer: its trainer.
    Raises:
        ClientApiError: there are several optimizers or processes.
    """

    def __init__(self, received: FLModel, module: LightningModule, trainer: Trainer) -> None:
        if len(trainer.optimizers) != 1 or trainer.world_size != 1:
            raise ClientApiError(
                f"SCAFFOLD corrects the steps of a trainer with one optimizer and one process, but this one has"
                f" {len(trainer.optimizers)} and {trainer.world_size}; use FedAvgRecipe, or a loop of your own with"
                " flare_recipes_pt.Scaffold"
            )
        self._scaffold = Scaffold(module)
        self._scaffold.start(received)
        self._rates: list[float] = []

    def correct(self, optimizer: torch.optim.Optimizer) -> None:
        """Correct the gradients before a step.

        Raises:
            ClientApiError: the learning rates of the groups of parameters differ.
        """
        rates = {float(group["lr"]) for group in optimizer.param_groups}
        if len(rates) != 1:
            raise ClientApiError(
                f"the optimizer has groups of parameters with the learning rates {sorted(rates)}, and SCAFFOLD needs"
                " one for all; give all groups the same, or use FedAvgRecipe"
            )
        self._scaffold.correct()
        self._rates += rates

    def finish(self, steps: int) -> dict[str, Any]:
        """Return the change of the site's control variates; see :meth:`flare_recipes_pt.Scaffold.finish`."""
        return dict(self._scaffold.finish(steps, sum(self._rates) / max(1, len(self._rates))))
