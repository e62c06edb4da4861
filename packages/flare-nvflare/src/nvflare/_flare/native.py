"""Flare's own recipes, given the arguments of NVIDIA FLARE's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core import Recipe
from nvflare.job_config.api import FedJob

_SAME = {
    "name",
    "min_clients",
    "num_rounds",
    "initial_ckpt",
    "train_script",
    "train_args",
    "launch_external_process",
    "command",
    "params_transfer_type",
    "key_metric",
    "stop_cond",
    "patience",
    "exclude_vars",
    "aggregation_weights",
}


def native_job(recipe: type[Recipe], arguments: Mapping[str, Any], **more: Any) -> FedJob:
    """Return the job of one of Flare's recipes, from the arguments of the recipe of the same kind there.

    Args:
        recipe: Flare's recipe.
        arguments: the arguments there, all of them; those that Flare has no use for are dropped.
        more: arguments of ``recipe`` that are called otherwise, or have other values.
    """
    return FedJob.of(recipe(**({name: value for name, value in arguments.items() if name in _SAME} | more)))
