"""The numbers of a masked total: which of them lie where, what a site puts there, and what the server reads.

The parts of a feature, all integers:

    count, missing, failure_count   one each
    sum, squares                    100 digits each: of the values, and of their squares
    histogram                       one for each bin
    categories                      one for each given value, and one for all others

and those of a matrix of d features, for each pair of them, over the rows that have both: counts, and the digits of
sums, squares and products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_stats.config import Settings
from flare_stats.masked.fixed_point import DIGITS, from_digits, to_digits
from flare_stats.merging import to_float

COUNTS = ("count", "missing", "failure_count")
_PARTS = {
    "sum": ("sum",),
    "mean": ("sum",),
    "var": ("sum", "squares"),
    "stddev": ("sum", "squares"),
    "histogram": ("histogram",),
    "categories": ("categories",),
    "top_values": ("categories",),
    "balance": ("categories",),
}
MATRIX_PARTS = ("mean_high", "mean_low", "squares", "products")
_OF_PAIR = 1 + 3 * DIGITS
Offer = Mapping[str, Mapping[str, Sequence[str]]]
"""Names of parts by data set and feature."""

Thresholds = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Numbers to count at, by end (of the range, or none), data set and feature."""


def parts_of(settings: Settings, feature: str, kind: str) -> list[str]:
    """Return the parts that the statistics of a feature are made of; also ``range`` and ``ranks``, if asked for."""
    wanted = settings.of_feature(feature, kind)
    parts = [*COUNTS, *(part for name in wanted for part in _PARTS.get(name, ()))]
    if {"min", "max"} & {*wanted} or (settings.options("histogram", feature, kind) or {"range": 0})["range"] is None:
        parts.append("range")
    if "quantile" in wanted:
        parts.append("ranks")
    return list(dict.fromkeys(parts))


def split(total: NDArray[np.int64], asked: Thresholds) -> dict[str, dict[str, dict[str, NDArray[np.int64]]]]:
    """Return the counts in a total as they were asked for."""
    found: dict[str, dict[str, dict[str, NDArray[np.int64]]]] = {}
    begin = 0
    for end, dataset, feature, thresholds in in_order(asked):
        counts = total[begin : begin + len(thresholds)]
        found.setdefault(end, {}).setdefault(dataset, {})[feature] = counts
        begin += len(thresholds)
    return found


def in_order(asked: Thresholds) -> list[tuple[str, str, str, NDArray[np.float64]]]:
    """Return thresholds in the order in which their counts lie in a total."""
    return [
        (end, dataset, feature, np.asarray(thresholds, np.float64))
        for end, datasets in sorted(asked.items())
        for dataset, features in sorted(datasets.items())
        for feature, thresholds in sorted(features.items())
    ]


@dataclass(frozen=True)
class Layout:
    """The order of the numbers in a total.

    Attributes:
        settings: what is computed.
        kinds: of the features.
        offer: the parts that the total has.
        matrices: by data set, the features of its matrix.
    """

    settings: Settings
    kinds: Mapping[str, str]
    offer: Offer
    matrices: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def _entries(self) -> Iterator[tuple[str, str, str, int]]:
        for dataset, features in sorted(self.offer.items()):
            for feature, parts in sorted(features.items()):
                for part in parts:
                    yield dataset, feature, part, self._size(feature, part)

    def _size(self, feature: str, part: str) -> int:
        match part:
            case "sum" | "squares":
                return DIGITS
            case "histogram":
                return int(self._options("histogram", feature)["bins"])
            case "categories":
                return len(self._options("categories", feature)["values"]) + 1
        return 1

    def _options(self, statistic: str, feature: str) -> Any:
        return self.settings.options(statistic, feature, self.kinds[feature])

    @property
    def length(self) -> int:
        """How many numbers there are."""
        of_matrices = sum(len(features) ** 2 * _OF_PAIR for features in self.matrices.values())
        return sum(size for *_, size in self._entries()) + of_matrices

    def vector(
        self, values: Mapping[str, Mapping[str, Mapping[str, Any]]], matrices: Mapping[str, Mapping[str, Any]]
    ) -> NDArray[np.int64]:
        """Return a site's numbers; zeros for what it does not have.

        Args:
            values: its statistics by data set and feature.
            matrices: its moments of pairs by data set.
        """
        pieces = [np.zeros(0, np.int64)]
        for dataset, feature, part, size in self._entries():
            own = values.get(dataset, {}).get(feature, {})
            pieces.append(_piece(part, own, size, self._values(feature, part)))
        for dataset, wanted in sorted(self.matrices.items()):
            pieces.append(_of_matrix(matrices.get(dataset), wanted))
        return np.concatenate(pieces)

    def _values(self, feature: str, part: str) -> Sequence[str]:
        return self._options("categories", feature)["values"] if part == "categories" else ()

    def read(self, total: NDArray[np.int64]) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the parts of a total by data set and feature: integers, fractions and arrays."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        begin = 0
        for dataset, feature, part, size in self._entries():
            piece = total[begin : begin + size]
            begin += size
            found.setdefault(dataset, {}).setdefault(feature, {})[part] = _read(
                part, piece, self._values(feature, part)
            )
        return found

    def read_matrices(self, total: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
        """Return the moments of pairs in a total by data set, as :class:`~flare_stats.algebra.CoMoments` has them."""
        found = {}
        begin = sum(size for *_, size in self._entries())
        for dataset, features in sorted(self.matrices.items()):
            size = len(features) ** 2 * _OF_PAIR
            found[dataset] = {"features": list(features), **_read_matrix(total[begin : begin + size])}
            begin += size
        return found


def _piece(part: str, values: Mapping[str, Any], size: int, names: Sequence[str]) -> NDArray[np.int64]:
    count = round(values.get("count", 0))
    match part:
        case "sum":
            return to_digits(_sum(values, count))
        case "squares":
            squares = Fraction(values.get("var", 0.0)) * max(count - 1, 0)
            return to_digits(squares + (_sum(values, count) ** 2 / count if count else 0))
        case "histogram":
            counts = values.get("histogram", {}).get("counts", ())
            return np.rint(counts).astype(np.int64) if len(counts) == size else np.zeros(size, np.int64)
        case "categories":
            of = values.get("categories", {})
            return np.array([round(of.get(name, 0)) for name in names] + [round(values.get("categories_other", 0))])
    return np.array([round(values.get(part, 0))], np.int64)


def _sum(values: Mapping[str, Any], count: int) -> Fraction:
    if "mean" in values:
        return (Fraction(values["mean"]) + Fraction(values.get("mean_low", 0.0))) * count
    return Fraction(values.get("sum", 0.0))


def _of_matrix(values: Mapping[str, Any] | None, features: Sequence[str]) -> NDArray[np.int64]:
    if values is None:
        return np.zeros(len(features) ** 2 * _OF_PAIR, np.int64)
    order = [list(values["features"]).index(name) for name in features]
    values = {name: np.asarray(values[name])[np.ix_(order, order)] for name in ("count", *MATRIX_PARTS)}
    counts = values["count"]
    sums, squares, products = [], [], []
    for i, j in np.ndindex(counts.shape):
        count = int(counts[i, j])
        own, other = (
            Fraction(float(values["mean_high"][at])) + Fraction(float(values["mean_low"][at]))
            for at in ((i, j), (j, i))
        )
        sums.append(to_digits(own * count))
        squares.append(to_digits(Fraction(float(values["squares"][i, j])) + own * own * count))
        products.append(to_digits(Fraction(float(values["products"][i, j])) + own * other * count))
    return np.concatenate([counts.ravel(), *sums, *squares, *products])


def _read(part: str, piece: NDArray[np.int64], names: Sequence[str]) -> Any:
    match part:
        case "sum" | "squares":
            return from_digits(piece)
        case "histogram":
            return piece.tolist()
        case "categories":
            return dict(zip([*names, None], piece.tolist(), strict=True))
    return int(piece[0])


def _read_matrix(piece: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the moments of pairs, as :class:`~flare_stats.algebra.CoMoments` has them."""
    width = math.isqrt(len(piece) // _OF_PAIR)
    counts = piece[: width * width].reshape(width, width)
    digits = piece[width * width :].reshape(3, width, width, DIGITS)
    made = {name: np.zeros((width, width)) for name in MATRIX_PARTS}
    for i, j in np.ndindex(width, width):
        count = int(counts[i, j])
        if count:
            own, other = (from_digits(digits[0][at]) / count for at in ((i, j), (j, i)))
            made["mean_high"][i, j] = high = float(own)
            made["mean_low"][i, j] = float(own - Fraction(high))
            made["squares"][i, j] = max(to_float(from_digits(digits[1, i, j]) - own * own * count), 0.0)
            products = to_float(from_digits(digits[2, i, j]) - own * other * count)
            made["products"][i, j] = products if i != j else made["squares"][i, j]
    return {"count": counts.copy(), **made}
