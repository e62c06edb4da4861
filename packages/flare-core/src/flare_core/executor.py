"""Executors: what does a task at a site, and the channel through which tasks reach it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, runtime_checkable

from flare_core.model import FLModel
from flare_core.task import Task

__all__ = ["Executor", "SiteChannel"]


@runtime_checkable
class SiteChannel(Protocol):
    """One site's end of a run. Whoever holds it takes one task at a time and answers it before taking the next."""

    site: str
    job_id: str
    config: dict[str, Any]
    """The site's configuration of the job, as :func:`flare_core.client.get_config` shows it."""

    def next_task(self, timeout_s: float | None = None) -> Task | None:
        """Wait for the next task; None when the run is over, or after ``timeout_s`` seconds without one."""

    @property
    def ended(self) -> bool:
        """Whether the run is over, so that no task will come any more."""

    def reply(self, model: FLModel) -> None:
        """Answer the task taken last. Returns when the model's arrays may be changed again."""

    def log(self, key: str, value: Any, *, kind: str, step: int | None) -> None:
        """Report a number, or something else that can be serialized, to the server's record of the run.

        Args:
            key: what it is called.
            value: a float for a number; what trackers take for other kinds.
            kind: of :class:`flare_core.client.tracking.AnalyticsDataType`.
            step: the script's own count; None stands for the round.
        """


class Executor(ABC):
    """Does tasks at a site.

    Attributes:
        works_beside: whether it works beside the site's script: on a thread that waits for no turn, and on models that
            have passed the site's filters already.
    """

    works_beside: ClassVar[bool] = False

    def run(self, channel: SiteChannel) -> None:
        """Serve tasks until the run is over; an exception ends the site's part in the run."""
        while (task := channel.next_task()) is not None:
            channel.reply(self.execute(task, channel))

    @abstractmethod
    def execute(self, task: Task, channel: SiteChannel) -> FLModel:
        """Do one task and return the model (or metrics) with which to answer."""
