"""Comparison of runs: the parameters that differ, and their metrics side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_runtime.run.recorded import RecordedRun

ABSENT = "(none)"
"""Stands in a list of differences for a parameter that a run does not have."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more runs side by side; every list is in the order of the runs.

    Attributes:
        runs: the runs.
        differences: the values in each run of every parameter that differs, such as ``per_site_config.site-1.lr``.
        curves: for each metric, the averages by round in each run.
    """

    runs: tuple[RecordedRun, ...]
    differences: dict[str, list[Any]]
    curves: dict[str, list[dict[int, float]]]

    def metric(self) -> str | None:
        """Return the metric to compare by: the first key metric that two runs have, else the most common metric."""
        counts = {key: sum(bool(curve) for curve in curves) for key, curves in self.curves.items()}
        for run in self.runs:
            if run.key_metric in counts and counts[run.key_metric] > 1:
                return run.key_metric
        return max(counts, key=lambda key: counts[key], default=None)


def compare(runs: Sequence[RecordedRun]) -> Comparison:
    """Compare runs."""
    found = [parameters(run.recipe) for run in runs]
    names = dict.fromkeys(name for each in found for name in each)
    values = {name: [each.get(name, ABSENT) for each in found] for name in names}
    curves = [run.curves() for run in runs]
    metrics = sorted({key for each in curves for key in each})
    return Comparison(
        tuple(runs),
        {name: each for name, each in values.items() if any(value != each[0] for value in each[1:])},
        {key: [each.get(key, {}) for each in curves] for key in metrics},
    )


def parameters(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's parameters by name, such as ``per_site_config.site-1.lr``.

    The recipe's class is named ``recipe``, and the digest of a file of its code is named like ``code client.py``.
    """
    found = {"recipe": recipe["class"]} if "class" in recipe else {}
    code = recipe.get("code")
    files = {f"code {name}": digest for name, digest in code.items()} if isinstance(code, Mapping) else {}
    return {**found, **dict(_leaves(recipe.get("arguments"), "")), **dict(_leaves(recipe.get("added"), "")), **files}


def _leaves(values: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, values
