"""SCAFFOLD's control variates: in ``meta`` for scripts written for NVIDIA FLARE, in ``optimizer_params`` for Flare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from flare_core import FLModel
from flare_core.client.session import Session
from flare_core.errors import ClientApiError

GLOBAL, DIFFERENCE = "scaffold_c_global", "scaffold_c_diff"

_names: WeakKeyDictionary[Session, frozenset[str]] = WeakKeyDictionary()
"""For each script, the names of the parameters that have controls."""

_with_trainers: WeakSet[Session] = WeakSet()


def trainer_answers(session: Session) -> None:
    """Leave the controls of a script to its patched trainer."""
    _with_trainers.add(session)


def received(session: Session, model: FLModel) -> None:
    """Move the server's controls to ``meta``, with zeros for what has none, such as counters."""
    if model.optimizer_params is None or session in _with_trainers:
        _names.pop(session, None)
        return
    controls = model.optimizer_params
    _names[session] = frozenset(controls)
    model.meta[GLOBAL] = {
        name: np.asarray(controls[name]) if name in controls else np.zeros(np.shape(value), np.float32)
        for name, value in _in_order(model.params or {}, controls)
    }
    model.optimizer_params = None


def sent(session: Session, model: FLModel) -> FLModel:
    """Return a model with the change of the site's controls in ``optimizer_params``.

    Raises:
        ClientApiError: the server waits for a change, and there is none.
    """
    changes = model.meta.get(DIFFERENCE)
    names = _names.get(session)
    if names is None or (model.params is None and changes is None):
        return model
    if not isinstance(changes, Mapping):
        if model.optimizer_params is not None:
            return model
        raise ClientApiError(
            f"the trained model has no meta[{DIFFERENCE!r}], which a ScaffoldRecipe needs: correct the steps with"
            " PTScaffoldHelper or TFScaffoldHelper and send get_delta_controls() there, or use FedAvgRecipe"
        )
    meta = {name: value for name, value in model.meta.items() if name not in (GLOBAL, DIFFERENCE)}
    kept = {name: value for name, value in changes.items() if name in names}
    return replace(model, optimizer_params=kept, meta=meta)


def _in_order(params: Mapping[str, Any], controls: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return (params if params else controls).items()
