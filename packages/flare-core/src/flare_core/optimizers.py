"""Server optimizers, which apply the change of a round instead of just adding it.

The difference between the model that was sent and the mean of the returned ones serves as the gradient (Reddi et al.
2021, "Adaptive Federated Optimization", arXiv:2003.00295, algorithm 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from flare_core.components import import_class
from flare_core.errors import RecipeError
from flare_core.model import Key, flatten, unflatten, working_dtype
from flare_core.tensor_blocks import Array


class ServerOptimizer(ABC):
    """An optimizer that takes one step per round; its state survives a restart of the server.

    Attributes:
        is_adaptive: a small gradient, such as the error of a lossy codec, can cause as long a step as a large one.
    """

    is_adaptive: bool = False

    @abstractmethod
    def step(
        self, params: Mapping[Key, Array], gradients: Mapping[Key, Array], *, scale: float = 1.0
    ) -> dict[Key, Array]:
        """Return new values for ``params``, with their dtypes and shapes, without changing any argument.

        Args:
            params: floating-point arrays by key.
            gradients: an array of the same shape for each of them.
            scale: factor on the learning rate, from a schedule.
        """

    @abstractmethod
    def state(self) -> Mapping[str, Any]:
        """Return the state to keep: JSON values, and mappings of names to arrays, which must not change afterwards."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state` returned."""


class _Elementwise(ServerOptimizer):
    """An optimizer that updates every value independently."""

    slots: tuple[str, ...] = ()
    """Names of the state arrays of each parameter."""

    def __init__(self, lr: float) -> None:
        self.lr = _checked(lr, "lr", at_least=0.0)
        self._steps = 0
        self._kept: dict[str, dict[Key, Array]] = {name: {} for name in self.slots}

    @abstractmethod
    def change(self, gradient: Array, kept: dict[str, Array]) -> Array:
        """Return the direction of the step; replace the state arrays in ``kept``, but never change them in place."""

    def step(
        self, params: Mapping[Key, Array], gradients: Mapping[Key, Array], *, scale: float = 1.0
    ) -> dict[Key, Array]:
        self._steps += 1
        result = {}
        for key, value in params.items():
            dtype = working_dtype(value.dtype)
            kept = {
                name: self._kept[name][key] if key in self._kept[name] else np.zeros(value.shape, dtype)
                for name in self.slots
            }
            change = self.change(np.asarray(gradients[key], dtype), kept)
            for name in self.slots:
                self._kept[name][key] = np.asarray(kept[name])  # numpy turns arrays of shape () into scalars
            result[key] = np.asarray(value.astype(dtype) - dtype.type(self.lr * scale) * change).astype(value.dtype)
        return result

    def state(self) -> Mapping[str, Any]:
        return {"steps": self._steps, **{name: unflatten(arrays) for name, arrays in self._kept.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._steps = int(state.get("steps", 0))
        self._kept = {name: dict(flatten(state.get(name, {}))) for name in self.slots}


class SGD(_Elementwise):
    """Gradient descent; with ``momentum``, FedAvgM (Hsu et al. 2019, arXiv:1909.06335).

    Args:
        lr: learning rate; 1 without momentum is plain federated averaging.
        momentum: momentum factor.
        nesterov: use Nesterov momentum.
    """

    def __init__(self, lr: float = 1.0, momentum: float = 0.0, nesterov: bool = False) -> None:
        self.momentum = _checked(momentum, "momentum", at_least=0.0, below=1.0)
        self.nesterov = nesterov
        self.slots = ("momentum",) if self.momentum else ()
        super().__init__(lr)

    def change(self, gradient: Array, kept: dict[str, Array]) -> Array:
        if not self.momentum:
            return gradient
        kept["momentum"] = self.momentum * kept["momentum"] + gradient
        return gradient + self.momentum * kept["momentum"] if self.nesterov else kept["momentum"]


class _TwoMoments(_Elementwise):
    """An optimizer that keeps running means of the gradients and of their squares.

    Args:
        lr: learning rate.
        betas: decay rates of the two means.
        eps: added to the root of the mean of the squares; the default is that of FedAdam and FedYogi.
    """

    is_adaptive = True
    slots = ("mean", "square")

    def __init__(self, lr: float = 0.01, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-3) -> None:
        super().__init__(lr)
        self.betas = _checked_betas(betas)
        self.eps = _checked(eps, "eps", at_least=0.0)


class Adam(_TwoMoments):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), with the bias correction that FedAdam omits."""

    def change(self, gradient: Array, kept: dict[str, Array]) -> Array:
        first, second = self.betas
        kept["mean"] = first * kept["mean"] + (1 - first) * gradient
        kept["square"] = second * kept["square"] + (1 - second) * gradient * gradient
        root: Array = np.sqrt(kept["square"] / (1 - second**self._steps)) + self.eps
        return kept["mean"] / (1 - first**self._steps) / root


class Yogi(_TwoMoments):
    """FedYogi (Reddi et al. 2021, arXiv:2003.00295, algorithm 2); the mean of the squares starts at ``eps`` squared."""

    def change(self, gradient: Array, kept: dict[str, Array]) -> Array:
        first, second = self.betas
        if self._steps == 1:
            kept["square"] = np.full_like(kept["square"], self.eps**2)
        square = gradient * gradient
        kept["mean"] = first * kept["mean"] + (1 - first) * gradient
        kept["square"] = kept["square"] - (1 - second) * np.sign(kept["square"] - square) * square
        return kept["mean"] / (np.sqrt(kept["square"]) + self.eps)


class Adagrad(_Elementwise):
    """Adagrad (Duchi et al. 2011).

    Args:
        lr: learning rate.
        eps: added to the root of the sum of squares.
    """

    is_adaptive = True
    slots = ("sum",)

    def __init__(self, lr: float = 0.01, eps: float = 1e-3) -> None:
        super().__init__(lr)
        self.eps = _checked(eps, "eps", at_least=0.0)

    def change(self, gradient: Array, kept: dict[str, Array]) -> Array:
        kept["sum"] = kept["sum"] + gradient * gradient
        return gradient / (np.sqrt(kept["sum"]) + self.eps)


def framework_optimizer(class_path: str, base: type, args: Mapping[str, Any], *params: Any) -> Any:
    """Create an optimizer of a framework.

    Args:
        class_path: the class, as ``module.Name``.
        base: the class that it must derive from.
        args: the keyword arguments.
        params: the positional arguments.
    Raises:
        RecipeError: the class rejects the arguments, or does not derive from ``base``.
    """
    try:
        optimizer = import_class(class_path)(*params, **args)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{class_path} rejects the arguments {dict(args)}: {error}") from error
    if not isinstance(optimizer, base):
        raise RecipeError(f"{class_path} is not a {base.__module__}.{base.__qualname__}")
    return optimizer


def _checked(value: Any, name: str, *, at_least: float, below: float = np.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not at_least <= value < below:
        limit = f"of at least {at_least:g}" if below == np.inf else f"from {at_least:g} to below {below:g}"
        raise RecipeError(f"{name} of the server's optimizer is {value!r}; give a number {limit}")
    return float(value)


def _checked_betas(betas: Any) -> tuple[float, float]:
    try:
        first, second = betas
    except (TypeError, ValueError):
        raise RecipeError(f"betas of the server's optimizer is {betas!r}; give two numbers from 0 to below 1") from None
    return _checked(first, "betas", at_least=0.0, below=1.0), _checked(second, "betas", at_least=0.0, below=1.0)
