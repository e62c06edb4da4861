"""WeightedAggregationHelper, a running weighted mean of what sites send, computed as Flare's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np

from flare_core import FLModel, Reply, WeightedMean
from flare_core.model import flatten
from flare_fobs.tensors import to_numpy, to_torch


def filter_aggregatable_metrics(
    metrics: Mapping[str, Any] | None, warn_skipped: Any = None, warned_metric_keys: set[str] | None = None
) -> dict[str, Any]:
    """Return the metrics that are numbers.

    Args:
        metrics: the metrics.
        warn_skipped: called with the name and the value of each that is none, once for each name.
        warned_metric_keys: the names that were warned of.
    """
    kept = {}
    for key, value in (metrics or {}).items():
        if isinstance(value, Number | np.generic | np.ndarray) and not isinstance(value, bool | complex):
            kept[key] = value
        elif warn_skipped is not None and (warned_metric_keys is None or key not in warned_metric_keys):
            warn_skipped(key, value)
            if warned_metric_keys is not None:
                warned_metric_keys.add(key)
    return kept


class WeightedAggregationHelper:
    """A weighted mean, value by value.

    Args:
        exclude_vars: a regular expression of the names to leave out.
        weigh_by_local_iter: multiply each contribution by its weight; otherwise it is multiplied already.

    Arrays are summed by :class:`flare_core.WeightedMean`, in at least float32, and keep their dtype and shape. Numbers
    that are not arrays are averaged as Python numbers.
    """

    def __init__(self, exclude_vars: str | None = None, weigh_by_local_iter: bool = True) -> None:
        self.exclude_vars = re.compile(exclude_vars) if exclude_vars else None
        self.weigh_by_local_iter = weigh_by_local_iter
        self.reset_stats()

    def reset_stats(self) -> None:
        """Forget all contributions."""
        self._mean = WeightedMean()
        self._numbers: dict[Any, tuple[Any, float]] = {}
        self._forms: dict[Any, Any] = {}
        self._count = 0
        self.history: list[dict[str, Any]] = []

    def add(self, data: Mapping[str, Any], weight: float, contributor_name: str, contribution_round: Any) -> None:
        """Add a contribution.

        Args:
            data: arrays or numbers by name; mappings may be nested.
            weight: its weight.
            contributor_name: the site.
            contribution_round: the round.
        """
        given = float(weight) if weight is not None else 1.0
        arrays: dict[Any, Any] = {}
        for key, value in data.items():
            if self.exclude_vars is not None and self.exclude_vars.search(str(key)):
                continue
            if isinstance(key, str) and _is_array(value):
                arrays[key] = value
            else:
                value = value.item() if isinstance(value, np.generic) else value
                part = value * given if self.weigh_by_local_iter else value
                total, weights = self._numbers.get(key, (None, 0.0))
                self._numbers[key] = (part if total is None else total + part, weights + given)
        if arrays:
            for name, value in flatten(arrays):
                self._forms.setdefault(name, to_torch if type(value).__module__.startswith("torch") else None)
            params = _numpy(arrays)
            if not self.weigh_by_local_iter:  # they are multiplied by their weights already
                params = {key: value / given for key, value in params.items()}
            model = FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": given})
            self._mean.add(Reply(contributor_name, "train", model))
        self._count += 1
        self.history.append({"contributor_name": contributor_name, "round": contribution_round, "weight": given})

    def get_result(self) -> dict[str, Any]:
        """Return the mean, and forget all contributions."""
        found: dict[str, Any] = {}
        if self._forms:
            mean = self._mean.result().params or {}
            found = _restored(mean, self._forms, ())
        found.update({key: total / weight for key, (total, weight) in self._numbers.items() if weight > 0})
        self.reset_stats()
        return found

    def get_history(self) -> list[dict[str, Any]]:
        """Return the contributions: contributor, round and weight of each."""
        return self.history

    def get_len(self) -> int:
        """Return the number of contributions."""
        return self._count


def _is_array(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(key, str) and _is_array(each) for key, each in value.items())
    if isinstance(value, np.ndarray):
        return value.ndim > 0 and value.dtype.kind not in "OUSMm"
    return type(value).__module__.startswith("torch") and hasattr(value, "detach")


def _numpy(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _numpy(value) if isinstance(value, Mapping) else to_numpy(value, key=name)
        for name, value in params.items()
    }


def _restored(params: Mapping[str, Any], forms: Mapping[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in params.items():
        whole = (*path, name)
        if isinstance(value, Mapping):
            found[name] = _restored(value, forms, whole)
        else:
            convert = forms.get(whole if len(whole) > 1 else name)
            found[name] = convert(value) if convert is not None else value
    return found
