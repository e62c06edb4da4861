"""Federated mini-batch k-means.

For each received centre, a site sends the sum and the number of its rows that are nearest to it; the server moves each
centre to the mean of all rows of all rounds assigned to it. The model is ``centers`` (k, d), float64, and ``counts``
(k,), int64, the number of rows assigned to each; ``centers`` is missing until the sites have proposed some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils import check_array

from flare_core import ModelError
from flare_core.components import Component
from flare_core.recipe import check_count
from flare_recipes_sklearn.model import check_shape, numbers
from flare_recipes_sklearn.sums import Array, ServerRecipe, SiteArrays, check_site_shape


def kmeans_step(params: Mapping[str, Any], rows: Any, *, seed: int = 0) -> dict[str, Array]:
    """Return one site's contribution to a round, to send as ``params``.

    Args:
        params: the received model. Without ``centers``, the site proposes some: those of k-means on its own rows, the
            best of ten k-means++ starts, or its distinct rows if there are no more than k.
        rows: (n, d), the site's rows or a mini-batch of them; n may be 0 or smaller than the number of clusters.
        seed: random seed of k-means++.
    Returns:
        ``sums`` (m, d), float64, and ``counts`` (m,), int64, of the rows nearest to each centre. m is k, or the
        number of proposed centres, which is at most the number of distinct rows.
    Raises:
        ValueError: rows are not a table of finite numbers.
        ModelError: rows and centres have different numbers of features.
    """
    table: Array = check_array(rows, dtype=np.float64, ensure_min_samples=0)
    centers = np.asarray(params["centers"]) if "centers" in params else _propose(table, len(params["counts"]), seed)
    if table.shape[1] != centers.shape[1]:
        raise ModelError(f"the rows have {table.shape[1]} features but the centres have {centers.shape[1]}")
    if not len(table):
        return {"sums": np.zeros(centers.shape), "counts": np.zeros(len(centers), np.int64)}
    nearest = pairwise_distances_argmin(table, centers)
    sums = np.zeros(centers.shape)
    np.add.at(sums, nearest, table)
    return {"sums": sums, "counts": np.bincount(nearest, minlength=len(centers)).astype(np.int64)}


def _propose(rows: Array, clusters: int, seed: int) -> Array:
    distinct = np.unique(rows, axis=0)
    if len(distinct) <= clusters:
        return distinct
    return np.asarray(KMeans(clusters, n_init=10, random_state=seed).fit(rows).cluster_centers_)


class KMeansUpdate(SiteArrays):
    """Move each centre to the mean of all rows of all rounds that were assigned to it.

    A centre without new rows stays where it is. In the first round, the sites' proposals are clustered, weighted by
    their numbers of rows; counts then start from zero.

    Args:
        n_clusters: number of centres.
        seed: random seed of the first round.

    Source: Sculley 2010, "Web-Scale K-Means Clustering", algorithm 1, whose steps of 1/count per row amount to the
    mean; the mini-batch of a round is that of all sites together.
    """

    names = ("sums", "counts")
    helper = "kmeans_step"

    def __init__(self, n_clusters: int, seed: int = 0) -> None:
        self.n_clusters = n_clusters
        self.seed = seed
        super().__init__()

    def _next(self, params: dict[str, Any], sites: Mapping[str, Mapping[str, Array]]) -> dict[str, Any]:
        if "centers" not in params:
            return {"centers": self._initial_centers(sites), "counts": np.zeros(self.n_clusters, np.int64)}
        centers, counts = np.asarray(params["centers"], np.float64), np.asarray(params["counts"])
        totals, added = np.zeros(centers.shape), np.zeros(self.n_clusters, np.int64)
        for site, arrays in sites.items():
            check_site_shape(site, "sums", arrays["sums"], centers.shape)
            check_site_shape(site, "counts", arrays["counts"], counts.shape)
            totals += arrays["sums"]
            added += arrays["counts"].astype(np.int64)
        moved = (centers * counts[:, np.newaxis] + totals) / np.maximum(counts + added, 1)[:, np.newaxis]
        return {"centers": np.where(added[:, np.newaxis] > 0, moved, centers), "counts": counts + added}

    def _initial_centers(self, sites: Mapping[str, Mapping[str, Array]]) -> Array:
        points, weights = [], []
        first_site, first = next(iter(sites.items()))
        for site, arrays in sites.items():
            sums, counts = arrays["sums"], arrays["counts"]
            if sums.ndim != 2 or sums.shape[1] != first["sums"].shape[1]:
                raise ModelError(
                    f"{site}: 'sums' has shape {sums.shape} but that of {first_site} has {first['sums'].shape}; all"
                    " sites need the same features"
                )
            check_site_shape(site, "counts", counts, sums.shape[:1])
            points.append(sums[counts > 0] / counts[counts > 0, np.newaxis])
            weights.append(counts[counts > 0])
        proposed = np.concatenate(points)
        found = len(np.unique(proposed, axis=0))
        if found < self.n_clusters:
            each = ", ".join(f"{site} {len(of)}" for site, of in zip(sites, points, strict=True))
            raise ModelError(
                f"the sites propose only {found} distinct centres ({each}), but n_clusters is {self.n_clusters};"
                " lower it, or include sites with more rows"
            )
        clustering = KMeans(self.n_clusters, n_init=10, random_state=self.seed)
        return np.asarray(clustering.fit(proposed, sample_weight=np.concatenate(weights)).cluster_centers_)


@dataclass(kw_only=True, eq=False, repr=False)
class KMeansFedAvgRecipe(ServerRecipe):
    """Federated mini-batch k-means: the server moves each centre to the mean of all sites' rows assigned to it.

    Scripts send ``kmeans_step(model.params, rows)``: sums and counts, no rows. The first round finds the initial
    centres, unless ``initial_model`` gives them: an array (n_clusters, d), or a dict with ``centers`` and, optionally,
    ``counts``. Also accepts the arguments of ``FedAvgRecipe``, except those for weights, aggregation and ``quorum``.

    Args:
        n_clusters: number of clusters.

    Example:
        recipe = KMeansFedAvgRecipe(
            min_clients=2,
            train_script="kmeans_client.py",
            n_clusters=2,
        )
    """

    name: str = "kmeans"
    num_rounds: int = 5
    n_clusters: int = 3
    key_metric: str | None = "inertia"
    key_metric_mode: str = "min"

    def _check(self) -> None:
        self.n_clusters = check_count(self.n_clusters, "n_clusters")
        super()._check()

    def _read_model(self, model: Any) -> Any:
        if model is None and self.initial_ckpt is None:
            return {}
        return model

    def _to_params(self, model: Any) -> dict[str, Any]:
        if not isinstance(model, Mapping) and isinstance(model, np.ndarray | list | tuple):
            return {"centers": numbers(model, "initial_model").astype(np.float64)}
        return super()._to_params(model)

    def _check_params(self, params: dict[str, Any]) -> dict[str, Any]:
        params = {"counts": np.zeros(self.n_clusters, np.int64)} | params
        check_shape(params, "counts", (self.n_clusters,))
        if "centers" in params:
            check_shape(params, "centers", (self.n_clusters, None))
            params["centers"] = np.asarray(params["centers"], np.float64)
        return params

    def _aggregator(self) -> Component:
        return Component(
            "flare_recipes_sklearn.kmeans.KMeansUpdate", {"n_clusters": self.n_clusters, "seed": self.seed}
        )
