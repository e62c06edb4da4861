"""Standard error while ExecuTorch exports: its libraries write dozens of harmless lines there, also from C++."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def captured_stderr() -> Iterator[Callable[[], str]]:
    """Keep what this process writes to standard error; the value returns it, for an error's message."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)

            def text() -> str:
                sys.stderr.flush()
                return os.pread(file.fileno(), 1 << 20, 0).decode("utf-8", "replace")

            try:
                yield text
            finally:
                sys.stderr.flush()
                os.dup2(kept, 2)
    finally:
        os.close(kept)
