"""Begun: a coroutine that one thread begins, and a loop's thread goes on with."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["Begun"]


class Begun:
    """A coroutine of which the first step is done at once, by whoever makes this; who awaits it does the others.

    Raises:
        BaseException: what the first step raises.
    """

    __slots__ = ("_coroutine", "_first")

    def __init__(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self._coroutine: Coroutine[Any, Any, object] | None = coroutine
        self._first: object = None
        try:
            self._first = coroutine.send(None)
        except StopIteration:
            self._coroutine = None

    def __await__(self) -> Generator[Any, Any, None]:
        if self._coroutine is None:
            return
        try:
            yield self._handed_over()
        except BaseException as error:
            self._coroutine.throw(error)
            raise
        yield from self._coroutine.__await__()

    def give_up(self) -> None:
        """Nobody will await it."""
        if isinstance(self._first, asyncio.Future):
            self._first.cancel()
        if self._coroutine is not None:
            self._coroutine.close()

    def _handed_over(self) -> object:
        """What the first step waits for. If that fails, its error holds this object, which must not hold it."""
        first, self._first = self._first, None
        return first
