"""Decorators for training loops, which NVIDIA FLARE deprecates; ``receive`` and ``send`` say the same."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from flare_core import ClientApiError, FLModel
from flare_core.client.session import Session
from nvflare.client.api import get_context, is_train, receive, send

Function = Callable[..., Any]

_measured: WeakKeyDictionary[Session, Any] = WeakKeyDictionary()
"""For each script, the metrics of the received model, until it is trained."""


def train(_func: Function | None = None, **root_kwargs: Any) -> Any:
    """Make a function train the received model, which becomes its first argument, and send the model it returns."""

    def finish(function: Function, result: Any) -> None:
        if not isinstance(result, FLModel):
            raise ClientApiError(f"{function.__name__} returned a {type(result).__name__}; return an FLModel")
        metrics = _measured.pop(get_context(), None)
        if metrics is not None:
            result.metrics = metrics
        send(result)

    return _decorator("train", finish, _func)


def evaluate(_func: Function | None = None, **root_kwargs: Any) -> Any:
    """Make a function measure the received model, which becomes its first argument; call it before training."""

    def finish(function: Function, result: Any) -> None:
        if result is None:
            raise ClientApiError(f"{function.__name__} returned nothing; return the metrics")
        metrics = result if isinstance(result, dict) else {"metric": result}
        if is_train():
            _measured[get_context()] = metrics
        else:
            send(FLModel(metrics=metrics))

    return _decorator("evaluate", finish, _func)


def _decorator(name: str, finish: Callable[[Function, Any], None], function: Function | None) -> Any:
    warnings.warn(f"flare.{name} is deprecated; use flare.receive() and flare.send()", DeprecationWarning, stacklevel=3)

    def decorate(function: Function) -> Function:
        first = next(iter(inspect.signature(function).parameters))

        @functools.wraps(function)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            result = function(**{**named, first: receive()})
            finish(function, result)
            return result

        return wrapped

    return decorate if function is None else decorate(function)
