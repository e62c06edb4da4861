"""The Client API, and :func:`patch`, which makes a ``transformers.Trainer`` take part in a run.

    import flare_recipes_pt.transformers as flare

    trainer = Trainer(model=model, args=TrainingArguments(...), ...)
    flare.patch(trainer)
    while flare.is_running():
        trainer.evaluate()  # the model as received
        trainer.train()     # from the model received; the result is sent

Of a PEFT model, the adapter alone travels, and the layers that it trains as a whole (``modules_to_save``). The recipe's
initial model is what travels: ``initial_model=shared_state(model)``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

import flare_core.client as client
from flare_core.client import *  # noqa: F403  # this module stands for the Client API
from flare_recipes_pt.trainer_link import SharedModel, TrainerLink, Training, meta_of, missing_package

try:
    from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
    from transformers import Trainer
    from transformers.trainer_utils import TrainOutput
except ImportError as error:
    raise missing_package("transformers", error) from error

__all__ = ["patch", "shared_state"]
__all__ += client.__all__

_NO_METRICS = ("_runtime", "_per_second", "_time", "epoch")
"""What ends so is not measured on the model."""


def patch(trainer: Trainer, restore_state: bool = True, load_state_dict_strict: bool = True) -> None:
    """Make a trainer take part in the run: call it once, before the loop over ``flare.is_running()``.

    From then on ``trainer.train`` and ``evaluate`` begin with the model that was received. What ``evaluate`` returns
    before ``train`` is sent as the metrics of that model, under the names that it has there (``eval_loss``), so a
    recipe's ``key_metric`` is ``"eval_accuracy"`` or the like. After ``train`` the model is sent, weighted by its steps
    or by what the attribute ``__fl_meta__`` of the model says, such as ``{"NUM_STEPS_CURRENT_ROUND": examples}``.
    Where the task is to evaluate a model, or to submit the site's own, ``train`` trains nothing; so the loop above
    serves cross-site evaluation too. Without a task, as after the run, all is as without a federation.

    Each round trains ``num_train_epochs`` or ``max_steps``, with a learning-rate schedule of its own.

    Args:
        trainer: a ``Trainer``, or one of a class derived from it.
        restore_state: the optimizer goes on in each round as it ended the one before; else its state is cleared. It
            lives as long as the script.
        load_state_dict_strict: refuse a received model whose keys are not those that travel of the site's; else they
            need only have some in common, and these alone are loaded and sent.
    Raises:
        ClientApiError: there is no run to join.
    """
    if not isinstance(getattr(trainer.train, "__self__", None), Trainer):
        return  # it is patched already
    link = TrainerLink(rank=trainer.args.process_index, strict=load_state_dict_strict)
    federated = _Federated(trainer, link, restore_state)
    trainer.train, trainer.evaluate = federated.train, federated.evaluate


class _Federated:
    """What stands before a trainer's own ``train`` and ``evaluate``."""

    def __init__(self, trainer: Trainer, link: TrainerLink, restores: bool) -> None:
        self._trainer = trainer
        self._link = link
        self._restores = restores
        self._train, self._evaluate = trainer.train, trainer.evaluate
        self._is_evaluating = False

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the task asks for."""
        trainer, link = self._trainer, self._link
        training = link.begin_training(_shared(trainer.model))
        if training is Training.SUBMIT:
            link.submit(_shared(trainer.model))
        if training in (Training.SUBMIT, Training.IDLE):
            return TrainOutput(global_step=0, training_loss=0.0, metrics={})
        if training is Training.FEDERATED and not self._restores and trainer.optimizer is not None:
            trainer.optimizer.state.clear()
        output = self._train(*args, **kwargs)
        if training is Training.FEDERATED:
            steps, meta = trainer.state.global_step, meta_of(trainer.model)
            link.end_training(_shared(trainer.model), steps=steps, meta=meta)
        return output

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the model received, unless it is the trainer itself that evaluates."""
        trainer, link = self._trainer, self._link
        if trainer.is_in_train or self._is_evaluating:  # the latter for each of several data sets
            return self._evaluate(*args, **kwargs)
        link.begin_evaluation(_shared(trainer.model))
        self._is_evaluating = True
        try:
            metrics = self._evaluate(*args, **kwargs)
        finally:
            self._is_evaluating = False
        if trainer.args.world_size > 1 and trainer.model_wrapped is trainer.model:
            # A model that was evaluated before it is trained counts as prepared for training, too: without this, ranks
            # would not exchange gradients, and each train a model of its own.
            trainer.model._is_accelerate_prepared = False
        link.end_evaluation({name: value for name, value in metrics.items() if not name.endswith(_NO_METRICS)})
        return metrics


def shared_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what travels of a model, by name: a PEFT model's adapter, or else all of the state dict.

    Embeddings that were resized are no part of an adapter, unless its ``modules_to_save`` names them.
    """
    return dict(_shared(model).state())


def _shared(model: torch.nn.Module) -> SharedModel:
    if not isinstance(model, PeftModel):
        return SharedModel.of(model)
    adapter = model.active_adapter
    return SharedModel(
        # Left to itself, it asks the hub of models whether the embeddings were resized.
        state=partial(get_peft_model_state_dict, model, adapter_name=adapter, save_embedding_layers=False),
        load=partial(set_peft_model_state_dict, model, adapter_name=adapter),
        remedy="give the recipe what travels of a model with the same adapter: initial_model=shared_state(model)",
    )
