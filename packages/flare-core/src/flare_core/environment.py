"""Environments and runs: where a job runs, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from flare_core.events import Event
from flare_core.job import Job

__all__ = ["ExecEnv", "Run", "RunStatus", "choose_environment", "chosen_environment", "is_recipe_used", "note_use"]


class RunStatus(StrEnum):
    """Where a run stands; the same words in every environment."""

    SUBMITTED = "submitted"
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    ABORTED = "aborted"

    @property
    def has_ended(self) -> bool:
        """Whether it stays so."""
        return self in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.ABORTED)


@runtime_checkable
class Run(Protocol):
    """A job that was deployed."""

    def get_job_id(self) -> str:
        """The id under which the environment knows the run."""

    def get_status(self) -> RunStatus:
        """Where the run stands now."""

    def get_result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Path:
        """Wait for the end and return the run's folder.

        Raises:
            JobFailed: the run failed; its message carries the site's traceback and the folder.
            JobAborted: the run was stopped.
            TimeoutError: it goes on after ``timeout`` seconds (None waits as long as it takes).
        """

    def load_model(self, name: str = "global", *, raise_on_failure: bool = True) -> dict[str, Any]:
        """Return the params of the ``global`` or ``best`` checkpoint, as arrays of the recipe's framework.

        The global model of a run that did not finish is that of the last round that it completed; it is returned only
        with ``raise_on_failure=False``.

        Raises:
            JobFailed, JobAborted: the run did not finish; the message says which round its model is of.
            FlareError: there is no such checkpoint; says why.
        """

    def metrics(self) -> list[dict[str, Any]]:
        """Every number of the run: rows with round, site (None for the federation), key and value."""

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """Wait for the end, then yield every event of the run, in order.

        Args:
            follow: do not wait: yield what has happened so far, then each event as it happens, up to ``RunEnded``. A
                round that begins again after a crash of the server has its events twice then.
        """

    def abort(self) -> None:
        """Stop the run; does nothing once it has ended."""


@runtime_checkable
class ExecEnv(Protocol):
    """A place where jobs run."""

    def deploy(self, job: Job) -> Run:
        """Start ``job`` and return its run.

        Raises:
            RecipeError: the job cannot run here; says why and what would.
        """


_chosen: ExecEnv | None = None
_is_recipe_used = False


def choose_environment(env: ExecEnv | None) -> None:
    """Have every recipe of this process run in ``env``, whatever its script says; None leaves it to the script."""
    global _chosen, _is_recipe_used
    _chosen, _is_recipe_used = env, False


def chosen_environment() -> ExecEnv | None:
    """The environment chosen for this process, if one was."""
    return _chosen


def note_use() -> None:
    """Take note that a recipe is executed or exported."""
    global _is_recipe_used
    _is_recipe_used = True


def is_recipe_used() -> bool:
    """Whether a recipe was executed or exported since an environment was chosen."""
    return _is_recipe_used
