"""Training programs, which a run's configuration names and a device runs.

A recipe's device configuration is plain data, the same for every device and in every language::

    {
        "program": {"kind": "mlp", "layers": [64, 32, 10], "activation": "relu", "loss": "cross_entropy"},
        "lr": 0.1, "epochs": 1, "batch_size": 16, "seed": 7,
        "filters": [{"kind": "clip", "norm": 1.0}],
        "rest_s": 2.0,
        "data": {"kind": "image", "width": 8, "height": 8, "labels": ["0", "1", …], "scale": 16},
    }

- ``program``: ``{"kind": "mlp", "layers", "activation", "loss"}`` or ``{"kind": "linear", "inputs", "outputs"}``,
  a linear regression with squared error. The kind ``executorch`` is that of :mod:`flare_edge.executorch`.
- ``lr``, ``epochs``, ``batch_size``, ``seed``: see :class:`Hyperparameters`.
- ``filters``: what a device does to an update before it leaves, see :mod:`flare_edge.device.filters`; may be left out.
- ``rest_s``: a device rests for so many seconds after each task, for its battery's sake, or to make a run last while
  people watch; may be left out.
- ``data``: what a person is asked for by the page in the browser, ``image`` (drawn, or from a CSV file) or ``table``
  (from a CSV file; also ``target`` and ``columns``); see :class:`flare_edge.device.data.Table`. May be left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from flare_edge.device.programs.dense import ACTIVATIONS, LOSSES, Dense, Hyperparameters, Params
from flare_edge.errors import EdgeError

__all__ = ["Dense", "Hyperparameters", "Params", "initial_params", "program_from", "training_from"]


def program_from(config: Mapping[str, Any]) -> Dense:
    """Return the program that a device's configuration names.

    Args:
        config: the whole configuration, of which this reads ``program``.

    Raises:
        EdgeError: an unknown kind, activation or loss, or layers that are no positive numbers.
    """
    found = config.get("program")
    if not isinstance(found, Mapping):
        raise EdgeError('the device configuration has no program; add e.g. {"kind": "mlp", "layers": [64, 32, 10]}')
    kind = found.get("kind")
    if kind == "mlp":
        layers = _sizes("layers", found.get("layers"), at_least=2)
        activation = _one_of("activation", found.get("activation", "relu"), ACTIVATIONS)
        loss = _one_of("loss", found.get("loss", "cross_entropy"), LOSSES)
        return Dense(layers, activation, loss)
    if kind == "linear":
        layers = _sizes("inputs and outputs", [found.get("inputs"), found.get("outputs", 1)], at_least=2)
        return Dense(layers, loss="squared_error", is_named_alone=True)
    raise EdgeError(f"unknown program {kind!r}; this device has 'mlp' and 'linear'")


def training_from(config: Mapping[str, Any]) -> Hyperparameters:
    """Return the hyperparameters of a device's configuration.

    Raises:
        EdgeError: one that is missing or out of its range.
    """
    lr = config.get("lr")
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not (math.isfinite(lr) and lr > 0):
        raise EdgeError(f"the device configuration's 'lr' is {lr!r}; it must be a positive number")
    whole = {"epochs": config.get("epochs", 1), "batch_size": config.get("batch_size", 32)}
    for name, value in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise EdgeError(f"the device configuration's {name!r} is {value!r}; it must be a whole number from 1")
    seed = config.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 32:
        raise EdgeError(f"the device configuration's 'seed' is {seed!r}; it must be a whole number below 2^32")
    return Hyperparameters(float(lr), whole["epochs"], whole["batch_size"], seed)


def initial_params(config: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Return random float32 parameters for a program: the initial model of a recipe.

    Args:
        config: the device configuration, or its ``program`` alone.
        seed: of the random numbers.

    Raises:
        EdgeError: see :func:`program_from`.
    """
    return program_from(config if "program" in config else {"program": config}).initial_params(seed)


def _sizes(name: str, value: Any, at_least: int) -> tuple[int, ...]:
    sizes = value if isinstance(value, list | tuple) else []
    whole = all(isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in sizes)
    if len(sizes) < at_least or not whole:
        raise EdgeError(f"the program's {name} are {value!r}; give at least {at_least} positive whole numbers")
    return tuple(sizes)


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise EdgeError(f"unknown {name} {value!r}; the program has {' and '.join(known)}")
    return str(value)
