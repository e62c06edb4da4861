"""Exit codes by which a job's process tells whoever started it how it ended, beside 0 and 1."""

from __future__ import annotations

__all__ = ["COMPLETED", "KILLED_SCRIPT", "LOST_SERVER", "NO_SERVER"]

LOST_SERVER = 75
"""The process lost the connection to whom it worked for; nothing went wrong in it."""

KILLED_SCRIPT = 76
"""The script ran in a process of its own, which was killed from outside."""

NO_SERVER = 77
"""The process could not connect to the server."""

COMPLETED = 78
"""The process served its sites to the end; 0 is the exit code of a script that calls ``os._exit(0)``."""
