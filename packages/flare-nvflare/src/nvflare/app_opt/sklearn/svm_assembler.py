"""SVMAssembler, a machine trained on the support vectors of sites."""

from __future__ import annotations

from typing import Any

import numpy as np

from flare_core import RecipeError
from nvflare._flare.sklearn_models import KERNELS
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.aggregators.assembler import Assembler
from nvflare.app_common.app_constant import AppConstants


class SVMAssembler(Assembler):
    """Trains a machine on the support vectors of all sites in the first round, and keeps its support vectors.

    Args:
        kernel: ``linear``, ``poly``, ``rbf`` or ``sigmoid``.
    Raises:
        RecipeError: there is no such kernel.
    """

    def __init__(self, kernel: str = "rbf") -> None:
        super().__init__(DataKind.WEIGHTS)
        if kernel not in KERNELS:
            raise RecipeError(f"kernel is {kernel!r}; use {', '.join(KERNELS)}")
        self.kernel = kernel
        self.support_x: Any = None
        self.support_y: Any = None

    def get_model_params(self, dxo: DXO) -> dict[str, Any]:
        """Return the support vectors of a site."""
        return {"support_x": dxo.data["support_x"], "support_y": dxo.data["support_y"]}

    def assemble(self, data: dict[str, dict[str, Any]], fl_ctx: FLContext) -> DXO:
        """Return the support vectors of the common machine."""
        if self.support_x is None or fl_ctx.get_prop(AppConstants.CURRENT_ROUND) == 0:
            from sklearn.svm import SVC

            rows = np.concatenate([np.asarray(each["support_x"]) for each in data.values()])
            labels = np.concatenate([np.asarray(each["support_y"]) for each in data.values()])
            kept = SVC(kernel=self.kernel).fit(rows, labels).support_
            self.support_x, self.support_y = rows[kept], labels[kept]
        return DXO(DataKind.WEIGHTS, {"support_x": self.support_x, "support_y": self.support_y})
