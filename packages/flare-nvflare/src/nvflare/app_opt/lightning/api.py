"""Lightning trainers that take part in a run."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import flare_recipes_pt.lightning
from nvflare._flare.controls import trainer_answers
from nvflare.app_common.utils.fedprox_utils import FEDPROX_MU
from nvflare.client.api import get_context

__all__ = ["patch"]


def patch(
    trainer: Trainer, restore_state: bool = True, load_state_dict_strict: bool = True, update_fit_loop: bool = True
) -> None:
    """Make a trainer take part in the run, as :func:`flare_recipes_pt.lightning.patch` does.

    In a FedProxRecipe the gradients get those of the proximal term, which the module leaves out of its loss. In a
    ScaffoldRecipe they are corrected by the control variates.

    Args:
        trainer, restore_state, load_state_dict_strict, update_fit_loop: as there.
    """
    flare_recipes_pt.lightning.patch(trainer, restore_state, load_state_dict_strict, update_fit_loop)
    trainer_answers(get_context(None))
    if not any(isinstance(each, _Proximal) for each in trainer.callbacks):
        trainer.callbacks.insert(1, _Proximal())  # after the one that loads the received model


class _Proximal(Callback):  # type: ignore[misc]  # lightning's classes are skipped, see pyproject.toml
    """Adds the gradient of the proximal term, if the recipe asks for one."""

    def __init__(self) -> None:
        self.mu = 0.0
        self.received: dict[torch.nn.Parameter, torch.Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.mu = float(get_context(None).channel.config.get(FEDPROX_MU, 0.0))
        self.received = {each: each.detach().clone() for each in pl_module.parameters()} if self.mu else {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        for each, received in self.received.items():
            if each.grad is not None:
                each.grad.add_(each.detach() - received, alpha=self.mu)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.received = {}
