"""The Client API, and :func:`patch`, which makes a Lightning ``Trainer`` take part in a run.

    import flare_recipes_pt.lightning as flare

    trainer = Trainer(max_epochs=1)
    flare.patch(trainer)
    while flare.is_running():
        trainer.validate(model, val_loader)  # evaluates the received model
        trainer.fit(model, train_loader)     # trains it and sends the result

The recipe's initial model is the ``LightningModule`` itself.
"""

from __future__ import annotations

import copy
from typing import Any

import flare_core.client as client
from flare_core import ClientApiError
from flare_core.client import *  # noqa: F403  # this module replaces flare_core.client
from flare_recipes_pt.trainer_link import SharedModel, TrainerLink, Training, is_learning, meta_of, missing_package

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise missing_package("lightning", error) from error
from flare_recipes_pt.lightning_scaffold import ScaffoldSteps

__all__ = ["patch"]
__all__ += client.__all__


def patch(
    trainer: Trainer, restore_state: bool = True, load_state_dict_strict: bool = True, update_fit_loop: bool = True
) -> None:
    """Make a trainer take part in the run; call this once, before the loop over ``flare.is_running()``.

    After that, ``trainer.fit``, ``validate``, ``test`` and ``predict`` start from the received model. Metrics that
    ``validate`` logs before ``fit`` are sent as the metrics of that model. After ``fit`` the trained model is sent,
    weighted by its number of steps or by the module's attribute ``__fl_meta__``, such as
    ``{"NUM_STEPS_CURRENT_ROUND": examples}``. When the task is to evaluate a model, or to submit the site's own,
    ``fit`` does not train, so the loop above also serves cross-site evaluation. Without a task, as after the run, the
    trainer behaves as if it had not been patched.

    Early stopping and ``max_time`` start over in each round, and ``trainer.estimated_stepping_batches`` covers one
    round. Callbacks see the received model from ``on_fit_start`` on, not yet in ``setup``.

    In a ScaffoldRecipe the gradients of each step are corrected, before they are clipped, and the change of the site's
    control variates is sent. That is possible with one optimizer, one learning rate and one process.

    With several devices (``strategy="ddp"``, each holding the full model), the script must run as its own process:
    ``launch_external_process=True``.

    Args:
        trainer: a ``Trainer`` of ``lightning.pytorch`` or ``pytorch_lightning``.
        restore_state: carry the state of optimizers and learning-rate schedulers over from round to round, as long as
            the script lives; otherwise every round starts with new ones.
        load_state_dict_strict: refuse a received model whose keys differ from those of the site's module; otherwise one
            common key is enough, and only the common keys are loaded and sent.
        update_fit_loop: train ``max_epochs`` or ``max_steps`` more in each round; otherwise the limits count over all
            rounds, and the script raises them itself.
    Raises:
        ClientApiError: there is no run to join.
    """
    if not any(isinstance(each, _Federated) for each in trainer.callbacks):
        link = TrainerLink(rank=trainer.global_rank, strict=load_state_dict_strict)
        federated = _Federated(link, restore_state, update_fit_loop)
        # First, so that other callbacks see the received model; last, so that they can still change the trained one.
        trainer.callbacks = [federated, *trainer.callbacks, _SendModel(federated)]


_RESET_EACH_ROUND = {"EarlyStopping", "Timer"}
"""Callbacks whose state would end every later fit at once, or compare models of different rounds."""


class _Federated(Callback):  # type: ignore[misc]  # lightning's classes are skipped, see pyproject.toml
    def __init__(self, link: TrainerLink, restore_state: bool, extend_limits: bool) -> None:
        self._link = link
        self._restore_state = restore_state
        self._extend_limits = extend_limits
        self._round_limits: tuple[int, int] | None = None  # max_epochs and max_steps of one round
        self._states: tuple[list[Any], list[Any]] | None = None  # of optimizers and schedulers
        self._initial_states: list[tuple[Callback, dict[str, Any]]] | None = None  # callbacks to reset
        self._training = Training.ALONE
        self._scaffold: ScaffoldSteps | None = None
        self._has_started = False
        self._has_learned = False
        self._first_step = 0
        self._limit_train_batches: Any = None
        self._total_limits: tuple[int, int] = (-1, -1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":  # fit validates too
            self._begin_evaluation(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._link.end_evaluation(trainer.callback_metrics)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation(trainer, pl_module)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set the limits of one round, since the optimizers and schedulers created next plan for these limits."""
        if stage == "fit" and self._round_limits is not None:
            loop = trainer.fit_loop
            self._total_limits = (loop.max_epochs, loop.epoch_loop.max_steps)
            loop.max_epochs, loop.epoch_loop.max_steps = self._round_limits

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._round_limits is not None:
            trainer.fit_loop.max_epochs, trainer.fit_loop.epoch_loop.max_steps = self._total_limits
        if self._link.has_task:
            _check_supported(trainer)
        self._training = self._link.begin_training(SharedModel.of(pl_module))
        if self._training in (Training.IDLE, Training.SUBMIT):
            # Without batches, fit ends at once.
            self._limit_train_batches, trainer.limit_train_batches = trainer.limit_train_batches, 0
        if self._training is Training.FEDERATED:
            self._has_started, self._has_learned, self._first_step = False, False, trainer.global_step
            if self._extend_limits:
                self._raise_limits(trainer)
            if self._states is not None:
                self._load_states(trainer)
            self._reset_callbacks(trainer, pl_module)
        controlled = self._link.controlled if self._training is Training.FEDERATED else None
        self._scaffold = None if controlled is None else ScaffoldSteps(controlled, pl_module, trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self._scaffold is not None:
            self._scaffold.correct(optimizer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._has_started = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._has_learned = self._has_learned or not trainer.optimizers or any(map(is_learning, trainer.optimizers))

    def end_fit(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send the trained model; called after all other callbacks, since those may still change it."""
        model = SharedModel.of(pl_module)
        if self._training in (Training.IDLE, Training.SUBMIT):
            trainer.limit_train_batches = self._limit_train_batches
        if self._training is Training.SUBMIT:
            self._link.submit(model)
        if self._training is Training.FEDERATED:
            if not self._has_started:
                raise ClientApiError(
                    f"fit() trained nothing: it stops at max_epochs={trainer.max_epochs} and"
                    f" max_steps={trainer.max_steps}, and {trainer.current_epoch} epochs and {trainer.global_step}"
                    " steps are done; patch the trainer with update_fit_loop=True, or raise the limit in each round."
                    " If the limits are right, there was no batch to train on: check the data and limit_train_batches"
                )
            if self._restore_state:
                self._states = (
                    [optimizer.state_dict() for optimizer in trainer.optimizers],
                    [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
                )
            steps = trainer.global_step - self._first_step
            # A warm-up schedule that spans rounds starts at 0, but has risen above 0 by now.
            learned = self._has_learned or (self._restore_state and any(map(is_learning, trainer.optimizers)))
            change = None if self._scaffold is None else self._scaffold.finish(steps)
            self._link.end_training(model, steps=steps, learned=learned, meta=meta_of(pl_module), change=change)

    def _begin_evaluation(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._link.has_task and trainer.ckpt_path is not None:
            raise ClientApiError(
                f"{trainer.state.fn} starts from the received model, not from ckpt_path={trainer.ckpt_path};"
                " omit ckpt_path, or evaluate the checkpoint after fit"
            )
        self._link.begin_evaluation(SharedModel.of(pl_module))
        if self._link.has_task:
            _reset_averages(trainer, pl_module)

    def _reset_callbacks(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._initial_states is None:
            chosen = [each for each in trainer.callbacks if _names(each) & _RESET_EACH_ROUND]
            self._initial_states = [(each, copy.deepcopy(vars(each))) for each in chosen]
        for callback, state in self._initial_states:
            vars(callback).update(copy.deepcopy(state))
        _reset_averages(trainer, pl_module)
        # Lightning has just appended the callbacks of the module's configure_callbacks(); _SendModel must stay last.
        trainer.callbacks = sorted(trainer.callbacks, key=lambda each: isinstance(each, _SendModel))

    def _raise_limits(self, trainer: Trainer) -> None:
        loop = trainer.fit_loop
        if self._round_limits is None:
            self._round_limits = (loop.max_epochs, loop.epoch_loop.max_steps)
        epochs, steps = self._round_limits  # -1 means no limit
        if epochs != -1:
            loop.max_epochs = loop.epoch_progress.current.processed + epochs
        if steps != -1:
            loop.epoch_loop.max_steps = trainer.global_step + steps

    def _load_states(self, trainer: Trainer) -> None:
        assert self._states is not None
        optimizers, schedulers = self._states
        for optimizer, state in zip(trainer.optimizers, optimizers, strict=True):
            optimizer.load_state_dict(state)
        for config, state in zip(trainer.lr_scheduler_configs, schedulers, strict=True):
            config.scheduler.load_state_dict(state)


class _SendModel(Callback):  # type: ignore[misc]  # lightning's classes are skipped, see pyproject.toml
    """The last callback, which sends the model after all others have run."""

    def __init__(self, federated: _Federated) -> None:
        self._federated = federated

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not in on_train_end, where callbacks and the module may still change the model, as weight averaging does.
        self._federated.end_fit(trainer, pl_module)


def _check_supported(trainer: Trainer) -> None:
    """Refuse settings that would train a model other than the received one.

    Raises:
        ClientApiError: a checkpoint to resume from, or a callback that counts epochs over all rounds.
    """
    if trainer.ckpt_path is not None:
        raise ClientApiError(
            f"fit() would resume from ckpt_path={trainer.ckpt_path}, but each round starts from the received model;"
            " omit ckpt_path"
        )
    if any("StochasticWeightAveraging" in _names(each) for each in trainer.callbacks):
        raise ClientApiError(
            "StochasticWeightAveraging counts epochs over all rounds and averages models of different rounds; use"
            " lightning.pytorch.callbacks.WeightAveraging, which averages within each round"
        )


def _reset_averages(trainer: Trainer, pl_module: LightningModule) -> None:
    """Set averaged weights to the received model; else Lightning would evaluate the last round's averages instead."""
    for callback in trainer.callbacks:
        average = getattr(callback, "_average_model", None)
        if "WeightAveraging" in _names(callback) and average is not None:
            average.module.load_state_dict(pl_module.state_dict())


def _names(callback: Callback) -> set[str]:
    """Return the class names of a callback and its bases; pytorch_lightning and lightning have separate classes."""
    return {cls.__name__ for cls in type(callback).__mro__}
