"""Observers: components of a job that are told what happens in its run, at the server or at a site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flare_core.errors import JobError
from flare_core.events import EventBus

__all__ = ["ObservedRun", "Observer", "attach_observers"]


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """A run as an observer sees it.

    Attributes:
        job_name: the job's name.
        job_id: the run's own id.
        site: the site at which the observer is; None at the server.
        folder: where it may write: the run's ``server`` folder, or the site's own. An absolute path, as the working
            folder of a process in which scripts take turns changes.
        events: what happens. :class:`~flare_core.events.RunStarted` comes first,
            :class:`~flare_core.events.RunEnded` last, however the run ends; in between, at a site, come the numbers
            of this site, at the server everything.
        warn: shows a warning to the people who watch the run; for the thread that emits.
        recipe: what the run was made with, as ``summary.json`` has it: ``class``, ``arguments`` and ``added``.
        workspace: the folder of this run and others, where that is on this machine; None at a real server or site.
    """

    job_name: str
    job_id: str
    site: str | None
    folder: Path
    events: EventBus
    warn: Callable[[str], None]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    workspace: Path | None = None

    @property
    def name(self) -> str:
        """Name of the run among others: those of the job, of the run and, at a site, of the site."""
        run = self.job_id if self.job_id.startswith(f"{self.job_name}/") else f"{self.job_name}/{self.job_id}"
        return run if self.site is None else f"{run} {self.site}"


class Observer(ABC):
    """A component of a job that is told what happens in its run.

    One at the server (``recipe.add_server_component``) learns of the whole run, one at a site
    (``recipe.add_client_component``) of what this site does.
    """

    @classmethod  # noqa: B027 (most observers need no package)
    def check_installed(cls) -> None:
        """Refuse to be added to a recipe where a package that it needs is missing; the default never refuses.

        Raises:
            RecipeError: names what to install.
        """

    @abstractmethod
    def attach(self, run: ObservedRun) -> None:
        """Subscribe to ``run.events``; called once, before the first of them.

        Handlers run on the thread that emits, which waits for them; an exception of theirs ends the run.
        """


def attach_observers(observers: Sequence[Observer], run: ObservedRun) -> None:
    """Attach observers to a run.

    Raises:
        JobError: one of them cannot begin; names it, and where it is.
    """
    for observer in observers:
        try:
            observer.attach(run)
        except Exception as error:
            where = "at the server" if run.site is None else f"at {run.site}"
            raise JobError(
                f"the observer {type(observer).__name__} {where} raised {type(error).__name__}: {error}"
            ) from error
