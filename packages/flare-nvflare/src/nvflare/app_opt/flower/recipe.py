"""Flower apps, run unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core import RecipeError
from nvflare._flare.layout import Outputs
from nvflare._flare.names import check_import
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe


class FlowerRecipe(Recipe):
    """A Flower app, unchanged, with :class:`flare_flower.FlowerRecipe`.

    Args:
        flower_content: the app's folder.
        flower_app_path: the same, by its newer name.
        run_config: values that replace those of the app's configuration.
        progress_timeout: how long the ServerApp may wait for nodes, in seconds.
        extra_env: not provided; give values with ``run_config``.
    Raises:
        RecipeError: no folder is given, or ``extra_env`` is.
    """

    def __init__(
        self,
        flower_content: str | None = None,
        name: str = "flower_job",
        min_clients: int = 1,
        mandatory_clients: list[str] | None = None,
        database: str = "",
        superlink_ready_timeout: float = 10.0,
        configure_task_timeout: float = 10,
        start_task_timeout: float = 10,
        max_client_op_interval: float = 90.0,
        progress_timeout: float = 3600.0,
        per_msg_timeout: float = 10.0,
        tx_timeout: float = 100.0,
        client_shutdown_timeout: float = 5.0,
        extra_env: Mapping[str, str] | None = None,
        run_config: Mapping[str, Any] | None = None,
        allow_runtime_dependency_installation: bool = False,
        *,
        flower_app_path: str | None = None,
    ) -> None:
        check_import("flare-nvflare[flower]", "flare_flower", "nvflare.app_opt.flower.recipe.FlowerRecipe")
        from flare_flower import FlowerRecipe as FlareFlowerRecipe

        folder = flower_app_path or flower_content
        if folder is None:
            raise RecipeError("give flower_content, the folder of the app")
        if extra_env:
            raise RecipeError(f"extra_env is {dict(extra_env)!r}; give the app values with run_config instead")
        recipe = FlareFlowerRecipe(
            name=name,
            min_clients=min_clients,
            flower_content=folder,
            run_config=run_config,
            stop_after_s=progress_timeout,
        )
        super().__init__(FedJob.of(recipe, Outputs()))
