"""Training on devices, with buffered asynchronous aggregation."""

from __future__ import annotations

from typing import Any

from flare_edge import (
    DeviceManagerConfig,
    EvaluatorConfig,
    ModelManagerConfig,
    SimulationConfig,
)
from flare_edge import EdgeFedBuffRecipe as FlareEdgeFedBuffRecipe
from nvflare._flare.layout import Outputs
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe

__all__ = [
    "DeviceManagerConfig",
    "EdgeFedBuffRecipe",
    "EvaluatorConfig",
    "ModelManagerConfig",
    "SimulationConfig",
]


class EdgeFedBuffRecipe(Recipe):
    """Training on devices, with :class:`flare_edge.EdgeFedBuffRecipe`.

    Args:
        job_name: the name of the job.
        model: the model to start from.
        model_manager_config: when versions of the model are made, and from which updates.
        device_manager_config: how many devices work, and which.
        initial_ckpt: a file to start from.
        evaluator_config: how versions are evaluated.
        simulation_config: devices that are simulated.
        custom_source_root: a folder with modules that the job needs.
        device_wait_timeout: the run fails after so many seconds without a device.
    """

    def __init__(
        self,
        job_name: str,
        model: Any,
        model_manager_config: ModelManagerConfig,
        device_manager_config: DeviceManagerConfig,
        initial_ckpt: str | None = None,
        evaluator_config: EvaluatorConfig | None = None,
        simulation_config: SimulationConfig | None = None,
        custom_source_root: str | None = None,
        device_wait_timeout: float | None = None,
    ) -> None:
        recipe = FlareEdgeFedBuffRecipe(
            job_name=job_name,
            model=model,
            model_manager_config=model_manager_config,
            device_manager_config=device_manager_config,
            initial_ckpt=initial_ckpt,
            evaluator_config=evaluator_config,
            simulation_config=simulation_config,
            custom_source_root=custom_source_root,
            device_wait_timeout=device_wait_timeout,
        )
        super().__init__(FedJob.of(recipe, Outputs()))
