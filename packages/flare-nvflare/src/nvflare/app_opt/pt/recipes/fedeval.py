"""Evaluation of a PyTorch model at every site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flare_recipes_pt
from flare_core import FlareError
from nvflare._flare.native import native_job
from nvflare._flare.torch_models import checkpoint, outputs
from nvflare.app_common.workflows.model_controller import ModelController
from nvflare.client.config import ExchangeFormat
from nvflare.recipe.spec import Recipe


class EvalController(ModelController):
    """Has all sites evaluate the stored model; their metrics are in the run's record.

    Args:
        persistor_id: the component that reads the model.
        timeout: seconds to wait for the sites; 0 waits without a limit.
    """

    def __init__(self, persistor_id: str, timeout: int) -> None:
        super().__init__(persistor_id=persistor_id)
        self.timeout = timeout

    def run(self) -> None:
        """Send the model, and log what the sites have found.

        Raises:
            FlareError: no site has answered in time.
        """
        results = self.send_model_and_wait(task_name="validate", data=self.load_model(), timeout=self.timeout)
        if not results:
            raise FlareError(f"no site has evaluated the model within {self.timeout} s; raise validation_timeout")
        for each in results:
            self.info(f"{each.meta.get('client_name')}: {each.metrics}")


class FedEvalRecipe(Recipe):
    """Evaluation of a model at every site, with :class:`flare_recipes_pt.FedEvalRecipe`."""

    def __init__(
        self,
        *,
        name: str = "eval",
        model: Any,
        eval_ckpt: str,
        min_clients: int,
        eval_script: str,
        eval_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        validation_timeout: int = 6000,
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
        client_memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
    ) -> None:
        given = {
            **locals(),
            "initial_ckpt": checkpoint(eval_ckpt),
            "train_script": eval_script,
            "train_args": eval_args,
        }
        super().__init__(native_job(flare_recipes_pt.FedEvalRecipe, given, outputs(given)))
