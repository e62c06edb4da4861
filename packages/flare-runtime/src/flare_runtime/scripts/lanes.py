"""Lanes: of the processes that share one, a single one runs its script at a time.

A lane is one byte of a file that all of them have open, and whoever has the turn holds the lock on it. The system wakes
one of those that wait for a lock when it is let go, and takes it back from a process that ends, however that happens.
Children that a script forks do not hold it.
"""

from __future__ import annotations

from flare_runtime.system import IS_UNIX

if IS_UNIX:  # elsewhere no simulation runs
    import fcntl

__all__ = ["Lane"]


class Lane:
    """One process's place in a lane.

    Args:
        file: the descriptor of the file; it stays open.
        number: which of its bytes.
    """

    def __init__(self, file: int, number: int) -> None:
        self._file = file
        self._number = number

    def take(self) -> None:
        """Wait until no other process has the lane, and have it; no wait if this one has it already."""
        if IS_UNIX:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, self._number)

    def give(self) -> None:
        """Let another process have the lane; nothing happens if this one does not have it."""
        if IS_UNIX:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._number)
