"""The training of simulated devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np

from flare_edge.errors import EdgeError
from flare_edge.fixed_point import Array

Params = Mapping[str, Array]


@dataclass(frozen=True)
class Trained:
    """A device's result.

    Args:
        update: differences to the received params, by name.
        weight: the update's integer weight, and that of the metrics.
        metrics: of the received params, by name.
    """

    update: Params
    weight: int
    metrics: Mapping[str, float] = field(default_factory=dict)


class Training(Protocol):
    """A model, the data of every device, and how they train."""

    def initial(self) -> dict[str, Array]:
        """Return the params of version 0."""

    def train(self, device: int, params: Params, number: int) -> Trained:
        """Train at a device.

        Args:
            device: its number in the fleet, from 0.
            params: of the version that it received.
            number: how often it has worked before.
        """

    def measure(self, device: int, params: Params) -> Trained:
        """Measure params at a device; the result's update is empty."""

    def evaluate(self, params: Params) -> dict[str, float]:
        """Return metrics of params on data that no device has."""


class NoTraining:
    """Devices that take their time but compute nothing, to simulate millions of them."""

    def initial(self) -> dict[str, Array]:
        return {}

    def train(self, device: int, params: Params, number: int) -> Trained:
        return Trained({}, 1)

    def measure(self, device: int, params: Params) -> Trained:
        return Trained({}, 1)

    def evaluate(self, params: Params) -> dict[str, float]:
        return {}


class DigitsTraining:
    """Softmax regression on scikit-learn's digits; each device has a few images, mostly of a few of the ten digits.

    A fifth of the 1,797 images belongs to no device and serves for evaluation. The others are dealt out anew to each
    device: its share of each digit is drawn from a Dirichlet distribution (Hsu et al. 2019, arXiv:1909.06335).

    Args:
        num_devices: number of devices.
        seed: of the deal, and of the order of the images in training.
        examples: number of images at a device.
        concentration: of the Dirichlet distribution; smaller values make devices more different.
        lr, epochs, batch_size: of stochastic gradient descent at the devices.
    Raises:
        EdgeError: scikit-learn is not installed.
    """

    def __init__(
        self,
        num_devices: int,
        seed: int = 0,
        *,
        examples: int = 20,
        concentration: float = 0.3,
        lr: float = 0.1,
        epochs: int = 1,
        batch_size: int = 10,
    ) -> None:
        images, labels = _digits()
        random = np.random.default_rng([seed, 1])
        order = random.permutation(len(images))
        images, labels = images[order], labels[order]
        self._test = images[:360], labels[:360]
        self._images, self._labels = images[360:], labels[360:]
        self._seed = seed
        self._lr, self._epochs, self._batch_size = lr, epochs, batch_size
        of_digit = [np.flatnonzero(self._labels == digit) for digit in range(10)]
        shares = random.dirichlet(np.full(10, concentration), num_devices)
        self._deal = np.empty((num_devices, examples), np.int32)
        for device in range(num_devices):
            digits = random.choice(10, examples, p=shares[device])
            self._deal[device] = [random.choice(of_digit[digit]) for digit in digits]

    def initial(self) -> dict[str, Array]:
        return {"weight": np.zeros((10, 64), np.float32), "bias": np.zeros(10, np.float32)}

    def train(self, device: int, params: Params, number: int) -> Trained:
        images, labels = self._of(device)
        weight, bias = params["weight"].copy(), params["bias"].copy()
        random = np.random.default_rng([self._seed, 2, device, number])
        for _ in range(self._epochs):
            order = random.permutation(len(images))
            for start in range(0, len(order), self._batch_size):
                batch = order[start : start + self._batch_size]
                error = _softmax(images[batch] @ weight.T + bias)
                error[np.arange(len(batch)), labels[batch]] -= 1
                step = np.float32(self._lr / len(batch))
                weight -= step * (error.T @ images[batch])
                bias -= step * error.sum(axis=0)
        update = {"weight": weight - params["weight"], "bias": bias - params["bias"]}
        return Trained(update, len(images), _metrics(params, images, labels))

    def measure(self, device: int, params: Params) -> Trained:
        images, labels = self._of(device)
        return Trained({}, len(images), _metrics(params, images, labels))

    def evaluate(self, params: Params) -> dict[str, float]:
        return _metrics(params, *self._test)

    def _of(self, device: int) -> tuple[Array, Array]:
        return self._images[self._deal[device]], self._labels[self._deal[device]]


@cache
def _digits() -> tuple[Array, Array]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise EdgeError("training on digits needs scikit-learn: pip install 'flare-edge[simulation]'") from error
    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32), labels.astype(np.int64)


def _softmax(scores: np.ndarray[Any, Any]) -> Array:
    scores = scores - scores.max(axis=1, keepdims=True)
    exponentials = np.exp(scores)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _metrics(params: Params, images: Array, labels: Array) -> dict[str, float]:
    scores = images @ params["weight"].T + params["bias"]
    chances = _softmax(scores)[np.arange(len(labels)), labels]
    return {
        "accuracy": float((scores.argmax(axis=1) == labels).mean()),
        "loss": float(-np.log(np.maximum(chances, np.float32(1e-12))).mean()),
    }
