"""GTExecutor: gradient tracking.

Source: Qu and Li 2018, Harnessing smoothness to accelerate distributed optimization. Each site's tracker follows the
mean of all sites' gradients.
"""

from __future__ import annotations

from typing import Any

import torch

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_opt.p2p.executors.training import TrainingExecutor


class GTExecutor(TrainingExecutor):
    """Exchanges models and trackers of the mean gradient, and takes a step against the tracker."""

    tracker: list[Any]
    old_gradient: list[Any]

    def _step(self, fl_ctx: FLContext, iteration: int, data: Any, label: Any) -> None:
        """Do one iteration with a batch."""
        with torch.no_grad():
            value = {"parameters": list(self.model.parameters()), "tracker": self.tracker}
            self._exchange_values(fl_ctx, value, iteration=iteration)
            theirs = self.neighbors_values[iteration]
            trained = [each for each in self.model.parameters() if each.requires_grad]
            self._mix(iter(trained), {name: each["parameters"] for name, each in theirs.items()})
            self._update_local_state(self._stepsize)
            self._mix(iter(self.tracker), {name: each["tracker"] for name, each in theirs.items()})
        gradient = self._gradient(data, label)
        with torch.no_grad():
            for tracker, new, old in zip(self.tracker, gradient, self.old_gradient, strict=True):
                tracker.add_(new).sub_(old)
        self.old_gradient = gradient

    def _update_local_state(self, stepsize: float) -> None:
        """Take a step against the tracker."""
        for parameter, tracker in zip(self.model.parameters(), self.tracker, strict=True):
            if parameter.requires_grad:
                parameter.add_(tracker, alpha=-stepsize)

    def _pre_algorithm_run(self, fl_ctx: FLContext, shareable: Shareable, abort_signal: Signal) -> None:
        """Read the settings, and begin with trackers of zero."""
        super()._pre_algorithm_run(fl_ctx, shareable, abort_signal)
        self.tracker = [torch.zeros_like(each, device=self.device) for each in self.model.parameters()]
        self.old_gradient = [torch.zeros_like(each, device=self.device) for each in self.model.parameters()]

    def _to_message(self, x: Any) -> Any:
        """Return the trained parameters and the trackers as arrays."""
        return {
            "parameters": [each.detach().cpu().numpy() for each in x["parameters"] if each.requires_grad],
            "tracker": [each.detach().cpu().numpy() for each in x["tracker"]],
        }

    def _from_message(self, x: Any) -> Any:
        """Return them as tensors."""
        return {name: [torch.from_numpy(each) for each in arrays] for name, arrays in x.items()}
