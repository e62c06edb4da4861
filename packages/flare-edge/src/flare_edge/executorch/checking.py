"""The gradients of a training program, compared with PyTorch's on random numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flare_edge.errors import EdgeError

if TYPE_CHECKING:
    import torch

PREFIX = "net."  # of the names of parameters in a program
_TOLERANCE = 1e-3  # of a gradient's largest value; sums in another order differ by a thousandth of it


def check_gradients(
    content: bytes,
    model: torch.nn.Module,
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    *,
    is_classes: bool,
    log: Callable[[], str],
) -> None:
    """Run a program on batches of the largest size, of one and of one less than the largest.

    Args:
        content: the program.
        model: from which it was exported; stays as it is.
        input_shape: of the largest batch.
        output_shape: of the largest batch of targets.
        is_classes: whether targets are classes.
        log: returns what ExecuTorch has written to standard error.

    Raises:
        EdgeError: the program does not run, or a gradient differs; names the parameter.
    """
    import torch
    from executorch.extension.training import _load_for_executorch_for_training_from_buffer

    random = torch.Generator().manual_seed(0)
    program = _load_for_executorch_for_training_from_buffer(content)
    for size in dict.fromkeys((input_shape[0], 1, input_shape[0] - 1)):
        inputs = torch.randn((size, *input_shape[1:]), generator=random)
        out = model(inputs)
        if is_classes:
            targets = torch.randint(out.shape[1], (size,), generator=random)
            loss = torch.nn.functional.cross_entropy(out, targets)
        else:
            targets = torch.randn((size, *output_shape[1:]), generator=random)
            loss = torch.nn.functional.mse_loss(out, targets)
        expected = dict(zip((name for name, _ in model.named_parameters()), _gradients(loss, model), strict=True))
        try:
            program.forward_backward("forward", (inputs, targets))
        except RuntimeError as error:
            missing = ", ".join(sorted(set(re.findall(r"kernel '([^']+)' not found", log()))))
            reason = f"it has no {missing}" if missing else str(error)
            raise EdgeError(
                f"ExecuTorch cannot run {type(model).__name__}: {reason}; use other layers, such as a convolution"
                " with a stride in place of pooling"
            ) from error
        _compare(program.named_gradients(), expected, model)


def _gradients(loss: torch.Tensor, model: torch.nn.Module) -> Sequence[torch.Tensor]:
    import torch

    return torch.autograd.grad(loss, list(model.parameters()))


def _compare(found: dict[str, Any], expected: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
    for name, gradient in expected.items():
        off = float((found[PREFIX + name] - gradient).abs().max())
        if not off <= _TOLERANCE * float(gradient.abs().max()) + 1e-6:
            raise EdgeError(
                f"ExecuTorch computes another gradient of {name!r} than PyTorch, by {off:.3g}: it gets a layer of"
                f" {type(model).__name__} wrong, such as max pooling in ExecuTorch 1.5; use other layers, such as a"
                " convolution with a stride"
            )
