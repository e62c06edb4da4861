"""Training on devices with ExecuTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from flare_core import RecipeError
from flare_edge import (
    DeviceManagerConfig,
    EvaluatorConfig,
    ModelManagerConfig,
    SimulationConfig,
)
from flare_edge import ETFedBuffRecipe as FlareETFedBuffRecipe
from nvflare._flare.layout import Outputs
from nvflare.edge.models.model import DeviceModel
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe

__all__ = [
    "DeviceManagerConfig",
    "ETFedBuffRecipe",
    "EvaluatorConfig",
    "ModelManagerConfig",
    "SimulationConfig",
]

_LOSSES = {nn.CrossEntropyLoss: "cross_entropy", nn.MSELoss: "squared_error"}
_NAMES = {"epoch": "epochs"}


class ETFedBuffRecipe(Recipe):
    """Training on devices with ExecuTorch, with :class:`flare_edge.ETFedBuffRecipe`.

    Args:
        job_name: the name of the job.
        device_model: the module with its loss.
        input_shape, output_shape: of a batch of inputs, and of its labels.
        model_manager_config: when versions of the model are made, and from which updates.
        device_manager_config: how many devices work, and which.
        initial_ckpt: a file to start from.
        evaluator_config: how versions are evaluated.
        simulation_config: devices that are simulated.
        device_training_params: settings for the devices: ``epoch``, ``lr`` and ``batch_size``.
        custom_source_root: a folder with modules that the job needs.
        device_wait_timeout: the run fails after so many seconds without a device.

    Raises:
        RecipeError: the module has a loss that devices do not have, or cannot be exported.
    """

    def __init__(
        self,
        job_name: str,
        device_model: DeviceModel,
        input_shape: Sequence[int],
        output_shape: Sequence[int],
        model_manager_config: ModelManagerConfig,
        device_manager_config: DeviceManagerConfig,
        initial_ckpt: str | None = None,
        evaluator_config: EvaluatorConfig | None = None,
        simulation_config: SimulationConfig | None = None,
        device_training_params: Mapping[str, Any] | None = None,
        custom_source_root: str | None = None,
        device_wait_timeout: float | None = None,
    ) -> None:
        if not isinstance(device_model, DeviceModel):
            raise RecipeError(f"device_model is a {type(device_model).__name__}; wrap the module: DeviceModel(module)")
        loss = _LOSSES.get(type(device_model.loss))
        if loss is None:
            known = " and ".join(each.__name__ for each in _LOSSES)
            raise RecipeError(f"the loss of device_model is {device_model.loss!r}; devices have {known}")
        given = {_NAMES.get(name, name): value for name, value in (device_training_params or {}).items()}
        recipe = FlareETFedBuffRecipe(
            job_name=job_name,
            device_model=device_model.net,
            input_shape=_largest(input_shape),
            output_shape=_largest(output_shape),
            model_manager_config=model_manager_config,
            device_manager_config=device_manager_config,
            initial_ckpt=initial_ckpt,
            evaluator_config=evaluator_config,
            simulation_config=simulation_config,
            device_training_params={"loss": loss, **given},
            custom_source_root=custom_source_root,
            device_wait_timeout=device_wait_timeout,
        )
        super().__init__(FedJob.of(recipe, Outputs()))


def _largest(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the largest batch: a program takes batches of any size up to that, which is at least 2."""
    return (max(2, shape[0]), *shape[1:])
