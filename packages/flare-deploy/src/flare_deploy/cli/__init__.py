"""The command ``flare``.

Exit codes: 0 success; 1 failure, also if the script of ``flare run`` has executed no recipe; 2 wrong command line;
3 the job failed; 4 the job was aborted; 130 interrupted.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

FAILED, JOB_FAILED, JOB_ABORTED, INTERRUPTED = 1, 3, 4, 130


def main() -> None:
    """Run the command line and exit."""
    from flare_deploy.cli.app import run

    sys.exit(run())
