"""The link between a run and a patched trainer, which turns tasks into evaluation and training.

The trainer takes a task when the script calls it, and answers the task when the call ends:

    task           on evaluation                        on training
    train          metrics are kept for the reply       the trained model is sent, with those metrics
    validate       metrics are sent                     refused, since no reply would ever be sent
    submit_model   nothing                              the site's own model is sent, without training
    answered       nothing                              nothing, until the next task
    none           nothing                              ordinary training, outside the run
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch

import flare_core.client as client
from flare_core import ClientApiError, FlareError, FLModel, MetaKey, ShapeMismatchError, UnknownKeyError
from flare_core.client.session import Session, current_session
from flare_core.model import common_prefix
from flare_core.task import TaskName

logger = logging.getLogger(__name__)


class Training(Enum):
    """The effect of a call to train."""

    FEDERATED = auto()
    """Train, then send the result."""

    SUBMIT = auto()
    """Send the site's own model without training."""

    IDLE = auto()
    """Do nothing."""

    ALONE = auto()
    """Train as usual, outside the run."""


@dataclass(frozen=True, slots=True)
class SharedModel:
    """The part of a model that is exchanged with the server.

    Args:
        state: returns its tensors by name; they mostly share the model's memory.
        load: loads tensors of the same names into the model.
        remedy: advice for the user when the names differ from those of the global model.
    """

    state: Callable[[], Mapping[str, torch.Tensor]]
    load: Callable[[Mapping[str, torch.Tensor]], Any]
    remedy: str

    @classmethod
    def of(cls, module: torch.nn.Module) -> SharedModel:
        """Share the full state dict of a module."""
        name = type(module).__name__
        remedy = f"give the recipe the {name} itself, not a part or a wrapper of it: initial_model={name}(...)"
        return cls(module.state_dict, partial(module.load_state_dict, strict=False), remedy)


@dataclass(slots=True)
class _Progress:
    """The progress of a script in its run, shared by all of its trainers."""

    task: str | None = None
    answered: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    received: Mapping[str, torch.Tensor] = field(default_factory=dict)  # on rank 0, until the reply
    controlled: FLModel | None = None  # the received model, if it brings control variates
    keys: list[str] = field(default_factory=list)  # common to the received model and the site's
    has_trained: bool = False
    own: dict[str, torch.Tensor] | None = None  # the site's model while the trainer holds another one


_progress: WeakKeyDictionary[Session, _Progress] = WeakKeyDictionary()


class TrainerLink:
    """A trainer's connection to the run, which it joins unless the script has already done so.

    All ranks call the same methods at the same time; rank 0 communicates with the server and broadcasts to the others.
    All trainers of a script share its progress, so a script may create a new trainer in each round.

    Args:
        rank: this process's rank in a multi-process launch.
        strict: refuse a received model whose keys differ from the site's; otherwise one common key is enough.
    """

    def __init__(self, *, rank: int, strict: bool) -> None:
        try:
            session = current_session()
        except ClientApiError:
            session = client.init(rank=rank)
        self._rank = session.rank
        self._strict = strict
        self._run = _progress.setdefault(session, _Progress())

    @property
    def has_task(self) -> bool:
        """True if there is an unanswered task; the same in all ranks."""
        self._update_task()
        return self._run.task is not None

    @property
    def controlled(self) -> FLModel | None:
        """The received model, if it brings SCAFFOLD's control variates, which the trainer must answer with a change."""
        return self._run.controlled

    def begin_evaluation(self, model: SharedModel) -> None:
        """Load the received model if the task is to evaluate or train it."""
        self._update_task()
        if self._run.task not in (None, TaskName.SUBMIT_MODEL):
            self._load(model)

    def end_evaluation(self, metrics: Mapping[str, Any]) -> None:
        """Keep the metrics for the reply, or send them if the task is to validate."""
        run = self._run
        if run.task is None or run.task == TaskName.SUBMIT_MODEL:
            return
        run.metrics |= {name: float(value) for name, value in metrics.items()}
        if run.task == TaskName.VALIDATE:
            self._send(FLModel(metrics=run.metrics))

    def begin_training(self, model: SharedModel) -> Training:
        """Load the received model and return what the trainer must do.

        Raises:
            ClientApiError: the task is to evaluate.
        """
        is_over = self._update_task()
        if self._run.task is None:
            return Training.IDLE if self._run.answered and not is_over else Training.ALONE
        if self._run.task == TaskName.VALIDATE:
            raise ClientApiError(
                "the task is 'validate', but the script trains before it has evaluated; evaluate the model first, in"
                " every round"
            )
        if self._run.task == TaskName.SUBMIT_MODEL:
            return Training.SUBMIT
        self._load(model)
        return Training.FEDERATED

    def end_training(
        self,
        model: SharedModel,
        *,
        steps: int,
        meta: Mapping[str, Any],
        learned: bool = True,
        change: Mapping[str, Any] | None = None,
    ) -> None:
        """Send the trained model, with the metrics of the received one.

        Args:
            model: the trained model; its tensors are sent with the dtypes of the received model.
            steps: the number of steps, which is the contribution's weight unless ``meta`` has one.
            meta: the script's metadata for the model.
            learned: the learning rate was above 0 in at least one step, or will be in the next round.
            change: that of the site's control variates.
        Raises:
            ClientApiError: there was no step, or the learning rate was 0 in every step.
        """
        number_of_steps = MetaKey.NUM_STEPS_CURRENT_ROUND.value
        if steps < 1 and number_of_steps not in meta:
            raise ClientApiError(
                "the trainer counted no step of an optimizer in this round, so the model would have no weight in the"
                " mean; use the trainer's own optimizers, or set the weight yourself:"
                f" model.__fl_meta__ = {{{number_of_steps!r}: ...}}"
            )
        if steps and not learned:
            raise ClientApiError(
                f"the learning rate was 0 in all {steps} steps of this round, so nothing was trained. The schedule was"
                " made for one round and has ended. Start a new one in each round (Lightning: restore_state=False;"
                " transformers: no scheduler of your own), or make it long enough for all rounds"
            )
        run = self._run
        state = model.state()
        run.has_trained = True
        if self._rank == 0:
            if _is_unchanged(run.received, state):
                logger.warning("training changed nothing: the model to send is bit for bit the received one")
            # A site that trains in another precision ("bf16-true") must not change the dtype of the mean.
            params = {key: _with_received_dtype(state[key], run.received[key]) for key in run.keys}
        else:
            params = {}
        sent = FLModel(params=params, metrics=run.metrics or None, meta={number_of_steps: steps} | dict(meta))
        sent.optimizer_params = None if change is None else dict(change)
        self._send(sent)

    def submit(self, model: SharedModel) -> None:
        """Send the site's own model, the result of its last training.

        Raises:
            ClientApiError: the script has not trained yet.
        """
        run = self._run
        if not run.has_trained:
            raise ClientApiError(
                "the task asks for the site's own model, but its script has trained none since it started"
            )
        client.receive()  # required before send
        state = run.own or model.state()
        self._send(FLModel(params={key: state[key] for key in run.keys}))

    def _update_task(self) -> bool:
        """Update the current task; return True if the script has been told that the run is over."""
        task: str | None = None
        is_over = False
        if self._rank == 0:
            is_over = current_session().told_end
            with suppress(ClientApiError):  # already answered, or not requested yet
                task = client.get_task_name()
        self._run.task, is_over = _broadcast((task, is_over))
        if self._run.task is not None:
            self._run.answered = False
        return bool(is_over)

    def _load(self, model: SharedModel) -> None:
        run = self._run
        state = model.state()
        if run.task == TaskName.VALIDATE:
            if run.has_trained and run.own is None:
                run.own = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
        else:
            run.own = None
        if self._rank == 0:
            received = client.receive()
            assert received is not None
            params = received.params or {}
            check_fit(params, state, strict=self._strict, remedy=model.remedy)
            run.received = params
            run.controlled = None if received.optimizer_params is None else received
            run.keys = [key for key in params if key in state]
            model.load({**state, **{key: params[key] for key in run.keys}})
        run.keys = _broadcast(run.keys)
        if _has_ranks():
            state = model.state()
            for key in run.keys:
                torch.distributed.broadcast(state[key].detach(), src=0)
            if self._rank != 0:
                model.load(state)  # the tensors of state may be copies

    def _send(self, model: FLModel) -> None:
        client.send(model)
        run = self._run
        run.metrics, run.received, run.controlled = {}, {}, None
        run.task, run.answered = None, True


def is_learning(optimizer: Any) -> bool:
    """Return True if any of an optimizer's parameter groups has a learning rate above 0."""
    return any(group.get("lr", 1) != 0 for group in optimizer.param_groups)


def _is_unchanged(received: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> bool:
    """Return True if all floating-point tensors equal the received ones."""
    pairs = [(received[key], state[key]) for key in received if key in state and state[key].is_floating_point()]
    return bool(pairs) and all(torch.equal(before.to(now), now) for before, now in pairs)


def _with_received_dtype(value: torch.Tensor, received: torch.Tensor) -> torch.Tensor:
    if value.is_floating_point() and received.is_floating_point():
        return value.detach().to(received.dtype)
    return value


def check_fit(params: Mapping[str, Any], state: Mapping[str, torch.Tensor], *, strict: bool, remedy: str) -> None:
    """Refuse a received model that does not fit the site's.

    Args:
        params: the received tensors, by key.
        state: the site's own tensors, by key.
        strict: require the same keys on both sides; otherwise one common key is enough.
        remedy: advice for differing keys, which ends the error message.
    Raises:
        UnknownKeyError: the keys differ; shows some of both sides, and a prefix if that is the only difference.
        ShapeMismatchError: the shapes of a key differ; names the key and both shapes.
    """
    only_received = [key for key in params if key not in state]
    only_local = [key for key in state if key not in params]
    if (strict and (only_received or only_local)) or len(only_received) == len(params):
        prefix = common_prefix([*params], state) or common_prefix([*state], params)
        hint = f"; they differ by the prefix {prefix!r}" if prefix else ""
        raise UnknownKeyError(
            f"the received model and the site's have different keys{hint}. Only received, {len(only_received)} of"
            f" {len(params)}: {_samples(only_received)}. Only at the site, {len(only_local)} of {len(state)}:"
            f" {_samples(only_local)}. Remedy: {remedy}."
        )
    for key, value in params.items():
        if key in state and tuple(value.shape) != tuple(state[key].shape):
            raise ShapeMismatchError(
                f"{key!r} has shape {tuple(value.shape)} in the received model but {tuple(state[key].shape)} at the"
                " site; the recipe and the script must create the same model"
            )


def meta_of(module: torch.nn.Module) -> Mapping[str, Any]:
    """Return a module's metadata for the model to send, its attribute ``__fl_meta__``.

    Raises:
        ClientApiError: the attribute is not a mapping.
    """
    meta = getattr(module, "__fl_meta__", {})
    if not isinstance(meta, Mapping):
        raise ClientApiError(f"__fl_meta__ of {type(module).__name__} is {meta!r}; give a dict")
    return meta


def missing_package(extra: str, error: ImportError) -> FlareError:
    """Return the error for a framework that is not installed."""
    return FlareError(
        f"flare_recipes_pt.{extra} needs packages that are not installed ({error});"
        f" pip install 'flare-recipes-pt[{extra}]'"
    )


def _samples(keys: list[str]) -> str:
    return ", ".join(map(repr, keys[:3])) or "none"


def _has_ranks() -> bool:
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


def _broadcast(value: Any) -> Any:
    """Return rank 0's ``value`` in all ranks."""
    if not _has_ranks():
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
