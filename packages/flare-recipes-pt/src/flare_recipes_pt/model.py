"""What is PyTorch's of every recipe: the forms of an initial model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flare_core import JobError, RecipeError
from flare_core.components import Component
from flare_core.recipe import wrong_model
from flare_core.recipes import ScriptRecipe
from flare_fobs.tensors import to_numpy, to_torch
from flare_tensor_downloader import read_file, write_file

__all__ = ["TorchModel"]

_WANTED = "a torch.nn.Module, a state dict of tensors, or {'class_path': ..., 'args': {...}}"


class TorchModel(ScriptRecipe):
    """``initial_model`` is a module, a state dict, or ``{"class_path": "package.module.Class", "args": {...}}``, which
    makes a module; ``initial_ckpt`` a ``.pt`` or ``.pth`` file with a state dict, or ``.safetensors``."""

    framework = "pytorch"
    persistor = "flare_recipes_pt.TorchPersistor"

    def _read_model(self, model: Any) -> Any:
        model = _made(model)
        if isinstance(model, torch.nn.Module):
            self._trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        return model

    def _framework_optimizer(self, cls: Any, component: Component) -> Component:
        if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer):
            args = {"class_path": component.class_path, "args": component.args}
            return Component("flare_recipes_pt.TorchOptimizer", args)
        raise RecipeError(
            f"optimizer_args names {component.class_path}, which is no optimizer; use one of torch.optim or of"
            " flare_core.optimizers"
        )

    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        state = None if model is None else _state_of(model, self.public_name())
        if checkpoint is not None:
            state = _filled(state, _read_checkpoint(checkpoint), checkpoint)
        write_file(target, {name: to_numpy(tensor, key=name) for name, tensor in (state or {}).items()})


def _state_of(model: Any, recipe: str) -> dict[str, torch.Tensor]:
    if isinstance(model, torch.nn.Module):
        return dict(model.state_dict())
    if isinstance(model, Mapping) and model and all(isinstance(value, torch.Tensor) for value in model.values()):
        return dict(model)
    if isinstance(model, Mapping) and model:
        name, value = next((name, value) for name, value in model.items() if not isinstance(value, torch.Tensor))
        raise wrong_model(value, recipe, _WANTED, what=f"initial_model[{name!r}]")
    raise wrong_model(model, recipe, _WANTED)


def _made(model: Any) -> Any:
    """The model itself, made if it is only described."""
    if not isinstance(model, Mapping) or not {"class_path", "path"} & set(model):
        return model
    try:
        return Component.of(model, what="initial_model").build()
    except JobError as error:
        raise RecipeError(f"initial_model: {error}") from error


def _read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return {name: to_torch(array) for name, array in read_file(path).items()}
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RecipeError(
            f"initial_ckpt {path} cannot be read as a state dict ({type(error).__name__}: {error});"
            " save it with torch.save(model.state_dict(), ...)"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise RecipeError(
            f"initial_ckpt {path} holds a {type(state).__name__}; save model.state_dict() and nothing else"
        )
    return dict(state)


def _filled(
    model: dict[str, torch.Tensor] | None, saved: dict[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """The checkpoint's values, checked against the model that they are meant for."""
    if model is None:
        return saved
    for name in sorted(model.keys() ^ saved.keys()):
        side = "initial_model" if name in model else "the checkpoint"
        raise RecipeError(f"initial_ckpt {path} does not fit initial_model: only {side} has '{name}'")
    for name, tensor in model.items():
        if saved[name].shape != tensor.shape:
            raise RecipeError(
                f"initial_ckpt {path} does not fit initial_model: '{name}' has shape {tuple(saved[name].shape)} there"
                f" and {tuple(tensor.shape)} here"
            )
    return saved
