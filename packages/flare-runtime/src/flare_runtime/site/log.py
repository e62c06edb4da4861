"""SiteLog: a site's log that is written here and sent to the server, for those who watch the run."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_transport import TransportError

__all__ = ["SiteLog"]

logger = logging.getLogger(__name__)

PIECE_BYTES = 1 << 16  # that are sent at once
MOST_WAITING_BYTES = 1 << 22  # that wait to be sent; of what is more, the file here has all


class SiteLog(io.TextIOWrapper):
    """A text file whose bytes are also sent, on a thread of their own, as fast as they are taken.

    Args:
        path: of the file.
        send: sends ``[site, bytes]``.
        site: whose log it is.
    """

    def __init__(self, path: Path, send: Callable[[list[Any]], None], site: str) -> None:
        self._tee = _Tee(path, send, site)
        buffered = io.BufferedWriter(self._tee)
        super().__init__(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class _Tee(io.RawIOBase):
    def __init__(self, path: Path, send: Callable[[list[Any]], None], site: str) -> None:
        self._file = path.open("ab", buffering=0)
        self._send = send
        self._site = site
        self._waiting = bytearray()
        self._left_out = False
        self._lost, self._problem = 0, ""
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._forward, name=f"flare-log-{site}", daemon=True)
        self._thread.start()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        piece = bytes(content)
        self._keep(piece)
        with self._changed:
            if len(self._waiting) < MOST_WAITING_BYTES:
                self._waiting += piece
            elif not self._left_out:
                self._left_out = True
                self._waiting += b"\n[more than could be sent; the rest is in the log at the site]\n"
            self._changed.notify()
        return len(piece)

    def _keep(self, piece: bytes) -> None:
        """Write into the file here; a full disk costs its part of the log, which says so, and not the script's work."""
        try:
            if self._lost:
                self._write_all(f"\n[{self._lost} bytes are missing here: {self._problem}]\n".encode())
                self._lost = 0
            self._write_all(piece)
        except OSError as error:
            self._lost, self._problem = self._lost + len(piece), str(error)

    def _write_all(self, piece: bytes) -> None:
        while piece:
            piece = piece[self._file.write(piece) :]

    def close(self) -> None:
        """Send what waits, and close the file."""
        if not self.closed:
            with self._changed:
                self._over = True
                self._changed.notify()
            self._thread.join()
            self._file.close()
        super().close()

    def _forward(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over)
                content, self._waiting, self._left_out = bytes(self._waiting), bytearray(), False
                is_last = self._over
            try:
                for start in range(0, len(content), PIECE_BYTES):
                    self._send([self._site, content[start : start + PIECE_BYTES]])
            except TransportError as error:
                logger.debug("log not sent site=%s reason=%s", self._site, error)
                return
            if is_last:
                return
