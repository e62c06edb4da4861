"""Lock files: let one process at a time hold a file, and name it to others.

``flock`` is released by the system when its holder dies in whatever way, so no stale lock is left. The file holds the
process id, which counts only while the lock is held, or else until the id is used for another process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

from flare_core import FlareError
from flare_runtime.system import IS_UNIX

if IS_UNIX:  # elsewhere, no daemon can be started
    import fcntl


class InUseError(FlareError):
    """Another process holds the lock file."""


class LockFile:
    """A lock file that this process holds until it calls :meth:`release` or ends.

    Args:
        path: the lock file.
        what: the subject of the error message, such as ``the server of …``.
    Raises:
        InUseError: another process holds the file; names it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._descriptor, 20).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise InUseError(
                f"{what} is running already, as process {holder or 'unknown'}; stop that one first"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Release the lock, so that another process can take it."""
        os.close(self._descriptor)


class ChildLock:
    """A lock file for a process that is about to be started, which then holds it until it ends.

    If the starter is killed, :func:`kill_holder` finds the process, even one that was frozen meanwhile.

    Attributes:
        descriptor: to pass to the process, which calls :func:`close_in_children` with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def hold_for(self, pid: int) -> None:
        """Lock the file for the process that was started with the descriptor."""
        os.write(self.descriptor, f"{pid}\n".encode())
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)  # held by the open file, which the process shares
        os.close(self.descriptor)

    def discard(self) -> None:
        """Remove the file because no process could be started."""
        os.close(self.descriptor)
        self.remove()

    def remove(self) -> None:
        """Remove the file after the process has ended."""
        self._path.unlink(missing_ok=True)


def close_in_children(descriptor: int) -> None:
    """Close a lock file in the processes that this one starts or forks, which would hold the lock after its end."""
    os.set_inheritable(descriptor, False)
    is_open = True

    def close() -> None:
        nonlocal is_open
        if is_open:
            os.close(descriptor)
        is_open = False

    os.register_at_fork(after_in_child=close)


def kill_holder(path: Path) -> int | None:
    """Kill the process that holds a lock file, with its process group, and remove the file.

    Returns:
        The id of the process, which has ended, also if it had before; None if that id is another process's now.
    """
    if not path.is_file():
        return None
    with path.open("r+") as file:
        text = file.read().strip()
        pid = int(text) if text.isdigit() else None  # empty if its starter was killed before it wrote the id
        if pid is not None and holder_of(path) == pid:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(pid, signal.SIGKILL)
            fcntl.flock(file, fcntl.LOCK_EX)  # granted when it has ended
        elif pid is not None and not exits_within(pid, 0):
            pid = None
    path.unlink()
    return pid


def exits_within(pid: int, seconds: float) -> bool:
    """Wait for a process, which need not be a child of this one, to exit; return False if it does not in time.

    A zombie counts as exited. Where the system has no ``pidfd_open``, there is no wait.
    """
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(pid, 0)
            return False
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process
        return False
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def holder_of(path: Path) -> int | None:
    """Return the id of the process that holds a lock file; None if none does."""
    if not IS_UNIX or not path.is_file():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = file.read().strip()
            return int(text) if text.isdigit() else None
    return None
