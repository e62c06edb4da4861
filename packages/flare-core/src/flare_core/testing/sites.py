"""The sites of a fake federation, their presence and their tasks."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from flare_core.errors import FlareError, SiteError
from flare_core.events import EventBus
from flare_core.executor import Executor
from flare_core.model import OPTIMIZER_PARAMS, FLModel
from flare_core.task import Task
from flare_core.testing.replies import Answer, reply_to
from flare_core.testing.site import FakeSite

SiteFunction: TypeAlias = Callable[[Task], Any]
Rounds: TypeAlias = Mapping[str, Collection[int]]
"""By site, numbers of rounds."""


class FakeSites:
    """Executors and functions that stand for sites.

    Args:
        executors, configs, local, late, leaves, absent, travel: as for :class:`FakeFederation`.
        events: receives the metrics and warnings of executors.
    """

    def __init__(
        self,
        executors: Mapping[str, Executor | SiteFunction],
        configs: Mapping[str, Mapping[str, Any]],
        *,
        local: Mapping[str, Path],
        late: Rounds,
        leaves: Rounds,
        absent: Rounds,
        travel: Callable[[Any], Any],
        events: EventBus,
    ) -> None:
        self._executors = dict(executors)
        self._contexts = {
            site: FakeSite(site, config=configs.get(site), local=local.get(site), events=events) for site in executors
        }
        self._late, self._leaves, self._absent = late, leaves, absent
        self._travel = travel
        self._round: int | None = None
        self._left: set[str] = set()  # in this round

    def begin_round(self, round_: int) -> None:
        """Start a round; sites that left return."""
        self._round = round_
        self._left.clear()
        for context in self._contexts.values():
            context.round = round_

    def is_late(self, site: str) -> bool:
        """Return True if a site replies after the deadline in this round."""
        return self._round in self._late.get(site, ())

    def is_gone(self, site: str) -> bool:
        """Return True if a site is not connected in this round."""
        return site in self._left or self._round in self._absent.get(site, ())

    def give(self, site: str, task: Task) -> Answer | None:
        """Execute a task at a site and return its answer; None if the site is gone, or leaves now.

        Raises:
            FlareError: the data of the task cannot be sent.
        """
        if self._round in self._leaves.get(site, ()):
            self._left.add(site)
        if self.is_gone(site):
            return None
        try:
            own = replace(task, data=self._travel(copy.deepcopy(task.data)))
        except Exception as error:
            raise FlareError(f"the data of the task '{task.name}' cannot be sent: {error}") from error
        try:
            return reply_to(task, site, self._travel(copy.deepcopy(self._result(site, own))))
        except Exception as error:
            failure = SiteError(f"{site}: {type(error).__name__}: {error}", site=site, details=traceback.format_exc())
            failure.__cause__ = error
            return failure

    def _result(self, site: str, task: Task) -> Any:
        executor, context = self._executors[site], self._contexts[site]
        return executor.execute(task, context) if isinstance(executor, Executor) else _by_script(executor, task)


def _by_script(function: SiteFunction, task: Task) -> Any:
    """Call a function with a model in the form that a training script receives."""
    if isinstance(task.data, FLModel) and OPTIMIZER_PARAMS in (task.data.params or {}):
        params = dict(task.data.params or {})
        task.data = replace(task.data, optimizer_params=params.pop(OPTIMIZER_PARAMS), params=params)
    result = function(task)
    if isinstance(result, FLModel) and result.optimizer_params is not None:
        params = {**(result.params or {}), OPTIMIZER_PARAMS: result.optimizer_params}
        return replace(result, params=params, optimizer_params=None)
    return result
