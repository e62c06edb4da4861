"""Documents for reports: real data over uneven sites of which one has drifted, and data that no run would give."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SITES = ("Lakeside", "St. Anne", "Hôpital Nord", "Hillview", "Riverside")
SHARES = (0.38, 0.26, 0.18, 0.11, 0.07)
LEVELS = {"Region": {"East": ["Lakeside", "St. Anne"], "West": ["Hôpital Nord", "Hillview", "Riverside"]}}
DRIFTED = "Hôpital Nord"
PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


def breast_cancer() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Statistics of scikit-learn's breast cancer data at five sites, one of which measures radii in other units."""
    from sklearn.datasets import load_breast_cancer

    loaded = load_breast_cancer()
    rng = np.random.default_rng(7)
    order = rng.permutation(len(loaded.data))
    names = [str(name) for name in loaded.feature_names[:12]]
    rows = np.split(order, (np.cumsum(SHARES)[:-1] * len(order)).astype(int))
    sites = {}
    for site, chosen in zip(SITES, rows, strict=True):
        columns: dict[str, Any] = {name: loaded.data[chosen, i].copy() for i, name in enumerate(names)}
        columns["diagnosis"] = loaded.target_names[loaded.target[chosen]].astype(object)
        if site == DRIFTED:
            columns["mean radius"] *= 1.25
            columns["mean texture"] += 1.9
        if site == "Hillview":
            columns["mean smoothness"][rng.random(len(chosen)) < 0.3] = np.nan
        tested = np.arange(len(chosen)) % 4 == 3
        sites[site] = {
            "train": {k: v[~tested] for k, v in columns.items()},
            "test": {k: v[tested] for k, v in columns.items()},
        }
    return documents(
        sites,
        levels=LEVELS,
        name="Breast cancer at five hospitals",
        refused=[["Riverside", "test", "diagnosis", "categories", "min_count = 10"], *(
            ["Riverside", "test", name, "histogram", "min_count = 10"] for name in names
        )],
        target="diagnosis",
    )  # fmt: skip


def documents(
    sites: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    levels: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    refused: Sequence[Sequence[str]] = (),
    **about: Any,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Statistics of arrays by site, data set and feature, in the layout of a run's files; read back from JSON."""
    groups = {site: [site] for site in sites} | {
        place: list(members) for of_level in (levels or {}).values() for place, members in of_level.items()
    }
    groups["Global"] = list(sites)
    statistics: dict[str, Any] = {}
    matrices: dict[str, Any] = {}
    left_out = {(site, dataset, feature, statistic) for site, dataset, feature, statistic, _ in refused}
    datasets = list(dict.fromkeys(dataset for of_site in sites.values() for dataset in of_site))
    for dataset in datasets:
        for place, members in groups.items():
            columns = [sites[site][dataset] for site in members if dataset in sites[site]]
            pooled = {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}
            for feature, values in pooled.items():
                everywhere = np.concatenate([each[dataset][feature] for each in sites.values() if dataset in each])
                for statistic, value in _statistics(values, everywhere).items():
                    if (place, dataset, feature, statistic) not in left_out:
                        of_statistic = statistics.setdefault(feature, {}).setdefault(statistic, {})
                        of_statistic.setdefault(place, {})[dataset] = value
            matrices.setdefault(place, {})[dataset] = _matrix(pooled)
    rows = {
        site: {dataset: len(next(iter(columns.values()))) for dataset, columns in of_site.items()}
        for site, of_site in sites.items()
    }
    told = {
        "job_id": "5f2c0a1e",
        "time": "2026-11-30T09:12:00+00:00",
        "sites": list(sites),
        "levels": dict(levels or {}),
        "rows": rows,
        "refused": [list(row) for row in refused],
        "quantile_rank_error": 0.0133,
        "distinct_relative_error": 0.016,
        "masked": False,
    }
    made: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = json.loads(
        json.dumps((statistics, matrices, told | about))
    )
    return made


def _statistics(values: Any, everywhere: Any) -> dict[str, Any]:
    if values.dtype == object:
        found, counts = np.unique(values.astype(str), return_counts=True)
        categories = dict(zip(found.tolist(), counts.tolist(), strict=True))
        return {"count": len(values), "missing": 0, "distinct": len(found), "categories": categories}
    present = values[~np.isnan(values)]
    all_present = everywhere[~np.isnan(everywhere)]
    counts, edges = np.histogram(present, bins=20, range=(all_present.min(), all_present.max()))
    return {
        "count": len(present),
        "missing": int(np.isnan(values).sum()),
        "mean": float(present.mean()),
        "stddev": float(present.std(ddof=1)),
        "min": float(present.min()),
        "max": float(present.max()),
        "histogram": [[float(edges[i]), float(edges[i + 1]), int(counts[i])] for i in range(len(counts))],
        "quantile": {str(p): float(np.quantile(present, p)) for p in PROBABILITIES},
    }


def _matrix(columns: Mapping[str, Any]) -> dict[str, Any]:
    numeric = {name: values for name, values in columns.items() if values.dtype != object}
    stacked = np.stack(list(numeric.values()))
    complete = stacked[:, ~np.isnan(stacked).any(axis=0)]
    return {
        "features": list(numeric),
        "count": complete.shape[1],
        "correlation": np.corrcoef(complete).tolist(),
        "covariance": np.cov(complete).tolist(),
    }


def many(
    features: int, sites: int, *, suffix: str = "", datasets: int = 1
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Statistics of many features at many sites with long names, every tenth site shifted in every tenth feature.

    Only ten features differ from each other.

    Args:
        suffix: of all names.
        datasets: number of data sets, all the same.
    """
    rng = np.random.default_rng(1)
    places = [f"University Hospital No. {i} of a Long Name{suffix}" for i in range(sites)]
    names = [f"laboratory value number {i} of the second visit, in µmol/l{suffix}" for i in range(features)]
    labels = ["train", *(f"test {i}{suffix}" for i in range(1, datasets))]
    edges = np.linspace(0, 100, 21)
    bell = np.exp(-(((edges[1:] + edges[:-1]) / 2 - 45) ** 2) / 400)
    kinds = []
    for kind in range(min(features, 10)):
        counts = {place: rng.poisson(40 * bell) for place in places}
        if kind == 2:
            counts |= {place: np.roll(counts[place], 4) for place in places[3::10]}
        counts["Global"] = np.sum([*counts.values()], axis=0)
        of_place = {
            place: {
                "count": int(each.sum()),
                "missing": int(rng.integers(0, 30)),
                "mean": float(each @ (edges[1:] + edges[:-1]) / 2 / each.sum()),
                "stddev": 14.2,
                "min": 0.5,
                "max": 99.5,
                "histogram": [[edges[i], edges[i + 1], int(each[i])] for i in range(20)],
                "quantile": {str(p): 100 * p for p in PROBABILITIES},
            }
            for place, each in counts.items()
        }
        kinds.append(
            {
                statistic: {place: dict.fromkeys(labels, values[statistic]) for place, values in of_place.items()}
                for statistic in of_place["Global"]
            }
        )
    statistics = {name: kinds[index % 10] for index, name in enumerate(names)}
    matrix = {"features": names, "count": 500, "correlation": np.corrcoef(rng.normal(size=(features, 20))).tolist()}
    about = {
        "name": f"Many sites{suffix}",
        "sites": places,
        "rows": {place: dict.fromkeys(labels, 500) for place in places},
        "refused": [],
        "masked": False,
    }
    return statistics, {place: dict.fromkeys(labels, matrix) for place in [*places[:3], "Global"]}, about
