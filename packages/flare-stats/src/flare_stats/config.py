"""Settings of what is computed: ``statistic_configs``, parsed and checked.

The form is that of the argument: {statistic: {feature or "*": options}}. An entry without features, ``{}``, is for all.
``"*"`` is for the features that are not named; without it, only those that are named have the statistic.

    count, missing, failure_count, sum, mean, var, stddev, min, max, distinct     {}
    histogram                {"bins": 20, "range": [low, high]}; the range is found if left out; of images 0 to 256
    quantile                 [0.1, 0.5, 0.9], fractions
    categories               {"most": 100, "values": [...]}; with values, the others are counted as one
    top_values               {"number": 10}
    balance                  {}, of the named features alone: the share of each class of a target
    correlation, covariance  {}: matrices of the features that have the entry

Variances have the divisor count - 1, as those of pandas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from flare_stats.errors import NotMaskable, StatsError

EVERY = frozenset({"int", "float", "bool", "text", "category", "datetime", "image", "other", "empty"})
MEASURED = frozenset({"int", "float", "empty"})
NUMERIC = MEASURED | {"bool"}
GROUPS = frozenset({"text", "category", "bool", "empty"})

KINDS: Mapping[str, frozenset[str]] = {
    "count": EVERY,
    "missing": EVERY,
    "failure_count": EVERY,
    "sum": NUMERIC,
    "mean": NUMERIC,
    "var": MEASURED,
    "stddev": MEASURED,
    "min": MEASURED,
    "max": MEASURED,
    "histogram": MEASURED | {"image"},
    "quantile": MEASURED,
    "categories": GROUPS,
    "top_values": GROUPS,
    "balance": GROUPS,
    "distinct": EVERY - {"image"},
    "correlation": NUMERIC,
    "covariance": NUMERIC,
}
"""The kinds of features that have each statistic."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "histogram": {"bins": 10, "range": None},
    "categories": {"most": 100, "values": None},
    "top_values": {"number": 10},
}
_OTHER_NAMES: Mapping[str, str] = {
    "median": '"quantile": [0.5]',
    "std": '"stddev"',
    "variance": '"var"',
    "average": '"mean"',
    "avg": '"mean"',
    "nunique": '"distinct"',
    "unique": '"distinct"',
    "minimum": '"min"',
    "maximum": '"max"',
}
"""What statistics of other libraries are called here."""
NAMED_TOO = {"categories", "top_values", "balance"}  # also of integers, if these are named
MATRICES = ("correlation", "covariance")
MOST_BINS = 10_000
PIXELS = (0.0, 256.0)  # of images of 8 bits


@dataclass(frozen=True)
class Settings:
    """The statistics of a run.

    Attributes:
        plain: {statistic: {feature or "*": options}} with the defaults filled in; it can be sent.
    """

    plain: Mapping[str, Mapping[str, Any]]

    @classmethod
    def parse(cls, given: Any) -> Settings:
        """Return the settings of ``statistic_configs``.

        Raises:
            StatsError: an entry is unknown or has unusable options; names it and the remedy.
        """
        if not isinstance(given, Mapping) or not given:
            raise StatsError(f"statistic_configs is {given!r}; give a dict such as {{'count': {{}}, 'mean': {{}}}}")
        plain = {}
        for statistic, features in given.items():
            if statistic not in KINDS:
                raise StatsError(f"statistic_configs has the unknown statistic {statistic!r}; {_hint(str(statistic))}")
            plain[statistic] = _features(statistic, features)
        return cls(plain)

    def options(self, statistic: str, feature: str, kind: str) -> Any:
        """Return the options of a statistic of a feature; None if it is not computed.

        Args:
            statistic: its name.
            feature: its name.
            kind: the kind of its values.
        """
        options = self._options(statistic, feature, kind)
        if statistic == "histogram" and kind == "image" and options is not None and options["range"] is None:
            return {**options, "range": list(PIXELS)}
        return options

    def _options(self, statistic: str, feature: str, kind: str) -> Any:
        features = self.plain.get(statistic)
        if features is None:
            return None
        if feature in features:
            fits = kind in KINDS[statistic] or (kind == "int" and statistic in NAMED_TOO)
            return features[feature] if fits else None
        return features.get("*") if kind in KINDS[statistic] else None

    def check_maskable(self) -> None:
        """Check that each statistic is made of sums over sites.

        Raises:
            NotMaskable: one is not; names it and the remedy.
        """
        if "distinct" in self.plain:
            raise NotMaskable(
                "distinct values cannot be counted under masks, since counts of sites overlap; leave it out"
            )
        of = self.plain.get("categories", {})
        for statistic in ("categories", "top_values", "balance"):
            for feature in self.plain.get(statistic, {}):
                options = of.get(feature, of.get("*", {}))
                if not options.get("values"):
                    raise NotMaskable(
                        f"{statistic} of {feature!r} cannot be masked, since the names of the categories would be seen;"
                        f" give them: statistic_configs['categories'][{feature!r}] = {{'values': [...]}}"
                    )

    def of_feature(self, feature: str, kind: str) -> list[str]:
        """Return the names of the statistics of a feature, without those that are matrices."""
        return [each for each in self.plain if each not in MATRICES and self.options(each, feature, kind) is not None]

    def matrix_features(self, kinds: Mapping[str, str]) -> list[str]:
        """Return the features, of these with their kinds, that have a row in the matrices."""
        return [
            feature
            for feature, kind in kinds.items()
            if any(self.options(matrix, feature, kind) is not None for matrix in MATRICES)
        ]

    def named(self) -> set[str]:
        """Return the features that are named somewhere."""
        return {feature for features in self.plain.values() for feature in features} - {"*"}

    def check_names(self, known: Iterable[str]) -> None:
        """Check that each named feature is one that a site has.

        Raises:
            StatsError: names the first that is not, and a similar one.
        """
        features = sorted(set(known))
        for name in sorted(self.named() - set(features)):
            statistic = next(each for each, of in self.plain.items() if name in of)
            close = get_close_matches(name, features, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the sites have {', '.join(features) or 'none'}"
            raise StatsError(f"statistic_configs[{statistic!r}] names the feature {name!r}, which no site has; {hint}")

    def misfits(self, feature: str, kind: str) -> list[str]:
        """Return the statistics that name a feature whose kind does not have them."""
        return [each for each, of in self.plain.items() if feature in of and self.options(each, feature, kind) is None]


def _hint(unknown: str) -> str:
    """Return what may have been meant by an unknown statistic."""
    if (other := _OTHER_NAMES.get(unknown.lower())) is not None:
        return f"use {other}"
    close = get_close_matches(unknown, KINDS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"it may have {', '.join(KINDS)}"


def _features(statistic: str, given: Any) -> dict[str, Any]:
    where = f"statistic_configs[{statistic!r}]"
    if statistic == "quantile" and isinstance(given, list | tuple):
        given = {"*": given}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise StatsError(f"{where} is {given!r}; give {{}} for all features, or {{feature: options}}")
    if statistic == "balance" and (not given or "*" in given):
        raise StatsError(f"{where} is {given!r}; name the feature with the classes, such as {{'diagnosis': {{}}}}")
    if not given:
        given = {"*": [0.25, 0.5, 0.75] if statistic == "quantile" else {}}
    return {name: _options(statistic, options, f"{where}[{name!r}]") for name, options in given.items()}


def _options(statistic: str, given: Any, where: str) -> Any:
    if statistic == "quantile":
        return _fractions(given, where)
    known = _DEFAULTS.get(statistic, {})
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise StatsError(f"{where} is {given!r}; give a dict of options")
    if unknown := sorted(set(given) - set(known), key=str):
        hint = f"it may have {', '.join(known)}" if known else "it has none; write {}"
        raise StatsError(f"{where} has the unknown option {unknown[0]!r}; {hint}")
    options: dict[str, Any] = {**known, **given}
    for name, most in (("bins", MOST_BINS), ("most", 100_000), ("number", 100_000)):
        if name in options:
            options[name] = _whole(options[name], f"{where}[{name!r}]", most)
    if options.get("range") is not None:
        options["range"] = _range(options["range"], f"{where}['range']")
    if options.get("values") is not None:
        options["values"] = _values(options["values"], f"{where}['values']")
    return options


def _fractions(given: Any, where: str) -> list[float]:
    fine = isinstance(given, Sequence) and not isinstance(given, str) and len(given) > 0
    if not fine or not all(_is_number(each) and 0 <= each <= 1 for each in given):
        raise StatsError(f"{where} is {given!r}; give a list of fractions from 0 to 1, such as [0.25, 0.5, 0.75]")
    return sorted({float(each) for each in given})


def _range(given: Any, where: str) -> list[float]:
    fine = isinstance(given, Sequence) and len(given) == 2 and all(_is_number(each) for each in given)
    if not fine or not math.isfinite(given[0]) or not math.isfinite(given[1]) or not given[0] < given[1]:
        raise StatsError(f"{where} is {given!r}; give two finite numbers, the smaller one first")
    return [float(each) for each in given]


def _values(given: Any, where: str) -> list[str]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise StatsError(f"{where} is {given!r}; give a list of categories")
    return list(dict.fromkeys(str(each) for each in given))


def _whole(given: Any, where: str, most: int) -> int:
    if isinstance(given, bool) or not hasattr(given, "__index__") or not 1 <= int(given) <= most:
        raise StatsError(f"{where} is {given!r}; give an integer from 1 to {most:,}")
    return int(given)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool | str) and (isinstance(value, int | float) or hasattr(value, "__float__"))
