"""The data of a site, and gradient descent on them."""

import numpy as np

TRUE_WEIGHTS = np.array([2.0, -1.0, 0.5])


def load_data(partition: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of one site and their targets."""
    draw = np.random.default_rng(partition)
    rows = draw.normal(size=(100, 3))
    return rows, rows @ TRUE_WEIGHTS + 0.1 * draw.normal(size=100)


def train(weights: np.ndarray, rows: np.ndarray, targets: np.ndarray, rate: float) -> np.ndarray:
    """Take ten steps of gradient descent."""
    for _ in range(10):
        weights = weights - rate * 2 * rows.T @ (rows @ weights - targets) / len(rows)
    return weights


def loss(weights: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean squared error."""
    return float(np.mean((rows @ weights - targets) ** 2))
