"""Run a daemon with a kit until it is told to stop: ``python -m flare_deploy.serve <kind> <kit>``.

The kind is ``server``, or one of :mod:`flare_deploy.participants`, such as ``client`` or ``relay``.

:mod:`flare_deploy.daemons` starts this in the background, and describes the two pipes.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from flare_core import FlareError
from flare_deploy.daemons import OWNER_VARIABLE, READY_VARIABLE, WAITS, DaemonError
from flare_deploy.participants import participant_kind
from flare_deploy.provision.kit import Kit
from flare_runtime.logs import log_to
from flare_runtime.system import IS_UNIX, NEEDS_UNIX

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Run the daemon; return the exit code, which is 1 if it fails."""
    kind, folder = arguments
    try:
        serve(kind, Path(folder))
    except FlareError as error:
        print(f"error: {error}", file=sys.stderr)
        _report(f"error {error}")
        return 1
    except Exception as error:
        _report(f"error {type(error).__name__}: {error}")
        raise
    return 0


def serve(kind: str, folder: Path) -> None:
    """Run a daemon in this process until it is told to stop.

    Args:
        kind: ``server``, ``client`` or ``relay``.
        folder: its kit.
    Raises:
        FlareError: it cannot start, or the server refuses it later; says why.
    """
    if not IS_UNIX:
        raise DaemonError(f"to run a {kind} {NEEDS_UNIX}")
    stop = _StopRequest()
    stop.set_by(signal.SIGTERM, signal.SIGINT)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which nohup sets
        stop.set_by(signal.SIGHUP)  # the terminal was closed
    _watch_owner(stop)
    with log_to(folder / "log.txt", "INFO"):
        kit = Kit.load(folder, kind=kind)
        if kit.warning is not None:
            logger.warning("%s", kit.warning)
        if kind == "server":
            _run_server(folder, stop)
        else:
            _run_connected(kit, stop)


def _run_server(folder: Path, stop: _StopRequest) -> None:
    from flare_deploy.server.daemon import ServerDaemon  # not at the top: only the server needs the database

    with closing(ServerDaemon(folder)) as daemon:
        _report(f"ready {daemon.listen()}")
        stop.wait()


def _run_connected(kit: Kit, stop: _StopRequest) -> None:
    """Run a participant that connects to the server, such as a client or a relay."""
    daemon = participant_kind(kit.info.kind).daemon(kit.folder)
    with closing(daemon), ThreadPoolExecutor(1, f"flare-{kit.info.kind}") as pool:
        running = pool.submit(daemon.run, lambda: _report(f"ready {kit.info.address}"), _report_waiting)
        running.add_done_callback(lambda _: stop.set())
        stop.wait()
        daemon.stop()
        running.result()


class _StopRequest:
    """A request to stop, made by any thread or signal, for which one thread waits.

    The system may deliver a signal to any thread. Python runs its handler on the main thread, but does not wake that
    thread. So the wakeup descriptor is a pipe from which the waiting thread reads.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set_by(self, *signals: signal.Signals) -> None:
        """Let signals make the request; call this on the main thread."""
        signal.set_wakeup_fd(self._write)
        for number in signals:
            signal.signal(number, lambda *_: None)

    def set(self) -> None:
        os.write(self._write, b"x")

    def wait(self) -> None:
        os.read(self._read, 1)


def _watch_owner(stop: _StopRequest) -> None:
    pipe = os.environ.pop(OWNER_VARIABLE, None)
    if pipe is None:
        return

    def watch() -> None:
        os.read(int(pipe), 1)  # nothing is written, so it returns when the owner's end is closed
        stop.set()

    threading.Thread(target=watch, name="flare-owner", daemon=True).start()


def _report(text: str) -> None:
    """Tell the starter, once, that the daemon is ready or has failed."""
    descriptor = os.environ.pop(READY_VARIABLE, None)
    if descriptor is not None:
        with suppress(BrokenPipeError), os.fdopen(int(descriptor), "wb") as pipe:  # the starter may be gone
            pipe.write(text.replace("\n", "\\n").encode() + b"\n")


def _report_waiting(text: str) -> None:
    """Tell the starter why the daemon is not ready yet."""
    descriptor = os.environ.get(READY_VARIABLE)
    if descriptor is not None:
        try:
            os.write(int(descriptor), f"{WAITS}{' '.join(text.split())}\n".encode())
        except BrokenPipeError:  # the starter is gone
            os.close(int(os.environ.pop(READY_VARIABLE)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
