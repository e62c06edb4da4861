"""The command ``flare``.

Exit codes: 0 all went well; 1 it did not, and the message says why, also if the script of ``flare run`` executed no
recipe; 2 the command line is wrong; 3 the job failed; 4 the job was aborted; 130 interrupted.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

FAILED, JOB_FAILED, JOB_ABORTED, INTERRUPTED = 1, 3, 4, 130


def main() -> None:
    """Run the command line and end the process."""
    from flare_deploy.cli.app import run

    sys.exit(run())
