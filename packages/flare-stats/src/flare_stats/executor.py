"""The executor of a site: computes its statistics, and lets out what the site's rules allow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flare_core import Executor, SiteContext, Task
from flare_core.files import replacing
from flare_fobs import dumps, loads
from flare_stats.config import Settings
from flare_stats.errors import StatsError
from flare_stats.generator import GeneratorData
from flare_stats.site import SiteData
from flare_stats.spec import Statistics
from flare_stats.steps import RankSteps

_KEPT = "statistics.fobs"


class StatisticsExecutor(Executor):
    """Does the tasks of :mod:`flare_stats.collection` with the data of a site.

    What was answered is kept in a file of the site's folder, so that a site that is started again gives the same
    answer, with the same noise. The file is deleted with the last task.

    Args:
        data: the data sets by name, each as :func:`~flare_stats.sources.open_source` reads it.
        stats_generator: a :class:`~flare_stats.spec.Statistics` of one's own, instead.
        min_count: the least number of values that a statistic may be of, unless the site's owner wants more.
        min_noise_level: the least noise on minimum and maximum, as a share of the range.
        max_noise_level: the most.
        max_bins_percent: the most bins of a histogram, in percent of the number of values.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        stats_generator: Any = None,
        min_count: int = 10,
        min_noise_level: float = 0.1,
        max_noise_level: float = 0.3,
        max_bins_percent: float = 10,
    ) -> None:
        self.data = data
        self.stats_generator = stats_generator
        self.min_count = min_count
        self.min_noise_level = min_noise_level
        self.max_noise_level = max_noise_level
        self.max_bins_percent = max_bins_percent
        self._site: SiteData | GeneratorData | None = None
        self._kept: dict[str, Any] | None = None
        self._steps: dict[tuple[str, str], RankSteps] = {}

    def execute(self, task: Task, context: SiteContext) -> Any:
        match task.name:
            case "stats.describe":
                return {"datasets": self._of(context, task.data["config"]).describe()}
            case "stats.summarize":
                return self._summary(context, **task.data["start"])
            case "stats.bins":
                return self._bins(context, **task.data)
            case "stats.ranks":
                return {"counts": self._ranks(context, **task.data)}
            case "stats.finish":
                return self._finish(context)
        raise StatsError(
            f"{context.party}: unknown task '{task.name}'; all parties need the same version of flare-stats"
        )

    def _of(self, context: SiteContext, config: Mapping[str, Any]) -> SiteData | GeneratorData:
        settings = Settings(config)
        if self._site is None or self._site.settings != settings:
            if self.stats_generator is not None:
                if not isinstance(self.stats_generator, Statistics):
                    raise StatsError(
                        f"{context.party}: stats_generator is a {type(self.stats_generator).__name__}; derive its class"
                        " from flare_stats.Statistics"
                    )
                self._site = GeneratorData(context, self.stats_generator, settings)
            elif self.data is not None:
                self._site = SiteData(context.party, self.data, settings, context.cancelled)
            else:
                raise StatsError(
                    f"{context.party} has no data; give per_site_config={{{context.party!r}: {{'data': {{'train':"
                    " …}}} or a stats_generator"
                )
        return self._site

    def _summary(self, context: SiteContext, config: Mapping[str, Any], kinds: Mapping[str, str], salt: bytes) -> Any:
        def compute() -> dict[str, Any]:
            site = self._of(context, config)
            summary = site.summarize(kinds, salt)
            self._group(site, summary)
            return summary

        return self._once(context, "summary", {"config": config, "kinds": dict(kinds), "salt": salt}, compute)

    def _group(self, site: SiteData | GeneratorData, summary: dict[str, Any]) -> None:
        """Group the values of each feature by rank, or take its quantiles back where there are too few."""
        for dataset, features in summary["datasets"].items():
            for feature, values in features.items():
                sketch = site.sketch(dataset, feature)
                if sketch is None or "own" in values.get("quantile", {"own": None}):
                    continue
                ends = (values["min"], values["max"]) if {"min", "max"} <= values.keys() else None
                items, weights = sketch.items()
                steps = RankSteps.of(items, weights, self.min_count, ends=ends)
                if steps is None:
                    del values["quantile"]
                    rule = f"fewer than {self.min_count} values"
                    summary["refused"].append([dataset, feature, "quantile", rule])
                else:
                    values["quantile"] = {"count": steps.total, "error": sketch.rank_error}
                    self._steps[dataset, feature] = steps

    def _bins(self, context: SiteContext, start: Mapping[str, Any], edges: Any, means: Any) -> Any:
        def compute() -> dict[str, Any]:
            return self._of(context, start["config"]).bins(edges, start["kinds"], means)

        return self._once(context, "bins", {"edges": edges, "means": means}, compute)

    def _ranks(self, context: SiteContext, start: Mapping[str, Any], thresholds: Any) -> dict[str, dict[str, Any]]:
        self._summary(context, **start)  # if the site was started again
        site = self._of(context, start["config"])
        counts: dict[str, dict[str, Any]] = {}
        for dataset, features in thresholds.items():
            for feature, wanted in features.items():
                own = site.ranks(dataset, feature, np.asarray(wanted))
                counts.setdefault(dataset, {})[feature] = (
                    self._steps[dataset, feature].at(wanted) if own is None else own
                )
        return counts

    def _once(self, context: SiteContext, name: str, question: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """Return the answer to a question, which is computed once in a run."""
        digest = hashlib.sha256(dumps([name, question])).hexdigest()
        kept = self._read(context)
        if digest not in kept["answers"]:
            answer = compute()
            if context.cancelled.is_set():
                return answer  # of a part of the data; nobody will look at it
            kept["answers"][digest] = answer
            kept["steps"] = [[*key, each.points, each.ranks, each.is_exact] for key, each in self._steps.items()]
            with replacing(context.folder / _KEPT) as partial:
                partial.touch(0o600)
                partial.write_bytes(dumps(kept))
        return kept["answers"][digest]

    def _read(self, context: SiteContext) -> dict[str, Any]:
        if self._kept is None:
            path = context.folder / _KEPT
            self._kept = loads(path.read_bytes()) if path.exists() else {"answers": {}, "steps": []}
            self._steps = {(dataset, feature): RankSteps(*rest) for dataset, feature, *rest in self._kept["steps"]}
        return self._kept

    def _finish(self, context: SiteContext) -> dict[str, Any]:
        if self._site is not None:
            self._site.finish()
        (context.folder / _KEPT).unlink(missing_ok=True)
        return {}
