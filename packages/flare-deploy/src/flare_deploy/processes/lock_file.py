"""Lock files: one process at a time, and the next one is told which."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

from flare_core import FlareError
from flare_runtime.system import IS_UNIX

if IS_UNIX:  # elsewhere, the port, and the server, refuse a second process
    import fcntl

__all__ = ["ChildLock", "InUseError", "LockFile", "end_holder", "ends_within", "holder_of", "keep_from_children"]


class InUseError(FlareError):
    """Another process does this already."""


class LockFile:
    """Held from when it is made until it is released, or the process ends, however that happens.

    Raises:
        InUseError: another process holds it; names it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if IS_UNIX:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.read(self._descriptor, 20).decode(errors="replace").strip()
                os.close(self._descriptor)
                raise InUseError(
                    f"{what} runs already, as process {holder or 'unknown'}; stop that one first"
                ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._descriptor)


class ChildLock:
    """A lock file that a process which is about to be started holds from then on, until it ends, however that happens.

    Its starter may end before it. Then :func:`end_holder` finds it, however long it is frozen.

    Attributes:
        descriptor: what the process must be given; it calls :func:`keep_from_children` with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def hand_to(self, pid: int) -> None:
        """Lock the file in the name of the process that was started with the descriptor."""
        os.write(self.descriptor, f"{pid}\n".encode())
        if IS_UNIX:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        os.close(self.descriptor)

    def give_up(self) -> None:
        """No process could be started."""
        os.close(self.descriptor)
        self.remove()

    def remove(self) -> None:
        """The process has ended."""
        self._path.unlink(missing_ok=True)


def keep_from_children(descriptor: int) -> None:
    """Have the processes that this one starts not hold the lock file as well, which would outlive it in them."""
    os.set_inheritable(descriptor, False)
    is_open = True

    def close() -> None:
        nonlocal is_open
        if is_open:
            os.close(descriptor)
        is_open = False

    if IS_UNIX:
        os.register_at_fork(after_in_child=close)


def end_holder(path: Path) -> int | None:
    """Kill the process that holds a lock file, with its process group; returns when it has ended.

    Returns:
        The process, also one that has ended without removing the file, and whose number nobody has now; else None.
    """
    if not IS_UNIX or not path.is_file():
        return None
    with path.open("r+") as file:
        text = file.read().strip()
        pid = int(text) if text.isdigit() else None  # whoever started it was killed just then
        if pid is not None and holder_of(path) == pid:
            with contextlib.suppress(ProcessLookupError):  # it has ended by now
                os.killpg(pid, signal.SIGKILL)
            fcntl.flock(file, fcntl.LOCK_EX)
        elif pid is not None and not ends_within(pid, 0):
            pid = None
    path.unlink()
    return pid


def ends_within(pid: int, seconds: float) -> bool:
    """Whether a process, which need not be this one's child, has ended before so many seconds are over.

    One that only waits to be asked how it ended has. Where the system cannot wait for it, says whether it has by now.
    """
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(pid, 0)
            return False
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is another user's
        return False
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def holder_of(path: Path) -> int | None:
    """The process that holds a lock file; None if none does."""
    if not IS_UNIX or not path.is_file():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = file.read().strip()
            return int(text) if text.isdigit() else None
    return None
