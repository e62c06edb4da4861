"""KMeansAssembler, mini-batch k-means of the centres of sites."""

from __future__ import annotations

from typing import Any

import numpy as np

from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.aggregators.assembler import Assembler
from nvflare.app_common.app_constant import AppConstants


class KMeansAssembler(Assembler):
    """Combines the centres of sites: clusters of them in the first round, later means that count all rows so far."""

    def __init__(self) -> None:
        super().__init__(DataKind.WEIGHTS)
        self.center: Any = None
        self.count: Any = None

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the common centres, and how many rows each has had."""
        return {} if self.center is None else {"center": self.center, "count": self.count}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Go on with those centres."""
        self.center, self.count = state_data["center"], state_data["count"]

    def get_model_params(self, dxo: DXO) -> dict[str, Any]:
        """Return the centres of a site, and how many rows each has."""
        return {"center": dxo.data["center"], "count": dxo.data.get("count")}

    def assemble(self, data: dict[str, dict[str, Any]], fl_ctx: FLContext) -> DXO:
        """Return the common centres."""
        if self.center is None or fl_ctx.get_prop(AppConstants.CURRENT_ROUND) == 0:
            self.center = _clustered([np.asarray(each["center"], np.float64) for each in data.values()])
            self.count = np.zeros(len(self.center))
        else:
            sums, counts = self.center * self.count[:, np.newaxis], self.count.copy()
            for each in data.values():
                number = np.asarray(each["count"], np.float64)
                sums += np.asarray(each["center"], np.float64) * number[:, np.newaxis]
                counts += number
            has_rows = counts > 0
            self.center[has_rows] = sums[has_rows] / counts[has_rows, np.newaxis]
            self.count = counts
        return DXO(DataKind.WEIGHTS, {"center": self.center.copy()})


def _clustered(centers: list[Any]) -> Any:
    from sklearn.cluster import KMeans

    found = KMeans(n_clusters=len(centers[0]), n_init=10, random_state=0).fit(np.concatenate(centers))
    return found.cluster_centers_
