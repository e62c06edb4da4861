"""The names in which statistics are asked for and answered, and the base class of generators of one's own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flare_stats import spec
from flare_stats.spec import Bin, BinRange, DataType, Feature, Histogram, HistogramType, StatisticConfig
from nvflare._flare.context import as_fl_context, fill_in_site
from nvflare.apis.fl_component import FLComponent

__all__ = [
    "Bin",
    "BinRange",
    "DataType",
    "Feature",
    "Histogram",
    "HistogramType",
    "StatisticConfig",
    "Statistics",
]


class Statistics(FLComponent, spec.Statistics):
    """A generator of statistics, as :class:`flare_stats.Statistics`, whose contexts are those of NVIDIA FLARE.

    Methods that are not overridden are computed from ``data``, if :meth:`initialize` sets it.
    """

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        for name in ("initialize", "finalize"):
            if name in vars(cls):
                setattr(cls, name, _with_fl_context(vars(cls)[name]))


def _with_fl_context(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def called(self: Any, fl_ctx: Any) -> Any:
        context = as_fl_context(fl_ctx)
        fill_in_site(self, context.get_identity_name())
        return method(self, context)

    return called
