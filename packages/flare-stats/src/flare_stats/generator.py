"""The statistics of a site from a generator of its own, and from the generator's data where a method is left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import SiteContext
from flare_stats.agreement import edges_of
from flare_stats.config import Settings
from flare_stats.errors import StatsError
from flare_stats.privacy import Policy
from flare_stats.site import NO_VALUES, Kinds, SiteData
from flare_stats.spec import DataType, Statistics

_KINDS = {
    DataType.INT: "int",
    DataType.FLOAT: "float",
    DataType.STRING: "text",
    DataType.BYTES: "other",
    DataType.STRUCT: "other",
    DataType.DATETIME: "datetime",
    DataType.BOOL: "bool",
    DataType.CATEGORY: "category",
}
_METHODS = {
    "count": "count",
    "missing": "missing",
    "failure_count": "failure_count",
    "sum": "sum",
    "mean": "mean",
    "var": "stddev",
    "stddev": "stddev",
    "min": "min_value",
    "max": "max_value",
    "histogram": "histogram",
    "quantile": "quantiles",
    "categories": "categories",
    "top_values": "categories",
    "balance": "categories",
}
_PARTS = {"stddev": "var", "top_values": "categories", "balance": "categories"}


class GeneratorData:
    """The statistics of a site with a :class:`~flare_stats.spec.Statistics` of its own, as those of :class:`SiteData`.

    Args:
        context: the site.
        generator: its statistics, initialized.
        settings: what is to be computed.
        policy: the site's rules.
    Raises:
        StatsError: the generator overrides too little, or its data cannot be opened.
    """

    def __init__(self, context: SiteContext, generator: Statistics, settings: Settings, policy: Policy) -> None:
        self._context = context
        self._generator = generator
        self.settings = settings
        self._of_data = None
        if generator.data is not None:
            self._of_data = SiteData(context.party, generator.data, settings, policy, context.cancelled)
        elif not (generator.has("features") and generator.has("count")):
            raise StatsError(
                f"{context.party}: {type(generator).__name__} neither overrides features() and count(), nor sets"
                " self.data in initialize(); do one of them"
            )
        self._counts: dict[tuple[str, str], int] = {}

    def describe(self) -> dict[str, list[list[str]]]:
        """Return the features as :meth:`SiteData.describe` does."""
        described = {} if self._of_data is None else self._of_data.describe()
        if not self._generator.has("features"):
            return described
        for dataset, features in self._generator.features().items():
            known = dict(described.get(dataset, []))
            known |= {feature.feature_name: _kind(feature.data_type) for feature in features}
            described[dataset] = [list(pair) for pair in known.items()]
        return described

    def summarize(self, kinds: Kinds, key: bytes) -> dict[str, Any]:
        """Return the summary as :meth:`SiteData.summarize` does."""
        empty: dict[str, Any] = {"datasets": {}, "rows": {}, "matrices": {}, "refused": []}
        summary = empty if self._of_data is None else self._of_data.summarize(kinds, key)
        self._generator.pre_run(list(self.settings.plain), *self._asked_bins(kinds))
        for dataset, features in self.describe().items():
            values = summary["datasets"].setdefault(dataset, {})
            for feature in (name for name, _ in features if name in kinds):
                lost = self._answer(dataset, feature, kinds[feature], values.setdefault(feature, {}))
                replaced = {*lost, *self._overridden(feature, kinds[feature])}
                kept = [row for row in summary["refused"] if row[:2] != [dataset, feature] or row[2] not in replaced]
                summary["refused"] = kept + [[dataset, feature, name, reason] for name, reason in lost.items()]
        return summary

    def _asked_bins(self, kinds: Kinds) -> tuple[dict[str, int | None], dict[str, Sequence[float] | None]]:
        options = {feature: self.settings.options("histogram", feature, kind) for feature, kind in kinds.items()}
        asked = {feature: each for feature, each in options.items() if each is not None}
        bins = {feature: each["bins"] for feature, each in asked.items()}
        return bins, {feature: each["range"] for feature, each in asked.items()}

    def _overridden(self, feature: str, kind: str) -> list[str]:
        wanted = self.settings.of_feature(feature, kind)
        return [name for name in wanted if name in _METHODS and self._generator.has(_METHODS[name])]

    def _answer(self, dataset: str, feature: str, kind: str, values: dict[str, Any]) -> dict[str, str]:
        """Put the generator's own statistics into the values; return those that there are none of, with reasons."""
        own = _Own(self._generator, dataset, feature, values)
        wanted = {*self.settings.of_feature(feature, kind)}
        for name in ("count", "missing", "failure_count"):
            own.take(name, name, then=_whole)
        if values.get("count"):
            own.take_moments(wanted)
            own.take_categories(wanted)
            own.take_histogram(self.settings.options("histogram", feature, kind))
            own.take_quantiles(self.settings.options("quantile", feature, kind))
        for name in wanted & {*_METHODS}:
            part = _PARTS.get(name, name)
            if part in own.lost:
                own.lost[name] = own.lost[part]
            elif part not in values and not self._comes_later(name, values):
                own.lost[name] = own.reason(_METHODS[name])
        return {name: reason for name, reason in own.lost.items() if name in wanted}

    def _comes_later(self, name: str, values: Mapping[str, Any]) -> bool:
        """Return True if a statistic is asked for again, with a range or with the mean of all sites."""
        if name == "histogram":
            return "min" in values and (self._generator.has("histogram") or self._of_data is not None)
        return name in ("var", "stddev") and self._generator.has("variance_with_mean")

    def bins(
        self, edges: Mapping[str, Sequence[float]], kinds: Kinds, means: Mapping[str, Mapping[str, Sequence[float]]]
    ) -> dict[str, Any]:
        """Return histograms with given edges, and variances.

        Args:
            edges: by feature.
            kinds: of all features.
            means: by data set and feature, the mean and the number of the values of all sites.
        """
        found: dict[str, Any] = {"datasets": {}, "refused": []}
        if self._of_data is not None:
            found = self._of_data.bins({} if self._generator.has("histogram") else edges, kinds, means)
        for dataset, features in self.describe().items():
            values = found["datasets"].setdefault(dataset, {})
            for feature in (name for name, _ in features):
                if self._generator.has("histogram") and feature in edges:
                    self._try(found, dataset, feature, "histogram", self._histogram_of, edges[feature])
                if self._generator.has("variance_with_mean") and feature in means.get(dataset, {}):
                    self._try(found, dataset, feature, "var", self._variance_of, means[dataset][feature])
            found["datasets"][dataset] = {feature: each for feature, each in values.items() if each}
        return found

    def _try(
        self, found: dict[str, Any], dataset: str, feature: str, name: str, method: Callable[..., Any], given: Any
    ) -> None:
        try:
            value = method(dataset, feature, given)
        except Exception as error:  # of the user's own code, which costs this statistic alone
            found["refused"].append([dataset, feature, name, f"{type(error).__name__}: {error}"])
        else:
            if value is not None:
                found["datasets"][dataset].setdefault(feature, {})[name] = value

    def _histogram_of(self, dataset: str, feature: str, edges: Sequence[float]) -> dict[str, Any]:
        low, high, bins = edges[0], edges[-1], len(edges) - 1
        return _histogram(self._generator.histogram(dataset, feature, bins, low, high), low, high, bins)

    def _variance_of(self, dataset: str, feature: str, of_all: Sequence[float]) -> float | None:
        """Return the variance of the site's own values, from its share of that of all."""
        mean, count = of_all
        own_count = _whole(self._generator.count(dataset, feature))
        if own_count < 2 or self._generator.has("stddev"):
            return None
        share = _number(self._generator.variance_with_mean(dataset, feature, mean, count))
        own_mean = self._own_mean(dataset, feature, own_count)
        return max(share * (count - 1) - own_count * (own_mean - mean) ** 2, 0.0) / (own_count - 1)

    def _own_mean(self, dataset: str, feature: str, count: int) -> float:
        if self._generator.has("mean"):
            return _number(self._generator.mean(dataset, feature))
        return _number(self._generator.sum(dataset, feature)) / count

    def ranks(self, dataset: str, feature: str, thresholds: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """Return the generator's own counts of values at most the thresholds; None if it has none.

        Raises:
            StatsError: it returned something else than a count for each.
        """
        if not self._generator.has("ranks"):
            return None
        counts = np.asarray(self._generator.ranks(dataset, feature, thresholds.tolist()))
        if counts.shape != thresholds.shape or counts.dtype.kind not in "iu":
            raise StatsError(
                f"{self._context.party}: {type(self._generator).__name__}.ranks() returned {counts!r:.80} for"
                f" {len(thresholds)} thresholds; return one integer for each"
            )
        return counts.astype(np.int64)

    def sketch(self, dataset: str, feature: str) -> Any:
        """Return the sketch of the data; None if there is none, or the generator counts itself."""
        if self._of_data is None or self._generator.has("ranks"):
            return None
        return self._of_data.sketch(dataset, feature)

    def finish(self) -> None:
        """Let the generator release what it holds."""
        self._generator.finalize(self._context)


class _Own:
    """Statistics of one feature, as a generator itself answers them.

    Attributes:
        values: the statistics, into which those of the generator are put.
        lost: reasons why there are none, by statistic.
    """

    def __init__(self, generator: Statistics, dataset: str, feature: str, values: dict[str, Any]) -> None:
        self.values = values
        self.lost: dict[str, str] = {}
        self._generator = generator
        self._place = (dataset, feature)

    def take(self, name: str, method: str, *more: Any, then: Callable[[Any], Any] | None = None) -> None:
        """Call a method, if it is overridden, and keep what ``then`` makes of its result; by default a float."""
        if not self._generator.has(method):
            return
        self.values.pop(name, None)
        try:
            self.values[name] = (then or _number)(getattr(self._generator, method)(*self._place, *more))
        except Exception as error:  # of the user's own code, which costs this statistic alone
            self.lost[name] = f"{type(error).__name__}: {error}"

    def reason(self, method: str) -> str:
        """Return why a statistic is missing whose method has not failed."""
        return f"{type(self._generator).__name__} has no {method}()" if self.values.get("count") else NO_VALUES

    def take_moments(self, wanted: Set[str]) -> None:
        if wanted & {"sum", "mean", "var", "stddev"}:
            self.take("sum", "sum")
            self.take("mean", "mean")
            if self._generator.has("mean") or self._generator.has("sum"):
                self.values.pop("mean_low", None)
            if "mean" not in self.values and "sum" in self.values:
                self.values["mean"] = self.values["sum"] / self.values["count"]
        if wanted & {"var", "stddev"}:
            self.take("var", "stddev", then=lambda value: _number(value) ** 2)
        for name, method in (("min", "min_value"), ("max", "max_value")):
            if wanted & {name, "histogram", "quantile"}:
                self.take(name, method)

    def take_categories(self, wanted: Set[str]) -> None:
        if wanted & {"categories", "top_values", "balance"}:
            self.take("categories", "categories", then=_categories)

    def take_histogram(self, options: Mapping[str, Any] | None) -> None:
        if options is not None and options["range"] is not None:
            bins, (low, high) = options["bins"], options["range"]
            self.take("histogram", "histogram", bins, low, high, then=lambda given: _histogram(given, low, high, bins))

    def take_quantiles(self, fractions: Sequence[float] | None) -> None:
        if fractions:
            self.take("quantile", "quantiles", fractions, then=lambda given: {"own": _quantiles(given, fractions)})
            if self._generator.has("ranks"):
                self.values["quantile"] = {"count": self.values["count"], "error": 0.0}


def _kind(data_type: Any) -> str:
    try:
        return _KINDS[DataType(data_type)]
    except ValueError:
        raise StatsError(f"a feature has the data type {data_type!r}; use a flare_stats.DataType") from None


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"it returned {number}")
    return number


def _whole(value: Any) -> int:
    number = int(value)
    if number != value or number < 0:
        raise ValueError(f"it returned {value!r} where a count is expected")
    return number


def _categories(given: Any) -> dict[str, int]:
    return {str(value): _whole(count) for value, count in dict(given).items()}


def _quantiles(given: Any, fractions: Sequence[float]) -> dict[float, float]:
    """Return quantiles by fraction; also from the form {"quantile": {…}} of generators with a digest."""
    given = given.get("quantile", given)
    by_fraction = {float(fraction): _number(value) for fraction, value in given.items()}
    return {fraction: by_fraction[fraction] for fraction in fractions}


def _histogram(given: Any, low: float, high: float, bins: int) -> dict[str, Any]:
    """Return the counts of a histogram in the bins that were asked for."""
    counts = [_whole(each[2]) for each in getattr(given, "bins", given)]
    if len(counts) != bins:
        raise ValueError(f"it returned {len(counts)} bins instead of {bins}")
    return {"edges": edges_of(low, high, bins), "counts": counts}
