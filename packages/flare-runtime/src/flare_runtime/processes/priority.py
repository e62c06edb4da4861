"""Who runs first where processors are short: daemons, which answer the network, before the processes of jobs.

A daemon that has to wait behind training is slow to take connections, and seems dead to the other side.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["lower_priority"]

LAST = 19


def lower_priority(process: int, by: int) -> None:
    """Have a process that this one has just started, in a session of its own, give way to others; it may have ended.

    Where Linux shares the processors among sessions first, a process gives way to those of its own session only, unless
    the session does, too: see sched(7), "The autogroup feature".

    Args:
        process: its id.
        by: how much more than this one, in steps of nice(1).
    """
    nice = min(LAST, os.getpriority(os.PRIO_PROCESS, 0) + by)
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process, nice)
    with suppress(OSError):  # not all systems have it, nor let everybody set it at any time
        Path(f"/proc/{process}/autogroup").write_text(str(nice))
