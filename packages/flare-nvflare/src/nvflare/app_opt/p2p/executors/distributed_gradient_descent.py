"""DGDExecutor: distributed gradient descent.

Source: Nedic and Ozdaglar 2009, Distributed subgradient methods for multi-agent optimization.
"""

from __future__ import annotations

from typing import Any

import torch

from nvflare.apis.fl_context import FLContext
from nvflare.app_opt.p2p.executors.training import TrainingExecutor


class DGDExecutor(TrainingExecutor):
    """Takes the weighted mean of the models, and then a step against the gradient."""

    def _step(self, fl_ctx: FLContext, iteration: int, data: Any, label: Any) -> None:
        """Do one iteration with a batch."""
        with torch.no_grad():
            self._exchange_values(fl_ctx, self.model.parameters(), iteration=iteration)
            trained = (each for each in self.model.parameters() if each.requires_grad)
            self._mix(trained, self.neighbors_values[iteration])
        gradient = self._gradient(data, label)
        with torch.no_grad():
            for parameter, change in zip(self.model.parameters(), gradient, strict=True):
                if parameter.requires_grad:
                    parameter.add_(change, alpha=-self._stepsize)

    def _to_message(self, x: Any) -> Any:
        """Return the trained parameters as arrays."""
        return [each.detach().cpu().numpy() for each in x if each.requires_grad]

    def _from_message(self, x: Any) -> Any:
        """Return the parameters as tensors."""
        return [torch.from_numpy(each) for each in x]
