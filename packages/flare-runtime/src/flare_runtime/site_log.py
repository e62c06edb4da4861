"""SiteLog: a site's log that is written here and sent to the server, for those who watch the run."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from typing import TextIO

from flare_transport import TransportError

__all__ = ["SiteLog"]

logger = logging.getLogger(__name__)

PIECE = 1 << 16  # characters that are sent at once
MOST_WAITING = 1 << 22  # characters that wait to be sent; of what is more, the file here has all


class SiteLog(io.TextIOBase, TextIO):
    """Writes to a file at once, and sends the same text on a thread of its own, as fast as it is taken.

    Args:
        file: the log here; closed with this.
        send: sends ``[site, text]``.
        site: whose log it is.
    """

    def __init__(self, file: TextIO, send: Callable[[list[str]], None], site: str) -> None:
        self._file = file
        self._send = send
        self._site = site
        self._waiting: list[str] = []
        self._size = 0
        self._left_out = False
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._forward, name=f"flare-log-{site}", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Append text."""
        written = self._file.write(text)
        with self._changed:
            if self._size < MOST_WAITING:
                self._waiting.append(text)
                self._size += len(text)
            elif not self._left_out:
                self._left_out = True
                self._waiting.append("\n[more than could be sent; the rest is in the log at the site]\n")
            self._changed.notify()
        return written

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        self._file.flush()

    def writable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Send what waits, and close the file."""
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()
        self._file.close()

    def _forward(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over)
                text = "".join(self._waiting)
                self._waiting, self._size, self._left_out = [], 0, False
                is_last = self._over
            try:
                for start in range(0, len(text), PIECE):
                    self._send([self._site, text[start : start + PIECE]])
            except TransportError as error:
                logger.debug("log not sent site=%s reason=%s", self._site, error)
                return
            if is_last:
                return
