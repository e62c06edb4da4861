"""The workflow of federated statistics: three rounds, of summaries, of histograms and of quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from flare_core import Federation, Workflow
from flare_fobs import dumps, loads
from flare_stats.asking import Sites
from flare_stats.collection import Collection, Places
from flare_stats.config import Settings
from flare_stats.hierarchy import Hierarchy
from flare_stats.masked import MaskedCollection
from flare_stats.output import Results, table_of

ROUNDS = 3


class FederatedStatistics(Workflow):
    """Compute statistics of the data of each site, of groups of sites, and of all.

    The files ``statistics.json``, ``matrices.json``, ``about.json`` and ``report.html`` are written to the server's
    folder; :mod:`flare_stats.output` describes them. A site that leaves or is late is left out, as long as
    ``min_clients`` are left; what is missing of it is named in ``about.json``.

    Args:
        statistic_configs: what to compute; see :mod:`flare_stats.config`.
        min_clients: how many sites must take part.
        name: of the run.
        output: the name of the first file, which may be in a folder.
        sites: the sites that take part; all by default.
        hierarchy: groups of sites; see :mod:`flare_stats.hierarchy`.
        masked: the server sees totals over all sites alone.
        min_count: the least number of values that a statistic of all sites may be of, if they are masked; otherwise
            each site sees to that.
        max_bins_percent: the most bins of a histogram, in percent of the number of values; likewise.
    """

    def __init__(
        self,
        statistic_configs: Mapping[str, Any],
        *,
        min_clients: int,
        name: str = "statistics",
        output: str = "statistics.json",
        sites: Sequence[str] | None = None,
        hierarchy: Any = None,
        masked: bool = False,
        min_count: int = 0,
        max_bins_percent: float = 100,
    ) -> None:
        self.statistic_configs = statistic_configs
        self.min_clients = min_clients
        self.name = name
        self.output = output
        self.sites = None if sites is None else list(sites)
        self.hierarchy = hierarchy
        self.masked = masked
        self.min_count = min_count
        self.max_bins_percent = max_bins_percent
        self._settings = Settings.parse(statistic_configs)
        self._collection: Collection = Collection(self._settings)
        if masked:
            self._collection = MaskedCollection(self._settings, min_count, max_bins_percent)

    def run(self, fed: Federation) -> None:
        chosen = [site for site in fed.sites if self.sites is None or site in self.sites]
        self._hierarchy = Hierarchy.of(self.hierarchy, chosen)
        sites = Sites(fed, self.min_clients, self.sites)
        for round_ in fed.rounds(ROUNDS):
            match round_:
                case 0:
                    self._collection.summarize(fed, sites)
                case 1:
                    self._collection.find_bins(fed, sites)
                case 2:
                    self._collection.find_quantiles(fed, sites, self._places())
                    self._finish(sites)
        self._conclude(fed)

    def _places(self) -> Places:
        return self._collection.places(self._hierarchy.groups())

    def _finish(self, sites: Sites) -> None:
        present = sites.present(self._collection.members)
        sites.ask("stats.finish", {site: {} for site in present}, quorum=0)

    def _conclude(self, fed: Federation) -> None:
        results = Results.of(self._collection, self._places(), self._hierarchy)
        about = {"name": self.name, "job_id": fed.job_id, "time": self.now()}
        for name, text in results.files(self.output, about).items():
            fed.write(name, text)
        title, columns, rows = table_of(results)
        fed.show(title, columns, rows)

    def now(self) -> str:
        """Return the time that the results are marked with, as in ISO 8601."""
        return datetime.now(UTC).isoformat(timespec="seconds")

    def state(self) -> Mapping[str, Any]:
        return {"collection": {"bytes": np.frombuffer(dumps(self._collection.to_plain()), np.uint8)}}

    def restore(self, state: Mapping[str, Any]) -> None:
        if state:
            self._collection.use_plain(loads(state["collection"]["bytes"].tobytes()))
