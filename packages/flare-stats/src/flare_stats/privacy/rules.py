"""The rules of a site's policy, as the file ``privacy.toml`` has them; docs/statistics-privacy.md describes each key.

A key that is unknown, misspelt or has an unusable value is an error: a rule that was meant to protect must not be
ignored silently.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from flare_stats.privacy import checks
from flare_stats.privacy.errors import PolicyError

POLICY = "privacy.toml"
DELIMITERS = (",", ";", "\t", "|")
"""The delimiters of text with which a job may read a site that has rules for features."""
DELIMITER = re.compile(f"[{''.join(DELIMITERS)}]")
TOGETHER = (
    frozenset({"mean", "sum"}),
    frozenset({"var", "stddev"}),
    frozenset({"categories", "top_values", "balance"}),
    frozenset({"correlation", "covariance"}),
)
"""Statistics that follow from each other, given the count: who forbids one forbids all of its group."""
NEED_COUNT = frozenset({"mean", "var", "stddev"})
"""Statistics of a site that are merged with those of others by their counts."""


@dataclass(frozen=True, slots=True)
class FeatureRules:
    """The rules of one feature.

    Attributes:
        bounds: values beyond them count as the nearer bound, under differential privacy.
        categories: the values that are counted, under differential privacy; others are counted together.
        forbidden_statistics: statistics that are never answered.
    """

    bounds: tuple[float, float] | None = None
    categories: tuple[str, ...] = ()
    forbidden_statistics: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Privacy:
    """The rules of differential privacy.

    Attributes:
        mechanism: ``laplace`` or ``gaussian``.
        epsilon: spent by each number or list of numbers that is released, unless ``epsilons`` names its statistic.
        delta: likewise, of the Gaussian mechanism.
        total_epsilon: spent by all releases together, at most.
        total_delta: likewise.
        records_per_person: how many records of one data set may be about one person.
        quantile_cells: cells of equal width between the bounds, from whose noisy counts quantiles are found.
        epsilons: by statistic, the epsilon of its releases.
    """

    mechanism: str
    epsilon: float
    total_epsilon: float
    delta: float = 0.0
    total_delta: float = 0.0
    records_per_person: int = 1
    quantile_cells: int = 256
    epsilons: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a site. The defaults are those of a policy file in which a key is left out.

    Attributes:
        min_count: the number of values below which nothing is said about a feature.
        min_bin: bins and categories with fewer values are not shown.
        max_bins: of a histogram.
        max_bins_percent: bins of a histogram, as a percentage of the number of values.
        range_noise: how far minimum and maximum are moved outwards, as shares of the distance between them.
        significant_digits: of sums, means, variances and ends of ranges; None for all.
        round_counts_to: counts are rounded to multiples of this number.
        max_queries: answered questions about one source of data; None for any number.
        max_binnings: different edges under which histograms of one feature are answered.
        min_difference: a feature is not answered again while fewer values than this were added or removed.
        forbidden_statistics: statistics that are never answered.
        forbidden_features: patterns of features that are never mentioned.
        allowed_features: patterns of the only features that are mentioned.
        sources: patterns of paths and URLs that may be read; None for any.
        sql_queries: a job may bring SQL of its own.
        distinct_hashes: hashes of values may leave, from which the sites' distinct values are counted together.
        features: the rules of single features.
        privacy: the rules of differential privacy; None without it.
    """

    min_count: int = 10
    min_bin: int = 5
    max_bins: int = 1000
    max_bins_percent: float = 10.0
    range_noise: tuple[float, float] = (0.1, 0.3)
    significant_digits: int | None = 6
    round_counts_to: int = 1
    max_queries: int | None = 1000
    max_binnings: int = 3
    min_difference: int = 10
    forbidden_statistics: frozenset[str] = frozenset()
    forbidden_features: tuple[str, ...] = ()
    allowed_features: tuple[str, ...] = ("*",)
    sources: tuple[str, ...] | None = None
    sql_queries: bool = False
    distinct_hashes: bool = False
    features: Mapping[str, FeatureRules] = field(default_factory=dict)
    privacy: Privacy | None = None

    @classmethod
    def none(cls) -> Self:
        """Return the rules of a site without a policy file: none but the largest number of bins."""
        return cls(
            min_count=0,
            min_bin=0,
            max_bins=10_000,
            max_bins_percent=math.inf,
            range_noise=(0.0, 0.0),
            significant_digits=None,
            max_queries=None,
            min_difference=0,
            sql_queries=True,
            distinct_hashes=True,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a policy file.

        Raises:
            PolicyError: names the file, the key, the value and the remedy.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PolicyError(
                f"the policy {path} cannot be read: {error.strerror}; correct its path or its rights"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PolicyError(f"{path} is not TOML: {error}") from error
        try:
            return cls(**_parsed(values))
        except PolicyError as error:
            raise PolicyError(f"{path}: {error}") from None

    def with_wishes(self, wishes: Mapping[str, Any]) -> Self:
        """Return these rules, or those of a job where they are stricter.

        Args:
            wishes: any of ``min_count``, ``min_noise_level``, ``max_noise_level`` and ``max_bins_percent``.
        Raises:
            PolicyError: a wish is unknown or not a number; names it.
        """
        known = ("min_count", "min_noise_level", "max_noise_level", "max_bins_percent")
        for name, value in wishes.items():
            if name not in known:
                raise PolicyError(f"{name} is no wish that a job can have; it may have {', '.join(known)}")
            checks.number(value, name)
        low = max(self.range_noise[0], wishes.get("min_noise_level", 0.0))
        return replace(
            self,
            min_count=max(self.min_count, wishes.get("min_count", 0)),
            range_noise=(low, max(low, self.range_noise[1], wishes.get("max_noise_level", 0.0))),
            max_bins_percent=min(self.max_bins_percent, wishes.get("max_bins_percent", math.inf)),
        )

    def shows(self, feature: str) -> bool:
        """Return True if a feature may be mentioned."""
        parts = _columns_in(feature)
        named = feature in self.allowed_features or all(_is_like(each, self.allowed_features) for each in parts)
        return named and not any(_is_like(each, self.forbidden_features) for each in (feature, *parts))

    def forbids(self, feature: str, statistic: str) -> str | None:
        """Return the rule that forbids a statistic of a feature, with the reason; None if there is none."""
        own = {
            f"features.{name}.forbidden_statistics": self.features[name].forbidden_statistics
            for name in (feature, *_columns_in(feature))
            if name in self.features
        }
        for where, forbidden in {"forbidden_statistics": self.forbidden_statistics, **own}.items():
            related = next((group for group in TOGETHER if statistic in group), frozenset({statistic}))
            if hit := sorted(related & forbidden):
                return where if statistic in hit else f"{where}: {statistic} and the count tell {hit[0]}"
            if statistic in NEED_COUNT and "count" in forbidden:
                return f"{where}: {statistic} needs the count"
        return None

    def bounds(self, feature: str) -> tuple[float, float] | None:
        """Return the bounds of a feature's values; None if it has none."""
        return self.features.get(feature, FeatureRules()).bounds

    def categories(self, feature: str) -> tuple[str, ...]:
        """Return the categories of a feature that are counted under differential privacy."""
        return self.features.get(feature, FeatureRules()).categories


def _columns_in(feature: str) -> list[str]:
    """Return the columns that a feature may consist of: a job that names a wrong delimiter reads several as one."""
    return [each.strip(" \"'") for each in DELIMITER.split(feature)]


def _is_like(feature: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(feature, each) for each in patterns)


def _parsed(values: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(values)
    rest = {"features": values.pop("features", {}), "differential_privacy": values.pop("differential_privacy", None)}
    parsed = checks.table(values, _RULES, "", more=rest)
    if "min_count" in parsed and "min_difference" not in parsed:
        parsed["min_difference"] = parsed["min_count"]
    features = checks.mapping(rest["features"], "features")
    parsed["features"] = {name: _feature(each, f"features.{name}") for name, each in features.items()}
    if rest["differential_privacy"] is not None:
        parsed["privacy"] = _privacy(rest["differential_privacy"], "differential_privacy")
        if parsed.get("sql_queries"):
            raise PolicyError(
                "sql_queries is true beside differential_privacy: a query could count one record any number of times,"
                " which the noise would not hide; set it to false, and offer views"
            )
    return parsed


def _feature(values: Any, where: str) -> FeatureRules:
    return FeatureRules(**checks.table(checks.mapping(values, where), _FEATURE, f"{where}."))


def _privacy(values: Any, where: str) -> Privacy:
    values = dict(checks.mapping(values, where))
    epsilons = checks.mapping(values.pop("epsilons", {}), f"{where}.epsilons")
    parsed = checks.table(values, _PRIVACY, f"{where}.", more={"epsilons": epsilons})
    checks.statistics(list(epsilons), f"{where}.epsilons")
    parsed["epsilons"] = {name: checks.positive(each, f"{where}.epsilons.{name}") for name, each in epsilons.items()}
    for name in ("mechanism", "epsilon", "total_epsilon"):
        if name not in parsed:
            raise PolicyError(f"{where} needs the key {name}")
    made = Privacy(**parsed)
    if made.mechanism == "gaussian" and not 0 < made.delta <= made.total_delta:
        raise PolicyError(
            f"{where}.delta is {made.delta:g} and total_delta {made.total_delta:g}; the gaussian mechanism needs a"
            " delta above 0, such as 1e-7, and a total_delta that allows some of them"
        )
    if max(made.epsilon, *made.epsilons.values(), 0.0) > made.total_epsilon:
        raise PolicyError(f"{where}.total_epsilon is {made.total_epsilon:g}, less than a single release spends")
    return made


_MOST = 1_000_000_000
_RULES: Mapping[str, Callable[[Any, str], Any]] = {
    "min_count": checks.whole(1, _MOST),
    "min_bin": checks.whole(1, _MOST),
    "max_bins": checks.whole(1, 10_000),
    "max_bins_percent": checks.percent,
    "range_noise": checks.noise,
    "significant_digits": checks.whole(1, 17),
    "round_counts_to": checks.whole(1, _MOST),
    "max_queries": checks.whole(0, _MOST),
    "max_binnings": checks.whole(1, 1000),
    "min_difference": checks.whole(0, _MOST),
    "forbidden_statistics": checks.statistics,
    "forbidden_features": checks.texts,
    "allowed_features": checks.some_texts,
    "sources": checks.some_texts,
    "sql_queries": checks.flag,
    "distinct_hashes": checks.flag,
}
_FEATURE: Mapping[str, Callable[[Any, str], Any]] = {
    "bounds": checks.bounds,
    "categories": checks.some_texts,
    "forbidden_statistics": checks.statistics,
}
_PRIVACY: Mapping[str, Callable[[Any, str], Any]] = {
    "mechanism": checks.mechanism,
    "epsilon": checks.positive,
    "delta": checks.share,
    "total_epsilon": checks.positive,
    "total_delta": checks.share,
    "records_per_person": checks.whole(1, 1_000_000),
    "quantile_cells": checks.whole(2, 65_536),
}
assert {*_RULES, "features", "privacy"} == {each.name for each in fields(Rules)}
