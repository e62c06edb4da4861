"""Measurements at four sites, which differ in size and in their range of x."""

import numpy as np

SITES = 4
TRUE_WEIGHTS, TRUE_BIAS = [2.0, -3.0], 1.0


def load_site(name):
    """Return the rows of two numbers and the measured values of ``site-1`` to ``site-4``."""
    number = int(name.removeprefix("site-"))
    generator = np.random.default_rng(100 + number)
    x = generator.normal(loc=number - 2.5, size=(10 * number, 2))
    y = x @ TRUE_WEIGHTS + TRUE_BIAS + generator.normal(scale=0.5, size=len(x))
    return x, y


def largest_error(weights, bias):
    """Return the largest difference between a model's parameters and the true ones."""
    return max(np.abs(weights - TRUE_WEIGHTS).max(), np.abs(bias - TRUE_BIAS).max())
