"""SVTPrivacy: sends the values that a noisy threshold selects, with noise.

Source: Dwork and Roth 2014, The algorithmic foundations of differential privacy, section 3.6 (the sparse vector
technique), as applied to differences of models by Li et al. 2019, arXiv:1910.00962, section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable


class SVTPrivacy(DXOFilter):
    """Sends a fraction of the values of differences: those above a noisy threshold, clipped and with noise.

    Args:
        fraction: the fraction of values that are sent.
        epsilon: the privacy budget of the threshold.
        noise_var: the variance of the noise of the values.
        gamma: the bound to which values are clipped.
        tau: the threshold.
        data_kinds: the kinds of DXOs to change.
        replace: choose values with replacement.
        epsilon_threshold, epsilon_query, epsilon_release: budgets of the parts, in place of those from ``epsilon``.
    """

    def __init__(
        self,
        fraction: float = 0.1,
        epsilon: float = 0.1,
        noise_var: float = 0.1,
        gamma: float = 1e-5,
        tau: float = 1e-6,
        data_kinds: list[str] | None = None,
        replace: bool = True,
        epsilon_threshold: float | None = None,
        epsilon_query: float | None = None,
        epsilon_release: float | None = None,
    ) -> None:
        kinds = [DataKind.WEIGHT_DIFF, DataKind.WEIGHTS]
        super().__init__(supported_data_kinds=kinds, data_kinds_to_filter=data_kinds or kinds)
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction is {fraction!r}; give a number above 0 and up to 1")
        self.fraction = fraction
        self.epsilon = epsilon
        self.noise_var = noise_var
        self.gamma = gamma
        self.tau = tau
        self.replace = replace
        self.epsilon_threshold = epsilon_threshold
        self.epsilon_query = epsilon_query
        self.epsilon_release = epsilon_release
        self._random = np.random.default_rng()

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO | None:
        """Return the DXO with the selected values; all others are zero."""
        steps = dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 1) or 1
        arrays = {key: np.asarray(value, dtype=np.float64) for key, value in dxo.data.items()}
        flat = np.concatenate([each.ravel() for each in arrays.values()] or [np.zeros(0)]) / steps
        if not flat.size:
            return None
        kept = self._released(flat) * steps
        found: dict[str, Any] = {}
        start = 0
        for key, value in arrays.items():
            part = kept[start : start + value.size].reshape(value.shape)
            found[key] = part.astype(np.asarray(dxo.data[key]).dtype)
            start += value.size
        dxo.data = found
        return dxo

    def _released(self, values: Any) -> Any:
        count = max(1, int(self.fraction * values.size))
        queries = self.epsilon_query or self.epsilon * (2 * count) ** (2 / 3)
        threshold = self.tau + self._random.laplace(scale=self.gamma / (self.epsilon_threshold or self.epsilon))
        chosen = np.zeros(values.size, dtype=bool)
        candidates = self._random.permutation(values.size)
        noise = self._random.laplace(scale=2 * self.gamma * count / queries, size=values.size)
        passed = np.abs(np.clip(values[candidates], -self.gamma, self.gamma)) + noise >= threshold
        chosen[candidates[passed][:count]] = True
        scale = self.gamma * count / self.epsilon_release if self.epsilon_release else self.noise_var
        released = np.clip(values + self._random.laplace(scale=scale, size=values.size), -self.gamma, self.gamma)
        return np.where(chosen, released, 0.0)
