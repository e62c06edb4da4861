"""The global random generators of a process: those of ``random``, ``numpy.random``, torch and TensorFlow.

Keras takes its seeds from ``random``; TensorFlow's own generator shuffles the batches of ``model.fit``.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

States: TypeAlias = dict[str, Any]
"""The state of each generator by module, which can be serialized; a module that was not imported has no entry."""


@dataclass(frozen=True, slots=True)
class _Generator:
    """Functions that read, write and seed the generator of a module."""

    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]
    seed: Callable[[Any, int], None]


def _write_numpy(module: Any, state: dict[str, Any]) -> None:
    _use_kind(module, state["bit_generator"])  # a script may have replaced it
    module.set_state(state)


def _seed_numpy(module: Any, seed: int) -> None:
    _use_kind(module, "MT19937")
    module.seed(seed % 2**32)


def _use_kind(module: Any, kind: str) -> None:
    if type(module.get_bit_generator()).__name__ != kind:
        module.set_bit_generator(getattr(module, kind)())


def _write_torch(module: Any, state: Any) -> None:
    module.set_rng_state(module.from_numpy(state.copy()))


def _tensorflow_context() -> Any:
    """Return the object that holds the generator of operation seeds; TensorFlow has no public access to its state."""
    return sys.modules["tensorflow.python.eager.context"].context()


def _read_tensorflow(module: Any) -> Any:
    context = _tensorflow_context()
    return [context._seed, context._rng.getstate()]


def _write_tensorflow(module: Any, state: Any) -> None:
    context = _tensorflow_context()
    context._seed, generator = state
    context._rng = random.Random()
    context._rng.setstate(generator)


_GENERATORS = {
    "random": _Generator(
        lambda module: module.getstate(),
        lambda module, state: module.setstate(state),
        lambda module, seed: module.seed(seed),
    ),
    "numpy.random": _Generator(lambda module: module.get_state(legacy=False), _write_numpy, _seed_numpy),
    "torch": _Generator(
        lambda module: module.get_rng_state().numpy(),
        _write_torch,
        lambda module, seed: module.default_generator.manual_seed(seed),
    ),
    "tensorflow": _Generator(
        _read_tensorflow, _write_tensorflow, lambda module, seed: module.random.set_seed(seed % 2**31)
    ),
}

SEEDED = ("numpy.random", "torch", "tensorflow", "keras")
"""Modules after whose first import generators are seeded; what Keras imports draws from ``random``."""


def keep() -> States:
    """Return the current states."""
    return {name: each.read(sys.modules[name]) for name, each in _GENERATORS.items() if name in sys.modules}


def restore(states: States, seed: int) -> None:
    """Set the generators to the given states; seed those of loaded modules that have no entry."""
    for name, each in _GENERATORS.items():
        if name in states and name in sys.modules:
            each.write(sys.modules[name], states[name])
        else:
            seed_module(name, seed)


def go_back(states: States, seed: int) -> None:
    """Set the generators to states that they had before, possibly in another process.

    Modules that the script had loaded by then are imported first: otherwise the script's own import would seed them.
    Those that it has loaded since are seeded, as they were by its import.
    """
    for name in _GENERATORS:
        if name in states:
            importlib.import_module(name)
    restore(states, seed)


def seed_module(name: str, seed: int) -> None:
    """Seed the generator of a module, if it is loaded and has one of its own."""
    if name in _GENERATORS and name in sys.modules:
        _GENERATORS[name].seed(sys.modules[name], seed)
