"""Progress: what a run has achieved so far, as its events tell, and the summary of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from flare_core import Job, RunStatus
from flare_core.events import Event, ModelSaved, RoundEnded
from flare_core.parameters import parameters_of
from flare_runtime.run.failure import failure_of, reason_of
from flare_runtime.run.federation import SitesFederation
from flare_runtime.run.folder import RunFolder
from flare_runtime.system import own_peak_bytes
from flare_transport import Cell


class Progress:
    """The completed rounds, their metrics and the best model of a run.

    Args:
        earlier: the recorded events of a run that continues after a restart.
        seconds: how long that run had taken.
        cell: the server's cell.
    Attributes:
        rounds: the completed rounds of all workflows.
        key_metric: the metric by which models are compared; None if there is none.
    """

    def __init__(self, earlier: Iterable[Event], seconds: float, cell: Cell) -> None:
        self.rounds: list[RoundEnded] = []
        self.key_metric: str | None = None
        self._last: list[dict[str, float]] = []  # metrics of each workflow's last round
        self._best: dict[str, Any] | None = None
        self._started = time.monotonic() - seconds
        self._cell = cell
        self._traffic: list[tuple[int, int]] = []
        for event in earlier:
            self.note(event)
        self._traffic = [(0, 0)]  # sent and received by this process, until the end of each of its rounds

    @property
    def seconds(self) -> float:
        """How long the run has taken, without the time between a crash and the restart."""
        return time.monotonic() - self._started

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The key metric by round."""
        key = self.key_metric
        return [(event.round, event.metrics[key]) for event in self.rounds if key in event.metrics]

    def note(self, event: Event) -> None:
        """Take an event into account."""
        if isinstance(event, ModelSaved) and event.name == "best":
            self._best = {"round": event.round, "value": event.metric}
        elif isinstance(event, RoundEnded):
            if event.round == 0 or not self._last:  # the first round of a workflow
                self._last.append({})
            self._last[-1] = event.metrics
            self.rounds.append(event)
            self._traffic.append((self._cell.bytes_sent, self._cell.bytes_received))

    def summary(
        self,
        job: Job,
        folder: RunFolder,
        federation: SitesFederation,
        status: RunStatus,
        error: BaseException | None,
        usage: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the content of summary.json; ``usage`` is the memory and CPU time of the sites' processes."""
        last = {key: value for metrics in self._last for key, value in metrics.items()}
        wanted = self.key_metric
        if wanted not in last and last and self._best is None:  # nothing was chosen by it; another one can be shown
            self.key_metric = next(iter(last))
        started = datetime.fromtimestamp(time.time() - self.seconds, UTC)
        failure = None
        if status is RunStatus.FAILED and error is not None:
            reading = federation.reading
            failure = failure_of(error, sites=federation.sites, round_=federation.round, reading=reading)
        return {
            "outcome": status.value,
            "job": job.name,
            "job_id": federation.job_id,
            "started": started.isoformat(timespec="milliseconds"),
            "rounds": len(self.rounds),
            "seconds": round(self.seconds, 3),
            "key_metric": self.key_metric,
            "chosen_by": wanted,
            "best": self._best,
            "metrics": last,
            "sites": {site: _fate(site, federation) for site in federation.sites},
            "bytes": {
                "sent": self._cell.bytes_sent,
                "received": self._cell.bytes_received,
                "rounds": [
                    {"sent": after[0] - before[0], "received": after[1] - before[1]}
                    for before, after in pairwise(self._traffic)
                ],
            },
            "memory": {"server": {"peak_rss_bytes": own_peak_bytes()}, **usage},
            "error": reason_of(error),
            "failure": failure,
            "warnings": federation.warnings.lines(federation.sites),
            "recipe": parameters_of(job),
            **folder.places(),
        }


def _fate(site: str, federation: SitesFederation) -> dict[str, str]:
    roster = federation.roster
    if site in roster.failures:
        return {"status": "failed", "error": str(roster.failures[site])}
    if site in roster.absent:
        return {"status": "absent", "error": roster.absent[site].reason}
    return {"status": "ok"}
