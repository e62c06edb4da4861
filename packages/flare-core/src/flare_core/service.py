"""Services: components of a job that run alongside its workflow or scripts, at the server or at sites."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from flare_core.components import Component
from flare_core.endpoint import JobEndpoint
from flare_core.errors import JobError
from flare_core.observer import Observer

_OTHERS = {"persistor"}  # built by what uses it


class JobContext(Protocol):
    """The part of a job's run at one party, as a service sees it. Safe from any thread."""

    @property
    def party(self) -> str:
        """``"server"`` or the site's name."""

    @property
    def job_id(self) -> str:
        """The run's id."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of the job for this party."""

    @property
    def folder(self) -> Path:
        """An absolute path where the service may write: the run's ``server`` folder, or the site's own."""

    @property
    def local(self) -> Path:
        """The absolute path of the folder of settings that the party's owner keeps, which a job cannot change.

        It is the ``local`` folder of a kit, or ``local/<party>`` in the workspace of a simulation, and need not exist.
        """

    @property
    def cancelled(self) -> threading.Event:
        """Set when the run ends, is aborted or has lost its server, before :meth:`Service.stop` is called."""

    @property
    def endpoint(self) -> JobEndpoint:
        """Access to the other parties."""

    def warn(self, text: str) -> None:
        """Show a warning to the users who watch the run."""

    def log(self, key: str, value: float) -> None:
        """Report a number to the run's metrics."""

    def fail(self, error: BaseException) -> None:
        """Fail the run, for a background thread that cannot continue; ignored once ``cancelled`` is set.

        The run's error names the party and, for a service, its class.
        """


class Service(ABC):
    """A component of a job that lives as long as the run does, at the server or at sites.

    It is added with ``recipe.add_server_component`` or ``recipe.add_client_component``. Services start in the order in
    which they were added: those of the server before any site's, and those of a site before its script begins.
    """

    @abstractmethod
    def start(self, context: JobContext) -> None:
        """Register handlers, open ports, start threads, and return; an exception fails the run.

        Other sites have not started yet, so only a site may wait here for a party, and only for the server; anything
        longer belongs on a thread.
        """

    @abstractmethod
    def stop(self) -> None:
        """Release what :meth:`start` acquired; called once, in reverse order, when the run is over or aborted.

        ``cancelled`` is set before, and the streams and requests of the endpoint have ended with an error, so that no
        thread of the service still waits for another party. A service that takes longer than 10 seconds is left behind.
        """


def components_of(components: Mapping[str, Component]) -> list[Observer | Service]:
    """Build the components of one party, apart from its persistor.

    Raises:
        JobError: one cannot be built, or is neither an observer nor a service; names it.
    """
    built = []
    for name, component in components.items():
        if name in _OTHERS:
            continue
        made = component.build()
        if not isinstance(made, Observer | Service):
            raise JobError(
                f"the component {name!r} is a {type(made).__name__}, which is neither a flare_core.Observer nor a"
                " flare_core.Service, so nothing would use it; derive it from one of them, or remove it from the job"
            )
        built.append(made)
    return built
