"""Server optimizers: what is done with the difference that a round makes, instead of just adding it.

The difference between the model that was sent and the mean of what came back is taken as a gradient (Reddi et al. 2021,
"Adaptive Federated Optimization", arXiv:2003.00295, algorithm 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from flare_core.components import import_class
from flare_core.errors import RecipeError
from flare_core.model import Key, flatten, unflatten, working_dtype

__all__ = ["SGD", "Adagrad", "Adam", "ServerOptimizer", "Yogi", "framework_optimizer"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class ServerOptimizer(ABC):
    """Takes one step a round; its state survives a restart of the server.

    Attributes:
        is_adaptive: whether a small gradient can make as long a step as a large one. Then what a codec loses of a model
            can, too.
    """

    is_adaptive: bool = False

    @abstractmethod
    def step(
        self, params: Mapping[Key, Array], gradients: Mapping[Key, Array], *, scale: float = 1.0
    ) -> dict[Key, Array]:
        """Return new values for ``params``, with their dtypes and shapes; none of the arguments is changed.

        Args:
            params: floating-point arrays by key.
            gradients: one for each of them, of the same shape.
            scale: factor on the learning rate, as a schedule gives it.
        """

    @abstractmethod
    def state(self) -> Mapping[str, Any]:
        """What must survive: values that JSON has, and mappings of name to array, which do not change afterwards."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` returned."""


class _Elementwise(ServerOptimizer):
    """An optimizer that treats every number alike, with a few numbers of its own for each.

    Args:
        lr: learning rate.
    """

    slots: tuple[str, ...] = ()
    """Names of the arrays that are kept for each of the params."""

    def __init__(self, lr: float) -> None:
        self.lr = _checked(lr, "lr", at_least=0.0)
        self._steps = 0
        self._kept: dict[str, dict[Key, Array]] = {name: {} for name in self.slots}

    @abstractmethod
    def change(self, gradient: Array, kept: dict[str, Array]) -> Array:
        """Return the direction of the step, which is scaled by the learning rate and subtracted.

        Args:
            gradient: in float32, or in float64 for parameters of that kind.
            kept: the parameter's own arrays by slot; replaced, never changed in place.
        """

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
                self._kept[name][key] = np.asarray(kept[name])  # numpy makes scalars of arrays of shape ()
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
        momentum: share of the last step's direction that is kept.
        nesterov: look ahead by one step of the momentum.
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
    """An optimizer that keeps a mean of the gradients, and one of their squares.

    Args:
        lr: learning rate.
        betas: decay of the mean of the gradients, and of that of their squares.
        eps: added to the root of the latter; the default is that of FedAdam and FedYogi.
    """

    is_adaptive = True
    slots = ("mean", "square")

    def __init__(self, lr: float = 0.01, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-3) -> None:
        super().__init__(lr)
        self.betas = _checked_betas(betas)
        self.eps = _checked(eps, "eps", at_least=0.0)


class Adam(_TwoMoments):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), with the bias correction that FedAdam leaves out."""

    def change(self, gradient: Array, kept: dict[str, Array]) -> Array:
        first, second = self.betas
        kept["mean"] = first * kept["mean"] + (1 - first) * gradient
        kept["square"] = second * kept["square"] + (1 - second) * gradient * gradient
        root: Array = np.sqrt(kept["square"] / (1 - second**self._steps)) + self.eps
        return kept["mean"] / (1 - first**self._steps) / root


class Yogi(_TwoMoments):
    """FedYogi (Reddi et al. 2021, arXiv:2003.00295, algorithm 2); the squares begin with that of ``eps``."""

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
    """Make an optimizer of a framework, with ``params`` before its other arguments.

    Args:
        class_path: its class, as ``module.Name``.
        base: the class that it must derive from.
        args: its arguments by name.
        params: its positional arguments.
    Raises:
        RecipeError: it refuses the arguments, or does not derive from ``base``.
    """
    try:
        optimizer = import_class(class_path)(*params, **args)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{class_path} refuses the arguments {dict(args)}: {error}") from error
    if not isinstance(optimizer, base):
        raise RecipeError(f"{class_path} is no {base.__module__}.{base.__qualname__}")
    return optimizer


def _checked(value: Any, name: str, *, at_least: float, below: float = np.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not at_least <= value < below:
        limit = "" if below == np.inf else f" and below {below:g}"
        raise RecipeError(f"{name} of the server's optimizer is {value!r}; give a number from {at_least:g}{limit}")
    return float(value)


def _checked_betas(betas: Any) -> tuple[float, float]:
    try:
        first, second = betas
    except (TypeError, ValueError):
        raise RecipeError(
            f"betas of the server's optimizer is {betas!r}; give two numbers, from 0 and below 1"
        ) from None
    return _checked(first, "betas", at_least=0.0, below=1.0), _checked(second, "betas", at_least=0.0, below=1.0)
