"""The client side of SCAFFOLD, which corrects gradients for the drift between sites with different data.

Source: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1 with option II.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from flare_core import ClientApiError, FLModel, ModelError
from flare_core.model import MetaKey
from flare_recipes_tf.params import check_values, trainable_variables, value_of
from flare_tensor_downloader import read_file, write_file

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

FILE = "scaffold.safetensors"


class Scaffold:
    """A site's control variates, for a training loop with plain stochastic gradient descent.

    The server's control variate ``c`` arrives in ``received.optimizer_params``. The site's own, ``c_i``, is saved in a
    file, so a restarted script resumes with it. The file holds ``c_i`` before and after the last finished round: a
    repeated round starts from the same ``c_i`` as the first attempt, and rounds whose replies arrived too late for the
    server to use are undone.

    Args:
        model: the model being trained; it must be built. Variables frozen later still count as trainable.
        folder: folder of the file; by default the current working folder.
    Raises:
        ModelError: the model is not built.
    Example:
        scaffold = Scaffold(model)
        while flare.is_running():
            received = flare.receive()
            set_params(model, received.params)
            scaffold.start(received)
            for x, y in batches:
                with tf.GradientTape() as tape:
                    loss = loss_of(y, model(x, training=True))
                gradients = tape.gradient(loss, model.trainable_variables)
                optimizer.apply(scaffold.correct(gradients), model.trainable_variables)
            difference = scaffold.finish(steps=len(batches), learning_rate=0.1)
            flare.send(flare.FLModel(params=get_params(model), optimizer_params=difference))
    Source: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1 with option II.
    """

    def __init__(self, model: keras.Model, *, folder: str | Path | None = None) -> None:
        self._variables = trainable_variables(model)
        self._corrections = [
            keras.Variable(ops.zeros(variable.shape, variable.dtype), dtype=variable.dtype, trainable=False)
            for variable in self._variables.values()
        ]
        self._corrected = keras.Variable(
            0, dtype="int32", trainable=False
        )  # calls of correct(); a Variable, to count in tf.function too
        self._file = Path(folder or Path.cwd()).absolute() / FILE
        self._round: int | None = None
        self._received: dict[str, Array] = {}
        self._own: dict[str, Array] = {}
        self._server: dict[str, Array] = {}

    def start(self, received: FLModel) -> None:
        """Begin a round with the received global model and ``c``, and with ``c_i`` from the file.

        Missing control variates, as in the first round, count as zero. The model's variables are not changed.

        Raises:
            ModelError: a key, the params or the round is missing, or the file is of a later round; names it.
            ShapeMismatchError: the shapes of a key differ; names the key and both shapes.
        """
        if received.params is None or received.current_round is None:
            raise ModelError("start needs the model that flare.receive() returned, with its params and its round")
        self._received = self._read(received.params, "params")
        self._own = self._read(self._load_own(received), str(self._file))
        self._server = self._read(received.optimizer_params or None, "optimizer_params")
        self._round = received.current_round
        for key, correction in zip(self._variables, self._corrections, strict=True):
            correction.assign(self._server[key] - self._own[key])
        self._corrected.assign(0)

    def correct(self, gradients: Sequence[Any]) -> list[Any]:
        """Return ``g - c_i + c`` for each gradient, once for each step of the optimizer; also inside ``tf.function``.

        Args:
            gradients: in the order of ``model.trainable_variables``; None, for a variable that the loss does not
                depend on, counts as zero.
        Raises:
            ClientApiError: :meth:`start` was not called in this round.
            ModelError: the numbers of gradients and variables differ.
        """
        self._check_started("correct")
        if len(gradients) != len(self._corrections):
            raise ModelError(
                f"{len(gradients)} gradients were given for {len(self._corrections)} variables; give those of"
                " model.trainable_variables, in their order"
            )
        self._corrected.assign_add(1)
        return [
            ops.convert_to_tensor(correction) if gradient is None else ops.convert_to_tensor(gradient) + correction
            for gradient, correction in zip(gradients, self._corrections, strict=True)
        ]

    def finish(self, steps: int, learning_rate: float) -> dict[str, Array]:
        """End the round after its last step: save the new ``c_i`` and return its change.

        With ``x`` the global model, ``y_i`` the model as it is now, and ``K`` steps of size ``eta``, the new ``c_i`` is
        ``c_i - c + (x - y_i) / (K * eta)``.

        Args:
            steps: number of optimizer steps in this round, at least 1.
            learning_rate: the optimizer's learning rate; if it changed, the mean over the steps. The formula assumes
                an optimizer without momentum or adaptive steps.
        Returns:
            The ``optimizer_params`` to send: key to array, at least float32.
        Raises:
            ClientApiError: :meth:`start` was not called in this round, or :meth:`correct` was not called once for each
                step.
            ModelError: an argument is not a positive number.
        """
        self._check_started("finish")
        _check_positive(steps, "steps")
        _check_positive(learning_rate, "learning_rate")
        corrected = int(self._corrected.numpy())
        if corrected != steps:
            raise ClientApiError(
                f"correct() was called {corrected} times for {steps} steps; call it once for the gradients of each step"
            )
        distance = steps * learning_rate
        differences = {
            key: (self._received[key] - _wide(value_of(variable))) / distance - self._server[key]
            for key, variable in self._variables.items()
        }
        after = {key: own + differences[key] for key, own in self._own.items()}
        write_file(self._file, {"round": np.array(self._round), "before": self._own, "after": after})
        self._round = None
        return differences

    def _load_own(self, received: FLModel) -> Mapping[str, Any] | None:
        if not self._file.is_file():
            return None
        round_ = received.current_round or 0
        saved = read_file(self._file)
        last = int(saved["round"])
        if last > round_:
            raise ModelError(
                f"{self._file} is of round {last}, but round {round_} begins, so it belongs to another run; remove it,"
                " or give Scaffold another folder"
            )
        limit = received.meta.get(MetaKey.NOT_USED_SINCE, round_)
        own: Mapping[str, Any] = saved["before" if last >= limit else "after"]
        return own

    def _read(self, values: Mapping[str, Any] | None, source: str) -> dict[str, Array]:
        """Return copies of the values of the trainable variables, or zeros if ``values`` is None."""
        if values is None:
            return {key: np.zeros(variable.shape, np.float32) for key, variable in self._variables.items()}
        check_values(values, self._variables, source=source)
        return {key: _wide(np.array(values[key])) for key in self._variables}

    def _check_started(self, method: str) -> None:
        if self._round is None:
            raise ClientApiError(f"{method}() outside a round; call start(received) first, and finish() once")


def _wide(array: Array) -> Array:
    return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)


def _check_positive(value: float, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < math.inf:
        raise ModelError(f"{name} is {value!r}; give a number above 0")
