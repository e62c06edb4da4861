"""Executors, which do the tasks of a site, and the channel through which tasks reach a training script."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

from flare_core.model import FLModel
from flare_core.service import JobContext
from flare_core.task import Task


class SiteContext(JobContext, Protocol):
    """One site's part of a run, as an executor sees it: a :class:`JobContext` whose ``party`` is the site."""

    def log(self, key: str, value: Any, *, kind: str = "METRIC", step: int | None = None) -> None:
        """Report a number, or something else that can be serialized, to the run's record.

        Args:
            key: its name.
            value: a float for a number; what trackers take for other kinds.
            kind: of :class:`flare_core.client.tracking.AnalyticsDataType`.
            step: the executor's own step; None means the round.
        """


class Executor(ABC):
    """A component that executes tasks of certain names at a site, one after the other, on its own thread.

    The site's filters apply to the data that it receives and returns, as for a script. An exception fails the site; the
    run's error names it.
    """

    @abstractmethod
    def execute(self, task: Task, context: SiteContext) -> Any:
        """Do one task and return the data of the reply: anything that :mod:`flare_fobs` serializes.

        Args:
            task: its data belong to the executor. The arrays that it returns must not be changed later.
            context: the site.
        """


@runtime_checkable
class SiteChannel(Protocol):
    """The site, as the Client API in a training script sees it.

    The script takes one task at a time, and answers it before it takes the next.
    """

    site: str
    job_id: str
    config: dict[str, Any]
    """The site's settings of the job, as :func:`flare_core.client.get_config` shows them."""

    def next_task(self, timeout_s: float | None = None) -> Task | None:
        """Wait for the next task; None when the run is over, or after ``timeout_s`` seconds without one."""

    @property
    def ended(self) -> bool:
        """True once the run is over, so that no more tasks will come."""

    def reply(self, model: FLModel) -> None:
        """Answer the current task. Returns when the model's arrays may be changed again."""

    def log(self, key: str, value: Any, *, kind: str, step: int | None) -> None:
        """Report a number, or something else; arguments as for :meth:`SiteContext.log`."""
