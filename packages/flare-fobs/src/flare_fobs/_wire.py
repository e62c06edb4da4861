"""The parts of msgpack that the format uses, and its own extension codes; docs/wire.md describes the whole layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Buffer: TypeAlias = bytes | bytearray | memoryview
Frames: TypeAlias = list[bytes | memoryview]
SetAside: TypeAlias = Callable[[np.ndarray[Any, np.dtype[np.uint8]]], bool]
"""Takes the memory of an array as a flat array of bytes; true if it travels another way than in the message."""


class FramesWithout(Frames):
    """The frames of a message of which some arrays travel another way."""

    def __init__(self, set_aside: SetAside) -> None:
        super().__init__([b""])
        self.set_aside = set_aside


def is_set_aside(memory: np.ndarray[Any, np.dtype[np.uint8]], frames: Frames) -> bool:
    """Offer an array's memory to whoever sends large arrays another way; true if it was taken."""
    return isinstance(frames, FramesWithout) and frames.set_aside(memory)


HEAD = 1
INTEGER = 2
SCALAR = 3
ARRAY = 4
ARRAY_FRAME = 5
TENSOR = 6
TENSOR_FRAME = 7
ARRAY_ASIDE = 8
TENSOR_ASIDE = 9
