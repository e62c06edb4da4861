"""The servers of k-means and of support vector machines, for scripts that use NVIDIA FLARE's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from flare_core import FLModel, ModelError, Reply
from flare_recipes_sklearn.kmeans import KMeansUpdate
from flare_recipes_sklearn.svm import KERNELS as KERNELS
from flare_recipes_sklearn.svm import SupportVectors


class Centers(KMeansUpdate):
    """Mini-batch k-means of sites that send the mean of their rows for each centre, and the number of these rows."""

    def add(self, reply: Reply) -> None:
        """Add one contribution; without counts, as in the first round, each centre counts as one row.

        Raises:
            ModelError: it has no centres.
        """
        params = reply.model.params or {}
        if "center" not in params:
            raise ModelError(f"{reply.site} sent {sorted(params) or 'no params'}; send center and count")
        centers = np.array(params["center"], np.float64)
        counts = np.array(params["count"]) if "count" in params else np.ones(len(centers))
        sums = {"sums": centers * counts[:, np.newaxis], "counts": counts}
        super().add(reply.with_model(replace(reply.model, params=sums)))

    def update(self, model: FLModel) -> FLModel:
        current = {"centers" if name == "center" else name: value for name, value in (model.params or {}).items()}
        updated = super().update(replace(model, params=current))
        new = {"center" if name == "centers" else name: value for name, value in (updated.params or {}).items()}
        return replace(updated, params=new)


class FirstSupportVectors(SupportVectors):
    """A machine trained on the support vectors of the first round; the second round measures it.

    Args:
        kernel: the kernel, whose coefficient follows from the variance of the rows, as by default in scikit-learn.
    """

    def __init__(self, kernel: str = "rbf") -> None:
        super().__init__(kernel=kernel, gamma="scale")

    def _next(self, params: dict[str, Any], sites: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return params if "support_x" in params else super()._next(params, sites)
