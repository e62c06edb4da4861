"""Seeds the generators of every process that has this folder on its PYTHONPATH.

A generator that is seeded by nothing, as Flare's host does in each process that it forks, gets the same seed again.
"""

import random

import numpy.random

SEED = 7


def _seeding(seed):
    return lambda value=None, *more: seed(SEED if value is None else value, *more)


random.seed = _seeding(random.seed)
numpy.random.seed = _seeding(numpy.random.seed)
random.seed()
numpy.random.seed()
