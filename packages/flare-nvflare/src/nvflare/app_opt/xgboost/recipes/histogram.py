"""Trees that grow from histograms of the rows of all sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flare_xgb
from nvflare._flare.layout import Outputs
from nvflare._flare.native import job_of_sites, warn_of_gpus
from nvflare.recipe.spec import Recipe

DEFAULT_PARAMS = {
    "objective": "binary:logistic",
    "max_depth": 8,
    "eta": 0.1,
    "eval_metric": "auc",
    "tree_method": "hist",
    "nthread": 16,
}


class XGBHorizontalRecipe(Recipe):
    """Sites with rows of the same columns grow trees together, with :class:`flare_xgb.XGBHorizontalRecipe`.

    Args:
        secure: hide what each site sends; the server learns sums over all sites alone.
        per_site_config: by site, ``data_loader``: an object that reads its rows.
    """

    def __init__(
        self,
        name: str,
        min_clients: int,
        num_rounds: int,
        early_stopping_rounds: int = 2,
        use_gpus: bool = False,
        secure: bool = False,
        client_ranks: Mapping[str, int] | None = None,
        xgb_params: Mapping[str, Any] | None = None,
        data_loader_id: str = "dataloader",
        metrics_writer_id: str = "metrics_writer",
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        warn_of_gpus(use_gpus)

        def make(config: Mapping[str, Any] | None) -> flare_xgb.XGBHorizontalRecipe:
            return flare_xgb.XGBHorizontalRecipe(
                name=name,
                min_clients=min_clients,
                num_rounds=num_rounds,
                early_stopping_rounds=early_stopping_rounds,
                secure=secure,
                client_ranks=client_ranks,
                xgb_params=xgb_params or DEFAULT_PARAMS,
                per_site_config=config,
            )

        super().__init__(job_of_sites(make, per_site_config, Outputs(at_sites=("model.json",))))
