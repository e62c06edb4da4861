"""Learning-rate schedules of other frameworks, described as Flare's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core.errors import RecipeError

TORCH = "nvflare._flare.torch_schedule.TorchSchedule"
KERAS = "nvflare._flare.keras_schedule.KerasSchedule"


def described_schedule(value: Any, cls: str, rate: float, num_rounds: int) -> dict[str, Any] | None:
    """Return the description of a schedule of Flare's, given that of one of a framework.

    Args:
        value: ``{"class_path" or "path": …, "args": {…}}``, or None; ``"{num_rounds}"`` stands for ``num_rounds``.
        cls: the class path of the schedule of Flare's.
        rate: the learning rate that it starts from.
        num_rounds: the number of rounds.
    Raises:
        RecipeError: the value has another form.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping) or not isinstance(path := value.get("class_path", value.get("path")), str):
        raise RecipeError(f"lr_scheduler_args is {value!r}; write {{'class_path': …, 'args': {{...}}}}")
    args = {
        name: num_rounds if each == "{num_rounds}" or (name == "decay_steps" and each is None) else each
        for name, each in (value.get("args") or {}).items()
    }
    return {"class_path": cls, "args": {"path": path, "args": args, "rate": rate}}
