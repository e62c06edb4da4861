"""The executor of a site: computes its statistics, and lets out what the site's rules allow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import Executor, SiteContext, Task
from flare_core.files import replacing
from flare_fobs import dumps, loads
from flare_stats.config import Settings
from flare_stats.errors import StatsError
from flare_stats.generator import GeneratorData
from flare_stats.in_memory import InMemory
from flare_stats.masked import MaskedSite
from flare_stats.masked.layout import Layout, in_order
from flare_stats.masked.site import extremes, offer
from flare_stats.privacy import Policy
from flare_stats.shared_key import SharedKey
from flare_stats.site import SiteData, hide_rare
from flare_stats.sources import SourceError
from flare_stats.spec import Statistics
from flare_stats.steps import RankSteps

_KEPT = "statistics.fobs"
REASONS = "statistics-error.txt"
"""The file in a site's folder that says what the server may not know."""


class StatisticsExecutor(Executor):
    """Does the tasks of :mod:`flare_stats.collection` and :mod:`flare_stats.masked.collection` with a site's data.

    What was answered is kept in a file of the site's folder, so that a site that is started again gives the same
    answer, with the same noise. The file is deleted with the last task.

    Args:
        data: the data sets by name, each as :func:`~flare_stats.sources.open_source` reads it.
        stats_generator: a :class:`~flare_stats.spec.Statistics` of one's own, instead.
        min_count: the least number of values that a statistic may be of, unless the site's owner wants more.
        min_noise_level: the least noise on minimum and maximum, as a share of the range.
        max_noise_level: the most.
        max_bins_percent: the most bins of a histogram, in percent of the number of values; 100 allows any.
        masked: the site's numbers leave it under masks alone. Then ``min_count`` and ``max_bins_percent`` are for the
            total, and the server sees to them.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        stats_generator: Any = None,
        min_count: int = 10,
        min_noise_level: float = 0.1,
        max_noise_level: float = 0.3,
        max_bins_percent: float = 10,
        masked: bool = False,
    ) -> None:
        self.data = data
        self.stats_generator = stats_generator
        self.min_count = min_count
        self.min_noise_level = min_noise_level
        self.max_noise_level = max_noise_level
        self.max_bins_percent = max_bins_percent
        self.masked = masked
        self._site: SiteData | GeneratorData | None = None
        self._opened: Policy | None = None
        self._kept: dict[str, Any] | None = None
        self._steps: dict[tuple[str, str], RankSteps] = {}
        self._masks: MaskedSite | None = None
        self._key: SharedKey | None = None

    def execute(self, task: Task, context: SiteContext) -> Any:
        try:
            return self._masked(task, context) if self.masked else self._done(task, context)
        except SourceError as error:
            if self._opened is None or not self._opened.hides_reasons:
                raise
            with replacing(context.folder / REASONS) as partial:
                partial.touch(0o600)
                partial.write_text(f"{error}\n", encoding="utf-8")
            raise StatsError(
                f"{context.party}: the data cannot be read; {REASONS} in the site's folder says why: the reason can"
                " hold values of records, which a query of the job chooses"
            ) from None

    def _done(self, task: Task, context: SiteContext) -> Any:
        match task.name:
            case "stats.describe":
                return self._describe(context, task.data["config"])
            case "stats.summarize":
                return self._summary(context, **task.data["start"])
            case "stats.bins":
                return self._bins(context, **task.data)
            case "stats.ranks":
                return {"counts": self._ranks(context, **task.data)}
            case "stats.key":
                return self._shared_key(context).offer()
            case "stats.deal":
                return self._shared_key(context).deal(**task.data)
            case "stats.unseal":
                return self._shared_key(context).unseal(**task.data)
            case "stats.finish":
                return self._finish(context)
        raise self._unknown(task, context)

    def _shared_key(self, context: SiteContext) -> SharedKey:
        if self._key is None:
            self._key = SharedKey(context.party, context.folder)
        return self._key

    def _masked(self, task: Task, context: SiteContext) -> Any:
        if self._masks is None:
            self._masks = MaskedSite(context.party)
        match task.name:
            case "stats.describe":
                return self._describe(context, task.data["config"])
            case "stats.offer":
                start = task.data["start"]
                return offer(Settings(start["config"]), start["kinds"], self._summary(context, **start))
            case "stats.key":
                return self._masks.key()
            case "stats.keys":
                return self._masks.agree(**task.data)
            case "stats.total":
                data = dict(task.data)
                epoch = data.pop("epoch")
                return self._masks.masked(epoch, lambda: self._part(context, **data))
            case "stats.finish":
                return self._finish(context)
        raise self._unknown(task, context)

    @staticmethod
    def _unknown(task: Task, context: SiteContext) -> StatsError:
        return StatsError(
            f"{context.party}: the task '{task.name}' is unknown; all parties need the same version of flare-stats"
        )

    @property
    def _policy(self) -> Policy:
        """The rules of the site's owner; opened with the data."""
        assert self._opened is not None
        return self._opened

    def _of(self, context: SiteContext, config: Mapping[str, Any]) -> SiteData | GeneratorData:
        settings = Settings(config)
        if self._site is None or self._site.settings != settings:
            self._site = self._made(context, settings)
        return self._site

    def _made(self, context: SiteContext, settings: Settings) -> SiteData | GeneratorData:
        site, generator = context.party, self.stats_generator
        if generator is None:
            if self.data is None:
                example = f"{{{site!r}: {{'data': {{'train': 'train.csv'}}}}}}"
                raise StatsError(f"{site} has no data; give per_site_config={example}, or a stats_generator")
            data = {name: each.held if isinstance(each, InMemory) else each for name, each in self.data.items()}
            self._opened = self._open(context, data)
            return SiteData(site, data, settings, self._policy, context.cancelled)
        if not isinstance(generator, Statistics):
            raise StatsError(
                f"{site}: stats_generator is a {type(generator).__name__}; derive it from flare_stats.Statistics"
            )
        self._opened = self._open(context, None)
        generator.initialize(context)
        return GeneratorData(context, generator, settings, self._policy)

    def _open(self, context: SiteContext, sources: Mapping[str, Any] | None) -> Policy:
        wishes = {"min_noise_level": self.min_noise_level, "max_noise_level": self.max_noise_level}
        if not self.masked:
            wishes["min_count"] = self.min_count
        if not self.masked and self.max_bins_percent < 100:
            wishes["max_bins_percent"] = self.max_bins_percent
        return Policy.open(
            context.local,
            run=context.job_id,
            folder=context.folder,
            sources=sources,
            wishes=wishes,
            is_masked=self.masked,
        )

    def _describe(self, context: SiteContext, config: Mapping[str, Any]) -> dict[str, Any]:
        site = self._of(context, config)
        return {"datasets": self._policy.describe(site.describe())}

    def _summary(self, context: SiteContext, config: Mapping[str, Any], kinds: Mapping[str, str]) -> Any:
        question = {"config": config, "kinds": dict(kinds)}

        def compute() -> dict[str, Any]:
            site = self._of(context, config)
            exact = site.summarize(kinds, self._shared_key(context).value)
            if context.cancelled.is_set():
                return {"datasets": {}}
            # Noise needs counts that one record moves by one.
            if not self.masked and self._policy.rules.privacy is None:
                hide_rare(exact, self.min_count)
            allowed = self._policy.apply(exact, config=config, question="summary")
            self._group(site, allowed)
            return allowed

        return self._once(context, "summary", question, compute)

    def _group(self, site: SiteData | GeneratorData, summary: dict[str, Any]) -> None:
        """Fix how the site answers how many values are at most a threshold, and say of how many values it will."""
        for dataset, features in summary["datasets"].items():
            for feature, values in features.items():
                if "quantile" not in values or "own" in values["quantile"]:
                    continue
                total, error = self._fix_ranks(site, dataset, feature, values)
                if total:
                    [shown] = self._policy.shown_ranks([total])
                    values["quantile"] = {"count": shown, "error": values["quantile"].get("error", 0.0) + error}
                else:
                    del values["quantile"]
                    rule = f"min_count: too few values for groups of {self._grain}"
                    summary["refused"].append([dataset, feature, "quantile", rule])

    def _fix_ranks(self, site: Any, dataset: str, feature: str, values: Mapping[str, Any]) -> tuple[int, float]:
        """Return the number of values of which ranks are answered, and the error of a rank as a share of it."""
        noisy, sketch = self._policy.noisy_ranks(dataset, feature), site.sketch(dataset, feature)
        if noisy is None and sketch is None:  # a generator counts itself
            total = int(values["quantile"]["count"]) // self._grain * self._grain
            return total, self._grain / total if self._grain > 1 and total else 0.0
        heaviest = 0  # of the values that the sketch keeps: how many it stands for
        if noisy is not None:
            edges, ranks = noisy
            steps: RankSteps | None = RankSteps(np.array(edges, float), np.array(ranks, np.int64), False)
        else:
            ends = (values["min"], values["max"]) if {"min", "max"} <= values.keys() else None
            items, weights = sketch.items()
            steps = RankSteps.of(items, weights, self._grain, ends=ends)
            heaviest = int(weights.max(initial=0))
        if steps is None or not steps.total:
            return 0, 0.0
        self._steps[dataset, feature] = steps
        return steps.total, min(3 * self._grain * heaviest / steps.total, 1.0) if self._grain > 1 else 0.0

    @property
    def _grain(self) -> int:
        return self._policy.grain

    def _bins(self, context: SiteContext, start: Mapping[str, Any], edges: Any, means: Any) -> Any:
        question = {"edges": edges, "means": means}

        def compute() -> dict[str, Any]:
            exact = self._of(context, start["config"]).bins(edges, start["kinds"], means)
            return self._policy.apply(exact, config=start["config"], question=["bins", question])

        return self._once(context, "bins", question, compute)

    def _ranks(self, context: SiteContext, start: Mapping[str, Any], thresholds: Any) -> dict[str, dict[str, Any]]:
        told = self._summary(context, **start)["datasets"]  # also if the site was started again
        site = self._of(context, start["config"])
        return {
            dataset: {
                feature: self._rank(site, dataset, feature, np.asarray(wanted))
                if "quantile" in told.get(dataset, {}).get(feature, {})
                else np.zeros(len(wanted), np.int64)  # no values, or none that the rules let be counted
                for feature, wanted in features.items()
            }
            for dataset, features in thresholds.items()
        }

    def _rank(self, site: Any, dataset: str, feature: str, thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
        steps = self._steps.get((dataset, feature))
        if steps is not None:
            counts = steps.at(thresholds)
        elif (own := site.ranks(dataset, feature, thresholds)) is not None:
            counts = own // self._grain * self._grain
        else:
            return np.zeros(len(thresholds), np.int64)  # no values
        return np.array(self._policy.shown_ranks(counts.tolist()), np.int64)

    def _part(self, context: SiteContext, start: Mapping[str, Any], about: str, **details: Any) -> NDArray[np.int64]:
        """Return the site's numbers for a total."""
        settings, kinds = Settings(start["config"]), start["kinds"]
        summary = self._summary(context, **start)
        match about:
            case "sums":
                layout = Layout(settings, kinds, details["offer"], details["matrices"])
                return layout.vector(summary["datasets"], summary["matrices"])
            case "bins":
                found = self._bins(context, start, details["edges"], {})
                known = summary["datasets"]
                counted = {
                    dataset: {
                        feature: {**known.get(dataset, {}).get(feature, {}), **values} for feature, values in of.items()
                    }
                    for dataset, of in found["datasets"].items()
                }
                return Layout(settings, kinds, details["offer"]).vector(counted, {})
            case "extremes":
                return extremes(summary["datasets"], details["thresholds"])
        counts = self._ranks(context, start, details["thresholds"][""])
        ordered = [counts[dataset][feature] for _, dataset, feature, _ in in_order(details["thresholds"])]
        return np.concatenate([np.zeros(0, np.int64), *ordered])

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
        self._shared_key(context).forget()
        return {}
