"""SiteLog: a site's log, written to a local file and sent to the server, where it is shown."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_transport import TransportError

logger = logging.getLogger(__name__)

PIECE_BYTES = 1 << 16  # sent in one message
MOST_WAITING_BYTES = 1 << 22  # waiting to be sent; beyond that, only the local file is complete


class SiteLog(io.TextIOWrapper):
    """A text file whose bytes are also sent to the server, by a thread, so that a slow network never delays a script.

    Args:
        path: the file.
        send: sends ``[site, bytes]``.
        site: the site.
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
        self._is_cut = False
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
        with self._changed:  # after the file, which is complete whatever becomes of the network
            if len(self._waiting) < MOST_WAITING_BYTES:
                self._waiting += piece
            elif not self._is_cut:
                self._is_cut = True
                self._waiting += b"\n[output was left out here; the log at the site is complete]\n"
            self._changed.notify()
        return len(piece)

    def _keep(self, piece: bytes) -> None:
        """Write to the local file; on a full disk, bytes are lost and counted, and the script continues."""
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
        """Send the rest, and close the file."""
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
                content, self._waiting, self._is_cut = bytes(self._waiting), bytearray(), False
                is_last = self._over
            try:  # without the lock: sending can take long, and scripts go on printing
                for start in range(0, len(content), PIECE_BYTES):
                    self._send([self._site, content[start : start + PIECE_BYTES]])
            except TransportError as error:
                logger.debug("log not sent site=%s reason=%s", self._site, error)
                return
            if is_last:
                return
