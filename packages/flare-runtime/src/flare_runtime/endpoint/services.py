"""The services of one party: started before its workflow or script, stopped when the run ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flare_core import FlareError, JobError, Service
from flare_runtime.endpoint.directory import SERVER
from flare_runtime.endpoint.endpoint import Endpoint

logger = logging.getLogger(__name__)

STOP_S = 10.0
"""How long all services of a party may take to stop, in seconds."""


@dataclass(frozen=True, slots=True)
class Context:
    """A service's view of the run, as :class:`flare_core.JobContext` describes it.

    Args:
        send_warning, send_number: report a warning or a number of the party; thread-safe.
        end_run: fails the run; thread-safe.
        service: the class name of the service.
    """

    party: str
    job_id: str
    config: Mapping[str, Any]
    folder: Path
    local: Path
    endpoint: Endpoint
    send_warning: Callable[[str], None]
    send_number: Callable[[str, float], None]
    end_run: Callable[[FlareError], None]
    service: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def warn(self, text: str) -> None:
        self.send_warning(text)

    def log(self, key: str, value: float) -> None:
        self.send_number(key, value)

    def fail(self, error: BaseException) -> None:
        if not self.cancelled.is_set():
            logger.error("service failed service=%s party=%s", self.service, self.party, exc_info=error)
            self.end_run(self.failure("failed", error))

    def failure(self, what: str, error: BaseException) -> JobError:
        """Wrap an error that the service raised in one that names the service and the party."""
        where = "at the server" if self.party == SERVER else f"at {self.party}"
        failed = JobError(f"the service {self.service} {where} {what}: {type(error).__name__}: {error}")
        failed.__cause__ = error
        return failed


class Services:
    """Starts the services of one party in order, and stops them in reverse order; for one use.

    Args:
        services: the services.
        context: their context, apart from ``service``.
    """

    def __init__(self, services: Sequence[Service], context: Context) -> None:
        self._services = [(each, replace(context, service=type(each).__name__)) for each in services]
        self._cancelled = context.cancelled
        self._directory = context.endpoint.directory
        self._started: list[tuple[Service, Context]] = []
        self._stopping = threading.Lock()

    def start(self) -> None:
        """Start all services.

        Raises:
            JobError: a service cannot be started; names it and the party.
        """
        self._directory.starting = threading.current_thread()
        try:
            for service, context in self._services:
                self._started.append((service, context))  # before it starts: one that fails half-way is stopped, too
                try:
                    service.start(context)
                except Exception as error:
                    raise context.failure("could not be started", error) from error
        finally:
            self._directory.starting = None

    def cancel(self) -> None:
        """Tell the services to end, through ``cancelled`` of their contexts."""
        self._cancelled.set()

    def stop(self) -> None:
        """Stop the services that were started, after :meth:`cancel`; abandon those that take too long."""
        with self._stopping:  # a second caller, such as the thread of a lost link, waits until they have stopped
            if not self._started:
                return
            thread = threading.Thread(target=self._stop, name="flare-stop", daemon=True)
            thread.start()
            thread.join(STOP_S)
            if thread.is_alive():
                left = ", ".join(context.service for _, context in self._started)
                logger.warning("services do not stop within %s s services=%s", STOP_S, left)
                self._started = []

    def _stop(self) -> None:
        started = self._started
        while started:
            service, context = started[-1]
            try:
                service.stop()
            except Exception:
                logger.exception("service could not be stopped service=%s party=%s", context.service, context.party)
            started.pop()
