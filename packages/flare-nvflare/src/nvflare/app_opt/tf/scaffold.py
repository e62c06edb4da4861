"""TFScaffoldHelper, the site's part of SCAFFOLD for Keras; :class:`flare_recipes_tf.Scaffold` survives restarts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from flare_core import ClientApiError

Arrays = list[Any]


def get_lr_values(optimizer: Any) -> Any:
    """Return the learning rate of an optimizer."""
    return optimizer.learning_rate


class TFScaffoldHelper:
    """The control variates of a site and of the server: an array for each trained weight.

    Attributes:
        cnt: the number of corrections in this round.

    Source: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II.
    """

    def __init__(self) -> None:
        self.cnt = 0
        self._names: list[str] = []  # of the trained weights, in the order of the model's
        self._others: dict[str, Any] = {}
        self._global: Arrays = []
        self._local: Arrays = []
        self._change: dict[str, Any] | None = None

    def init(self, model: Any) -> None:
        """Begin with controls of zero for a model."""
        by_id = {id(each): name for name, each in _weights(model).items()}
        self._names = [by_id[id(each)] for each in model.trainable_variables]
        self._others = {name: each for name, each in _weights(model).items() if name not in set(self._names)}
        self._global = [np.zeros(each.shape, np.float32) for each in model.trainable_variables]
        self._local = [each.copy() for each in self._global]

    def load_global_controls(self, weights: Mapping[str, Any]) -> None:
        """Take the server's controls, which a script finds in the meta of the received model."""
        flat = {
            name: value for key, values in weights.items() for name, value in _flat(key, values)
        }  # a list for each layer, or an array for each weight
        self._global = [np.asarray(flat[name]) for name in self._names]

    def get_params(self) -> tuple[Arrays, Arrays]:
        """Begin a round, and return the server's and the site's controls."""
        self.cnt = 0
        return self._global, self._local

    def model_update(self, model: Any, curr_lr: Any, c_global_para: Arrays, c_local_para: Arrays) -> None:
        """Correct the model.

        Args:
            model: the model, changed in place.
            curr_lr: the learning rate.
            c_global_para, c_local_para: what :meth:`get_params` returned.
        """
        rate = float(keras.ops.convert_to_numpy(curr_lr))
        for variable, ours, own in zip(model.trainable_variables, c_global_para, c_local_para, strict=True):
            variable.assign(variable - rate * (ours - own))
        self.cnt += 1

    def terms_update(
        self, model: Any, curr_lr: Any, c_global_para: Arrays, c_local_para: Arrays, model_global: Any
    ) -> None:
        """End a round: move the site's controls.

        Args:
            model: the trained model.
            curr_lr: the learning rate.
            c_global_para, c_local_para: what :meth:`get_params` returned.
            model_global: the model as it was received.
        """
        rate = float(keras.ops.convert_to_numpy(curr_lr))
        changes = []
        for before, after, ours in zip(
            model_global.trainable_variables, model.trainable_variables, c_global_para, strict=True
        ):
            moved = keras.ops.convert_to_numpy(before) - keras.ops.convert_to_numpy(after)
            changes.append(np.asarray(moved / (self.cnt * rate) - ours, np.float32))
        self._local = [own + change for own, change in zip(c_local_para, changes, strict=True)]
        zeros = {name: np.zeros(each.shape, np.float32) for name, each in self._others.items()}
        self._change = dict(zip(self._names, changes, strict=True)) | zeros

    def get_delta_controls(self) -> dict[str, Any]:
        """Return the change of the site's controls, to send in the meta of the trained model.

        Raises:
            ClientApiError: the round has not ended.
        """
        if self._change is None:
            raise ClientApiError("there is no change of the controls yet; call terms_update first")
        return self._change


class ScaffoldCallback(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Corrects the model at the end of each epoch.

    Args:
        scaffold_helper: the helper, in a round.
    """

    def __init__(self, scaffold_helper: TFScaffoldHelper) -> None:
        super().__init__()
        self.scaffold_helper = scaffold_helper
        self.c_global_para, self.c_local_para = scaffold_helper.get_params()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Correct the model."""
        rate = self.model.optimizer.learning_rate
        self.scaffold_helper.model_update(self.model, rate, self.c_global_para, self.c_local_para)


def _weights(model: Any) -> dict[str, Any]:
    """Return the variables of a model by the names under which they travel."""
    return {f"{layer.name}/~{index}": each for layer in model.layers for index, each in enumerate(layer.weights)}


def _flat(key: str, values: Any) -> list[tuple[str, Any]]:
    if isinstance(values, list | tuple):
        return [(f"{key}/~{index}", each) for index, each in enumerate(values)]
    return [(key, values)]
