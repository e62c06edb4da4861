"""The server's step of logistic regression, for scripts that send gradients and Hessians."""

from __future__ import annotations

from typing import Any

import numpy as np

from flare_core import Aggregator, FLModel, ModelError, Reply
from flare_core.errors import EmptyRoundError


class NewtonRaphson(Aggregator):
    """Move the weights by a fraction of the Newton step of the mean gradient and the mean Hessian.

    Sites are weighted by their number of steps, here rows. The identity is added to the Hessian, so that it can be
    inverted; for the step of the plain sums, which has no such term, use ``flare_recipes_sklearn.FedAvgLrRecipe``.

    Args:
        damping_factor: the fraction.
        epsilon: the factor of the identity.
    """

    def __init__(self, damping_factor: float = 0.8, epsilon: float = 1.0) -> None:
        self.damping_factor = damping_factor
        self.epsilon = epsilon
        self.reset()

    def reset(self) -> None:
        self._sums: dict[str, Any] = {}
        self._weight = 0.0

    def add(self, reply: Reply) -> None:
        """Add one contribution.

        Raises:
            ModelError: it lacks the gradient or the Hessian.
        """
        params = reply.model.params or {}
        if set(params) != {"gradient", "hessian"}:
            raise ModelError(f"{reply.site} sent {sorted(params) or 'no params'}; send a gradient and a hessian")
        weight = reply.num_steps
        for name in params:
            value = weight * np.array(params[name], np.float64)
            self._sums[name] = value if name not in self._sums else self._sums[name] + value
        self._weight += weight

    def result(self) -> FLModel:
        """Return the step as a difference."""
        if not self._weight:
            raise EmptyRoundError("no site contributed to this round; the weights stay as they were")
        gradient, hessian = (self._sums[name] / self._weight for name in ("gradient", "hessian"))
        step = np.linalg.solve(hessian + self.epsilon * np.eye(len(hessian)), gradient)
        return FLModel(params={"numpy_key": self.damping_factor * step}, params_type="DIFF")  # type: ignore[arg-type]  # converted
