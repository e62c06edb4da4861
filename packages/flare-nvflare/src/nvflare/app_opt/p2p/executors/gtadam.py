"""GTADAMExecutor: gradient tracking with Adam's steps.

Source: Carnevale et al. 2022, GTAdam: Gradient tracking with adaptive momentum for distributed online optimization.
"""

from __future__ import annotations

import torch

from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_opt.p2p.executors.gradient_tracking import GTExecutor

_BOUND = 1e6  # of the second moment


class GTADAMExecutor(GTExecutor):
    """Takes Adam's steps with the tracker as the gradient."""

    def _pre_algorithm_run(self, fl_ctx: FLContext, shareable: Shareable, abort_signal: Signal) -> None:
        """Read the settings, and begin with moments of zero."""
        super()._pre_algorithm_run(fl_ctx, shareable, abort_signal)
        data = from_shareable(shareable).data
        self.beta1, self.beta2, self.epsilon = float(data["beta1"]), float(data["beta2"]), float(data["epsilon"])
        self.m = [torch.zeros_like(each, device=self.device) for each in self.model.parameters()]
        self.v = [torch.zeros_like(each, device=self.device) for each in self.model.parameters()]

    def _update_local_state(self, stepsize: float) -> None:
        """Take a step."""
        for index, (parameter, tracker) in enumerate(zip(self.model.parameters(), self.tracker, strict=True)):
            self.m[index] = self.beta1 * self.m[index] + (1 - self.beta1) * tracker
            self.v[index] = (self.beta2 * self.v[index] + (1 - self.beta2) * tracker**2).clamp(max=_BOUND)
            if parameter.requires_grad:
                parameter.add_(self.m[index] / torch.sqrt(self.v[index] + self.epsilon), alpha=-stepsize)
