"""The random generators that all code of a process shares: those of ``random``, ``numpy.random``, torch and TensorFlow.

Keras takes its seeds from ``random``; TensorFlow's own generator shuffles the batches of ``model.fit``.
"""

from __future__ import annotations

import ctypes
import importlib
import random
import struct
import sys
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["SEEDED", "States", "keep", "read_all", "restore", "write_all"]

States: TypeAlias = dict[str, Any]
"""By library, the state of its generator; a library without one has not been imported yet."""

_TWISTER_BYTES = 625 * 4  # what a Mersenne Twister keeps: 624 words and a position


def keep(entered: States) -> States:
    """Return the states in force; ``entered`` are those that :func:`restore` put in force."""
    states: States = {"random": _read_random()}
    if "numpy.random" in sys.modules:
        states["numpy"] = _NumpyState.read(entered.get("numpy"))
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].default_generator.get_state()
    if "tensorflow" in sys.modules:
        context = _tensorflow_context()
        states["tensorflow"] = (context._seed, context._rng)
    return states


def restore(states: States, seed: int, in_force: States) -> States:
    """Put states in force and return them; a generator without one starts from ``seed``.

    Args:
        in_force: what :func:`keep` has just found.
    """
    restored: States = {}
    if "random" in states:
        _write_random(states["random"])
    else:
        random.seed(seed)
    if "numpy.random" in sys.modules:
        if "numpy" not in states:
            _seed_numpy(sys.modules["numpy.random"], seed)
            restored["numpy"] = _NumpyState.read(None)
        else:
            restored["numpy"] = states["numpy"].restore(in_force.get("numpy"))
    if "torch" in sys.modules:
        if "torch" in states:
            sys.modules["torch"].default_generator.set_state(states["torch"])
        else:
            _seed_torch(sys.modules["torch"], seed)
    if "tensorflow" in sys.modules:
        if "tensorflow" in states:
            context = _tensorflow_context()
            context._seed, context._rng = states["tensorflow"]
        else:
            _seed_tensorflow(sys.modules["tensorflow"], seed)
    return restored


def read_all() -> dict[str, Any]:
    """Return the states in force as values that can be serialized; of numpy's, if it is the one it starts with."""
    states: dict[str, Any] = {"random": random.getstate()}
    if "numpy.random" in sys.modules:
        state = sys.modules["numpy.random"].get_state(legacy=False)
        if state["bit_generator"] == "MT19937":
            states["numpy"] = state
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].default_generator.get_state().numpy()
    if "tensorflow" in sys.modules:
        context = _tensorflow_context()
        states["tensorflow"] = [context._seed, context._rng.getstate()]
    return states


def write_all(states: dict[str, Any]) -> None:
    """Put states in force that :func:`read_all` has returned, in whatever process.

    A library that the script had loaded by then is loaded, as it would start from its seed when the script does.
    """
    random.setstate(states["random"])
    if "numpy" in states:
        importlib.import_module("numpy.random").set_state(states["numpy"])
    if "torch" in states:
        torch = importlib.import_module("torch")
        torch.default_generator.set_state(torch.from_numpy(states["torch"].copy()))
    if "tensorflow" in states:
        importlib.import_module("tensorflow")
        context = _tensorflow_context()
        context._seed, state = states["tensorflow"]
        context._rng = random.Random()
        context._rng.setstate(state)


_generator: Any = vars(random)["seed"].__self__  # whose methods the functions of ``random`` are


def _twister_of_random() -> memoryview | None:
    """What the generator of ``random`` keeps; None if the 625 words are not found where they should be."""
    probe, other = random.Random(1), random.Random(2)
    *words, position = probe.getstate()[1]
    found = ctypes.string_at(id(probe), random.Random.__basicsize__).find(struct.pack("=625I", position, *words))
    if found < 0:
        return None
    ctypes.memmove(id(other) + found, id(probe) + found, _TWISTER_BYTES)
    return _twister_at(id(_generator) + found) if other.getstate() == probe.getstate() else None


def _twister_at(address: int) -> memoryview:
    """What a Mersenne Twister keeps, as bytes that can be copied and written to.

    The functions of ctypes that copy memory take ten times as long, when a script has run in between.
    """
    return memoryview((ctypes.c_char * _TWISTER_BYTES).from_address(address)).cast("B")


_twister = _twister_of_random()


def _read_random() -> Any:
    """The state of ``random``.

    ``random.getstate`` makes 625 numbers of it, some 50 KB with those to compare them with. At each turn, that would
    drive from the processor's cache what the next script needs; so the memory is copied.
    """
    if _twister is None:
        return random.getstate()
    return _twister.tobytes(), _generator.gauss_next


def _write_random(state: Any) -> None:
    if _twister is None:
        random.setstate(state)
    else:
        _twister[:], _generator.gauss_next = state


@dataclass(frozen=True, slots=True)
class _NumpyState:
    """The state of numpy's generator, as numpy gives it and as it lies in memory.

    numpy takes some 50 µs to give or take it, at each turn; so it is asked only if copying the memory would not do: a
    second normal number that numpy may have in store lies elsewhere.

    Attributes:
        twister: the memory itself, if the generator is of the kind that numpy starts with.
        memory: what it held.
    """

    generator: Any
    state: dict[str, Any]
    twister: memoryview | None
    memory: bytes | None

    @classmethod
    def read(cls, entered: _NumpyState | None) -> _NumpyState:
        """Return the state in force, which was ``entered`` when it was last looked at."""
        numpy_random = sys.modules["numpy.random"]
        generator = numpy_random.get_bit_generator()
        twister = None
        if entered is not None and entered.generator is generator:
            twister = entered.twister
        elif type(generator) is numpy_random.MT19937:
            twister = _twister_at(generator.ctypes.state_address)
        memory = None if twister is None else twister.tobytes()
        if entered is not None and entered.is_memory and memory == entered.memory:
            return entered
        return cls(generator, numpy_random.get_state(legacy=False), twister, memory)

    def restore(self, in_force: _NumpyState | None) -> _NumpyState:
        numpy_random = sys.modules["numpy.random"]
        both = in_force is not None and in_force.is_memory and in_force.generator is self.generator
        if both and self.twister is not None and self.memory is not None and self.is_memory:
            self.twister[:] = self.memory
            return self
        if numpy_random.get_bit_generator() is not self.generator:  # a script has put another in its place
            numpy_random.set_bit_generator(self.generator)
        numpy_random.set_state(self.state)
        return self

    @property
    def is_memory(self) -> bool:
        """Whether nothing but the memory belongs to the state."""
        return self.memory is not None and not self.state["has_gauss"]


def _seed_numpy(module: Any, seed: int) -> None:
    if type(module.get_bit_generator()) is not module.MT19937:  # a script has put another in its place
        module.set_bit_generator(module.MT19937())
    module.seed(seed % 2**32)


def _seed_torch(module: Any, seed: int) -> None:
    module.default_generator.manual_seed(seed)


def _tensorflow_context() -> Any:
    """What holds the generator of the seeds of TensorFlow's operations, for which there is no public way in."""
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
"""What sets the generator of a module that has just been imported."""
