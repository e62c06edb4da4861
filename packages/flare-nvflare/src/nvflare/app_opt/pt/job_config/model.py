"""PTModel, a PyTorch model as a part of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from flare_core import RecipeError
from nvflare._flare.describe import Described
from nvflare.job_config.api import FedJob, JobCtx

_PT = "nvflare.app_opt.pt"


class PTModel:
    """A PyTorch model that the server reads, gives to the sites, and writes.

    Args:
        model: a module, or ``{"path": …, "args": {…}}``.
        persistor, locator: components to use in place of the usual ones.
        allow_numpy_conversion: give arrays of NumPy to filters and aggregators.
        initial_ckpt: a file with the weights to start from.
        best_model_filename: the name of the file of the best model.
    Raises:
        RecipeError: ``model`` is something else.
    """

    def __init__(
        self,
        model: Any,
        persistor: Any = None,
        locator: Any = None,
        allow_numpy_conversion: bool = True,
        initial_ckpt: str | None = None,
        best_model_filename: str | None = None,
    ) -> None:
        is_description = isinstance(model, Mapping) and isinstance(model.get("path", model.get("class_path")), str)
        if not isinstance(model, torch.nn.Module) and not is_description:
            raise RecipeError(f"model is a {type(model).__name__}; give a torch.nn.Module or {{'path': …, 'args': …}}")
        self.model = model
        if is_description:
            self.model = {"path": model.get("path", model.get("class_path")), "args": dict(model.get("args") or {})}
        args: dict[str, Any] = {"model": self.model, "allow_numpy_conversion": allow_numpy_conversion}
        if initial_ckpt is not None:
            args["source_ckpt_file_full_name"] = initial_ckpt
        if best_model_filename is not None:
            args["best_global_model_file_name"] = best_model_filename
        self.persistor = persistor or Described(f"{_PT}.file_model_persistor.PTFileModelPersistor", args)
        self.locator = locator

    def add_to_fed_job(self, job: FedJob, ctx: JobCtx) -> dict[str, str]:
        """Add the model to the server, and return the ids ``persistor_id`` and ``locator_id``."""
        persistor_id = job.add_component("persistor", self.persistor, ctx)
        args = {"pt_persistor_id": persistor_id}
        locator = self.locator or Described(f"{_PT}.file_model_locator.PTFileModelLocator", args)
        return {"persistor_id": persistor_id, "locator_id": job.add_component("locator", locator, ctx)}
