"""Trees that each site grows from its own rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flare_xgb
from nvflare._flare.layout import Outputs
from nvflare._flare.native import job_of_sites, warn_of_gpus
from nvflare.recipe.spec import Recipe


class XGBBaggingRecipe(Recipe):
    """Bagging of, or cyclic boosting by, each site's own trees, with :class:`flare_xgb.XGBBaggingRecipe`.

    Args:
        training_mode: ``bagging`` or ``cyclic``.
        num_rounds: by default 1 for bagging, and 100 for cyclic boosting.
        num_local_parallel_tree: the number of trees that a site grows in a round.
        local_subsample: the fraction of its rows that a site grows a tree from.
        lr_mode: ``uniform``, or ``scaled`` by ``lr_scale`` of each site.
        per_site_config: by site, ``data_loader``: an object that reads its rows, and ``lr_scale``.
    """

    def __init__(
        self,
        name: str,
        min_clients: int,
        training_mode: str = "bagging",
        num_rounds: int | None = None,
        num_client_bagging: int | None = None,
        num_local_parallel_tree: int = 1,
        local_subsample: float = 0.8,
        learning_rate: float = 0.1,
        objective: str = "binary:logistic",
        max_depth: int = 8,
        eval_metric: str = "auc",
        tree_method: str = "hist",
        use_gpus: bool = False,
        nthread: int = 16,
        lr_mode: str = "uniform",
        save_name: str = "xgboost_model.json",
        data_loader_id: str = "dataloader",
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        warn_of_gpus(use_gpus)

        def make(config: Mapping[str, Any] | None) -> flare_xgb.XGBBaggingRecipe:
            return flare_xgb.XGBBaggingRecipe(
                name=name,
                min_clients=min_clients,
                num_rounds=num_rounds or (1 if training_mode == "bagging" else 100),
                mode=training_mode,
                lr_mode=lr_mode,
                save_name=save_name,
                xgb_params={
                    "num_parallel_tree": num_local_parallel_tree,
                    "subsample": local_subsample,
                    "eta": learning_rate,
                    "objective": objective,
                    "max_depth": max_depth,
                    "eval_metric": eval_metric,
                    "tree_method": tree_method,
                    "nthread": nthread,
                },
                per_site_config=config,
            )

        super().__init__(job_of_sites(make, per_site_config, Outputs()))
