"""Keras optimizers for the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from flare_core.model import Key
from flare_core.optimizers import ServerOptimizer, framework_optimizer
from flare_core.tensor_blocks import Array
from flare_recipes_tf.params import value_of


class KerasOptimizer(ServerOptimizer):
    """A server optimizer that applies a ``keras.optimizers.Optimizer``.

    Args:
        class_path: the optimizer's class, such as ``keras.optimizers.AdamW``.
        args: its keyword arguments.
    """

    def __init__(self, class_path: str, args: Mapping[str, Any] | None = None) -> None:
        self.class_path = class_path
        self.args = dict(args or {})
        # Fails now rather than in the first round.
        self._optimizer = framework_optimizer(class_path, keras.optimizers.Optimizer, self.args)
        self.is_adaptive = not isinstance(self._optimizer, keras.optimizers.SGD)
        self._variables: dict[Key, keras.Variable] = {}
        self._restored: Mapping[str, Any] | None = None

    @property
    def rate(self) -> float:
        """The optimizer's learning rate."""
        return float(self._optimizer.learning_rate)

    def step(
        self, params: Mapping[Key, Array], gradients: Mapping[Key, Array], *, scale: float = 1.0
    ) -> dict[Key, Array]:
        if not self._variables:
            self._variables = {key: keras.Variable(value, dtype=str(value.dtype)) for key, value in params.items()}
            self._optimizer.build(list(self._variables.values()))
            for name, value in (self._restored or {}).items():
                self._optimizer.variables[int(name)].assign(value)
        for key, variable in self._variables.items():
            variable.assign(params[key])  # differ only if a round was abandoned after the step
        rate = self.rate
        self._optimizer.learning_rate = rate * scale
        self._optimizer.apply([gradients[key] for key in self._variables], list(self._variables.values()))
        self._optimizer.learning_rate = rate
        return {key: value_of(variable) for key, variable in self._variables.items()}

    def state(self) -> Mapping[str, Any]:
        if not self._variables:
            return {}
        return {"variables": {str(index): value_of(each) for index, each in enumerate(self._optimizer.variables)}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._restored = state.get("variables")
