"""A learning-rate schedule of PyTorch's, as one of Flare's."""

from __future__ import annotations

from typing import Any

import torch

from flare_core.components import import_class
from flare_core.schedules import Schedule


class TorchSchedule(Schedule):
    """The factors of a scheduler of :mod:`torch.optim.lr_scheduler`, one step for each round.

    Args:
        path: its class path.
        args: its arguments, without the optimizer.
        rate: the learning rate that it starts from.
    """

    def __init__(self, path: str, args: dict[str, Any], rate: float = 1.0) -> None:
        self.path = path
        self.args = dict(args)
        self.rate = float(rate)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=self.rate)
        self._optimizer = optimizer
        self._scheduler = import_class(path)(optimizer, **self.args)
        self._factors = [self._current()]

    def __call__(self, round_: int) -> float:
        while len(self._factors) <= round_:
            self._optimizer.step()  # a scheduler warns if it is asked for more than this has done
            self._scheduler.step()
            self._factors.append(self._current())
        return self._factors[round_]

    def _current(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"]) / self.rate
