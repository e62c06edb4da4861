"""Measurements of four sites: each has its own amount, and its own part of the range of x."""

import numpy as np

SITES = 4
TRUE_WEIGHTS, TRUE_BIAS = [2.0, -3.0], 1.0


def load_site(name):
    """Rows of two numbers, and what was measured for each, of ``site-1`` to ``site-4``."""
    number = int(name.removeprefix("site-"))
    generator = np.random.default_rng(100 + number)
    x = generator.normal(loc=number - 2.5, size=(10 * number, 2))
    y = x @ TRUE_WEIGHTS + TRUE_BIAS + generator.normal(scale=0.5, size=len(x))
    return x, y


def largest_error(weights, bias):
    """How far the model is from the one that the measurements were made from."""
    return max(np.abs(weights - TRUE_WEIGHTS).max(), np.abs(bias - TRUE_BIAS).max())
