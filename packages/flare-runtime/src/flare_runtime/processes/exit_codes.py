"""Exit codes of a job's processes, in addition to 0 and 1."""

from __future__ import annotations

LOST_SERVER = 75
"""The process lost its connection to the server; nothing went wrong in it."""

KILLED_SCRIPT = 76
"""The script's own process was killed from outside."""

NO_SERVER = 77
"""The process could not connect to the server."""

COMPLETED = 78
"""The process served its sites to the end. It is not 0, since a script that calls ``os._exit(0)`` ends it with that."""
