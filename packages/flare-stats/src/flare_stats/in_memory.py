"""Data in the memory of the process that makes a job, which only simulated sites can read."""

from __future__ import annotations

from typing import Any

from flare_core import JobError


class InMemory:
    """Data that no job folder can hold.

    Args:
        data: a frame of pandas, Polars or Arrow, or a source.
        where: the argument that holds it, for the error.
    """

    def __init__(self, data: Any, where: str) -> None:
        self.held = data
        self.where = where

    @property
    def data(self) -> Any:
        """Not available: it is asked for where a job is written to a folder.

        Raises:
            JobError: always; names the argument and the remedy.
        """
        kind = type(self.held)
        raise JobError(
            f"{self.where} is a {kind.__module__.partition('.')[0]}.{kind.__qualname__} in the memory of this process,"
            " which only the simulator can read; write it to a file at the site, and give its path"
        )
