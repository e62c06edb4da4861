"""Checks of the values in a policy file; each error names the key, the value and the remedy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from flare_stats.privacy.errors import PolicyError

STATISTICS = (
    "count",
    "missing",
    "failure_count",
    "sum",
    "mean",
    "var",
    "stddev",
    "min",
    "max",
    "histogram",
    "quantile",
    "categories",
    "top_values",
    "balance",
    "distinct",
    "correlation",
    "covariance",
)


def table(
    values: Mapping[str, Any], checks: Mapping[str, Callable[[Any, str], Any]], where: str, *, more: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the checked values of a table, of which each key must have a check.

    Args:
        values: the table.
        checks: by key.
        where: what precedes a key's name in errors.
        more: keys that are checked elsewhere, to suggest one that may be meant.
    Raises:
        PolicyError: a key is unknown, or a value fails its check.
    """
    for name in values:
        if name not in checks:
            known = [*checks, *more]
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise PolicyError(f"the key {where}{name} is unknown; {hint}")
    return {name: checks[name](value, f"{where}{name}") for name, value in values.items()}


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Return a value that must be a table.

    Raises:
        PolicyError: it is not.
    """
    if not isinstance(value, Mapping):
        raise PolicyError(f"{where} is {value!r}; write a table, [{where}]")
    return value


def number(value: Any, where: str) -> float:
    """Return a value that must be a finite number.

    Raises:
        PolicyError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PolicyError(f"{where} is {value!r}; give a finite number")
    return float(value)


def positive(value: Any, where: str) -> float:
    """Return a value that must be a number above 0.

    Raises:
        PolicyError: it is not.
    """
    if number(value, where) <= 0:
        raise PolicyError(f"{where} is {value!r}; give a number above 0")
    return float(value)


def share(value: Any, where: str) -> float:
    """Return a value that must be at least 0 and below 1.

    Raises:
        PolicyError: it is not.
    """
    if not 0 <= number(value, where) < 1:
        raise PolicyError(f"{where} is {value!r}; give a number from 0 to less than 1, such as 1e-6")
    return float(value)


def percent(value: Any, where: str) -> float:
    """Return a value that must be a percentage above 0.

    Raises:
        PolicyError: it is not.
    """
    if not 0 < number(value, where) <= 100:
        raise PolicyError(f"{where} is {value!r}; give a percentage above 0 and at most 100")
    return float(value)


def whole(least: int, most: int) -> Callable[[Any, str], int]:
    """Return a check for an integer between two numbers."""

    def check(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise PolicyError(f"{where} is {value!r}; give an integer from {least} to {most:,}")
        return value

    return check


def flag(value: Any, where: str) -> bool:
    """Return a value that must be true or false.

    Raises:
        PolicyError: it is not.
    """
    if not isinstance(value, bool):
        raise PolicyError(f"{where} is {value!r}; give true or false")
    return value


def _pair(value: Any, where: str, example: str) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise PolicyError(f"{where} is {value!r}; give two numbers, such as {example}")
    return number(value[0], where), number(value[1], where)


def noise(value: Any, where: str) -> tuple[float, float]:
    """Return the two levels of noise on a range.

    Raises:
        PolicyError: it is not.
    """
    low, high = _pair(value, where, "[0.1, 0.3]")
    if not 0 <= low <= high:
        raise PolicyError(f"{where} is {value!r}; give two numbers from 0, the smaller one first")
    return low, high


def bounds(value: Any, where: str) -> tuple[float, float]:
    """Return the two bounds of a feature, which must not lie far from 0 compared with their distance.

    Raises:
        PolicyError: it is not.
    """
    low, high = _pair(value, where, "[0, 120]")
    if not low < high:
        raise PolicyError(f"{where} is {value!r}; give the smaller number first")
    if max(abs(low), abs(high)) > 1e4 * (high - low) / 2 or not math.isfinite(high - low):
        raise PolicyError(
            f"{where} is {value!r}; float64 has no room for noise between such bounds: subtract an offset from the data"
        )
    return low, high


def texts(value: Any, where: str) -> tuple[str, ...]:
    """Return a list of texts, each once.

    Raises:
        PolicyError: it is not.
    """
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise PolicyError(f"{where} is {value!r}; give a list of texts")
    return tuple(dict.fromkeys(value))


def some_texts(value: Any, where: str) -> tuple[str, ...]:
    """Return a list of texts that must not be empty.

    Raises:
        PolicyError: it is not.
    """
    if not (found := texts(value, where)):
        raise PolicyError(f"{where} is empty; name at least one, or leave the key out")
    return found


def statistics(value: Any, where: str) -> frozenset[str]:
    """Return a list of names of statistics.

    Raises:
        PolicyError: it is not.
    """
    for name in texts(value, where):
        if name not in STATISTICS:
            close = get_close_matches(name, STATISTICS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(STATISTICS)}"
            raise PolicyError(f"{where} names the unknown statistic {name!r}; {hint}")
    return frozenset(value)


def mechanism(value: Any, where: str) -> str:
    """Return the name of a mechanism.

    Raises:
        PolicyError: it is not.
    """
    if value not in ("laplace", "gaussian"):
        raise PolicyError(f"{where} is {value!r}; give 'laplace' or 'gaussian'")
    return str(value)
