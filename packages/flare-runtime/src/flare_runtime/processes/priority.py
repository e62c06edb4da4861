"""Scheduling priority: daemons, which answer the network, run before the processes of jobs where CPUs are short.

A daemon that waits behind training accepts connections late, and seems dead to the other side.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LAST = 19


def lower_priority(process: int, by: int) -> None:
    """Lower the priority of a process that was just started in a session of its own; it may have ended already.

    Where Linux divides CPU time among sessions first, niceness counts within a session only, so the session's own is
    set too: see sched(7), "The autogroup feature".

    Args:
        process: the process id.
        by: the difference in niceness to this process.
    """
    nice = min(LAST, os.getpriority(os.PRIO_PROCESS, 0) + by)
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process, nice)
    with suppress(OSError):  # not every system has it, and setting it is rate-limited
        Path(f"/proc/{process}/autogroup").write_text(str(nice))
