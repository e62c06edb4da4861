"""Something that is offered under one reference, until its receivers have it or are lost."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping

__all__ = ["Transaction"]


class Transaction:
    """Counts who is done, and ends when all receivers are.

    Args:
        forget: called with the reference at the end.
        receivers: by name, the cells that fetch, and how often each will say that it is done. If left out, the first
            who says so ends it.
    Attributes:
        ref_id: the reference; unguessable, so only who was told can fetch.
    """

    def __init__(self, forget: Callable[[str], None], receivers: Mapping[str, int] | None) -> None:
        self.ref_id = secrets.token_hex(8)
        self._forget = forget
        self._waiting = dict(receivers or {})
        self._is_counted = receivers is not None
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._on_release: Callable[[], None] | None = None

    def when_released(self, callback: Callable[[], None]) -> None:
        """Call back once, when the receivers are done or the transaction is closed; at once if it is so already."""
        self._on_release = callback
        if self._released.is_set():
            self._release()

    def wait_released(self, timeout_s: float | None = None) -> bool:
        """Wait until the receivers are done; false after ``timeout_s`` seconds."""
        return self._released.wait(timeout_s)

    def done(self, receiver: str) -> None:
        """Take note that a receiver is done, once more if it says so several times; repeats do no harm."""
        with self._lock:
            left = self._waiting.get(receiver, 0) - 1
            if left > 0:
                self._waiting[receiver] = left
            else:
                self._waiting.pop(receiver, None)
            is_over = not self._waiting
        if is_over:
            self.close()

    def lost(self, receiver: str) -> None:
        """Take note that a receiver will never be done."""
        with self._lock:
            self._waiting.pop(receiver, None)
            is_over = self._is_counted and not self._waiting
        if is_over:
            self.close()

    def close(self) -> None:
        """Let go of what is offered; who still fetches gets an error."""
        self._forget(self.ref_id)
        self._drop()
        self._release()

    def _drop(self) -> None:
        """Let go of what is offered."""

    def _release(self) -> None:
        self._released.set()
        callback, self._on_release = self._on_release, None
        if callback is not None:
            callback()
