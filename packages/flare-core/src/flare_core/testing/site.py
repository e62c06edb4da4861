"""The context of an executor in a unit test."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core.endpoint import JobEndpoint
from flare_core.errors import FlareError
from flare_core.events import EventBus, MetricLogged, WarningRaised


class FakeSite:
    """A site to call an executor with: ``executor.execute(task, FakeSite("site-1"))``.

    Args:
        party: the site's name.
        config: the site's settings of the job.
        folder: where the executor may write; a temporary folder, deleted with this object, if left out.
        local: the folder of the settings of the site's owner; one that does not exist if left out.
        events: receives the metrics and warnings of the executor as events.
    Attributes:
        cancelled: set it to tell the executor to stop.
        round: the round to which logged metrics belong.
    """

    job_id = "fake"

    def __init__(
        self,
        party: str = "site-1",
        *,
        config: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        local: Path | None = None,
        events: EventBus | None = None,
    ) -> None:
        self.party = party
        self.config = dict(config or {})
        self.cancelled = threading.Event()
        self.events = events or EventBus()
        self.round: int | None = None
        self._folder = folder
        self._local = local

    @property
    def folder(self) -> Path:
        """The site's folder, which is made when it is first used."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=f"{self.party}-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    @property
    def local(self) -> Path:
        """The folder of the owner's settings."""
        return self.folder / "local" if self._local is None else self._local

    def log(self, key: str, value: Any, *, kind: str = "METRIC", step: int | None = None) -> None:
        """Emit a metric as :class:`~flare_core.events.MetricLogged`; arguments as for :meth:`SiteContext.log`."""
        self.events.emit(MetricLogged(key, value, self.round, self.party, step, kind))

    def warn(self, text: str) -> None:
        """Emit a warning as :class:`~flare_core.events.WarningRaised`, with the name of the site."""
        self.events.emit(WarningRaised(f"{self.party}: {text}"))

    @property
    def endpoint(self) -> JobEndpoint:
        """Not available: endpoints need the other parties' processes.

        Raises:
            FlareError: always.
        """
        raise FlareError(f"{self.party}: a fake site has no endpoint; test services in SimEnv")

    def fail(self, error: BaseException) -> None:
        """Raise the error, which fails the test."""
        raise error
