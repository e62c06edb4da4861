"""Journal: what a script started anew needs to go on just as it would have.

It holds the states of the random generators where tasks begin and end. A script whose only other memory is the model
then does the same as one that was never killed, whether it was in a task or between two.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from flare_core.files import replacing
from flare_fobs import FobsError, dumps, loads
from flare_runtime.scripts import generators

KEPT_TASKS = 8  # the server may be a round behind what a site has begun

_ENTRY = re.compile(r"(\d+)-(begin|end)\.fobs")


class _Moment(NamedTuple):
    """Where a task begins or ends; moments are in order."""

    task: int
    is_end: bool

    @property
    def file(self) -> str:
        return f"{self.task}-{'end' if self.is_end else 'begin'}.fobs"


class Journal:
    """The journal of one site's script.

    Args:
        folder: where it lies, as do the states of filters; made when it is needed.
        seed: seeds the generators of modules that a script imports.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self._seed = seed
        self._last_begun: int | None = None  # by this process
        self._entries: dict[_Moment, bytes | None] = {}  # what a process before this one wrote is read when needed
        for path in folder.iterdir() if folder.is_dir() else ():
            if match := _ENTRY.fullmatch(path.name):
                self._entries[_Moment(int(match[1]), match[2] == "end")] = None

    def begin(self, task: int) -> None:
        """Take note that a task begins; where this process has not come to it by itself, begin it as then.

        That is so for the first task of a process, which another one may have begun or ended the task before, and for
        a task that is done again.
        """
        now = _Moment(task, False)
        if self._last_begun is None or task <= self._last_begun:
            self._go_back(now)
        self._last_begun = task if self._last_begun is None else max(task, self._last_begun)
        state = dumps(generators.keep())
        before = max((moment for moment in self._entries if moment <= now), default=None)
        if before is None or self._read(before) != state:  # else nothing was drawn since
            self._write(now, state)

    def end(self, task: int) -> None:
        """Take note that a task is done; called before anybody else learns of it."""
        self._write(_Moment(task, True), dumps(generators.keep()))

    def _go_back(self, now: _Moment) -> None:
        """Put the last states in force that were noted up to a moment, if there are any."""
        for moment in sorted((each for each in self._entries if each <= now), reverse=True):
            try:
                generators.go_back(loads(self._read(moment)), self._seed)
            except (FobsError, KeyError, ValueError, TypeError):  # cut short when the machine went down
                self._remove(moment)
            else:
                return

    def _read(self, moment: _Moment) -> bytes:
        state = self._entries[moment]
        if state is None:
            state = self._entries[moment] = (self.folder / moment.file).read_bytes()
        return state

    def _write(self, moment: _Moment, state: bytes) -> None:
        self.folder.mkdir(exist_ok=True)
        with replacing(self.folder / moment.file) as partial:
            partial.write_bytes(state)
        self._entries[moment] = state
        before = max((each for each in self._entries if each < moment), default=None)
        for each in [each for each in self._entries if each.task < moment.task - KEPT_TASKS and each != before]:
            self._remove(each)

    def _remove(self, moment: _Moment) -> None:
        del self._entries[moment]
        (self.folder / moment.file).unlink(missing_ok=True)
