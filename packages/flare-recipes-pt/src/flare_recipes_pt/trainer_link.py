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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any

import torch

import flare_core.client as client
from flare_core import ClientApiError, FlareError, FLModel, MetaKey, ShapeMismatchError, TaskName, UnknownKeyError
from flare_core.client.session import current_session

__all__ = ["SharedModel", "TrainerLink", "Training", "missing_package"]


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
        state: returns its tensors by name, which share the model's memory.
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


class TrainerLink:
    """A trainer's part in a run; joins the run, unless the script has.

    All ranks call the same methods at the same time; that of rank 0 talks to the federation and tells the others.

    Args:
        rank: this process's rank in a launch of several.
        strict: refuse a received model that has other keys than the site's; else they need only have some in common.
    """

    def __init__(self, *, rank: int, strict: bool) -> None:
        try:
            self._rank = current_session().rank
        except ClientApiError:
            self._rank = client.init(rank=rank).rank
        self._strict = strict
        self._task: str | None = None
        self._answered = False
        self._metrics: dict[str, float] = {}
        self._keys: list[str] = []  # those of the received model
        self._has_trained = False
        self._own: dict[str, torch.Tensor] | None = None  # the site's model, when the trainer holds another

    def begin_evaluation(self, model: SharedModel) -> None:
        """Load the received model, if it is there to be evaluated or trained."""
        self._look()
        if self._task not in (None, TaskName.SUBMIT_MODEL):
            self._load(model)

    def end_evaluation(self, metrics: Mapping[str, Any]) -> None:
        """Keep the metrics for the answer to the task, or send them if they are the answer."""
        if self._task is None or self._task == TaskName.SUBMIT_MODEL:
            return
        self._metrics |= {name: float(value) for name, value in metrics.items()}
        if self._task == TaskName.VALIDATE:
            self._send(FLModel(metrics=self._metrics))

    def begin_training(self, model: SharedModel) -> Training:
        """Load the received model and say what is to be done.

        Raises:
            ClientApiError: the task is to evaluate.
        """
        is_over = self._look()
        if self._task is None:
            return Training.IDLE if self._answered and not is_over else Training.ALONE
        if self._task == TaskName.VALIDATE:
            raise ClientApiError(
                "the task is 'validate', and the script trains before it has evaluated; have it evaluate the model"
                " first, in every round"
            )
        if self._task == TaskName.SUBMIT_MODEL:
            return Training.SUBMIT
        self._load(model)
        return Training.FEDERATED

    def end_training(self, model: SharedModel, *, steps: int, meta: Mapping[str, Any]) -> None:
        """Send the trained model, and the metrics of the model that was received.

        Args:
            model: the one that was trained.
            steps: how many were made; the contribution's weight, unless ``meta`` has one.
        """
        state = model.state()
        params = {key: state[key] for key in self._keys}
        self._has_trained = True
        self._send(
            FLModel(
                params=params,
                metrics=self._metrics or None,
                meta={MetaKey.NUM_STEPS_CURRENT_ROUND.value: steps} | dict(meta),
            )
        )

    def submit(self, model: SharedModel) -> None:
        """Send the site's own model: what its last training made of the model received.

        Raises:
            ClientApiError: there has been none.
        """
        if not self._has_trained:
            raise ClientApiError("this site is asked for its own model, but has trained none since its script started")
        client.receive()  # a task that was not taken cannot be answered
        state = self._own or model.state()
        self._send(FLModel(params={key: state[key] for key in self._keys}))

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
        self._task, told_over = _told((task, is_over))
        if self._task is not None:
            self._answered = False
        return bool(told_over)

    def _load(self, model: SharedModel) -> None:
        state = model.state()
        if self._task == TaskName.VALIDATE:
            if self._has_trained and self._own is None:
                self._own = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
        else:
            self._own = None
        if self._rank == 0:
            received = client.receive()
            assert received is not None
            params = received.params or {}
            check_fit(params, state, strict=self._strict, remedy=model.remedy)
            self._keys = [key for key in params if key in state]
            model.load({**state, **{key: params[key] for key in self._keys}})
        self._keys = _told(self._keys)
        if _has_ranks():
            state = model.state()
            for key in self._keys:
                torch.distributed.broadcast(state[key].detach(), src=0)

    def _send(self, model: FLModel) -> None:
        client.send(model)
        self._metrics = {}
        self._task, self._answered = None, True


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
