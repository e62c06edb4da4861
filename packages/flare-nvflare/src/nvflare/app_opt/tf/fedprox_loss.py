"""TFFedProxLoss, a Keras loss with the proximal term of FedProx."""

from __future__ import annotations

from typing import Any

from keras import losses, ops


class TFFedProxLoss(losses.Loss):  # type: ignore[misc]  # keras has no types
    """A loss, and half of ``mu`` times the squared distance of a model's weights to those of another.

    Args:
        local_model_weights: the weights being trained, as variables.
        global_model_weights: those that were received.
        mu: the strength of the term.
        loss_fun: the loss without it.
        args, kwargs: arguments of :class:`keras.losses.Loss`.

    Source: Li et al. 2020, arXiv:1812.06127, equation 2.
    """

    def __init__(
        self, local_model_weights: Any, global_model_weights: Any, mu: float, loss_fun: Any, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.local_model_weights = local_model_weights
        self.global_model_weights = global_model_weights
        self.mu = mu
        self.loss_fun = loss_fun

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of a batch with the term."""
        pairs = zip(self.local_model_weights, self.global_model_weights, strict=True)
        distance = sum(ops.sum(ops.square(ops.subtract(own, other))) for own, other in pairs)
        return self.loss_fun(y_true, y_pred) + self.mu / 2 * distance
