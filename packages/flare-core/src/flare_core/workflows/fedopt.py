"""Federated optimization: federated averaging whose server takes a step of an optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from flare_core.aggregation import WeightedMean
from flare_core.errors import RecipeError
from flare_core.model import FLModel, Key, flatten, is_trained, unflatten, working_dtype
from flare_core.optimizers import SGD, ServerOptimizer
from flare_core.schedules import Schedule
from flare_core.tensor_blocks import check_finite
from flare_core.workflows.fedavg import FedAvg

__all__ = ["FedOpt"]


class FedOpt(FedAvg):
    """Take the difference between the global model and the sites' mean as a gradient, and step with an optimizer.

    What is not trained (integer counters, running statistics, frozen parameters) becomes the sites' mean, as in
    federated averaging; what is excluded from the mean is not stepped either.

    Args:
        optimizer: takes the steps; momentum of 0.6 and a learning rate of 1 if left out.
        trainable: keys of the parameters that are trained; every floating-point array if left out.
        schedule: a factor on the learning rate by round.
        arguments: those of :class:`FedAvg`.

    Raises:
        RecipeError: ``optimizer`` or ``schedule`` is something else.

    Source: Reddi et al. 2021, arXiv:2003.00295, algorithm 2.
    """

    def __init__(
        self,
        *,
        optimizer: ServerOptimizer | None = None,
        trainable: Iterable[str] | None = None,
        schedule: Schedule | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.optimizer = optimizer or SGD(lr=1.0, momentum=0.6)
        if not isinstance(self.optimizer, ServerOptimizer):
            raise RecipeError(
                f"the server's optimizer is a {type(optimizer).__name__}; give one whose class derives from"
                " flare_core.optimizers.ServerOptimizer"
            )
        if schedule is not None and not isinstance(schedule, Schedule):
            raise RecipeError(
                f"the schedule is a {type(schedule).__name__}; give one whose class derives from"
                " flare_core.schedules.Schedule"
            )
        self.trainable = None if trainable is None else frozenset(trainable)
        self.schedule = schedule

    def _updated(self, model: FLModel, round_: int) -> FLModel:
        mean = super()._updated(model, round_)
        old, new = dict(flatten(model.params or {})), dict(flatten(mean.params or {}))
        if not old:  # the first model is the sites' own
            return mean
        trained = [key for key in old if is_trained(key, old[key], self.trainable) and not self._is_excluded(key)]
        gradients = {
            key: np.subtract(old[key], new[key], dtype=working_dtype(np.asarray(old[key]).dtype)) for key in trained
        }
        scale = 1.0 if self.schedule is None else self.schedule(round_)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked for, and named
            new |= self.optimizer.step({key: old[key] for key in trained}, gradients, scale=scale)
        mean.params = unflatten(new)
        check_finite(mean, source=f"the step of {type(self.optimizer).__name__}, the server's optimizer")
        return mean

    def _is_excluded(self, key: Key) -> bool:
        """Return whether the mean excludes a key, which momentum and weight decay must not change either."""
        return isinstance(self.aggregator, WeightedMean) and self.aggregator.excludes(key)

    def state(self) -> dict[str, Any]:
        own = {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        return super().state() | own

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        prefix = "optimizer."
        self.optimizer.restore(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
