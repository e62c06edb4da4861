"""The Client API, and :func:`patch`, which makes a Lightning ``Trainer`` take part in a run.

    import flare_recipes_pt.lightning as flare

    trainer = Trainer(max_epochs=1)
    flare.patch(trainer)
    while flare.is_running():
        trainer.validate(model, val_loader)  # the model as received
        trainer.fit(model, train_loader)     # from the model received; the result is sent

The recipe's initial model is the ``LightningModule`` itself.
"""

from __future__ import annotations

import copy
from typing import Any

import flare_core.client as client
from flare_core import ClientApiError
from flare_core.client import *  # noqa: F403  # this module stands for the Client API
from flare_recipes_pt.trainer_link import SharedModel, TrainerLink, Training, is_learning, meta_of, missing_package

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise missing_package("lightning", error) from error

__all__ = ["patch"]
__all__ += client.__all__


def patch(
    trainer: Trainer, restore_state: bool = True, load_state_dict_strict: bool = True, update_fit_loop: bool = True
) -> None:
    """Make a trainer take part in the run: call it once, before the loop over ``flare.is_running()``.

    From then on ``trainer.fit``, ``validate``, ``test`` and ``predict`` begin with the model that was received. What
    ``validate`` logs before ``fit`` is sent as the metrics of that model. After ``fit`` the model is sent, weighted by
    its steps or by what the attribute ``__fl_meta__`` of the module says, such as
    ``{"NUM_STEPS_CURRENT_ROUND": examples}``. Where the task is to evaluate a model, or to submit the site's own,
    ``fit`` trains nothing; so the loop above serves cross-site evaluation too. Without a task, as after the run, all is
    as without a federation.

    Early stopping and ``max_time`` begin anew in each round, and ``trainer.estimated_stepping_batches`` is that of one
    round. Callbacks see the received model from ``on_fit_start`` on, not yet in ``setup``.

    With several devices (``strategy="ddp"``, each with a whole model), the script runs as its own process:
    ``launch_external_process=True``.

    Args:
        trainer: of ``lightning.pytorch`` or ``pytorch_lightning``.
        restore_state: optimizers and learning-rate schedulers go on in each round as they ended the one before; else
            every round starts with new ones. Their state lives as long as the script.
        load_state_dict_strict: refuse a received model whose keys are not those of the site's module; else they need
            only have some in common, and these alone are loaded and sent.
        update_fit_loop: each round trains ``max_epochs`` or ``max_steps`` more; else they count over all rounds, and
            the script changes them itself.
    Raises:
        ClientApiError: there is no run to join.
    """
    if not any(isinstance(each, _Federated) for each in trainer.callbacks):
        link = TrainerLink(rank=trainer.global_rank, strict=load_state_dict_strict)
        federated = _Federated(link, restore_state, update_fit_loop)
        # First, so that other callbacks see the received model; and last, so that they may still change the trained.
        trainer.callbacks = [federated, *trainer.callbacks, _AtTheEnd(federated)]


_ANEW_IN_EACH_ROUND = {"EarlyStopping", "Timer"}
"""Callbacks whose state would end every later fit at once, or compare models of different rounds."""


class _Federated(Callback):  # type: ignore[misc]  # lightning's classes are skipped, see pyproject.toml
    def __init__(self, link: TrainerLink, restores: bool, extends: bool) -> None:
        self._link = link
        self._restores = restores
        self._extends = extends
        self._limits: tuple[int, int] | None = None  # epochs and steps of a round, as the trainer was made with them
        self._states: tuple[list[Any], list[Any]] | None = None  # of optimizers and schedulers
        self._at_start: list[tuple[Callback, dict[str, Any]]] | None = None  # callbacks that begin each round anew
        self._training = Training.ALONE
        self._has_run = False
        self._has_learned = False
        self._first_step = 0
        self._limit: Any = None
        self._later_limits: tuple[int, int] = (-1, -1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":  # it is validated within fit, too
            self._begin_evaluation(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._link.end_evaluation(trainer.callback_metrics)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation(trainer, pl_module)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set the limits of one round, for which the optimizers and schedulers made now are to be planned."""
        if stage == "fit" and self._limits is not None:
            loop = trainer.fit_loop
            self._later_limits = (loop.max_epochs, loop.epoch_loop.max_steps)
            loop.max_epochs, loop.epoch_loop.max_steps = self._limits

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._limits is not None:
            trainer.fit_loop.max_epochs, trainer.fit_loop.epoch_loop.max_steps = self._later_limits
        if self._link.has_task:
            _check(trainer)
        self._training = self._link.begin_training(SharedModel.of(pl_module))
        if self._training in (Training.IDLE, Training.SUBMIT):
            self._limit, trainer.limit_train_batches = trainer.limit_train_batches, 0  # fit then ends at once
        if self._training is Training.FEDERATED:
            self._has_run, self._has_learned, self._first_step = False, False, trainer.global_step
            if self._extends:
                self._extend(trainer)
            if self._states is not None:
                self._restore(trainer)
            self._begin_callbacks(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._has_run = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._has_learned = self._has_learned or not trainer.optimizers or any(map(is_learning, trainer.optimizers))

    def end_fit(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send the trained model; called after all other callbacks, which may still change it."""
        model = SharedModel.of(pl_module)
        if self._training in (Training.IDLE, Training.SUBMIT):
            trainer.limit_train_batches = self._limit
        if self._training is Training.SUBMIT:
            self._link.submit(model)
        if self._training is Training.FEDERATED:
            if not self._has_run:
                raise ClientApiError(
                    f"fit() trained nothing: it stops at max_epochs={trainer.max_epochs} and"
                    f" max_steps={trainer.max_steps}, and {trainer.current_epoch} epochs and {trainer.global_step}"
                    " steps are over; patch the trainer with update_fit_loop=True, or raise the limit in each round."
                    " Or it had no batch to train with: look at the data, and limit_train_batches"
                )
            if self._restores:
                self._states = (
                    [optimizer.state_dict() for optimizer in trainer.optimizers],
                    [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
                )
            steps = trainer.global_step - self._first_step
            # A schedule that warms up over rounds begins at 0, and by now is above it.
            learned = self._has_learned or (self._restores and any(map(is_learning, trainer.optimizers)))
            self._link.end_training(model, steps=steps, learned=learned, meta=meta_of(pl_module))

    def _begin_evaluation(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._link.has_task and trainer.ckpt_path is not None:
            raise ClientApiError(
                f"{trainer.state.fn} begins with the model received, not with that of ckpt_path={trainer.ckpt_path};"
                " leave it out, or evaluate the checkpoint after fit"
            )
        self._link.begin_evaluation(SharedModel.of(pl_module))
        if self._link.has_task:
            _begin_averages(trainer, pl_module)

    def _begin_callbacks(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._at_start is None:
            chosen = [each for each in trainer.callbacks if _names(each) & _ANEW_IN_EACH_ROUND]
            self._at_start = [(each, copy.deepcopy(vars(each))) for each in chosen]
        for callback, state in self._at_start:
            vars(callback).update(copy.deepcopy(state))
        _begin_averages(trainer, pl_module)
        end = [each for each in trainer.callbacks if isinstance(each, _AtTheEnd)]
        # Those of the module's configure_callbacks() were added behind it, and not before this fit.
        trainer.callbacks = [each for each in trainer.callbacks if each not in end] + end

    def _extend(self, trainer: Trainer) -> None:
        loop = trainer.fit_loop
        if self._limits is None:
            self._limits = (loop.max_epochs, loop.epoch_loop.max_steps)
        epochs, steps = self._limits  # -1 is no limit
        if epochs != -1:
            loop.max_epochs = loop.epoch_progress.current.processed + epochs
        if steps != -1:
            loop.epoch_loop.max_steps = trainer.global_step + steps

    def _restore(self, trainer: Trainer) -> None:
        assert self._states is not None
        optimizers, schedulers = self._states
        for optimizer, state in zip(trainer.optimizers, optimizers, strict=True):
            optimizer.load_state_dict(state)
        for config, state in zip(trainer.lr_scheduler_configs, schedulers, strict=True):
            config.scheduler.load_state_dict(state)


class _AtTheEnd(Callback):  # type: ignore[misc]  # lightning's classes are skipped, see pyproject.toml
    """The last callback, which sends the model when all others are done."""

    def __init__(self, federated: _Federated) -> None:
        self._federated = federated

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not on_train_end: callbacks and the module itself may still change the model there, as averaging does.
        self._federated.end_fit(trainer, pl_module)


def _check(trainer: Trainer) -> None:
    """Refuse what would train another model than the one received.

    Raises:
        ClientApiError: a checkpoint to go on from, or a callback that counts epochs over all rounds.
    """
    if trainer.ckpt_path is not None:
        raise ClientApiError(
            f"fit() is to go on from ckpt_path={trainer.ckpt_path}, but each round begins with the model received;"
            " leave it out"
        )
    if any("StochasticWeightAveraging" in _names(each) for each in trainer.callbacks):
        raise ClientApiError(
            "StochasticWeightAveraging counts epochs over all rounds and averages the models of different ones; take"
            " lightning.pytorch.callbacks.WeightAveraging, which averages within each round"
        )


def _begin_averages(trainer: Trainer, pl_module: LightningModule) -> None:
    """Set averages to the model received: they would be evaluated in its place, and are those of the last round."""
    for callback in trainer.callbacks:
        average = getattr(callback, "_average_model", None)
        if "WeightAveraging" in _names(callback) and average is not None:
            average.module.load_state_dict(pl_module.state_dict())


def _names(callback: Callback) -> set[str]:
    """Return the names of a callback's class and its bases: pytorch_lightning and lightning have different classes."""
    return {cls.__name__ for cls in type(callback).__mro__}
