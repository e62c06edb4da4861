"""The Client API, and :func:`patch`, which makes a ``transformers.Trainer`` take part in a run.

    import flare_recipes_pt.transformers as flare

    trainer = Trainer(model=model, args=TrainingArguments(...), ...)
    flare.patch(trainer)
    while flare.is_running():
        trainer.evaluate()  # evaluates the received model
        trainer.train()     # trains it and sends the result

For a PEFT model, only the adapter is exchanged, with the layers that it trains in full (``modules_to_save``). The
recipe's initial model is just that part: ``initial_model=shared_state(model)``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import flare_core.client as client
from flare_core import ClientApiError
from flare_core.client import *  # noqa: F403  # this module replaces flare_core.client
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

_NOT_METRICS = ("_runtime", "_per_second", "_time", "epoch")
"""Name endings of a trainer's results that do not measure the model."""


def patch(trainer: Trainer, restore_state: bool = True, load_state_dict_strict: bool = True) -> None:
    """Make a trainer take part in the run; call this once, before the loop over ``flare.is_running()``.

    After that, ``trainer.train``, ``evaluate`` and ``predict`` start from the received model. Metrics that ``evaluate``
    returns before ``train`` are sent as the metrics of that model under the names that ``evaluate`` gives them
    (``eval_loss``), so a recipe's ``key_metric`` is a name like ``"eval_accuracy"``. After ``train`` the trained model
    is sent, weighted by its number of steps or by the model's attribute ``__fl_meta__``, such as
    ``{"NUM_STEPS_CURRENT_ROUND": examples}``. When the task is to evaluate a model, or to submit the site's own,
    ``train`` does not train, so the loop above also serves cross-site evaluation. Without a task, as after the run, the
    trainer behaves as if it had not been patched.

    Each round trains ``num_train_epochs`` or ``max_steps``, with its own learning-rate schedule; a scheduler created by
    the script, ``optimizers=(optimizer, scheduler)``, continues over the rounds. With ``model_init``, the trainer
    creates its model once, not in each round.

    Args:
        trainer: a ``Trainer`` or an instance of a subclass.
        restore_state: carry the optimizer's state over from round to round, as long as the script lives; otherwise it
            is cleared.
        load_state_dict_strict: refuse a received model whose keys differ from those that the site exchanges; otherwise
            one common key is enough, and only the common keys are loaded and sent. For a PEFT model, also refuse
            parameters that are trained but not exchanged.
    Raises:
        ClientApiError: there is no run to join.
    """
    if not isinstance(getattr(trainer.train, "__self__", None), Trainer):
        return  # already patched
    link = TrainerLink(rank=trainer.args.process_index, strict=load_state_dict_strict)
    federated = _Federated(trainer, link, restore_state, load_state_dict_strict)
    trainer.train, trainer.evaluate, trainer.predict = federated.train, federated.evaluate, federated.predict
    trainer.add_callback(federated.rates)


class _Federated:
    """The replacements for a trainer's own ``train``, ``evaluate`` and ``predict``."""

    def __init__(self, trainer: Trainer, link: TrainerLink, restore_state: bool, strict: bool) -> None:
        self.rates = _LearningRates()
        self._trainer = trainer
        self._link = link
        self._restore_state = restore_state
        self._strict = strict
        self._train, self._evaluate, self._predict = trainer.train, trainer.evaluate, trainer.predict
        self._is_busy = False  # training or evaluating: calls come from the trainer itself, not from the script

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Carry out the current task.

        Raises:
            ClientApiError: a checkpoint to resume from was given.
        """
        trainer, link = self._trainer, self._link
        checkpoint = args[0] if args else kwargs.get("resume_from_checkpoint")
        if checkpoint and link.has_task:
            raise ClientApiError(
                f"train(resume_from_checkpoint={checkpoint!r}) would train another model, but each round starts from"
                " the received model; omit resume_from_checkpoint"
            )
        if link.has_task and self._strict:
            _check_all_shared(trainer.model)
        training = link.begin_training(_shared(trainer.model))
        if training is Training.SUBMIT:
            link.submit(_shared(trainer.model))
        if training in (Training.SUBMIT, Training.IDLE):
            return TrainOutput(global_step=0, training_loss=0.0, metrics={})
        if training is Training.ALONE:
            return self._call_original(self._train, *args, **kwargs)
        if not self._restore_state and trainer.optimizer is not None:
            trainer.optimizer.state.clear()
        self.rates.learned = False
        has_own_schedule = trainer.lr_scheduler is not None and not trainer._created_lr_scheduler
        model_init, trainer.model_init = trainer.model_init, None  # else a new model would replace the received one
        try:
            output = self._call_original(self._train, *args, **kwargs)
        finally:
            trainer.model_init = model_init
        steps, meta = trainer.state.global_step, meta_of(trainer.model)
        # A warm-up schedule that spans rounds starts at 0, but has risen above 0 by now.
        learned = self.rates.learned or (has_own_schedule and is_learning(trainer.optimizer))
        link.end_training(_shared(trainer.model), steps=steps, learned=learned, meta=meta)
        return output

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict with the received model."""
        if not self._is_busy:
            self._link.begin_evaluation(_shared(self._trainer.model))
        return self._predict(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the received model, unless the trainer itself makes the call."""
        trainer, link = self._trainer, self._link
        if self._is_busy:  # during training, and for each of several data sets
            return self._evaluate(*args, **kwargs)
        link.begin_evaluation(_shared(trainer.model))
        metrics = self._call_original(self._evaluate, *args, **kwargs)
        if trainer.args.world_size > 1 and trainer.model_wrapped is trainer.model:
            # Accelerate treats a model prepared for evaluation as prepared for training too. Without this reset, ranks
            # would not exchange gradients, and each would train its own model.
            trainer.model._is_accelerate_prepared = False
        link.end_evaluation({name: value for name, value in metrics.items() if not name.endswith(_NOT_METRICS)})
        return metrics

    def _call_original(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._is_busy = True
        try:
            return method(*args, **kwargs)
        finally:
            self._is_busy = False


class _LearningRates(TrainerCallback):  # type: ignore[misc]  # transformers' classes are skipped, see pyproject.toml
    """A callback that records if the learning rate was above 0 in any step."""

    def __init__(self) -> None:
        self.learned = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        optimizer = kwargs.get("optimizer")
        self.learned = self.learned or optimizer is None or is_learning(optimizer)


def shared_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of a model that are exchanged, by name: a PEFT model's adapter, or else the full state dict.

    Resized embeddings are not part of an adapter unless its ``modules_to_save`` names them.
    """
    return dict(_shared(model).state())


def _shared(model: torch.nn.Module) -> SharedModel:
    if not _is_peft(model):
        return SharedModel.of(model)
    from peft import get_peft_model_state_dict, set_peft_model_state_dict  # not needed for other models

    adapter = model.active_adapter
    return SharedModel(
        # By default, peft asks the Hugging Face Hub if the embeddings were resized.
        state=partial(get_peft_model_state_dict, model, adapter_name=adapter, save_embedding_layers=False),
        load=partial(set_peft_model_state_dict, model, adapter_name=adapter),
        remedy="give the recipe the shared state of a model with the same adapter: initial_model=shared_state(model)",
    )


def _is_peft(model: torch.nn.Module) -> bool:
    peft = sys.modules.get("peft")  # no instance exists before the import
    return peft is not None and isinstance(model, peft.PeftModel)


def _check_all_shared(model: torch.nn.Module) -> None:
    """Refuse a PEFT model that trains parameters outside its adapter, since the sites' values would silently diverge.

    Raises:
        ClientApiError: names the first such parameter.
    """
    if not _is_peft(model):
        return
    shared = list(_shared(model).state().values())
    pointers = {value.untyped_storage().data_ptr() for value in shared}
    not_shared = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and parameter.untyped_storage().data_ptr() not in pointers
        and not any(torch.equal(value, parameter) for value in shared)  # a prompt, which is shared as a copy
    ]
    if not_shared:
        raise ClientApiError(
            f"{len(not_shared)} parameters are trained but are not exchanged with the adapter, such as"
            f" {not_shared[0]!r}, so each site would keep its own values. Name their layers in the adapter's"
            " modules_to_save, or freeze them; a prompt encoder cannot be averaged. With load_state_dict_strict=False"
            " they stay local to the site"
        )
