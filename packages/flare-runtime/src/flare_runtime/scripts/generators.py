"""The global random generators of a process: those of ``random``, ``numpy.random``, torch and TensorFlow.

Keras takes its seeds from ``random``; TensorFlow's own generator shuffles the batches of ``model.fit``.
"""

from __future__ import annotations

import importlib
import random
import sys
from typing import Any, TypeAlias

__all__ = ["SEEDED", "States", "keep", "read_all", "restore", "write_all"]

States: TypeAlias = dict[str, Any]
"""The state of each library's generator; a library without an entry had not been imported yet."""


def keep() -> States:
    """Return the current states."""
    states: States = {"random": random.getstate()}
    if "numpy.random" in sys.modules:
        numpy_random = sys.modules["numpy.random"]
        states["numpy"] = (numpy_random.get_bit_generator(), numpy_random.get_state(legacy=False))
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state()
    if "tensorflow" in sys.modules:
        context = _tensorflow_context()
        states["tensorflow"] = (context._seed, context._rng)
    return states


def restore(states: States, seed: int) -> None:
    """Set the generators to the given states; seed those of loaded libraries that have no entry."""
    if "random" in states:
        random.setstate(states["random"])
    else:
        random.seed(seed)
    if "numpy.random" in sys.modules:
        numpy_random = sys.modules["numpy.random"]
        if "numpy" in states:
            generator, state = states["numpy"]
            if numpy_random.get_bit_generator() is not generator:  # a script has replaced it
                numpy_random.set_bit_generator(generator)
            numpy_random.set_state(state)
        else:
            _seed_numpy(numpy_random, seed)
    if "torch" in sys.modules:
        if "torch" in states:
            sys.modules["torch"].set_rng_state(states["torch"])
        else:
            _seed_torch(sys.modules["torch"], seed)
    if "tensorflow" in sys.modules:
        if "tensorflow" in states:
            context = _tensorflow_context()
            context._seed, context._rng = states["tensorflow"]
        else:
            _seed_tensorflow(sys.modules["tensorflow"], seed)


def read_all() -> dict[str, Any]:
    """Return the current states in a form that can be serialized.

    The state of ``numpy.random`` is included only while it uses its default kind of generator, MT19937.
    """
    states: dict[str, Any] = {"random": random.getstate()}
    if "numpy.random" in sys.modules:
        state = sys.modules["numpy.random"].get_state(legacy=False)
        if state["bit_generator"] == "MT19937":
            states["numpy"] = state
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().numpy()
    if "tensorflow" in sys.modules:
        context = _tensorflow_context()
        states["tensorflow"] = [context._seed, context._rng.getstate()]
    return states


def write_all(states: dict[str, Any]) -> None:
    """Set the generators to states that :func:`read_all` returned, possibly in another process.

    Libraries that the script had loaded by then are imported first: otherwise the script's own import would seed them.
    """
    random.setstate(states["random"])
    if "numpy" in states:
        importlib.import_module("numpy.random").set_state(states["numpy"])
    if "torch" in states:
        torch = importlib.import_module("torch")
        torch.set_rng_state(torch.from_numpy(states["torch"].copy()))
    if "tensorflow" in states:
        importlib.import_module("tensorflow")
        context = _tensorflow_context()
        context._seed, state = states["tensorflow"]
        context._rng = random.Random()
        context._rng.setstate(state)


def _seed_numpy(module: Any, seed: int) -> None:
    if type(module.get_bit_generator()) is not module.MT19937:  # a script has replaced it
        module.set_bit_generator(module.MT19937())
    module.seed(seed % 2**32)


def _seed_torch(module: Any, seed: int) -> None:
    module.default_generator.manual_seed(seed)


def _tensorflow_context() -> Any:
    """Return the object that holds the generator of operation seeds; TensorFlow has no public access to its state."""
    return sys.modules["tensorflow.python.eager.context"].context()


def _seed_tensorflow(module: Any, seed: int) -> None:
    module.random.set_seed(seed % 2**31)


def _seed_keras(module: Any, seed: int) -> None:
    """Do nothing: Keras has no generator of its own, but what it imports draws from ``random``."""


SEEDED = {
    "numpy.random": _seed_numpy,
    "torch": _seed_torch,
    "tensorflow": _seed_tensorflow,
    "keras": _seed_keras,
}
"""Functions that seed the generator of a module that was just imported, by module."""
