"""Observers: components of a job that receive the events of its run, at the server or at a site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flare_core.errors import JobError
from flare_core.events import EventBus


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """A run as an observer sees it.

    Attributes:
        job_name: the name of the job.
        job_id: the id of the run.
        site: the site of the observer; None at the server.
        folder: an absolute path where it may write: the run's ``server`` folder, or the site's own. The working
            directory can change when scripts take turns in one process.
        events: the events. :class:`~flare_core.events.RunStarted` is the first,
            :class:`~flare_core.events.RunEnded` the last, however the run ends. In between, the server has all events,
            and a site those of its own metrics.
        warn: shows a warning to the users who watch the run; call it on the emitting thread.
        recipe: the recipe of the run, as in ``summary.json``: ``class``, ``arguments`` and ``added``.
        workspace: the folder of this run and others in a simulation; None at a real server or site.
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
        """The unique name of the run: job, run id and, at a site, the site."""
        run = self.job_id if self.job_id.startswith(f"{self.job_name}/") else f"{self.job_name}/{self.job_id}"
        return run if self.site is None else f"{run} {self.site}"


class Observer(ABC):
    """A component of a job that receives the events of its run.

    At the server (``recipe.add_server_component``) it receives the events of the whole run, at a site
    (``recipe.add_client_component``) those of the site.
    """

    @classmethod  # noqa: B027 (most observers need no package)
    def check_installed(cls) -> None:
        """Refuse to be added to a recipe where a package that it needs is missing; the default never refuses.

        Raises:
            RecipeError: names what to install.
        """

    @abstractmethod
    def attach(self, run: ObservedRun) -> None:
        """Subscribe to ``run.events``; called once, before the first event.

        Handlers run on the emitting thread and block it; an exception in a handler ends the run.
        """


def attach_observers(observers: Sequence[Observer], run: ObservedRun) -> None:
    """Attach observers to a run.

    Raises:
        JobError: an observer raised an exception; names it and its site.
    """
    for observer in observers:
        try:
            observer.attach(run)
        except Exception as error:
            where = "at the server" if run.site is None else f"at {run.site}"
            raise JobError(
                f"the observer {type(observer).__name__} {where} raised {type(error).__name__}: {error}"
            ) from error
