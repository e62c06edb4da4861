"""Dense networks in NumPy, trained by stochastic gradient descent in float32.

The JavaScript twin is ``browser/static/programs.js``: the same steps in the same order. The two differ by rounding
alone, since a browser adds products in float64 and rounds once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flare_edge.device.data.examples import Examples
from flare_edge.device.randomness import generator_for
from flare_edge.errors import EdgeError

Params = Mapping[str, np.ndarray]

ACTIVATIONS = ("relu", "tanh")
LOSSES = ("cross_entropy", "squared_error")


@dataclass(frozen=True)
class Hyperparameters:
    """How a device trains.

    Args:
        lr: the learning rate.
        epochs: the number of passes over the device's examples.
        batch_size: the number of examples in a step; the last step of an epoch may have fewer.
        seed: of the order of the examples, with the model's version; see :mod:`flare_edge.device.randomness`.
    """

    lr: float
    epochs: int = 1
    batch_size: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Dense:
    """Layers of ``W x + b`` with an activation between them.

    Parameters are named as in PyTorch's ``Sequential(Linear, ReLU, Linear, …)``: ``0.weight`` ``(outputs, inputs)``,
    ``0.bias`` ``(outputs,)``, ``2.weight``, …; those of a single ``Linear``, with ``is_named_alone``: ``weight`` and
    ``bias``.

    Args:
        layers: the numbers of inputs, of the units of each hidden layer, and of outputs.
        activation: ``relu`` or ``tanh``.
        loss: ``cross_entropy`` of the outputs' softmax and a class, or ``squared_error``: the mean over examples and
            outputs.
        is_named_alone: see above.
    """

    layers: tuple[int, ...]
    activation: str = "relu"
    loss: str = "cross_entropy"
    is_named_alone: bool = False

    @property
    def names(self) -> list[tuple[str, str]]:
        """The names of each layer's weight and bias."""
        if self.is_named_alone:
            return [("weight", "bias")]
        return [(f"{2 * layer}.weight", f"{2 * layer}.bias") for layer in range(len(self.layers) - 1)]

    def initial_params(self, seed: int) -> dict[str, np.ndarray]:
        """Return random float32 parameters, uniform between ±1/sqrt(inputs) in each layer, as PyTorch's ``Linear``."""
        rng = np.random.default_rng(seed)
        params = {}
        for (weight, bias), inputs, outputs in zip(self.names, self.layers, self.layers[1:], strict=False):
            bound = inputs**-0.5
            params[weight] = rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
            params[bias] = rng.uniform(-bound, bound, outputs).astype(np.float32)
        return params

    def check(self, params: Params, examples: Examples) -> None:
        """Raise an error if a model or a device's examples do not fit the program.

        Raises:
            EdgeError: names the parameter, or says what the examples lack.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for (weight, bias), inputs, outputs in zip(self.names, self.layers, self.layers[1:], strict=False):
            shapes |= {weight: (outputs, inputs), bias: (outputs,)}
        if set(params) != set(shapes):
            raise EdgeError(f"the model has the parameters {sorted(params)}; the program has {sorted(shapes)}")
        for name, shape in shapes.items():
            if params[name].shape != shape:
                raise EdgeError(f"parameter {name!r} has the shape {params[name].shape}; the program's has {shape}")
            if params[name].dtype != np.float32:
                raise EdgeError(
                    f"parameter {name!r} is {params[name].dtype}; programs train float32: convert the model"
                )
        _check_examples(self, examples)

    def train(self, params: Params, examples: Examples, how: Hyperparameters, version: int) -> dict[str, np.ndarray]:
        """Return the parameters after training; ``params`` stay as they are.

        Args:
            params: float32, see :meth:`initial_params`.
            examples: the device's.
            how: the hyperparameters.
            version: the model's, for the order of the examples.

        Raises:
            EdgeError: see :meth:`check`.
        """
        self.check(params, examples)
        own = {name: value.copy() for name, value in params.items()}
        rate = np.float32(how.lr)
        generator = generator_for(how.seed, version)
        for _ in range(how.epochs):
            order = generator.permutation(len(examples))
            for start in range(0, len(order), how.batch_size):
                rows = order[start : start + how.batch_size]
                for name, gradient in self._gradients(own, examples.inputs[rows], examples.targets[rows]).items():
                    own[name] -= rate * gradient
        return own

    def evaluate(self, params: Params, examples: Examples) -> dict[str, float]:
        """Return ``loss``, and ``accuracy`` where there are classes, of a model on a device's examples.

        Raises:
            EdgeError: see :meth:`check`.
        """
        self.check(params, examples)
        outputs = self._forward(params, examples.inputs)[-1].astype(np.float64)
        if self.loss == "squared_error":
            return {"loss": float(((outputs - examples.targets) ** 2).mean())}
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        logs = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(shifted)), examples.targets]
        return {"loss": float(logs.mean()), "accuracy": float((outputs.argmax(axis=1) == examples.targets).mean())}

    def _forward(self, params: Params, inputs: np.ndarray) -> list[np.ndarray]:
        """Return the inputs, and each layer's outputs."""
        values = [inputs]
        for layer, (weight, bias) in enumerate(self.names):
            out = values[-1] @ params[weight].T + params[bias]
            if layer < len(self.names) - 1:
                out = np.maximum(out, 0) if self.activation == "relu" else np.tanh(out)
            values.append(out)
        return values

    def _gradients(self, params: Params, inputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
        values = self._forward(params, inputs)
        back = self._loss_gradient(values[-1], targets)
        gradients = {}
        for layer in reversed(range(len(self.names))):
            weight, bias = self.names[layer]
            gradients[weight] = back.T @ values[layer]
            gradients[bias] = back.sum(axis=0)
            if layer:
                there = values[layer]
                slope = there > 0 if self.activation == "relu" else 1 - there * there
                back = (back @ params[weight]) * slope
        return gradients

    def _loss_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if self.loss == "squared_error":
            squared: np.ndarray = (outputs - targets) * np.float32(2 / outputs.size)
            return squared
        raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        back = raised / raised.sum(axis=1, keepdims=True)
        back[np.arange(len(back)), targets] -= 1
        divided: np.ndarray = back / np.float32(len(back))
        return divided


def _check_examples(program: Dense, examples: Examples) -> None:
    inputs, outputs = program.layers[0], program.layers[-1]
    if examples.inputs.shape[1] != inputs:
        raise EdgeError(f"the examples have {examples.inputs.shape[1]} inputs; the program has {inputs}")
    if program.loss == "squared_error":
        if examples.targets.shape[1:] != (outputs,):
            raise EdgeError(f"the program predicts {outputs} values; the targets are {examples.targets.shape}")
        return
    if examples.targets.ndim != 1:
        raise EdgeError("the program predicts a class; the targets are values: give int64 (rows,)")
    low, high = int(examples.targets.min()), int(examples.targets.max())
    if low < 0 or high >= outputs:
        raise EdgeError(f"classes are 0 to {outputs - 1}; the examples have {low if low < 0 else high}")
