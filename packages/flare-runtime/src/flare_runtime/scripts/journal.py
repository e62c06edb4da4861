"""Journal: what a script started anew needs to go on just as it would have.

It holds the states of the random generators at the beginning of the last tasks. A script whose only other memory is the
model then does the same as one that was never killed.
"""

from __future__ import annotations

import os
from pathlib import Path

from flare_fobs import FobsError, dumps, loads
from flare_runtime.scripts import generators

__all__ = ["Journal"]

KEPT_TASKS = 8  # the server may be a round behind what a site has begun


class Journal:
    """The journal of one site's script.

    Args:
        folder: where it lies; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, task: int) -> None:
        """Take note that a task begins; if it has begun before, begin it as then."""
        path = self._folder / f"{task}.fobs"
        if path.is_file():
            try:
                generators.write_all(loads(path.read_bytes()))
            except (FobsError, KeyError, ValueError, TypeError):
                path.unlink()  # cut short when the machine went down
            else:
                return
        self._folder.mkdir(exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(dumps(generators.read_all()))
        partial.replace(path)
        (self._folder / f"{task - KEPT_TASKS}.fobs").unlink(missing_ok=True)
