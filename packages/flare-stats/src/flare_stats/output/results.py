"""The files that a run leaves in the server's folder.

statistics.json  {feature: {statistic: {place: {dataset: value}}}}; a place is a site, a group or "Global".
                 histogram = [[low, high, count], …]; quantile = {"0.5": value}; categories = {value: count}, of the
                 most frequent ones, and categories_other = the number of other values; top_values = [[value, count],
                 …]; balance = {class: share}. What a site refused, or cannot compute, is absent.
matrices.json    {place: {dataset: {"features", "count", "correlation", "covariance"}}}; count is the least number of
                 rows that have both of two features; null where a number is not known
about.json       {"name", "job_id", "time", "sites", "levels": {level: {group: [site, …]}}, "rows": {site: {dataset:
                 n}}, "kinds": {feature: kind}, "refused": [[site, dataset, feature, statistic, rule], …],
                 "quantile_rank_error", "distinct_relative_error", "masked"}
report.html      all of it, to look at
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from flare_stats.algebra import CoMoments
from flare_stats.collection import Collection
from flare_stats.config import MATRICES
from flare_stats.hierarchy import Hierarchy
from flare_stats.merging import shown
from flare_stats.report import make_report


@dataclass(frozen=True)
class Results:
    """The statistics of a run, as the files hold them.

    Attributes:
        statistics, matrices: see the module.
        facts: the entries of ``about.json`` that follow from the answers of the sites.
    """

    statistics: Mapping[str, Any]
    matrices: Mapping[str, Any]
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, collection: Collection, places: Mapping[str, Sequence[str]], hierarchy: Hierarchy) -> Results:
        """Return the results of what was collected.

        Args:
            collection: the answers of the sites.
            places: the sites of each place.
            hierarchy: the groups among the places.
        """
        statistics: dict[str, Any] = {feature: {} for feature in collection.kinds}
        settings = collection.settings
        for place, members in places.items():
            for dataset, feature, values in collection.at(place, members):
                kind = collection.kinds[feature]
                wanted = settings.of_feature(feature, kind)
                options = {name: settings.options(name, feature, kind) for name in wanted}
                for name, value in shown(values, wanted, options).items():
                    statistics[feature].setdefault(name, {}).setdefault(place, {})[dataset] = value
        answered = {*collection.members}
        levels = {
            level: {name: [site for site in sites if site in answered] for name, sites in groups.items()}
            for level, groups in hierarchy.levels.items()
        }
        facts = {
            "sites": collection.members,
            "levels": levels,
            "rows": collection.rows,
            "kinds": collection.kinds,
            "refused": sorted(collection.refused),
            "quantile_rank_error": collection.rank_error(),
            "distinct_relative_error": collection.distinct_error(),
            "masked": collection.is_masked,
        }
        return cls(statistics, _matrices(collection, places), facts)

    def files(self, output: str, about: Mapping[str, Any]) -> dict[str, str]:
        """Return the text of each file by its name; all lie in the folder of the first one.

        Args:
            output: the name of the first file.
            about: entries of ``about.json`` that come before the others.
        """
        folder = PurePosixPath(output).parent
        whole = {**about, **self.facts}
        found = {
            output: self.statistics,
            str(folder / "matrices.json"): self.matrices,
            str(folder / "about.json"): whole,
        }
        texts = {name: json.dumps(_plain(data), indent=2, ensure_ascii=False) + "\n" for name, data in found.items()}
        texts[str(folder / "report.html")] = make_report(*(json.loads(text) for text in texts.values()))
        return texts


def _matrices(collection: Collection, places: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place, members in places.items():
        for dataset in dict.fromkeys(name for site in members for name in collection.matrices.get(site, {})):
            parts = [
                collection.matrices[site][dataset] for site in members if dataset in collection.matrices.get(site, {})
            ]
            found.setdefault(place, {})[dataset] = _matrix(collection, parts)
    return found


def _matrix(collection: Collection, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the matrices of some sites together, over the features that all of them have."""
    features = [name for name in parts[0]["features"] if all(name in part["features"] for part in parts)]
    together = CoMoments(len(features))
    for part in parts:
        order = [part["features"].index(name) for name in features]
        arrays = {name: array[np.ix_(order, order)] for name, array in part.items() if name != "features"}
        together.merge(CoMoments.from_data(arrays))
    made = {"correlation": together.correlation(), "covariance": together.covariance()}
    wanted = [name for name in MATRICES if name in collection.settings.plain]
    count = int(together.count.min()) if features else 0
    return {"features": features, "count": count, **{name: made[name].tolist() for name in wanted}}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: keys as text, null for what is no finite number."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
