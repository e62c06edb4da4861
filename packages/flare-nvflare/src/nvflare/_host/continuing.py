"""Continuing a hosted job after the server's process was started again, with the states of its components.

They are kept when a controller begins the next round, which is when the last one is recorded as complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import flare_fobs
from nvflare._host.engine import Engine
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.impl.controller import Controller

_CONTROLLER = ""  # the key of the controller's state, beside the ids of components
_OWN = "nvflare."

NOT_KEPT = (
    "it keeps its progress to itself: it has no get_persist_state() and restore(), and is no ModelController whose"
    " run() takes its rounds from start_round and num_rounds, sets current_round and stores the model in every round"
)


def state_of(engine: Engine, name: str, controller: Controller) -> dict[str, Any]:
    """Return what to keep of a completed round: the states of the components, or why the controller has none."""
    context = engine.new_context()
    states = {
        key: state
        for key, component in (*_others(engine, controller).items(), (_CONTROLLER, controller))
        if (state := component.get_persist_state(context))
    }
    if _CONTROLLER not in states:
        return {"reason": reason(name, NOT_KEPT)}
    try:
        content = flare_fobs.dumps(states)
    except flare_fobs.FobsError as error:
        return {"reason": reason(name, f"what a get_persist_state() has returned cannot be kept: {error}")}
    return {"states": {"nvflare": np.frombuffer(content, np.uint8)}}


def restore(engine: Engine, controller: Controller, state: Mapping[str, Any]) -> None:
    """Give the components the states that were kept, and warn of those that have none."""
    states = flare_fobs.loads(np.ascontiguousarray(state["states"]["nvflare"]).data)
    context = engine.new_context()
    others = _others(engine, controller)
    for key, component in (*others.items(), (_CONTROLLER, controller)):
        if key in states:
            component.restore(states[key], context)
    parts: dict[str, Any] = {"aggregator": getattr(controller, "aggregator", None), **others, "controller": controller}
    for key, part in parts.items():
        if isinstance(part, FLComponent) and _forgets(part):
            engine.context.warn(
                f"the run continues, but the {type(part).__name__} {key!r} has no get_persist_state() and"
                " restore() of its own: what its class has added to the state was lost"
            )


def reason(name: str, why: str) -> str:
    """Return the warning of a controller that begins again."""
    return f"the workflow {name} begins again at its first round, since {why}"


def _others(engine: Engine, controller: Controller) -> dict[str, FLComponent]:
    return {
        key: each
        for key, each in engine.get_all_components().items()
        if isinstance(each, FLComponent) and each is not controller
    }


def _forgets(component: FLComponent) -> bool:
    """Return True for a component of the job's own code whose class does not say what must be kept."""
    kept_by = next(cls for cls in type(component).__mro__ if "get_persist_state" in cls.__dict__)
    return kept_by.__module__.startswith(_OWN) and not type(component).__module__.startswith(_OWN)
