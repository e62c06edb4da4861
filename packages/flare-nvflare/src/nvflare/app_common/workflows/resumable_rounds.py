"""ResumableRounds: what a model controller keeps from round to round, so that it can go on after a restart.

A controller takes part if its ``run()`` follows the attributes of NVIDIA FLARE's own algorithms: it counts
``current_round`` from ``start_round``, ``num_rounds`` times, begins with ``load_model()``, and stores the model with
``save_model()`` in every round. When it is restored, ``start_round`` is the next round, ``num_rounds`` the number of
those that are left, and ``load_model()`` returns the model of the last one. The sites are told the numbers of the whole
run.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from flare_core import FLModel
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext


class ResumableRounds(FLComponent):
    """Keeps the round and the model of a model controller."""

    _restored: FLModel | None = None
    _plan: tuple[int, int] | None = None  # the first round and the number of rounds of a run that was continued
    _done: tuple[int, FLModel] | None = None  # the last round whose model is known, and the model

    @property
    def planned(self) -> tuple[int, int]:
        """The first round and the number of rounds of the whole run."""
        if self._plan is not None:
            return self._plan
        own = vars(self)
        return own["start_round"], own["num_rounds"]

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the next round and the model to begin it with; empty if a run cannot go on with that."""
        numbers = [vars(self).get(name) for name in ("start_round", "num_rounds", "current_round")]
        if not all(type(number) is int for number in numbers) or not _uses(type(self), "start_round"):
            return {}
        if self._done is None or self._done[0] + 1 != numbers[-1]:
            return {}
        first, count = self.planned
        return {"current_round": numbers[-1], "start_round": first, "num_rounds": count, "model": self._done[1]}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Begin with the next round and that model."""
        self._plan = first, count = state_data["start_round"], state_data["num_rounds"]
        next_round = state_data["current_round"]
        self.start_round = self.current_round = next_round
        self.num_rounds = first + count - next_round
        self._restored, self._done = state_data["model"], None

    def note_model(self, model: FLModel) -> None:
        """Note the model with which the next round begins."""
        if type(number := vars(self).get("current_round")) is int:
            self._done = number, model

    def as_planned(self, model: FLModel) -> FLModel:
        """Return a model for sites with the numbers of the whole run, if the run was continued."""
        if self._plan is None:
            return model
        first, count = self._plan
        is_ours = model.start_round == self.start_round, model.total_rounds == self.num_rounds
        return replace(
            model,
            start_round=first if is_ours[0] else model.start_round,
            total_rounds=count if is_ours[1] else model.total_rounds,
        )


def _uses(cls: type, name: str) -> bool:
    """Return True if a controller's ``run()``, or one that it calls of a base class, uses an attribute."""
    for run in _runs(cls):
        names = run.__code__.co_names
        if name in names:
            return True
        if "super" not in names:
            return False
    return False


def _runs(cls: type) -> Iterator[Any]:
    for base in cls.__mro__:
        if inspect.isfunction(run := inspect.unwrap(vars(base).get("run", _runs))) and run is not _runs:
            yield run
