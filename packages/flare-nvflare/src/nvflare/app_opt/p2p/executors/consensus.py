"""ConsensusExecutor: sites agree on the mean of their values.

Source: Xiao and Boyd 2004, Fast linear iterations for distributed averaging: x(t + 1) = W x(t).
"""

from __future__ import annotations

import random
from typing import Any

from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_opt.p2p.executors.sync_executor import SyncAlgorithmExecutor


class ConsensusExecutor(SyncAlgorithmExecutor):
    """Takes the weighted mean of its own value and those of its neighbours, again and again.

    Args:
        initial_value: the site's value; a random one if left out.
    """

    def __init__(self, initial_value: float | None = None) -> None:
        super().__init__()
        self.initial_value = random.random() if initial_value is None else initial_value
        self.current_value: Any = self.initial_value
        self.value_history: list[Any] = [self.current_value]

    def run_algorithm(self, fl_ctx: FLContext, shareable: Shareable, abort_signal: Signal) -> None:
        """Do the iterations."""
        for iteration in range(from_shareable(shareable).data["iterations"]):
            if abort_signal.triggered:
                break
            self._exchange_values(fl_ctx, self.current_value, iteration=iteration)
            values = self.neighbors_values.pop(iteration)
            others = sum(values[str(each.id)] * each.weight for each in self.neighbors)
            self.current_value = self.current_value * self._weight + others
            self.value_history.append(self.current_value)

    def _post_algorithm_run(self, *args: Any, **kwargs: Any) -> None:
        """Write the values of all iterations into the working folder."""
        import torch

        torch.save(torch.tensor(self.value_history), "value_sequence.pt")
