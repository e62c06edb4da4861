"""Evaluation of stored NumPy models at every site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flare_core.errors import RecipeError
from flare_core.recipes import WorkflowRecipe
from nvflare._flare.layout import Outputs
from nvflare._flare.native import native_job
from nvflare._flare.stored_models import StoredEvalRecipe, StoredModels, SumOfShares
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe


class NumpyCrossSiteEvalRecipe(Recipe):
    """Evaluation of stored models at every site, by a script.

    Args:
        eval_script: the script; without one a stand-in is used that needs no data, for trying things.
        initial_ckpt: the path of one model, called ``server``.
        model_dir: the folder of several models.
        model_name: the names of their files, by model; ``{"server": "server.npy"}`` by default.
    Raises:
        RecipeError: a file does not exist.
    """

    def __init__(
        self,
        name: str = "numpy_cross_site_eval",
        min_clients: int = 2,
        eval_script: str | None = None,
        eval_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        initial_ckpt: str | None = None,
        model_dir: str | None = None,
        model_name: Mapping[str, str] | None = None,
        submit_model_timeout: int = 600,
        validation_timeout: int = 6000,
        client_memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
    ) -> None:
        folder = Path(model_dir or "models")
        wanted = (
            {"server": Path(initial_ckpt)}
            if initial_ckpt
            else {model: folder / file for model, file in (model_name or {"server": "server.npy"}).items()}
        )
        for model, path in wanted.items():
            if not path.is_file():
                raise RecipeError(f"the model {model!r} is to be read from {path}, which does not exist here")
        files = {model: str(path.absolute()) for model, path in wanted.items()}
        if eval_script is None:
            workflow = StoredModels(files=files, min_clients=min_clients)
            executors = {"*": SumOfShares()}
            recipe = WorkflowRecipe(name=name, min_clients=min_clients, workflow=workflow, executors=executors)
            super().__init__(FedJob.of(recipe, Outputs()))
        else:
            given = {**locals(), "train_script": eval_script, "train_args": eval_args}
            super().__init__(native_job(StoredEvalRecipe, given, Outputs(), files=files))
