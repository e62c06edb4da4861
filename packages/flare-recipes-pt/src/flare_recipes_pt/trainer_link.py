"""Between the federation and an object that trains: what a patched trainer takes, and what it owes for it.

A task is taken when the script has the trainer do something, and answered when that is done:

    task           trainer evaluates                    trainer trains
    train          metrics are kept for the answer      the model that came out is sent, with those metrics
    validate       metrics are sent                     refused: the answer would never be sent
    submit_model   nothing                              the site's own model is sent, nothing is trained
    answered       nothing                              nothing, until the next task
    none           nothing                              as without a federation
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch

import flare_core.client as client
from flare_core import ClientApiError, FlareError, FLModel, MetaKey, ShapeMismatchError, TaskName, UnknownKeyError
from flare_core.client.session import Session, current_session

__all__ = ["SharedModel", "TrainerLink", "Training", "missing_package"]

logger = logging.getLogger(__name__)


class Training(Enum):
    """What a call to train is to do."""

    FEDERATED = auto()
    """Train, then send the result."""

    SUBMIT = auto()
    """Train nothing, but send the site's own model."""

    IDLE = auto()
    """Train nothing."""

    ALONE = auto()
    """Train as without a federation."""


@dataclass(frozen=True, slots=True)
class SharedModel:
    """The part of a model that travels.

    Args:
        state: returns its tensors by name, which mostly share the model's memory.
        load: puts tensors of the same names into the model.
        remedy: what to do when the names are not those of the global model.
    """

    state: Callable[[], Mapping[str, torch.Tensor]]
    load: Callable[[Mapping[str, torch.Tensor]], Any]
    remedy: str

    @classmethod
    def of(cls, module: torch.nn.Module) -> SharedModel:
        """All of a module's state dict."""
        name = type(module).__name__
        remedy = f"give the recipe the whole {name}, not a part of it, nor what wraps it: initial_model={name}(...)"
        return cls(module.state_dict, partial(module.load_state_dict, strict=False), remedy)


@dataclass(slots=True)
class _Progress:
    """The progress of a script in its run, shared by all of its trainers."""

    task: str | None = None
    answered: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    received: Mapping[str, torch.Tensor] = field(default_factory=dict)  # on rank 0, until it is answered
    keys: list[str] = field(default_factory=list)  # those of the received model that the site's has, too
    has_trained: bool = False
    own: dict[str, torch.Tensor] | None = None  # the site's model, when the trainer holds another


_progress: WeakKeyDictionary[Session, _Progress] = WeakKeyDictionary()


class TrainerLink:
    """A trainer's part in a run; joins the run, unless the script has.

    All ranks call the same methods at the same time; that of rank 0 talks to the federation and tells the others. What
    one trainer of a script has measured or trained counts for its other trainers, such as one that is made in each
    round.

    Args:
        rank: this process's rank in a launch of several.
        strict: refuse a received model that has other keys than the site's; else they need only have some in common.
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
        """Whether there is an unanswered task; the same in all ranks."""
        self._look()
        return self._run.task is not None

    def begin_evaluation(self, model: SharedModel) -> None:
        """Load the received model, if it is there to be evaluated or trained."""
        self._look()
        if self._run.task not in (None, TaskName.SUBMIT_MODEL):
            self._load(model)

    def end_evaluation(self, metrics: Mapping[str, Any]) -> None:
        """Keep the metrics for the answer to the task, or send them if they are the answer."""
        run = self._run
        if run.task is None or run.task == TaskName.SUBMIT_MODEL:
            return
        run.metrics |= {name: float(value) for name, value in metrics.items()}
        if run.task == TaskName.VALIDATE:
            self._send(FLModel(metrics=run.metrics))

    def begin_training(self, model: SharedModel) -> Training:
        """Load the received model and say what is to be done.

        Raises:
            ClientApiError: the task is to evaluate.
        """
        is_over = self._look()
        if self._run.task is None:
            return Training.IDLE if self._run.answered and not is_over else Training.ALONE
        if self._run.task == TaskName.VALIDATE:
            raise ClientApiError(
                "the task is 'validate', and the script trains before it has evaluated; have it evaluate the model"
                " first, in every round"
            )
        if self._run.task == TaskName.SUBMIT_MODEL:
            return Training.SUBMIT
        self._load(model)
        return Training.FEDERATED

    def end_training(self, model: SharedModel, *, steps: int, meta: Mapping[str, Any], learned: bool = True) -> None:
        """Send the trained model, and the metrics of the model that was received.

        Args:
            model: the one that was trained; what is sent of it has the dtypes of the model received.
            steps: how many were made; the contribution's weight, unless ``meta`` has one.
            meta: what the script says of the model.
            learned: whether the learning rate was above 0 in any of the steps, or will be in the next round.
        Raises:
            ClientApiError: there was no step, or all had a learning rate of 0.
        """
        number_of_steps = MetaKey.NUM_STEPS_CURRENT_ROUND.value
        if steps < 1 and number_of_steps not in meta:
            raise ClientApiError(
                "the trainer has counted no step of an optimizer in this round, so the model would weigh nothing; have"
                " the optimizers that the trainer has make the steps, or say what the model weighs:"
                f" model.__fl_meta__ = {{{number_of_steps!r}: ...}}"
            )
        if steps and not learned:
            raise ClientApiError(
                f"the learning rate was 0 in all {steps} steps of this round, so nothing was trained. A schedule that"
                " was planned for one round has ended: begin each round with a new one, with restore_state=False for"
                " Lightning, or without a scheduler of your own for transformers; or plan it for all rounds"
            )
        run = self._run
        state = model.state()
        run.has_trained = True
        if self._rank == 0:
            if _is_unchanged(run.received, state):
                logger.warning("training has changed nothing: the model to be sent is the one received, bit by bit")
            # Of another floating-point dtype at the site (precision="bf16-true"), it would change that of the mean.
            params = {key: _like(state[key], run.received[key]) for key in run.keys}
        else:
            params = {}
        self._send(FLModel(params=params, metrics=run.metrics or None, meta={number_of_steps: steps} | dict(meta)))

    def submit(self, model: SharedModel) -> None:
        """Send the site's own model: what its last training made of the model received.

        Raises:
            ClientApiError: there has been none.
        """
        run = self._run
        if not run.has_trained:
            raise ClientApiError("this site is asked for its own model, but has trained none since its script started")
        client.receive()  # a task that was not taken cannot be answered
        state = run.own or model.state()
        self._send(FLModel(params={key: state[key] for key in run.keys}))

    def _look(self) -> bool:
        """Take note of the current task; return whether the script knows that the run is over."""
        task: str | None = None
        is_over = False
        if self._rank == 0:
            is_over = current_session().told_end
            try:
                task = client.get_task_name()
            except ClientApiError:
                task = None  # it is answered, or the script has not asked for one yet
        self._run.task, told_over = _told((task, is_over))
        if self._run.task is not None:
            self._run.answered = False
        return bool(told_over)

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
            run.keys = [key for key in params if key in state]
            model.load({**state, **{key: params[key] for key in run.keys}})
        run.keys = _told(run.keys)
        if _has_ranks():
            state = model.state()
            for key in run.keys:
                torch.distributed.broadcast(state[key].detach(), src=0)
            if self._rank != 0:
                model.load(state)  # some of it may have been a copy

    def _send(self, model: FLModel) -> None:
        client.send(model)
        run = self._run
        run.metrics, run.received = {}, {}
        run.task, run.answered = None, True


def is_learning(optimizer: Any) -> bool:
    """Return whether an optimizer's learning rate is above 0, for any of its parameters."""
    return any(group.get("lr", 1) != 0 for group in optimizer.param_groups)


def _is_unchanged(received: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> bool:
    """Return whether all floating-point tensors are as they were received; stops at the first that is not."""
    pairs = [(received[key], state[key]) for key in received if key in state and state[key].is_floating_point()]
    return bool(pairs) and all(torch.equal(before.to(now), now) for before, now in pairs)


def _like(value: torch.Tensor, received: torch.Tensor) -> torch.Tensor:
    if value.is_floating_point() and received.is_floating_point():
        return value.detach().to(received.dtype)
    return value


def check_fit(params: Mapping[str, Any], state: Mapping[str, torch.Tensor], *, strict: bool, remedy: str) -> None:
    """Refuse a received model that does not fit the site's.

    Args:
        params: what was received, by key.
        state: the site's own tensors, by key.
        strict: whether all keys must be the same; else one in common is enough.
        remedy: what to do about other keys; ends the error.
    Raises:
        UnknownKeyError: other keys; shows some of both sides, and a prefix if that is the difference.
        ShapeMismatchError: names the key and both shapes.
    """
    only_there = [key for key in params if key not in state]
    only_here = [key for key in state if key not in params]
    if (strict and (only_there or only_here)) or len(only_there) == len(params):
        prefix = _prefix(params, state) or _prefix(state, params)
        hint = f"; they differ by the prefix {prefix!r}" if prefix else ""
        raise UnknownKeyError(
            f"the model received and the site's have different keys{hint}. Received alone, {len(only_there)} of"
            f" {len(params)}: {_samples(only_there)}. At the site alone, {len(only_here)} of {len(state)}:"
            f" {_samples(only_here)}. Remedy: {remedy}."
        )
    for key, value in params.items():
        if key in state and tuple(value.shape) != tuple(state[key].shape):
            raise ShapeMismatchError(
                f"{key!r} has shape {tuple(value.shape)} in the model received, and {tuple(state[key].shape)} at the"
                " site; the recipe and the script must make the same model"
            )


def meta_of(module: torch.nn.Module) -> Mapping[str, Any]:
    """What a module says of the model to be sent, in its attribute ``__fl_meta__``.

    Raises:
        ClientApiError: it is no mapping.
    """
    meta = getattr(module, "__fl_meta__", {})
    if not isinstance(meta, Mapping):
        raise ClientApiError(f"__fl_meta__ of {type(module).__name__} is {meta!r}; give a dict")
    return meta


def missing_package(extra: str, error: ImportError) -> FlareError:
    """The error for a framework that is not installed."""
    return FlareError(
        f"flare_recipes_pt.{extra} needs packages that are not installed here ({error});"
        f" pip install 'flare-recipes-pt[{extra}]'"
    )


def _prefix(longer: Mapping[str, Any], shorter: Mapping[str, Any]) -> str:
    """What all keys of ``longer`` have before a key of ``shorter``."""
    first = next(iter(longer), "")
    for key in shorter:
        prefix = first.removesuffix(key)
        if prefix not in ("", first) and all(each.removeprefix(prefix) in shorter for each in longer):
            return prefix
    return ""


def _samples(keys: list[str]) -> str:
    return ", ".join(map(repr, keys[:3])) or "none"


def _has_ranks() -> bool:
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


def _told(value: Any) -> Any:
    """What rank 0 gave for ``value``, in all ranks."""
    if not _has_ranks():
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
