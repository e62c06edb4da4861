"""Serve with a kit until told to stop: ``python -m flare_deploy.serve <kind> <kit>``.

The kind is ``server``, or one of :mod:`flare_deploy.participants`, such as ``client`` or ``relay``.

:mod:`flare_deploy.daemons` starts this in the background, and says what the two pipes are for.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from flare_core import FlareError
from flare_deploy.daemons import LEASH_VARIABLE, READY_VARIABLE, WAITS, DaemonError
from flare_deploy.participants import participant_kind
from flare_deploy.provision.kit import Kit
from flare_runtime.logs import log_to
from flare_runtime.system import IS_UNIX, NEEDS_UNIX

__all__ = ["main", "serve"]

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Serve; the exit code is 1 if that failed."""
    kind, folder = arguments
    try:
        serve(kind, Path(folder))
    except FlareError as error:
        print(f"error: {error}", file=sys.stderr)
        _say(f"error {error}")
        return 1
    except Exception as error:
        _say(f"error {type(error).__name__}: {error}")
        raise
    return 0


def serve(kind: str, folder: Path) -> None:
    """Be a daemon until told to stop.

    Raises:
        FlareError: it cannot be, or not any more; says why.
    """
    if not IS_UNIX:
        raise DaemonError(f"to run a {kind} {NEEDS_UNIX}")
    stop = _Stop()
    stop.set_by(signal.SIGTERM, signal.SIGINT)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it ignored
        stop.set_by(signal.SIGHUP)  # its terminal was closed
    _watch_leash(stop)
    with log_to(folder / "log.txt", "INFO"):
        kit = Kit.load(folder, kind=kind)
        if kit.warning is not None:
            logger.warning("%s", kit.warning)
        if kind == "server":
            _serve_server(folder, stop)
        else:
            _serve_below(kit, stop)


def _serve_server(folder: Path, stop: _Stop) -> None:
    from flare_deploy.server.daemon import ServerDaemon  # not above: only the server needs the database

    daemon = ServerDaemon(folder)
    try:
        _say(f"ready {daemon.listen()}")
        stop.wait()
    finally:
        daemon.close()


def _serve_below(kit: Kit, stop: _Stop) -> None:
    """Serve as a participant that connects to the server."""
    daemon = participant_kind(kit.info.kind).daemon(kit.folder)
    problem: list[BaseException] = []

    def run() -> None:
        try:
            daemon.run(lambda: _say(f"ready {kit.info.address}"), _say_waiting)
        except BaseException as error:
            problem.append(error)
        stop.set()

    thread = threading.Thread(target=run, name=f"flare-{kit.info.kind}", daemon=True)
    thread.start()
    try:
        stop.wait()
        daemon.stop()
        thread.join()
    finally:
        daemon.close()
    if problem:
        raise problem[0]


class _Stop:
    """Asked for by any thread or signal, waited for by one.

    The system may give a signal to any thread. Python runs the handler on the main thread, but does not wake it for
    that; so signals write into the pipe themselves.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set_by(self, *signals: signal.Signals) -> None:
        """Have signals ask for it; called by the main thread."""
        signal.set_wakeup_fd(self._write)
        for number in signals:
            signal.signal(number, lambda *_: None)

    def set(self) -> None:
        os.write(self._write, b"x")

    def wait(self) -> None:
        os.read(self._read, 1)


def _watch_leash(stop: _Stop) -> None:
    leash = os.environ.pop(LEASH_VARIABLE, None)
    if leash is None:
        return

    def watch() -> None:
        os.read(int(leash), 1)  # nothing is ever written: it returns at the end
        stop.set()

    threading.Thread(target=watch, name="flare-leash", daemon=True).start()


def _say(text: str) -> None:
    """Tell who has started this, once."""
    descriptor = os.environ.pop(READY_VARIABLE, None)
    if descriptor is not None:
        with suppress(BrokenPipeError), os.fdopen(int(descriptor), "wb") as pipe:  # who has started it may be gone
            pipe.write(text.replace("\n", "\\n").encode() + b"\n")


def _say_waiting(text: str) -> None:
    """Tell who has started this that it is not ready yet, and why."""
    descriptor = os.environ.get(READY_VARIABLE)
    if descriptor is not None:
        try:
            os.write(int(descriptor), f"{WAITS}{' '.join(text.split())}\n".encode())
        except BrokenPipeError:  # nobody waits any more
            os.close(int(os.environ.pop(READY_VARIABLE)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
