"""A site's reply while rules are applied to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

PARTS: Mapping[str, tuple[str, ...]] = {
    "count": ("count",),
    "missing": ("missing",),
    "failure_count": ("failure_count",),
    "sum": ("sum",),
    "mean": ("mean",),
    "mean_low": (),
    "var": ("var", "stddev"),
    "min": ("min",),
    "max": ("max",),
    "histogram": ("histogram",),
    "quantile": ("quantile",),
    "categories": ("categories", "top_values", "balance"),
    "categories_other": (),
    "distinct": ("distinct",),
}
"""The statistics that are made of each entry of an answer; other entries never leave."""


@dataclass
class Reply:
    """An answer while rules are applied to it.

    Attributes:
        datasets: statistics by data set and feature.
        config: what was asked for.
        rows: numbers of rows by data set.
        matrices: by data set.
        refused: rows of data set, feature, statistic and rule.
    """

    datasets: dict[str, dict[str, dict[str, Any]]]
    config: Mapping[str, Mapping[str, Any]]
    rows: dict[str, int] = field(default_factory=dict)
    matrices: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[list[str]] = field(default_factory=list)

    @classmethod
    def of(cls, reply: Mapping[str, Any], config: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return a copy of a reply, which may be changed."""
        datasets = {
            dataset: {feature: dict(values) for feature, values in features.items()}
            for dataset, features in reply["datasets"].items()
        }
        return cls(
            datasets,
            config,
            dict(reply.get("rows", {})),
            dict(reply.get("matrices", {})),
            [list(row) for row in reply.get("refused", [])],
        )

    def wanted(self, feature: str) -> list[str]:
        """Return the statistics of a feature that were asked for, as far as the names tell."""
        return [statistic for statistic, features in self.config.items() if feature in features or "*" in features]

    def refuse(self, dataset: str, feature: str, statistics: Collection[str], rule: str) -> None:
        """Note which of the statistics that were asked for are refused by a rule."""
        wanted = set(self.wanted(feature))
        self.refused += [[dataset, feature, statistic, rule] for statistic in statistics if statistic in wanted]

    def refuse_dataset(self, dataset: str, rule: str) -> None:
        """Leave a data set out."""
        for feature in self.datasets[dataset]:
            self.refuse(dataset, feature, self.wanted(feature), rule)
        self.datasets[dataset] = {}
        self.rows.pop(dataset, None)
        self.matrices.pop(dataset, None)

    def to_plain(self) -> dict[str, Any]:
        """Return the reply as plain data."""
        plain: dict[str, Any] = {
            "datasets": self.datasets,
            "refused": [list(row) for row in dict.fromkeys(map(tuple, self.refused))],
        }
        return plain | {"rows": self.rows, "matrices": self.matrices}
