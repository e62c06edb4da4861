"""Initial models and checkpoints that the PyTorch recipes accept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flare_core import RecipeError
from flare_core.recipe import wrong_model
from flare_core.recipes.initial_model import check_fits, made_model
from flare_core.recipes.script import ScriptRecipe
from flare_fobs.tensors import to_numpy, to_torch
from flare_tensor_downloader import read_file, write_file

_STATISTICS = ("running_mean", "running_var")  # the names in all of torch's layers
_ACCEPTED = "a torch.nn.Module, a state dict of tensors, or {'class_path': ..., 'args': {...}}"


class TorchModel(ScriptRecipe):
    """``initial_model`` is a module, a state dict, or the description of a module as ``{"class_path":
    "package.module.Class", "args": {...}}``; ``initial_ckpt`` is a ``.pt`` or ``.pth`` file with a state dict, or a
    ``.safetensors`` file."""

    framework = "pytorch"
    persistor = "flare_recipes_pt.persistor.TorchPersistor"
    optimizers = (torch.optim.Optimizer, "flare_recipes_pt.optimizer.TorchOptimizer")

    def _read_model(self, model: Any) -> Any:
        model = made_model(model)
        if isinstance(model, torch.nn.Module):
            self._trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        return model

    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        state = None if model is None else _to_state_dict(model, self.public_name())
        if checkpoint is not None:
            saved = _read_checkpoint(checkpoint)
            if state is not None:
                check_fits(saved, state, checkpoint)
                # Like load_state_dict, keep the model's dtypes, even for a half-precision checkpoint.
                saved = {name: tensor.to(state[name].dtype) for name, tensor in saved.items()}
            state = saved
        if not state:
            raise RecipeError("the initial model has no parameters; give a model whose layers have some")
        if self._trainable is None:
            self._trainable = _trainable_keys(state)
        write_file(target, {name: to_numpy(tensor, key=name) for name, tensor in state.items()})


def _to_state_dict(model: Any, recipe: str) -> dict[str, torch.Tensor]:
    if isinstance(model, torch.nn.Module):
        return dict(model.state_dict())
    if isinstance(model, Mapping) and not all(isinstance(name, str) for name in model):
        name = next(name for name in model if not isinstance(name, str))
        raise RecipeError(f"initial_model has the key {name!r}; give a state dict, whose keys are strings")
    if isinstance(model, Mapping) and model and all(isinstance(value, torch.Tensor) for value in model.values()):
        return dict(model)
    if isinstance(model, Mapping) and model:
        name, value = next((name, value) for name, value in model.items() if not isinstance(value, torch.Tensor))
        raise wrong_model(value, recipe, _ACCEPTED, what=f"initial_model[{name!r}]")
    raise wrong_model(model, recipe, _ACCEPTED)


def _trainable_keys(state: Mapping[str, torch.Tensor]) -> list[str] | None:
    """Return the floating-point keys of a state dict without running statistics, or None if it has no statistics."""
    statistics = {name for name in state if name.rpartition(".")[2] in _STATISTICS}
    if not statistics:
        return None
    return [name for name, tensor in state.items() if tensor.is_floating_point() and name not in statistics]


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
            f"initial_ckpt {path} holds a {type(state).__name__}, not a state dict; save only model.state_dict()"
        )
    return dict(state)
