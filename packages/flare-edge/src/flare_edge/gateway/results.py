"""Checking what devices report, before anything of it is kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_edge.device.safetensors import loads
from flare_edge.errors import EdgeError
from flare_edge.fixed_point import MAX_WEIGHT, Scale, metric_value

MAX_METRICS = 32
MAX_METRIC_NAME = 64
MAX_REASON = 500


class Refused(EdgeError):
    """A request of a device that is not granted; the gateway stays as it was.

    Attributes:
        status: the HTTP status.
        code: the kind of refusal, one word for machines.
        retry_after_s: when the same request may succeed; None: it will not.
        closes: whether the connection ends, since the request was not read to its end.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after_s: float | None = None, closes: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.closes = closes


class Over(Refused):
    """The run is over: there are no more orders."""

    def __init__(self) -> None:
        super().__init__(410, "over", "the run is over")


@dataclass(frozen=True)
class Result:
    """A device's result for an order.

    Args:
        kind: ``train``, ``evaluate``, or ``failed``.
        digest: of the whole result; a result that is sent twice is recognized by it.
        weight: the update's integer weight, or that of the metrics.
        metrics: what the device measured, by name.
        update: the parameters' differences by name; empty except for ``train``.
        body: the update in safetensors, for the journal.
        reason: why the device failed.
    """

    kind: str
    digest: str
    weight: int = 0
    metrics: Mapping[str, float] | None = None
    update: Mapping[str, np.ndarray[Any, Any]] | None = None
    body: bytes = b""
    reason: str = ""


def train_result(body: bytes, like: Mapping[str, np.ndarray[Any, Any]], scale: Scale) -> Result:
    """Check the safetensors body of a training result.

    Args:
        body: tensors of the model's names, shapes and dtypes, with the metadata ``num_examples`` and optionally
        ``metrics``. like: the model's parameters. scale: its bound is that of the update's Euclidean norm.
    Raises:
        Refused: something does not fit; names it.
    """
    try:
        update, metadata = loads(body)
    except ValueError as error:
        raise Refused(400, "malformed", f"the body is not valid safetensors: {error}") from error
    if unknown := metadata.keys() - {"num_examples", "metrics", "format"}:
        raise Refused(422, "metadata", f"unknown metadata: {sorted(unknown)[0][:50]!r}")
    check_update(update, like, scale)
    num_examples = metadata.get("num_examples", "")
    weight = _weight(
        int(num_examples) if num_examples.isascii() and num_examples.isdecimal() and len(num_examples) < 19 else None
    )
    try:
        metrics = _metrics(json.loads(metadata.get("metrics", "{}")))
    except (ValueError, RecursionError) as error:
        raise Refused(422, "metrics", "the metrics are not valid JSON") from error
    return Result("train", _digest(body), weight, metrics, update, body)


def check_update(
    update: Mapping[str, np.ndarray[Any, Any]], like: Mapping[str, np.ndarray[Any, Any]], scale: Scale
) -> None:
    """Check names, shapes, dtypes and values of an update.

    Raises:
        Refused: something does not fit; names the parameter.
    """
    if update.keys() != like.keys():
        name = sorted(update.keys() ^ like.keys())[0]
        problem = "is missing" if name in like else "is not a parameter of the model"
        raise Refused(422, "names", f"{name[:100]!r} {problem}")
    square = 0.0
    for name, value in update.items():
        model = like[name]
        if value.shape != model.shape:
            raise Refused(422, "shape", f"{name!r} has shape {value.shape}, the model's is {model.shape}")
        if value.dtype != update_dtype(model):
            raise Refused(422, "dtype", f"{name!r} has dtype {value.dtype}, the update's must be {update_dtype(model)}")
        if not np.isfinite(value).all():
            raise Refused(422, "not_finite", f"{name!r} holds NaN or infinity")
        flat = value.reshape(-1).astype(np.float64)
        square += float(flat @ flat)
    if not math.sqrt(square) <= scale.bound:
        raise Refused(
            422, "norm", f"the update's norm is {math.sqrt(square):g}, the largest allowed is {scale.bound:g}"
        )


def update_dtype(model: np.ndarray[Any, Any]) -> np.dtype[Any]:
    """Return the dtype of a parameter's difference: float64 for float64, float32 for smaller floats."""
    return np.dtype("<f8") if model.dtype == np.float64 else np.dtype("<f4")


def json_result(body: bytes) -> Result:
    """Check the JSON body of an evaluation, ``{"num_examples", "metrics"}``, or of a failure, ``{"error"}``.

    Raises:
        Refused: it is neither.
    """
    values = parsed(body)
    if values.keys() == {"error"} and isinstance(values["error"], str):
        return Result("failed", _digest(body), reason=_printable(values["error"][:MAX_REASON]))
    if values.keys() != {"num_examples", "metrics"}:
        raise Refused(422, "fields", "give either num_examples and metrics, or error")
    number = values["num_examples"]
    weight = _weight(number if type(number) is int else None)
    return Result("evaluate", _digest(body), weight, _metrics(values["metrics"]))


def parsed(body: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        Refused: it is not one.
    """
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "malformed", "the body is not valid JSON") from error
    if not isinstance(values, dict):
        raise Refused(400, "malformed", "the body is not a JSON object")
    return values


def _weight(num_examples: int | None) -> int:
    """Return the weight of so many examples: their number, but no device has more than the largest weight."""
    if num_examples is None or num_examples < 1:
        raise Refused(422, "num_examples", "num_examples must be a positive integer")
    return min(num_examples, MAX_WEIGHT)


def _metrics(values: Any) -> dict[str, float]:
    if not isinstance(values, dict) or len(values) > MAX_METRICS:
        raise Refused(422, "metrics", f"the metrics must be an object of at most {MAX_METRICS} numbers")
    metrics = {}
    for name, value in values.items():
        if not 0 < len(name) <= MAX_METRIC_NAME or not name.isprintable():
            raise Refused(422, "metrics", f"a metric's name must have 1 to {MAX_METRIC_NAME} printable characters")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(422, "metrics", f"metric {name!r} is not a number")
        try:
            metrics[name] = metric_value(value)
        except (EdgeError, OverflowError) as error:
            raise Refused(422, "metrics", f"metric {name!r} is not finite, or too large") from error
    return metrics


def _printable(text: str) -> str:
    """Return text that can be sent on and logged: without control characters and lone surrogates."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]
