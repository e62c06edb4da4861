"""What a node does to the arrays: some arithmetic whose result depends on its data and on every message before."""

import numpy as np


def step(array: np.ndarray, partition: int) -> np.ndarray:
    return (array * 0.5 + np.arange(array.size).reshape(array.shape) % 7 * (partition + 1)).astype(array.dtype)
