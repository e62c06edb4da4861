"""The lifetime of an offer: until its receivers have released it or are lost."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping


class Transaction:
    """An offer that counts the releases of its receivers, and closes when all have arrived.

    Args:
        forget: called with the reference when the offer is closed.
        receivers: name of each receiving cell to the number of releases it will send. By default, the first release
            closes the offer.
    Attributes:
        ref_id: the reference; it cannot be guessed, so only cells that were given it can fetch.
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
        """Call back once when the offer is closed; immediately if it already is."""
        self._on_release = callback
        if self._released.is_set():
            self._release()

    def wait_released(self, timeout_s: float | None = None) -> bool:
        """Wait until the offer is closed; return False after ``timeout_s`` seconds."""
        return self._released.wait(timeout_s)

    def done(self, receiver: str) -> None:
        """Count a release of a receiver; surplus releases have no effect."""
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
        """Expect no more releases of a receiver, as it is lost."""
        with self._lock:
            self._waiting.pop(receiver, None)
            is_over = self._is_counted and not self._waiting
        if is_over:
            self.close()

    def close(self) -> None:
        """Close the offer; receivers that are still fetching get an error."""
        self._forget(self.ref_id)
        self._drop()
        self._release()

    def _drop(self) -> None:
        """Free the resources of the offer."""

    def _release(self) -> None:
        self._released.set()
        callback, self._on_release = self._on_release, None
        if callback is not None:
            callback()
