"""Lanes: of the processes that share a lane, one runs its script at a time.

A lane is one byte of a file that all of these processes have open; the process whose script runs holds a lock on it.
The kernel wakes a waiting process when the lock is released, and releases it when its holder ends, in whatever way.
Children that a script forks do not inherit it.
"""

from __future__ import annotations

from dataclasses import dataclass

from flare_runtime.system import IS_UNIX

if IS_UNIX:  # simulations run nowhere else
    import fcntl


@dataclass(frozen=True, slots=True)
class Lane:
    """One process's lock on a lane.

    Attributes:
        file: the descriptor of the file, which stays open.
        number: the lane's byte in it.
    """

    file: int
    number: int

    def acquire(self) -> None:
        """Wait until no other process holds the lane, and acquire it; return at once if this one holds it."""
        if IS_UNIX:
            fcntl.lockf(self.file, fcntl.LOCK_EX, 1, self.number)

    def release(self) -> None:
        """Release the lane; does nothing if this process does not hold it."""
        if IS_UNIX:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, self.number)
