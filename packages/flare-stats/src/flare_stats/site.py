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

import numpy as np

from flare_stats.agreement import edges_of
from flare_stats.algebra import (
    Categories,
    CoMoments,
    Distinct,
    HistogramCounts,
    Moments,
    Numbers,
    RankSketch,
    to_numbers,
)
from flare_stats.config import MATRICES, NUMERIC, Settings
from flare_stats.privacy import Policy
from flare_stats.sources import Source, open_source

Kinds = Mapping[str, str]
"""The kind of each feature, on which the sites agree."""

_PLAIN_COUNTS = 1000  # categories that are named at least, since a rare one may be frequent at other sites
_EXACT_COUNTS = 1_000_000
NO_VALUES, ONE_VALUE = "no values", "needs two values"
BEYOND = "beyond the range of float64"
REASONS = (NO_VALUES, ONE_VALUE)
"""Why statistics do not exist, rather than why they are refused."""


class SiteData:
    """The data sets of a site.

    Args:
        site: its name.
        data: by the name of each data set, what :func:`~flare_stats.sources.open_source` reads.
        settings: what is to be computed.
        policy: the site's rules: what they refuse in any case is not computed, and bounds of values are applied here.
        cancelled: ends a pass soon after it is set.
    """

    def __init__(
        self,
        site: str,
        data: Mapping[str, Any],
        settings: Settings,
        policy: Policy,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.site = site
        self.settings = settings
        self._policy = policy
        self._sources: dict[str, Source] = {name: open_source(spec) for name, spec in data.items()}
        self._cancelled = cancelled or threading.Event()
        self._sketches: dict[str, dict[str, RankSketch]] = {}

    def describe(self) -> dict[str, list[list[str]]]:
        """Return the name and the kind of each feature of each data set."""
        return {
            dataset: [[column.name, column.kind] for column in source.features()]
            for dataset, source in self._sources.items()
        }

    def summarize(self, kinds: Kinds, key: bytes) -> dict[str, Any]:
        """Return the summary of all data sets.

        Args:
            kinds: of all features; others are left out.
            key: with which values are hashed to count distinct ones, the same at all sites; empty if there is none.
        """
        summary: dict[str, Any] = {"datasets": {}, "rows": {}, "matrices": {}, "refused": []}
        for dataset, source in self._sources.items():
            own = {each.name: _read_as(each.kind, kinds[each.name]) for each in source.features() if each.name in kinds}
            columns = {name: _Column.of(self.settings, self._policy, name, kind, key) for name, kind in own.items()}
            matrix = self._matrix(own, summary["refused"], dataset)
            together = CoMoments(len(matrix))
            rows = 0
            for batch in self._pass(source, list(own)):
                for name, column in columns.items():
                    column.add(batch.column(name))
                if matrix:
                    with np.errstate(over="ignore", invalid="ignore"):  # seen at the end
                        together.add([batch.column(name) for name in matrix])
                rows += batch.num_rows
            found = {feature: column.result() for feature, column in columns.items()}
            summary["datasets"][dataset] = {feature: values for feature, (values, _) in found.items()}
            summary["refused"] += [[dataset, feature, *each] for feature, (_, lost) in found.items() for each in lost]
            summary["rows"][dataset] = rows
            if matrix:
                summary["matrices"][dataset], beyond = _finite_part(matrix, together)
                wanted = [name for name in MATRICES if name in self.settings.plain]
                summary["refused"] += [[dataset, name, each, BEYOND] for name in beyond for each in wanted]
            self._sketches[dataset] = {name: each.sketch for name, each in columns.items() if each.sketch is not None}
        return summary

    def _matrix(self, kinds: Kinds, refused: list[list[str]], dataset: str) -> list[str]:
        """Return the features of the matrices, without those that the rules refuse, which are noted."""
        found = []
        for feature in self.settings.matrix_features(kinds):
            wanted = [name for name in MATRICES if self.settings.options(name, feature, kinds[feature]) is not None]
            rules = [(name, rule) for name in wanted if (rule := self._policy.refusal(feature, name)) is not None]
            refused += [[dataset, feature, name, rule] for name, rule in rules]
            found += [] if rules else [feature]
        return found

    def sketch(self, dataset: str, feature: str) -> RankSketch | None:
        """Return the sketch of ranks that the summary was made with."""
        return self._sketches.get(dataset, {}).get(feature)

    def bins(
        self, edges: Mapping[str, Sequence[float]], kinds: Kinds, means: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return histograms with given edges; ``means`` are for generators alone."""
        found: dict[str, Any] = {"datasets": {}, "refused": []}
        for dataset, source in self._sources.items():
            own = {}
            for column in source.features():
                feature, kind = column.name, _read_as(column.kind, kinds.get(column.name, "other"))
                if feature not in edges or kind == "other":  # lists and the like have no histogram
                    continue
                rule = _refusal(self._policy, feature, "histogram", kind, len(edges[feature]) - 1)
                if rule is None:
                    own[feature] = kind
                else:
                    found["refused"].append([dataset, feature, "histogram", rule])
            counts = {feature: HistogramCounts(edges[feature]) for feature in own}
            for batch in self._pass(source, list(own)):
                for feature, kind in own.items():
                    numbers = to_numbers(batch.column(feature), kind)
                    counts[feature].add(_bounded(numbers, self._policy.bounds(feature)))
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


def hide_rare(summary: dict[str, Any], least: int) -> None:
    """Count categories that few rows have among the others, since a name alone may tell who a row is about.

    Args:
        summary: of a site; it is changed.
        least: the smallest number of rows of a category that is named.
    """
    for dataset, features in summary["datasets"].items():
        for feature, values in features.items():
            counts = values.get("categories", {})
            rare = [name for name, count in counts.items() if count < least]
            if rare:
                hidden = sum(counts[name] for name in rare)
                values["categories"] = {name: count for name, count in counts.items() if count >= least}
                values["categories_other"] = values.get("categories_other", 0) + hidden
                rule = f"min_count: values that fewer than {least} rows have are not named"
                summary["refused"].append([dataset, feature, "categories", rule])


@dataclass
class _Column:
    """The counts of one column."""

    wanted: Sequence[str]
    kind: str
    bounds: tuple[float, float] | None = None
    moments: Moments | None = None
    categories: Categories | None = None
    values: list[str] | None = None
    most: int = 0
    distinct: Distinct | None = None
    histogram: HistogramCounts | None = None
    sketch: RankSketch | None = None
    cells: HistogramCounts | None = None
    present: int = 0
    missing: int = 0
    lost: list[list[str]] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings, policy: Policy, feature: str, kind: str, key: bytes) -> _Column:
        bins = settings.options("histogram", feature, kind)
        wanted, lost = [], []
        for name in settings.of_feature(feature, kind):
            rule = _refusal(policy, feature, name, kind, bins["bins"] if name == "histogram" else None)
            if name == "distinct" and not key:
                rule = rule or "the site was started again and lost the key that it shared with the others"
            if rule is None:
                wanted.append(name)
            else:
                lost.append([name, rule])
        made = cls(wanted, kind, policy.bounds(feature), lost=lost)
        if kind in NUMERIC:
            made.moments = Moments()
        if {"categories", "top_values", "balance"} & {*wanted}:
            options = settings.options("categories", feature, kind) or {}
            allowed = policy.categories(feature)
            made.values = options.get("values") if allowed is None else list(allowed)
            number = (settings.options("top_values", feature, kind) or {}).get("number", 0)
            made.most = max(options.get("most", 0), number, _PLAIN_COUNTS)  # the server cuts those of all sites
            # With noise, counts must be exact: with rare values dropped, one record could move them by more than one.
            made.categories = Categories(made.most if allowed is None else max(made.most, _EXACT_COUNTS))
        if "distinct" in wanted:
            made.distinct = Distinct(key)
        if "quantile" in wanted:
            edges = policy.rank_edges(feature)
            made.sketch = RankSketch() if edges is None else None
            made.cells = HistogramCounts(edges) if edges is not None else None
        if "histogram" in wanted and bins["range"] is not None:
            low, high = bins["range"]
            made.histogram = HistogramCounts(edges_of(low, high, bins["bins"]))
        made.lost += [[statistic, f"values of kind {kind} have none"] for statistic in settings.misfits(feature, kind)]
        return made

    def add(self, column: Any) -> None:
        """Count a chunk."""
        is_read = self.moments is not None or self.histogram is not None  # the values of an image are its pixels,
        numbers = _bounded(to_numbers(column, self.kind), self.bounds) if is_read else None
        if self.moments is None:  # but images are counted
            self.missing += column.null_count
            self.present += len(column) - column.null_count
        for each in (self.moments, self.histogram, self.sketch, self.cells):
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
        if self.cells is not None:
            found["quantile"] = _bins(self.cells)
        if self.categories is not None:
            found |= self._of_categories(self.categories)
        if self.distinct is not None:
            found["distinct"] = self.distinct.to_data()
        parts = {"stddev": "var", "top_values": "categories", "balance": "categories"}
        lost = [
            [name, ONE_VALUE if found["count"] and name in ("var", "stddev") else NO_VALUES]
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
            found |= {"min": _end(of.min), "max": _end(of.max)}
        unusable = {name for name, value in found.items() if isinstance(value, float) and not math.isfinite(value)}
        told = unusable | ({"stddev"} if "var" in unusable else set())
        self.lost += [[name, BEYOND] for name in sorted(told & wanted)]
        return {name: value for name, value in found.items() if name not in unusable}

    def _of_categories(self, of: Categories) -> dict[str, Any]:
        counts = dict(of.counts)
        if self.values is not None:
            counts = {value: counts.get(value, 0) for value in self.values}
        else:
            counts = dict(of.top(self.most))
        return {"categories": counts, "categories_other": of.count - sum(counts.values())}


def _finite_part(features: Sequence[str], together: CoMoments) -> tuple[dict[str, Any], list[str]]:
    """Return the moments of the features whose own are finite, and the other features."""
    data = together.to_data()
    finite = np.isfinite(np.diag(data["squares"]) + np.diag(data["mean_high"]))
    kept = np.flatnonzero(finite)
    parts = {name: np.asarray(array)[np.ix_(kept, kept)] for name, array in data.items()}
    names = [name for name, fine in zip(features, finite, strict=True) if fine]
    return {"features": names, **parts}, [name for name in features if name not in names]


def _read_as(own: str, agreed: str) -> str:
    """Return the kind as which a column is read: each of its rows is one value, whatever the server says.

    An image, or a list, that was read as numbers would count as many values: a mean of one row would pass for one of
    many.
    """
    return own if own in ("image", "other") else "other" if agreed == "image" else agreed


def _refusal(policy: Policy, feature: str, statistic: str, kind: str, bins: int | None) -> str | None:
    rule = policy.refusal(feature, statistic, bins)
    if rule is None and policy.rules.privacy is not None and statistic == "histogram" and kind == "image":
        return "differential_privacy: one image is in many bins, and the noise would hide one value in one bin"
    return rule


def _bounded(numbers: Numbers, bounds: tuple[float, float] | None) -> Numbers:
    """Move values into the bounds."""
    if bounds is None:
        return numbers
    return Numbers(np.clip(numbers.values.astype(np.float64), *bounds), numbers.missing, numbers.failures)


def _end(value: float | None) -> float:
    """An end of a range as a float, or as an integer where a float would round it."""
    number = value or 0
    return number if number != float(number) else float(number)


def _bins(histogram: HistogramCounts) -> dict[str, Any]:
    return {"edges": histogram.edges.tolist(), "counts": histogram.counts.tolist()}
