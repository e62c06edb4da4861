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

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import flare_core.client as client
from flare_core import ClientApiError
from flare_core.client import *  # noqa: F403  # this module stands for the Client API
from flare_recipes_pt.trainer_link import (
    SharedModel,
    TrainerLink,
    Training,
    is_learning,
    meta_of,
    missing_package,
)

try:
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_utils import TrainOutput
except ImportError as error:
    raise missing_package("transformers", error) from error

__all__ = ["patch", "shared_state"]
__all__ += client.__all__

_NO_METRICS = ("_runtime", "_per_second", "_time", "epoch")
"""What ends so is not measured on the model."""


def patch(trainer: Trainer, restore_state: bool = True, load_state_dict_strict: bool = True) -> None:
    """Make a trainer take part in the run: call it once, before the loop over ``flare.is_running()``.

    From then on ``trainer.train``, ``evaluate`` and ``predict`` begin with the model received. What ``evaluate``
    returns before ``train`` is sent as the metrics of that model, under the names that it has there (``eval_loss``),
    so a recipe's ``key_metric`` is ``"eval_accuracy"`` or the like. After ``train`` the model is sent, weighted by its
    steps or by what the attribute ``__fl_meta__`` of the model says, such as ``{"NUM_STEPS_CURRENT_ROUND": examples}``.
    Where the task is to evaluate a model, or to submit the site's own, ``train`` trains nothing; so the loop above
    serves cross-site evaluation too. Without a task, as after the run, all is as without a federation.

    Each round trains ``num_train_epochs`` or ``max_steps``, with a learning-rate schedule of its own; one that the
    script made, ``optimizers=(optimizer, scheduler)``, goes on over the rounds. With ``model_init``, the trainer makes
    its model once: a round does not begin with a new one.

    Args:
        trainer: a ``Trainer``, or one of a class derived from it.
        restore_state: the optimizer goes on in each round as it ended the one before; else its state is cleared. It
            lives as long as the script.
        load_state_dict_strict: refuse a received model whose keys are not those that travel of the site's; else they
            need only have some in common, and these alone are loaded and sent. Of a PEFT model, also refuse parameters
            that are trained but do not travel.
    Raises:
        ClientApiError: there is no run to join.
    """
    if not isinstance(getattr(trainer.train, "__self__", None), Trainer):
        return  # it is patched already
    link = TrainerLink(rank=trainer.args.process_index, strict=load_state_dict_strict)
    federated = _Federated(trainer, link, restore_state, load_state_dict_strict)
    trainer.train, trainer.evaluate, trainer.predict = federated.train, federated.evaluate, federated.predict
    trainer.add_callback(federated.rates)


class _Federated:
    """The replacements for a trainer's own ``train``, ``evaluate`` and ``predict``."""

    def __init__(self, trainer: Trainer, link: TrainerLink, restores: bool, strict: bool) -> None:
        self.rates = _LearningRates()
        self._trainer = trainer
        self._link = link
        self._restores = restores
        self._strict = strict
        self._train, self._evaluate, self._predict = trainer.train, trainer.evaluate, trainer.predict
        self._is_busy = False  # training or evaluating: what the trainer itself calls then is not the script's wish

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the task asks for.

        Raises:
            ClientApiError: it was to go on from a checkpoint.
        """
        trainer, link = self._trainer, self._link
        checkpoint = args[0] if args else kwargs.get("resume_from_checkpoint")
        if checkpoint and link.has_task:
            raise ClientApiError(
                f"train(resume_from_checkpoint={checkpoint!r}) would train another model than the one received, with"
                " which each round begins; leave it out"
            )
        if link.has_task and self._strict:
            _check_all_travels(trainer.model)
        training = link.begin_training(_shared(trainer.model))
        if training is Training.SUBMIT:
            link.submit(_shared(trainer.model))
        if training in (Training.SUBMIT, Training.IDLE):
            return TrainOutput(global_step=0, training_loss=0.0, metrics={})
        if training is Training.ALONE:
            return self._undisturbed(self._train, *args, **kwargs)
        if not self._restores and trainer.optimizer is not None:
            trainer.optimizer.state.clear()
        self.rates.learned = False
        has_own_schedule = trainer.lr_scheduler is not None and not trainer._created_lr_scheduler
        make_anew, trainer.model_init = trainer.model_init, None  # or it would not train the model received
        try:
            output = self._undisturbed(self._train, *args, **kwargs)
        finally:
            trainer.model_init = make_anew
        steps, meta = trainer.state.global_step, meta_of(trainer.model)
        # A schedule of the script's that warms up over rounds begins at 0, and by now is above it.
        learned = self.rates.learned or (has_own_schedule and is_learning(trainer.optimizer))
        link.end_training(_shared(trainer.model), steps=steps, learned=learned, meta=meta)
        return output

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict with the model received."""
        if not self._is_busy:
            self._link.begin_evaluation(_shared(self._trainer.model))
        return self._predict(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the model received, unless it is the trainer itself that evaluates."""
        trainer, link = self._trainer, self._link
        if self._is_busy:  # while it trains, and for each of several data sets
            return self._evaluate(*args, **kwargs)
        link.begin_evaluation(_shared(trainer.model))
        metrics = self._undisturbed(self._evaluate, *args, **kwargs)
        if trainer.args.world_size > 1 and trainer.model_wrapped is trainer.model:
            # A model that was evaluated before it is trained counts as prepared for training, too: without this, ranks
            # would not exchange gradients, and each train a model of its own.
            trainer.model._is_accelerate_prepared = False
        link.end_evaluation({name: value for name, value in metrics.items() if not name.endswith(_NO_METRICS)})
        return metrics

    def _undisturbed(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._is_busy = True
        try:
            return method(*args, **kwargs)
        finally:
            self._is_busy = False


class _LearningRates(TrainerCallback):  # type: ignore[misc]  # transformers' classes are skipped, see pyproject.toml
    """A callback that notes whether the learning rate was above 0 in any step."""

    def __init__(self) -> None:
        self.learned = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        optimizer = kwargs.get("optimizer")
        self.learned = self.learned or optimizer is None or is_learning(optimizer)


def shared_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what travels of a model, by name: a PEFT model's adapter, or else all of the state dict.

    Embeddings that were resized are no part of an adapter, unless its ``modules_to_save`` names them.
    """
    return dict(_shared(model).state())


def _shared(model: torch.nn.Module) -> SharedModel:
    if not _is_peft(model):
        return SharedModel.of(model)
    from peft import get_peft_model_state_dict, set_peft_model_state_dict  # not needed for other models

    adapter = model.active_adapter
    return SharedModel(
        # Left to itself, it asks the hub of models whether the embeddings were resized.
        state=partial(get_peft_model_state_dict, model, adapter_name=adapter, save_embedding_layers=False),
        load=partial(set_peft_model_state_dict, model, adapter_name=adapter),
        remedy="give the recipe what travels of a model with the same adapter: initial_model=shared_state(model)",
    )


def _is_peft(model: torch.nn.Module) -> bool:
    peft = sys.modules.get("peft")  # nothing is of its classes before it was imported
    return peft is not None and isinstance(model, peft.PeftModel)


def _check_all_travels(model: torch.nn.Module) -> None:
    """Refuse a PEFT model that trains what is no part of its adapter: each site would keep its own, unnoticed.

    Raises:
        ClientApiError: names the first such parameters.
    """
    if not _is_peft(model):
        return
    travelling = list(_shared(model).state().values())
    places = {value.untyped_storage().data_ptr() for value in travelling}
    left = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and parameter.untyped_storage().data_ptr() not in places
        and not any(torch.equal(value, parameter) for value in travelling)  # a prompt, of which a copy travels
    ]
    if left:
        raise ClientApiError(
            f"{len(left)} parameters are trained but are no part of what travels of the adapter, such as {left[0]!r}:"
            " each site would keep its own. Name their layers in the adapter's modules_to_save, or freeze them; a"
            " prompt encoder cannot be averaged. With load_state_dict_strict=False they stay the site's own"
        )
