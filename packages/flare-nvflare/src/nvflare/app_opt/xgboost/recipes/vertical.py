"""Trees that grow from the columns of all sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flare_xgb
from nvflare._flare.column_loader import ColumnLoader
from nvflare._flare.layout import Outputs
from nvflare._flare.native import job_of_sites, warn_of_gpus
from nvflare.app_opt.xgboost.recipes.histogram import DEFAULT_PARAMS
from nvflare.recipe.spec import Recipe


class XGBVerticalRecipe(Recipe):
    """Sites with columns of the same rows grow trees together, with :class:`flare_xgb.XGBVerticalRecipe`.

    Args:
        label_owner: the site with the labels.
        secure: hide the gradients from the sites without labels.
        model_file_name: the file of each site's part of the model, in its folder.
        per_site_config: by site, ``data_loader``: an object that reads its rows.
    """

    def __init__(
        self,
        name: str,
        min_clients: int,
        num_rounds: int,
        label_owner: str,
        early_stopping_rounds: int = 3,
        use_gpus: bool = False,
        secure: bool = False,
        client_ranks: Mapping[str, int] | None = None,
        xgb_params: Mapping[str, Any] | None = None,
        data_loader_id: str = "dataloader",
        metrics_writer_id: str = "metrics_writer",
        in_process: bool = True,
        model_file_name: str = "test.model.json",
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        warn_of_gpus(use_gpus)

        def make(config: Mapping[str, Any] | None) -> flare_xgb.XGBVerticalRecipe:
            return flare_xgb.XGBVerticalRecipe(
                name=name,
                min_clients=min_clients,
                num_rounds=num_rounds,
                label_owner=label_owner,
                early_stopping_rounds=early_stopping_rounds,
                secure="masked" if secure else "plain",
                xgb_params=xgb_params or DEFAULT_PARAMS,
                model_file_name=model_file_name,
                per_site_config=loaders_of(config, label_owner),
            )

        super().__init__(job_of_sites(make, per_site_config, Outputs()))
        self._add_code(per_site_config)

    def set_per_site_config(self, config: dict[str, dict[str, Any]]) -> None:
        """Set settings of sites; see :meth:`nvflare.recipe.spec.Recipe.set_per_site_config`."""
        super().set_per_site_config(config)
        self._add_code(config)

    def _add_code(self, config: Mapping[str, Mapping[str, Any]] | None) -> None:
        for site, settings in (config or {}).items():
            self.job.add_code_of(settings.get("data_loader"), site)


def loaders_of(config: Mapping[str, Mapping[str, Any]] | None, label_owner: str) -> dict[str, dict[str, Any]] | None:
    """Return settings of sites whose loaders know that they read columns."""
    if config is None:
        return None
    return {
        site: {
            name: ColumnLoader(value, site == label_owner) if hasattr(value, "load_data") else value
            for name, value in settings.items()
        }
        for site, settings in config.items()
    }
