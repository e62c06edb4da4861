"""Exact answers about small data sets, as a site computes them before its policy sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flare_stats.privacy import POLICY, Policy

ALL = (
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
    "distinct",
)
CONFIG = {statistic: {"*": {}} for statistic in ALL}


def numbers(values: Iterable[float], *, edges: Sequence[float] | None = None, missing: int = 0) -> dict[str, Any]:
    """The statistics of a column of numbers."""
    array = np.asarray(list(values), float)
    found: dict[str, Any] = {"count": len(array), "missing": missing, "failure_count": 0, "sum": float(array.sum())}
    if len(array):
        mean = float(array.mean())
        found |= {"mean": mean, "mean_low": 0.0, "min": float(array.min()), "max": float(array.max())}
    if len(array) > 1:
        found["var"] = float(array.var(ddof=1))
    if edges is not None:
        found["histogram"] = histogram(array, edges)
    return found


def histogram(values: Iterable[float], edges: Sequence[float]) -> dict[str, Any]:
    counts, _ = np.histogram(np.asarray(list(values), float), edges)
    return {"edges": [float(each) for each in edges], "counts": [int(each) for each in counts]}


def groups(counts: Mapping[str, int], others: int = 0) -> dict[str, Any]:
    """The statistics of a column of categories."""
    total = sum(counts.values()) + others
    return {"count": total, "missing": 0, "failure_count": 0, "categories": dict(counts), "categories_other": others}


def summary(rows: int | None = None, **features: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of one data set, train."""
    most = max((each.get("count", 0) + each.get("missing", 0) for each in features.values()), default=0)
    return {"datasets": {"train": features}, "rows": {"train": most if rows is None else rows}, "matrices": {}}


class Place:
    """A site's folders."""

    def __init__(self, folder: Path) -> None:
        self.local, self.run = folder / "local", folder / "run"
        for each in (self.local, self.run):
            each.mkdir()

    def write(self, text: str) -> None:
        (self.local / POLICY).write_text(text)

    def policy(self, run: str = "run-1", *, source: Any = "/data/train.csv", **wishes: Any) -> Policy:
        return Policy.open(self.local, run=run, folder=self.run, sources={"train": source}, wishes=wishes)

    def ask(self, run: str = "run-1", *, source: Any = "/data/train.csv", config: Any = CONFIG, **features: Any) -> Any:
        """Return the answer to a run about features of train, and the rules by feature and statistic."""
        found = self.policy(run, source=source).apply(summary(**features), config=config)
        refused = {(feature, statistic): rule for _, feature, statistic, rule in found["refused"]}
        return found["datasets"].get("train", {}), refused
