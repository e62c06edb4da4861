"""Filter, which changes what is exchanged, as a filter of Flare."""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import Any, ClassVar

from flare_core.filters import Filter as FlareFilter
from flare_core.filters import FilterContext
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable


class ContentBlockedException(Exception):
    """The content may not leave, or enter, this party."""


class FilterChainType:
    """The direction in which a filter works."""

    TASK_DATA_CHAIN = "task_data"
    TASK_RESULT_CHAIN = "task_result"


class FilterSource:
    """Parties that add filters."""

    JOB = "job"
    SITE = "site"


class FilterContextKey:
    """Names of a filter's properties."""

    SOURCE = "__source"
    CHAIN_TYPE = "__chain_type"


class Filter(FLComponent, FlareFilter):  # type: ignore[misc]  # one with Flare's state() has its own restore()
    """Changes a Shareable on its way. It can be used in recipes of Flare as well, where it is given a model as one."""

    data_type: ClassVar[type] = object

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if "process" in cls.__dict__:
            cls.process = _for_both(cls.__dict__["process"])  # type: ignore[method-assign]  # of the new class

    @abstractmethod
    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:  # type: ignore[override]  # its names of the arguments
        """Return the changed shareable."""

    def set_prop(self, key: str, value: Any) -> None:
        """Set a property of the filter."""
        self.__dict__.setdefault("_props", {})[key] = value

    def get_prop(self, key: str, default: Any = None) -> Any:
        """Return a property of the filter."""
        return self.__dict__.get("_props", {}).get(key, default)

    def add_to_fed_job(self, job: Any, ctx: Any, **kwargs: Any) -> Any:
        """Add this to the app of a job that ``ctx`` stands for."""
        job.check_kwargs(args_to_check=kwargs, args_expected={"filter_type": True, "tasks": False})
        job.add_filter(self, kwargs["filter_type"], kwargs.get("tasks", ["*"]), ctx)


def _for_both(process: Any) -> Any:
    """Return a ``process`` that Flare can call, too, with its own data and context."""

    @functools.wraps(process)
    def either(self: Filter, data: Any, context: Any) -> Any:
        if not isinstance(context, FilterContext):
            return process(self, data, context)
        from nvflare._host.filters import filtered

        return filtered(functools.partial(process, self), self, data, context)

    return either
