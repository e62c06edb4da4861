"""Federated optimization: federated averaging with an optimizer at the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from flare_core.aggregation import WeightedMean
from flare_core.errors import RecipeError
from flare_core.model import FLModel, flatten, is_trained, unflatten, working_dtype
from flare_core.optimizers import SGD, ServerOptimizer
from flare_core.schedules import Schedule
from flare_core.tensor_blocks import check_finite
from flare_core.workflows.fedavg import FedAvg


class FedOpt(FedAvg):
    """Update the global model with an optimizer, whose gradient is the difference to the sites' mean.

    Values that are not trained (integer counters, running statistics, frozen parameters) become the sites' mean, as in
    federated averaging; keys that the mean excludes do not change.

    Args:
        optimizer: the optimizer; SGD with a learning rate of 1 and a momentum of 0.6 by default.
        trainable: keys of the trained parameters; every floating-point array by default.
        schedule: a factor on the learning rate for each round.
        arguments: those of :class:`FedAvg`.

    Raises:
        RecipeError: ``optimizer`` or ``schedule`` has the wrong type.

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
            name = type(optimizer).__name__
            raise RecipeError(f"the server's optimizer is a {name}; give a flare_core.optimizers.ServerOptimizer")
        if not isinstance(schedule, Schedule | None):
            raise RecipeError(f"the schedule is a {type(schedule).__name__}; give a flare_core.schedules.Schedule")
        self.trainable = None if trainable is None else frozenset(trainable)
        self.schedule = schedule

    def _updated(self, model: FLModel, round_: int) -> FLModel:
        mean = super()._updated(model, round_)
        old, new = dict(flatten(model.params or {})), dict(flatten(mean.params or {}))
        if not old:  # without an initial model, the first mean becomes the model
            return mean
        # Keys that the mean excludes must not change by momentum or weight decay either.
        excludes = self.aggregator.excludes if isinstance(self.aggregator, WeightedMean) else lambda key: False
        trained = [key for key in old if is_trained(key, old[key], self.trainable) and not excludes(key)]
        gradients = {
            key: np.subtract(old[key], new[key], dtype=working_dtype(np.asarray(old[key]).dtype)) for key in trained
        }
        scale = 1.0 if self.schedule is None else self.schedule(round_)
        with np.errstate(over="ignore", invalid="ignore"):  # check_finite raises an error that names the key
            new |= self.optimizer.step({key: old[key] for key in trained}, gradients, scale=scale)
        mean.params = unflatten(new)
        check_finite(mean, source=f"the step of {type(self.optimizer).__name__}, the server's optimizer")
        return mean

    def state(self) -> dict[str, Any]:
        return super().state() | {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        own = {name.partition(".")[2]: value for name, value in state.items() if name.startswith("optimizer.")}
        self.optimizer.restore(own)
