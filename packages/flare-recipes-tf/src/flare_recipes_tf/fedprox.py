"""FedProx: a loss that keeps a site's model near the global model.

Source: Li et al. 2020, arXiv:1812.06127, equation 2.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from flare_core import FLModel, ModelError
from flare_recipes_tf.params import check_values, trainable_variables, value_of


class ProximalLoss(keras.losses.Loss):  # type: ignore[misc]  # keras has no types
    """A loss with FedProx's proximal term added, for ``model.fit`` and custom training loops.

    Call :meth:`start` with each global model; before the first call, the term is 0. For a model with several outputs,
    use it for one of them only.

    Args:
        loss: the loss without the term; a ``keras.losses.Loss``.
        model: the model being trained; it must be built.
        mu: strength of the term, at least 0; 0 is plain federated averaging.
    Raises:
        ModelError: ``loss`` or ``mu`` is invalid, or the model is not built.
    Example:
        loss = ProximalLoss(keras.losses.MeanSquaredError(), model, mu=0.1)
        model.compile(optimizer="sgd", loss=loss)
        while flare.is_running():
            received = flare.receive()
            set_params(model, received.params)
            loss.start(received)
            model.fit(x, y)
            ...
    Source: Li et al. 2020, arXiv:1812.06127, equation 2.
    """

    def __init__(self, loss: keras.losses.Loss, model: keras.Model, mu: float) -> None:
        if not isinstance(loss, keras.losses.Loss):
            raise ModelError(f"loss is {loss!r}; give an object such as keras.losses.MeanSquaredError()")
        if isinstance(mu, bool) or not isinstance(mu, int | float) or not 0 <= mu < math.inf:
            raise ModelError(f"mu is {mu!r}; give a finite number of at least 0")
        super().__init__(name=loss.name)
        self._loss = loss
        self._mu = float(mu)
        self._own = trainable_variables(model)
        self._reference = [
            keras.Variable(value_of(variable), dtype=variable.dtype, trainable=False) for variable in self._own.values()
        ]
        self._strength = keras.Variable(0.0, dtype="float32", trainable=False)

    def start(self, received: FLModel) -> None:
        """Make the received global model the reference of the term.

        Raises:
            ModelError: a key is missing or has another shape; names the key.
        """
        params = received.params or {}
        check_values(params, self._own, source="params")
        for key, variable in zip(self._own, self._reference, strict=True):
            variable.assign(params[key])
        self._strength.assign(self._mu)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the batch's loss, reduced as by ``loss``, plus the term."""
        squares = [
            ops.sum(ops.square(_wide(own) - _wide(reference)))
            for own, reference in zip(self._own.values(), self._reference, strict=True)
        ]
        return self._loss(y_true, y_pred, sample_weight) + self._strength / 2 * sum(squares)


def _wide(value: Any) -> Any:
    tensor = ops.convert_to_tensor(value)
    return ops.cast(tensor, "float32") if keras.backend.standardize_dtype(tensor.dtype) != "float64" else tensor
