"""From a PyTorch model to a training program: forward, loss and backward as one file (``.pte``)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flare_edge.errors import EdgeError
from flare_edge.executorch.checking import check_gradients
from flare_edge.executorch.quiet import captured_stderr

if TYPE_CHECKING:
    import torch

LOSSES = ("cross_entropy", "squared_error")


def exported(
    model: torch.nn.Module,
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    *,
    loss: str = "cross_entropy",
) -> bytes:
    """Return a training program: from inputs and targets to loss, predictions, and a gradient for each parameter.

    The program is run on random numbers before it is returned, and its gradients are compared with PyTorch's: an
    operator may have no gradient in ExecuTorch, or a wrong one, such as max pooling in ExecuTorch 1.5.

    Args:
        model: its parameters are float32, and it has no buffers. They are part of the program, and a device replaces
            them by those of each task.
        input_shape: of a batch of inputs, float32: the largest batch, and an input's shape.
        output_shape: of a batch of targets: ``(batch,)`` for classes, int64; ``(batch, values)`` for values, float32.
        loss: ``cross_entropy`` for classes, ``squared_error`` for values; the mean over a batch.

    Raises:
        EdgeError: ExecuTorch is not installed; the shapes do not fit each other, the loss or the model; the model has
            buffers or other dtypes, or an operator that ExecuTorch does not compute as PyTorch does; names them.
    """
    _check(model, input_shape, output_shape, loss)
    with captured_stderr() as log:
        content = _exported(model, input_shape, output_shape, is_classes=loss == "cross_entropy")
        check_gradients(content, model, input_shape, output_shape, is_classes=loss == "cross_entropy", log=log)
    return content


def _exported(
    model: torch.nn.Module, input_shape: Sequence[int], output_shape: Sequence[int], *, is_classes: bool
) -> bytes:
    import torch

    try:
        from executorch.exir import to_edge
    except ImportError as error:
        raise EdgeError(f"exporting needs ExecuTorch ({error}): pip install 'flare-edge[executorch]'") from error
    from torch.export.experimental import _export_forward_backward

    inputs = torch.zeros(tuple(input_shape))
    targets = torch.zeros(tuple(output_shape), dtype=torch.int64 if is_classes else torch.float32)
    batch = torch.export.Dim("batch", min=1, max=input_shape[0])
    try:
        program = torch.export.export(
            _step(model, is_classes), (inputs, targets), dynamic_shapes=({0: batch}, {0: batch}), strict=True
        )
        content: bytes = to_edge(_export_forward_backward(program)).to_executorch().buffer
    except Exception as error:
        raise EdgeError(f"PyTorch and ExecuTorch cannot export {type(model).__name__}: {error}") from error
    return content


def device_config(
    model: torch.nn.Module,
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    *,
    loss: str = "cross_entropy",
) -> dict[str, Any]:
    """Return ``program`` of a device's configuration, with the exported model as Base64.

    Args:
        model: see :func:`exported`.
        input_shape: see :func:`exported`.
        output_shape: see :func:`exported`.
        loss: see :func:`exported`.

    Raises:
        EdgeError: see :func:`exported`.
    """
    content = exported(model, input_shape, output_shape, loss=loss)
    return {
        "kind": "executorch",
        "pte": base64.b64encode(content).decode("ascii"),
        "sha256": hashlib.sha256(content).hexdigest(),
        "input_shape": list(input_shape[1:]),
        "output_shape": list(output_shape[1:]),
        "max_batch": input_shape[0],
        "loss": loss,
    }


def _check(model: torch.nn.Module, input_shape: Sequence[int], output_shape: Sequence[int], loss: str) -> None:
    import torch

    if loss not in LOSSES:
        raise EdgeError(f"unknown loss {loss!r}; there are {' and '.join(LOSSES)}")
    sizes = [*input_shape, *output_shape]
    if len(input_shape) < 2 or not output_shape or not all(isinstance(each, int) and each > 0 for each in sizes):
        raise EdgeError(f"input_shape {input_shape} and output_shape {output_shape} begin with the size of a batch")
    if input_shape[0] != output_shape[0] or input_shape[0] < 2:
        raise EdgeError(
            f"input_shape {tuple(input_shape)} and output_shape {tuple(output_shape)} must begin with the same size"
            " of a batch, at least 2"
        )
    if (len(output_shape) == 1) != (loss == "cross_entropy"):
        raise EdgeError(
            f"the loss {loss!r} does not fit the targets' shape {tuple(output_shape)}: classes are (batch,)"
        )
    if buffers := [name for name, _ in model.named_buffers()]:
        raise EdgeError(f"the model has the buffers {buffers}; a program trains parameters only: use e.g. GroupNorm")
    for name, value in model.named_parameters():
        if value.dtype != torch.float32:
            raise EdgeError(f"parameter {name!r} is {value.dtype}; a program trains float32: convert the model")


def _step(model: torch.nn.Module, is_classes: bool) -> torch.nn.Module:
    """Return a module from a batch to its loss and predictions."""
    import torch
    from torch import nn

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            out = self.net(inputs)
            if is_classes:
                return nn.functional.cross_entropy(out, targets), out.detach().argmax(dim=1)
            squares = (out - targets) ** 2
            return squares.sum() / torch.ones_like(squares).sum(), out.detach()  # mean() would need a symbolic number

    return Step()
