"""The statistics of a run as the report reads them: places, levels, data sets and values, whatever the JSON holds.

The report is made from three JSON documents, which may have been edited or damaged. A value of the wrong type counts as
absent, so that a page is made of what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

GLOBAL = "Global"
MAX_LEVELS = 5
MAX_DATASETS = 4


@dataclass(frozen=True, slots=True)
class BinnedCounts:
    """Counts of values in adjacent bins.

    Attributes:
        edges: ascending, one more than there are bins.
        counts: ``counts[i]`` values lie from ``edges[i]`` to ``edges[i + 1]``.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def total(self) -> float:
        """Number of values."""
        return float(self.counts.sum())


@dataclass(frozen=True, slots=True)
class Level:
    """The places of one level of the hierarchy: the sites themselves, or what they belong to."""

    name: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A statistic that a site did not give, and the rule for which it did not."""

    site: str
    dataset: str
    feature: str
    statistic: str
    rule: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Correlations between features: ``values[i, j]`` is NaN where it is not known."""

    features: tuple[str, ...]
    count: float | None
    values: NDArray[np.float64]


@dataclass(frozen=True)
class ReportData:
    """The content of a report, read from the documents ``statistics.json``, ``matrices.json`` and ``about.json``.

    Attributes:
        levels: the sites first, then the levels that they form, without the whole.
        datasets: names of data sets, in the order of their first appearance.
        level_count: number of levels; those beyond five are left out.
        dataset_count: number of data sets; those beyond four are left out.
    """

    statistics: Mapping[str, Any]
    matrices: Mapping[str, Any]
    about: Mapping[str, Any]
    features: tuple[str, ...] = field(init=False)
    datasets: tuple[str, ...] = field(init=False)
    levels: tuple[Level, ...] = field(init=False)
    refusals: tuple[Refusal, ...] = field(init=False)
    level_count: int = field(init=False)
    dataset_count: int = field(init=False)

    def __post_init__(self) -> None:
        for name in ("statistics", "matrices", "about"):
            object.__setattr__(self, name, mapping(getattr(self, name)))
        object.__setattr__(self, "features", tuple(each for each in self.statistics if isinstance(each, str)))
        refusals = [read for row in sequence(self.about.get("refused")) if (read := _refusal(row))]
        object.__setattr__(self, "refusals", tuple(refusals))
        levels = _levels(mapping(self.about.get("levels")))
        every, datasets = (Level("Sites", self._sites(levels)), *levels), self._datasets()
        object.__setattr__(self, "levels", every[:MAX_LEVELS])
        object.__setattr__(self, "datasets", datasets[:MAX_DATASETS])
        object.__setattr__(self, "level_count", len(every))
        object.__setattr__(self, "dataset_count", len(datasets))

    def statistics_of(self, feature: str) -> tuple[str, ...]:
        """Return the names of the statistics that any place has of a feature."""
        return tuple(mapping(self.statistics.get(feature)))

    def value(self, feature: str, statistic: str, place: str, dataset: str) -> Any:
        """Return the value as it stands in the document; None if it is absent."""
        return mapping(mapping(mapping(self.statistics.get(feature)).get(statistic)).get(place)).get(dataset)

    def number(self, feature: str, statistic: str, place: str, dataset: str) -> float | None:
        """Return a finite number, or None."""
        return finite(self.value(feature, statistic, place, dataset))

    def histogram(self, feature: str, place: str, dataset: str) -> BinnedCounts | None:
        """Return the histogram, or None where there is none with a finite range and a count above zero."""
        return _histogram(self.value(feature, "histogram", place, dataset))

    def categories(self, feature: str, place: str, dataset: str) -> dict[str | None, float]:
        """Return the counts of categories, of those that are not named under None; empty where they are unknown.

        A balance of classes without their counts is multiplied by the number of values.
        """
        values = self.number(feature, "count", place, dataset)
        counts: dict[str | None, float] = _counts(mapping(self.value(feature, "categories", place, dataset)).items())
        if not counts:
            pairs = (row for row in map(sequence, sequence(self.value(feature, "top_values", place, dataset))))
            counts = _counts((row[0], row[1]) for row in pairs if len(row) == 2)
        if not counts and values:
            balance = mapping(self.value(feature, "balance", place, dataset))
            counts = {name: share * values for name, share in _counts(balance.items()).items()}
        others = self.number(feature, "categories_other", place, dataset)
        if others is None and counts and values is not None:
            others = values - sum(counts.values())
        return counts | {None: others} if counts and others is not None and others >= 0.5 else counts

    def quantiles(self, feature: str, place: str, dataset: str) -> dict[float, float]:
        """Return the value at each probability that is known, in ascending order of probability."""
        known = mapping(self.value(feature, "quantile", place, dataset)).items()
        numbers = [(finite(probability), finite(value)) for probability, value in known]
        return dict(sorted((p, v) for p, v in numbers if p is not None and v is not None))

    def kind(self, feature: str) -> str:
        """Return the kind of a feature's values, such as "float"; empty where it is unknown."""
        kind = mapping(self.about.get("kinds")).get(feature)
        return kind if isinstance(kind, str) else ""

    @property
    def targets(self) -> tuple[str, ...]:
        """The features with a balance of classes, and the one that ``about`` names as target."""
        named = [self.about.get("target")]
        return tuple(each for each in self.features if each in named or "balance" in self.statistics_of(each))

    def rows(self, place: str, dataset: str) -> float | None:
        """Return the number of rows of a site, or of a place that is not a site by the counts of its features."""
        rows = mapping(self.about.get("rows"))
        if place in rows:
            return finite(mapping(rows[place]).get(dataset))
        if place == GLOBAL and rows:
            known = [finite(mapping(of_site).get(dataset)) for of_site in rows.values()]
            counts = [count for count in known if count is not None]
            return sum(counts) if counts else None
        seen = [self._values_seen(feature, place, dataset) for feature in self.features]
        return max((count for count in seen if count is not None), default=None)

    def missing_share(self, feature: str, place: str, dataset: str) -> float | None:
        """Return the share of rows without a value, between 0 and 1, or None where it is not known."""
        missing = self.number(feature, "missing", place, dataset)
        rows = self._values_seen(feature, place, dataset)
        if place in mapping(self.about.get("rows")) or rows is None:
            rows = self.rows(place, dataset) or rows
        if missing is None or not rows:
            return None
        return min(max(missing / rows, 0.0), 1.0)

    def matrix(self, place: str, dataset: str) -> Matrix | None:
        """Return the correlations at a place; None where there is no matrix of at least two features."""
        return _matrix(mapping(mapping(self.matrices.get(place)).get(dataset)))

    def places_named(self) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Yield each place with what is known of it, for every feature and statistic."""
        for of_feature in self.statistics.values():
            for of_statistic in mapping(of_feature).values():
                for place, of_place in mapping(of_statistic).items():
                    yield place, mapping(of_place)

    def _values_seen(self, feature: str, place: str, dataset: str) -> float | None:
        counts = [
            self.number(feature, statistic, place, dataset) for statistic in ("count", "missing", "failure_count")
        ]
        return None if counts[0] is None else sum(count for count in counts if count is not None)

    def _sites(self, levels: tuple[Level, ...]) -> tuple[str, ...]:
        """Return the sites that ``about`` names, and every other place with statistics that is of no level."""
        others = {GLOBAL, *(place for level in levels for place in level.places)}
        named = [name for name in sequence(self.about.get("sites")) if isinstance(name, str)]
        found = [place for place, _ in self.places_named()]
        refusing = [refusal.site for refusal in self.refusals]
        known = dict.fromkeys([*named, *mapping(self.about.get("rows")), *found, *refusing])
        return tuple(place for place in known if isinstance(place, str) and (place not in others or place in named))

    def _datasets(self) -> tuple[str, ...]:
        of_rows = [mapping(of_site) for of_site in mapping(self.about.get("rows")).values()]
        found = [of_place for _, of_place in self.places_named()]
        matrices = [mapping(of_place) for of_place in self.matrices.values()]
        names = dict.fromkeys(name for each in [*of_rows, *found, *matrices] for name in each)
        return tuple(each for each in names if isinstance(each, str)) or ("",)


def mapping(value: Any) -> Mapping[str, Any]:
    """Return ``value`` if it is a dict; an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Return ``value`` as a list if it is a list or a tuple; an empty one otherwise."""
    return list(value) if isinstance(value, list | tuple) else []


def finite(value: Any) -> float | None:
    """Return a finite number, also from its decimal text; None for everything else, NaN and infinities among it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _counts(pairs: Iterable[tuple[Any, Any]]) -> dict[str | None, float]:
    return {str(name): max(count, 0.0) for name, raw in pairs if (count := finite(raw)) is not None}


def _histogram(value: Any) -> BinnedCounts | None:
    try:
        rows = np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        return _histogram_of_rows(value)
    if rows.ndim != 2 or rows.shape[1] != 3 or not len(rows) or not np.isfinite(rows).all():
        return _histogram_of_rows(value)
    low, high, counts = rows.T
    if (low >= high).any() or (low[1:] != high[:-1]).any():
        return _histogram_of_rows(value)
    found = BinnedCounts(np.append(low, high[-1]), np.maximum(counts, 0.0))
    return found if 0.0 < found.total < math.inf else None


def _histogram_of_rows(value: Any) -> BinnedCounts | None:
    """Return the histogram of bins that need not be adjacent, without those that are none."""
    bins: list[tuple[float, float, float]] = []
    for row in map(sequence, sequence(value)):
        numbers = [finite(each) for each in row]
        if len(numbers) != 3 or None in numbers:
            continue
        low, high, count = (float(number or 0.0) for number in numbers)
        if low < high and not (bins and low < bins[-1][1]):
            bins.append((low, high, max(count, 0.0)))
    edges: list[float] = []
    counts: list[float] = []
    for low, high, count in bins:
        if edges and low > edges[-1]:  # a gap holds nothing
            edges.append(low)
            counts.append(0.0)
        edges = edges or [low]
        edges.append(high)
        counts.append(count)
    found = BinnedCounts(np.array(edges), np.array(counts))
    return found if counts and 0.0 < found.total < math.inf else None


def _matrix(of_dataset: Mapping[str, Any]) -> Matrix | None:
    features = tuple(str(name) for name in sequence(of_dataset.get("features")))
    rows = [sequence(row) for row in sequence(of_dataset.get("correlation"))]
    if len(features) < 2 or len(rows) != len(features) or any(len(row) != len(features) for row in rows):
        return None
    numbers = [[math.nan if (value := finite(each)) is None else value for each in row] for row in rows]
    return Matrix(features, finite(of_dataset.get("count")), np.clip(np.array(numbers), -1.0, 1.0))


def _refusal(row: Any) -> Refusal | None:
    parts = [str(part) for part in sequence(row)]
    return Refusal(*parts) if len(parts) == 5 else None


def _levels(levels: Mapping[str, Any]) -> tuple[Level, ...]:
    """Return the levels above the sites, the lowest first; each is given as a list of places or a mapping from them."""
    found = []
    for name, places in levels.items():
        names = [str(each) for each in (mapping(places) or sequence(places))]
        kept = tuple(dict.fromkeys(each for each in names if each != GLOBAL))
        if kept:
            found.append(Level(str(name), kept))
    return tuple(reversed(found))
