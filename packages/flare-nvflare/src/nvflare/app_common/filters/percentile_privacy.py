"""PercentilePrivacy: sends the largest differences only, clipped.

Source: Shokri and Shmatikov 2015, Privacy-preserving deep learning, CCS '15: only gradients above a threshold are
shared, and clipped to a bound.
"""

from __future__ import annotations

import numpy as np

from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable


class PercentilePrivacy(DXOFilter):
    """Sets differences below a percentile of their absolute values to zero, and clips the others.

    Args:
        percentile: from 0 to 100; values below it are set to zero.
        gamma: the bound to which the others are clipped.
        data_kinds: the kinds of DXOs to change.

    Single numbers pass unchanged.
    """

    def __init__(self, percentile: int = 10, gamma: float = 0.01, data_kinds: list[str] | None = None) -> None:
        kinds = [DataKind.WEIGHT_DIFF, DataKind.WEIGHTS]
        super().__init__(supported_data_kinds=kinds, data_kinds_to_filter=data_kinds or kinds)
        self.percentile = percentile
        self.gamma = gamma

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO | None:
        """Return the DXO with changed differences; None if the settings would leave nothing or change nothing.

        Raises:
            ValueError: a setting is out of range.
        """
        if not 0 <= self.percentile <= 100 or self.gamma <= 0:
            raise ValueError(f"percentile is {self.percentile} and gamma {self.gamma}; give 0 to 100, and more than 0")
        steps = dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 1) or 1
        data = {key: np.asarray(value, dtype=np.float64) / steps for key, value in dxo.data.items() if np.ndim(value)}
        sizes = np.concatenate([np.abs(value).ravel() for value in data.values()] or [np.zeros(1)])
        cutoff = np.percentile(sizes, self.percentile)
        found = dict(dxo.data)
        for key, value in data.items():
            kept = np.where(np.abs(value) < cutoff, 0.0, np.clip(value, -self.gamma, self.gamma))
            found[key] = (kept * steps).astype(np.asarray(dxo.data[key]).dtype)
        dxo.data = found
        return dxo
