"""The process of a script that is started by a command: its environment, its output, its end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flare_runtime.errors import ScriptError
from flare_runtime.processes.priority import lower_priority
from flare_runtime.site.site import Site

logger = logging.getLogger(__name__)

LINGER_S = 5.0
"""How long a script's output and link may outlive its process: a child that a library has started may hold them."""

TAIL_BYTES = 4000


class ScriptProcess:
    """A process in the site's folder, whose output goes to the site's log.

    Args:
        site: the site.
        command: the command line.
        variables: environment variables in addition to those of this process.
        import_from: folders of modules that precede the job's code on the import path.
        ended: called on a thread when the process has ended and its output was copied.
    Attributes:
        has_ended: set before that call.
    Raises:
        ScriptError: it could not be started.
    """

    def __init__(
        self,
        site: Site,
        command: Sequence[str],
        variables: Mapping[str, str],
        import_from: Sequence[Path],
        ended: Callable[[], None],
    ) -> None:
        self.has_ended = threading.Event()
        self._site = site
        self._ended = ended
        self._log = site.folder / "log.txt"
        self._log_start = self._log.stat().st_size
        given = os.environ.get("PYTHONPATH")
        path = [*map(str, import_from), str(site.code.root), *([given] if given else [])]
        environment = {
            **os.environ,
            **variables,
            # So that python3 and torchrun are those of this process's environment, activated or not.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": os.pathsep.join(path),
        }
        if site.temporary is not None:
            environment["TMPDIR"] = str(site.temporary)
        try:
            self._process = subprocess.Popen(
                command,
                cwd=site.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its children can be killed with it
            )
        except OSError as error:
            raise ScriptError(
                f"{site.name}: {command[0]!r} cannot be started ({error.strerror}); check that it is"
                " installed and on the PATH of this process",
                site=site.name,
            ) from error
        lower_priority(self._process.pid, 0)  # to the same level: a new session does not inherit this one's
        self._pump = threading.Thread(target=self._copy_output, name=f"flare-output-{site.name}", daemon=True)
        self._pump.start()
        threading.Thread(target=self._await_exit, name=f"flare-exit-{site.name}", daemon=True).start()

    @property
    def code(self) -> int:
        """The exit code of the process, which has ended; negative for a signal."""
        return self._process.returncode

    def kill(self) -> None:
        """End the process and its children: with SIGTERM, then with SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return  # the whole group is gone
            self.has_ended.wait(1.0)  # children that ignored the first signal get the second at once

    def tail(self) -> str:
        """Return the last lines that the script printed."""
        with self._log.open("rb") as file:
            file.seek(max(self._log_start, self._log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").strip()

    def _copy_output(self) -> None:
        assert self._process.stdout is not None
        log = self._site.output.buffer
        with self._process.stdout as output:
            while piece := os.read(output.fileno(), 1 << 16):  # also after an error: a full pipe would block the script
                try:
                    log.write(piece)
                    log.flush()
                except (OSError, ValueError) as error:  # the disk is full, or the log is closed and a child prints on
                    logger.warning("output lost site=%s bytes=%s reason=%s", self._site.name, len(piece), error)

    def _await_exit(self) -> None:
        self._process.wait()
        self._pump.join(LINGER_S)  # a child that it left behind may hold the pipe open
        self.has_ended.set()
        self._ended()
