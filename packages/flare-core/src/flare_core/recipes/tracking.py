"""add_experiment_tracking: the metrics of a run in TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core.components import Component
from flare_core.errors import JobError, RecipeError
from flare_core.extensions import find, load, names
from flare_core.recipe import Recipe


def add_experiment_tracking(
    recipe: Recipe,
    tracking_type: str,
    tracking_config: Mapping[str, Any] | None = None,
    client_side: bool = False,
    server_side: bool = True,
) -> None:
    """Send the metrics of the recipe's runs to an experiment tracker.

    They are the values that scripts log (``flare.log`` and the writers of :mod:`flare_core.client.tracking`), the
    metrics of replies, and their averages. A site's metric is called ``site-1/accuracy``, the average ``accuracy``; the
    step is the script's ``global_step``, else the round. If a tracker fails, the run continues with a warning.

    Args:
        recipe: the recipe; several trackers can be added to it.
        tracking_type: ``tensorboard``, ``mlflow``, ``wandb``, or a name that an installed package declares in the
            entry-point group ``flare.trackers``. The tracker's package must be installed here, and at the server or the
            sites that write to it.
        tracking_config: arguments of :class:`flare_runtime.tracking.TensorBoardReceiver` (``folder``),
            :class:`flare_runtime.tracking.MLflowReceiver` (``tracking_uri``, ``experiment_name``, ``run_name``, …) or
            :class:`flare_runtime.tracking.WandBReceiver` (``project``, ``mode``, …).
        client_side: each site writes its own metrics.
        server_side: the server writes the metrics of all sites and the averages.
    Raises:
        RecipeError: an unknown type, neither side, a configuration that the receiver rejects, a package that is not
            installed, or a tracker that the recipe already has.
    """
    if not client_side and not server_side:
        raise RecipeError("client_side and server_side are both False, so nothing would be tracked; set one to True")
    known = names("flare.trackers")
    if tracking_type not in known:
        raise RecipeError(
            f"tracking_type is {tracking_type!r}; "
            + (f"use one of {', '.join(known)}" if known else "no tracker is installed; pip install flare-runtime")
        )
    entry = find("flare.trackers", tracking_type)
    load(entry).check_installed()
    if not isinstance(tracking_config, Mapping | None):
        raise RecipeError(f"tracking_config is a {type(tracking_config).__name__}; give a dict")
    component = Component(f"{entry.module}.{entry.attr}", dict(tracking_config or {}))
    try:
        component.build()  # so that errors appear early
        component.to_json()
    except JobError as error:
        raise RecipeError(f"tracking_config: {error.__cause__ or error}") from error
    if server_side:
        recipe.add_server_component(tracking_type, component)
    if client_side:
        recipe.add_client_component(tracking_type, component)
