"""A device that trains with ExecuTorch's runtime."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from flare_edge.device.data import Examples
from flare_edge.device.programs import Params, training_from
from flare_edge.device.randomness import generator_for
from flare_edge.device.work import Answer, Task, difference
from flare_edge.errors import EdgeError
from flare_edge.executorch.checking import PREFIX


class ExecutorchWork:
    """Runs the program that is in a task's configuration; a :class:`flare_edge.device.work.Work`.

    The steps are those of :class:`flare_edge.device.work.ProgramWork`: stochastic gradient descent over batches in the
    same order.

    Args:
        examples: the device's data; each row of the inputs is reshaped to the program's.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self._loaded: LoadedProgram | None = None

    def train(self, params: Params, task: Task) -> Answer:
        """Train, and return the update with the received model's metrics.

        Raises:
            EdgeError: the program, the model or the examples do not fit each other.
        """
        how = training_from(task.config)
        program = task.config["program"]
        if how.batch_size > program["max_batch"]:
            raise EdgeError(
                f"batch_size is {how.batch_size}; the program was exported for {program['max_batch']} at most"
            )
        module = self._module(program, params)
        metrics = self._measure(module, program)
        from executorch.extension.training import get_sgd_optimizer

        optimizer = get_sgd_optimizer(module.named_parameters(), how.lr)
        generator = generator_for(how.seed, task.version)
        for _ in range(how.epochs):
            for inputs, targets in self._batches(generator.permutation(len(self.examples)), how.batch_size, program):
                module.forward_backward("forward", (inputs, targets))
                optimizer.step(module.named_gradients())
        return Answer(len(self.examples), metrics, difference(params_of(module), params))

    def evaluate(self, params: Params, task: Task) -> Answer:
        """Return the model's metrics on the device's examples.

        Raises:
            EdgeError: the program, the model or the examples do not fit each other.
        """
        program = task.config["program"]
        return Answer(len(self.examples), self._measure(self._module(program, params), program))

    def _module(self, program: Mapping[str, Any], params: Params) -> Any:
        """Return the loaded program with a model's parameters."""
        if self._loaded is None or self._loaded.program["sha256"] != program.get("sha256"):
            self._loaded = LoadedProgram(program)
        self._loaded.set_params(params)
        return self._loaded.module

    def _measure(self, module: Any, program: Mapping[str, Any]) -> dict[str, float]:
        """Return the loss, and of classes the accuracy."""
        total, right = 0.0, 0
        for inputs, targets in self._batches(np.arange(len(self.examples)), program["max_batch"], program):
            loss, predicted = module.forward_backward("forward", (inputs, targets))
            total += float(loss) * len(targets)
            if program["loss"] == "cross_entropy":
                right += int((predicted == targets).sum())
        rows = len(self.examples)
        return {"loss": total / rows} | ({"accuracy": right / rows} if program["loss"] == "cross_entropy" else {})

    def _batches(self, order: np.ndarray, size: int, program: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
        import torch

        inputs, targets = self.examples.inputs, self.examples.targets
        shape = tuple(program["input_shape"])
        if inputs.shape[1] != int(np.prod(shape)):
            raise EdgeError(f"the examples have {inputs.shape[1]} inputs; the program has the shape {shape}")
        if (program["loss"] == "cross_entropy") != (targets.ndim == 1):
            raise EdgeError(
                f"the targets have the shape {targets.shape}, which does not fit the loss {program['loss']!r}"
            )
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield torch.from_numpy(inputs[rows].reshape(-1, *shape)), torch.from_numpy(targets[rows])


class LoadedProgram:
    """A training program that ExecuTorch's runtime has loaded.

    Args:
        program: ``program`` of a device's configuration.

    Attributes:
        module: what the runtime has loaded; ``forward_backward("forward", (inputs, targets))`` is a step.

    Raises:
        EdgeError: it is of another kind or damaged, or ExecuTorch is not installed.
    """

    def __init__(self, program: Mapping[str, Any]) -> None:
        if program.get("kind") != "executorch":
            raise EdgeError(f"the program is of kind {program.get('kind')!r}; this device runs 'executorch'")
        self._content = base64.b64decode(program["pte"])  # the module points into its bytes
        if hashlib.sha256(self._content).hexdigest() != program["sha256"]:
            raise EdgeError("the ExecuTorch program is damaged: its SHA-256 is another")
        self.program = program
        self.module = _load(self._content, program)

    def set_params(self, params: Params) -> None:
        """Write parameters into the program: its tensors are its memory.

        Raises:
            EdgeError: they are not those of the program.
        """
        import torch

        own = {name.removeprefix(PREFIX): value for name, value in self.module.named_parameters().items()}
        if own.keys() != params.keys():
            raise EdgeError(f"the model has the parameters {sorted(params)}; the program has {sorted(own)}")
        for name, value in params.items():
            if tuple(own[name].shape) != value.shape or value.dtype != np.float32:
                raise EdgeError(
                    f"parameter {name!r} is {value.dtype} {value.shape}; the program's is float32"
                    f" {tuple(own[name].shape)}"
                )
            with torch.no_grad():
                own[name].copy_(torch.from_numpy(value.copy()))


def params_of(module: Any) -> dict[str, np.ndarray]:
    """Return copies of a loaded program's parameters, named as in the model."""
    return {name.removeprefix(PREFIX): value.numpy().copy() for name, value in module.named_parameters().items()}


def _load(content: bytes, program: Mapping[str, Any]) -> Any:
    import torch

    try:
        from executorch.extension.training import _load_for_executorch_for_training_from_buffer
    except ImportError as error:
        raise EdgeError(f"this device needs ExecuTorch ({error}): pip install 'flare-edge[executorch]'") from error
    module = _load_for_executorch_for_training_from_buffer(content)
    dtype = torch.int64 if program["loss"] == "cross_entropy" else torch.float32
    batch = torch.zeros((1, *program["input_shape"])), torch.zeros((1, *program["output_shape"]), dtype=dtype)
    module.forward_backward("forward", batch)  # it knows its parameters only after a first run
    return module
