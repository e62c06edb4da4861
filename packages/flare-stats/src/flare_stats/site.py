"""The statistics of a site's data sets: one pass over each, and another for histograms whose range was found.

A summary is plain data, before any rule of privacy: {"datasets": {dataset: {feature: {statistic: value}}}, "rows":
{dataset: number}, "matrices": {dataset: {…}}, "refused": [[dataset, feature, statistic, reason], …]}. Beyond the
statistics that were asked for, it holds what others are made of: ``count`` always, ``mean_low`` (what the rounding of
``mean`` left out), ``min`` and ``max`` for the range of a histogram.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flare_stats.agreement import edges_of
from flare_stats.algebra import Categories, CoMoments, Distinct, HistogramCounts, Moments, RankSketch, to_numbers
from flare_stats.config import NUMERIC, Settings
from flare_stats.sources import Source, open_source

Kinds = Mapping[str, str]
"""The kind of each feature, on which the sites agree."""

_PLAIN_COUNTS = 1000  # categories that are kept apart for the most frequent ones
NO_VALUES = "no values"


class SiteData:
    """The data sets of a site.

    Args:
        site: its name.
        data: by the name of each data set, what :func:`~flare_stats.sources.open_source` reads.
        settings: what is to be computed.
        cancelled: ends a pass soon after it is set.
    """

    def __init__(
        self, site: str, data: Mapping[str, Any], settings: Settings, cancelled: threading.Event | None = None
    ) -> None:
        self.site = site
        self.settings = settings
        self._sources: dict[str, Source] = {name: open_source(spec) for name, spec in data.items()}
        self._cancelled = cancelled or threading.Event()
        self._sketches: dict[str, dict[str, RankSketch]] = {}

    def describe(self) -> dict[str, list[list[str]]]:
        """Return the name and the kind of each feature of each data set."""
        return {
            dataset: [[column.name, column.kind] for column in source.features()]
            for dataset, source in self._sources.items()
        }

    def summarize(self, kinds: Kinds, salt: bytes) -> dict[str, Any]:
        """Return the summary of all data sets.

        Args:
            kinds: of all features; others are left out.
            salt: for sketches of distinct values, the same at all sites.
        """
        summary: dict[str, Any] = {"datasets": {}, "rows": {}, "matrices": {}, "refused": []}
        for dataset, source in self._sources.items():
            own = {column.name: kinds[column.name] for column in source.features() if column.name in kinds}
            columns = {feature: _Column.of(self.settings, feature, kind, salt) for feature, kind in own.items()}
            matrix = self.settings.matrix_features(own)
            together = CoMoments(len(matrix))
            rows = 0
            for batch in self._pass(source, list(own)):
                for name, column in columns.items():
                    column.add(batch.column(name))
                if matrix:
                    together.add([batch.column(name) for name in matrix])
                rows += batch.num_rows
            found = {feature: column.result() for feature, column in columns.items()}
            summary["datasets"][dataset] = {feature: values for feature, (values, _) in found.items()}
            summary["refused"] += [[dataset, feature, *each] for feature, (_, lost) in found.items() for each in lost]
            summary["rows"][dataset] = rows
            if matrix:
                summary["matrices"][dataset] = {"features": matrix, **together.to_data()}
            self._sketches[dataset] = {name: each.sketch for name, each in columns.items() if each.sketch is not None}
        return summary

    def sketch(self, dataset: str, feature: str) -> RankSketch | None:
        """Return the sketch of ranks that the summary was made with."""
        return self._sketches.get(dataset, {}).get(feature)

    def bins(
        self, edges: Mapping[str, Sequence[float]], kinds: Kinds, means: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return histograms with given edges; ``means`` are for generators alone."""
        found: dict[str, Any] = {"datasets": {}, "refused": []}
        for dataset, source in self._sources.items():
            own = [column.name for column in source.features() if column.name in edges]
            counts = {feature: HistogramCounts(edges[feature]) for feature in own}
            for batch in self._pass(source, own):
                for feature in own:
                    counts[feature].add(to_numbers(batch.column(feature), kinds[feature]))
            histograms = {feature: {"histogram": _bins(each)} for feature, each in counts.items()}
            found["datasets"][dataset] = histograms
        return found

    def ranks(self, dataset: str, feature: str, thresholds: Any) -> None:
        """Return None: ranks come from the sketch."""

    def finish(self) -> None:
        """Do nothing: sources hold nothing open."""

    def _pass(self, source: Source, columns: list[str]) -> Iterator[Any]:
        if not columns:
            return
        for batch in source.chunks(columns):
            if self._cancelled.is_set():
                return
            yield batch


@dataclass
class _Column:
    """The counts of one column."""

    wanted: Sequence[str]
    kind: str
    moments: Moments | None = None
    categories: Categories | None = None
    values: list[str] | None = None
    most: int = 0
    distinct: Distinct | None = None
    histogram: HistogramCounts | None = None
    sketch: RankSketch | None = None
    present: int = 0
    missing: int = 0
    lost: list[list[str]] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings, feature: str, kind: str, salt: bytes) -> _Column:
        wanted = settings.of_feature(feature, kind)
        made = cls(wanted, kind)
        if kind in NUMERIC:
            made.moments = Moments()
        if {"categories", "top_values", "balance"} & {*wanted}:
            options = settings.options("categories", feature, kind) or {}
            made.values, made.most = options.get("values"), options.get("most", _PLAIN_COUNTS)
            made.categories = Categories(max(made.most, _PLAIN_COUNTS))
        if "distinct" in wanted:
            made.distinct = Distinct(salt) if salt else None
        if "quantile" in wanted:
            made.sketch = RankSketch()
        bins = settings.options("histogram", feature, kind)
        if bins is not None and bins["range"] is not None:
            low, high = bins["range"]
            made.histogram = HistogramCounts(edges_of(low, high, bins["bins"]))
        made.lost = [[statistic, f"values of kind {kind} have none"] for statistic in settings.misfits(feature, kind)]
        return made

    def add(self, column: Any) -> None:
        """Count a chunk."""
        numbers = to_numbers(column, self.kind) if self.moments is not None else None
        if numbers is None:
            self.missing += column.null_count
            self.present += len(column) - column.null_count
        for each in (self.moments, self.histogram, self.sketch):
            if each is not None:
                each.add(numbers)
        if self.categories is not None:
            self.categories.add(column)
        if self.distinct is not None:
            self.distinct.add(column if numbers is None else numbers, self.kind)

    def result(self) -> tuple[dict[str, Any], list[list[str]]]:
        """Return the statistics, and those that there are none of, with the reason."""
        found = self._counts()
        if self.moments is not None:
            found |= self._of_moments(self.moments)
        if self.histogram is not None:
            found["histogram"] = _bins(self.histogram)
        if self.sketch is not None and self.sketch.count:
            found["quantile"] = {"count": self.sketch.count, "error": self.sketch.rank_error}
        if self.categories is not None:
            found |= self._of_categories(self.categories)
        if self.distinct is not None:
            found["distinct"] = self.distinct.to_data()
        parts = {"stddev": "var", "top_values": "categories", "balance": "categories"}
        lost = [
            [name, NO_VALUES if not found["count"] else "needs two values" if name in ("var", "stddev") else NO_VALUES]
            for name in self.wanted
            if parts.get(name, name) not in found and not (name == "histogram" and found["count"])
        ]
        return found, self.lost + lost

    def _counts(self) -> dict[str, Any]:
        if self.moments is not None:
            of = self.moments
            return {"count": of.count, "missing": of.missing, "failure_count": of.failures}
        return {"count": self.present, "missing": self.missing, "failure_count": 0}

    def _of_moments(self, of: Moments) -> dict[str, Any]:
        wanted = {*self.wanted}
        found: dict[str, Any] = {}
        if not of.count:
            return {"sum": 0.0} if "sum" in wanted else {}
        if wanted & {"mean", "sum", "var", "stddev"}:
            found |= {"mean": of.mean_high, "mean_low": of.mean_low, "sum": float(of.sum)}
        if wanted & {"var", "stddev"} and of.count > 1:
            found["var"] = of.variance()
        if wanted & {"min", "max", "histogram", "quantile"} and self.kind != "bool":
            found |= {"min": float(of.min or 0), "max": float(of.max or 0)}
        unusable = {name for name, value in found.items() if isinstance(value, float) and not math.isfinite(value)}
        self.lost += [[name, "beyond the range of float64"] for name in sorted(unusable & wanted)]
        return {name: value for name, value in found.items() if name not in unusable}

    def _of_categories(self, of: Categories) -> dict[str, Any]:
        counts = dict(of.counts)
        if self.values is not None:
            counts = {value: counts.get(value, 0) for value in self.values}
        else:
            counts = dict(of.top(self.most))
        return {"categories": counts, "categories_other": of.count - sum(counts.values())}


def _bins(histogram: HistogramCounts) -> dict[str, Any]:
    return {"edges": histogram.edges.tolist(), "counts": histogram.counts.tolist()}
