"""Examples from a random generator, for devices without data: rehearsals and tests."""

from __future__ import annotations

import numpy as np

from flare_edge.device.data.examples import Examples


def clusters(rows: int, *, inputs: int, classes: int, seed: int, task_seed: int = 0, spread: float = 0.5) -> Examples:
    """Return points around one centre for each class.

    Args:
        rows: the number of examples.
        inputs: the number of inputs.
        classes: the number of classes; each row's is random.
        seed: of the rows, one for each device.
        task_seed: of the centres, the same for all devices that learn together.
        spread: the standard deviation around a centre; centres are drawn from a standard normal distribution.
    """
    centres = np.random.default_rng(task_seed).normal(size=(classes, inputs))
    rng = np.random.default_rng(seed)
    targets = rng.integers(classes, size=rows)
    points = centres[targets] + spread * rng.normal(size=(rows, inputs))
    return Examples(points.astype(np.float32), targets.astype(np.int64))


def plane(rows: int, *, inputs: int, outputs: int = 1, seed: int, task_seed: int = 0, noise: float = 0.1) -> Examples:
    """Return values that depend linearly on the inputs, with normal noise.

    Args:
        rows: the number of examples.
        inputs: the number of inputs, drawn from a standard normal distribution.
        outputs: the number of values to predict.
        seed: of the rows, one for each device.
        task_seed: of the true coefficients, the same for all devices that learn together.
        noise: its standard deviation.
    """
    truth = np.random.default_rng(task_seed).normal(size=(outputs, inputs))
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(rows, inputs))
    values = points @ truth.T + noise * rng.normal(size=(rows, outputs))
    return Examples(points.astype(np.float32), values.astype(np.float32))
