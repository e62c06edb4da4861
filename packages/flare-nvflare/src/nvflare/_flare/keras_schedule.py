"""A learning-rate schedule of Keras', as one of Flare's."""

from __future__ import annotations

from typing import Any

from flare_core.components import import_class
from flare_core.schedules import Schedule


class KerasSchedule(Schedule):
    """The rates of a schedule of :mod:`keras.optimizers.schedules` by round, as shares of an optimizer's own rate.

    Args:
        path: its class path.
        args: its arguments.
        rate: the optimizer's rate.
    """

    def __init__(self, path: str, args: dict[str, Any], rate: float) -> None:
        self.path = path
        self.args = dict(args)
        self.rate = float(rate)
        self._schedule = import_class(path)(**self.args)

    def __call__(self, round_: int) -> float:
        return float(self._schedule(round_)) / self.rate
