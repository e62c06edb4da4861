"""ETFedBuffRecipe: devices that run ExecuTorch train a PyTorch model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_core import RecipeError
from flare_core.parameters import recorded_model
from flare_core.recipes.initial_model import made_model
from flare_edge.errors import EdgeError
from flare_edge.recipe import EdgeFedBuffRecipe


@dataclass(kw_only=True, eq=False, repr=False)
class ETFedBuffRecipe(EdgeFedBuffRecipe):
    """Train a PyTorch model on devices that run ExecuTorch, with buffered asynchronous aggregation.

    The model is exported as a training program when the recipe is created, which takes the extra ``executorch``; its
    parameters are the model to start from. Also takes the arguments of :class:`EdgeFedBuffRecipe` but ``model``.

    Args:
        device_model: a ``torch.nn.Module`` with float32 parameters and no buffers, or ``{"class_path", "args"}``.
        input_shape: of the largest batch of inputs, such as ``(16, 64)``.
        output_shape: of that batch's targets: ``(16,)`` for classes, ``(16, values)`` for values.
        device_training_params: ``loss`` (``cross_entropy`` or ``squared_error``), and further settings for the devices:
            ``lr``, ``epochs``, ``batch_size``, ``seed``, ``filters``; see :mod:`flare_edge.device.programs`.

    Raises:
        RecipeError: an argument is unusable, the model cannot be exported, or ExecuTorch is not installed; names the
            remedy.

    Example:
        recipe = ETFedBuffRecipe(
            device_model=Net(),
            input_shape=(16, 64),
            output_shape=(16,),
            device_training_params={"lr": 0.1, "epochs": 1, "batch_size": 16},
            model_manager_config=ModelManagerConfig(max_model_version=20, num_updates_for_model=10),
            device_manager_config=DeviceManagerConfig(device_selection_size=20),
        )
    """

    name: str = "et-fedbuff"
    device_model: Any
    input_shape: Sequence[int]
    output_shape: Sequence[int]
    device_training_params: Mapping[str, Any] | None = None

    def _check(self) -> None:
        if self.model is not None:
            raise RecipeError("model is what device_model starts from; leave it out, or give initial_ckpt")
        model = made_model(self.device_model)
        text = recorded_model(self.device_model)
        self.model = model
        self.device_config = {**(self.device_config or {}), **self._program(model)}
        super()._check()
        self._model_text = text
        self.device_model = None  # it is in the snapshot
        self.device_config = None  # its program is large; the devices get it with the job

    def _program(self, model: Any) -> dict[str, Any]:
        """Return the devices' configuration."""
        params = dict(self.device_training_params or {})
        loss = params.pop("loss", "cross_entropy")
        for name in ("input_shape", "output_shape"):
            shape = getattr(self, name)
            if isinstance(shape, str) or not isinstance(shape, Sequence):
                raise RecipeError(f"{name} is {shape!r}; give the shape of the largest batch, such as (16, 64)")
        try:
            from flare_edge.executorch import device_config

            program = device_config(model, tuple(self.input_shape), tuple(self.output_shape), loss=loss)
        except (EdgeError, ImportError, AttributeError) as error:
            raise RecipeError(f"device_model cannot be exported for devices: {error}") from error
        return {**params, "program": program}

    def recorded(self, argument: str) -> Any:
        return self._model_text if argument == "device_model" else super().recorded(argument)
