"""XGBVerticalRecipe: sites with different columns of the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flare_core import RecipeError
from flare_core.components import Component
from flare_core.job import Job
from flare_core.recipe import Recipe
from flare_core.recipes import preceded_by
from flare_xgb.recipe import XGBRecipe

SECURE = ("plain", "masked")


@dataclass(kw_only=True, eq=False, repr=False)
class XGBVerticalRecipe(XGBRecipe):
    """Trees of the columns of all sites, of which one alone has the labels.

    All sites need the same rows: in the same order, or with ids in ``id_column``. The trees equal those of training on
    the joined table, whose columns are those of the sites, side by side in the order in which the run lists them.
    Thresholds stay with the owners of the features, unless ``joined_model`` is set: each site writes its part of the
    model into its folder, and the parts predict together (:class:`~flare_xgb.vertical.ModelPart`). All sites take
    part in all rounds; if one is started again, or the server is, the run continues after the last tree.

    Args:
        label_owner: the name of the site with the labels; it may have features as well.
        model_file_name: the name of the file of the model: of each site's part, or of the joined model at the server.
        secure: ``plain``, where the sites without labels see the gradients, or ``masked``, where they do not, and the
            server sees uniform random numbers. Both give the same model. See the documentation for what each party
            learns.
        joined_model: the sites give their thresholds to the label owner and the server, which writes one model, that
            XGBoost opens, in place of the parts.
        id_column: the name of the column with the ids of the rows, at all sites. It is not a feature, but the loader
            returns it as one: name it in its ``categorical``, unless all ids are integers below 2**24. None if the rows
            are in the same order at all sites.
        alignment: a recipe that runs first, in the same job, and writes at each site which of its rows all sites have,
            such as ``flare_psi.PSIRecipe``; see :mod:`flare_xgb.vertical.alignment`. The loaders then read the files
            that it aligns, and return no rows to validate with. The column ``id_column`` is left out.
        validation_fraction: the part of the rows so aligned to validate with.

    Example:
        from flare_xgb import FileLoader

        recipe = XGBVerticalRecipe(
            min_clients=2,
            label_owner="site-1",
            num_rounds=20,
            xgb_params={"objective": "binary:logistic"},
            per_site_config={
                "site-1": {"data_loader": FileLoader("/data/bank.csv", label="default")},
                "site-2": {"data_loader": FileLoader("/data/shop.csv")},
            },
        )
    """

    name: str = "xgb_vertical"
    label_owner: str
    early_stopping_rounds: int | None = 3
    model_file_name: str = "model.json"
    secure: str = "plain"
    joined_model: bool = False
    id_column: str | None = None
    alignment: Any = None
    validation_fraction: float = 0.0

    def _check(self) -> None:
        super()._check()
        if self.secure not in SECURE:
            raise RecipeError(f"secure is {self.secure!r}; use 'plain' or 'masked'")
        if not isinstance(self.label_owner, str) or not self.label_owner:
            raise RecipeError(f"label_owner is {self.label_owner!r}; give the name of the site with the labels")
        if self._loader is None and self.label_owner not in self._sites:
            raise RecipeError(
                f"label_owner is {self.label_owner!r}, which is not in per_site_config; it has {', '.join(self._sites)}"
            )
        name = self.model_file_name
        if not isinstance(name, str) or "/" in name or not name.endswith(".json"):
            raise RecipeError(f"model_file_name is {name!r}; give the name of a file that ends in .json")
        if self.id_column is not None and not isinstance(self.id_column, str):
            raise RecipeError(f"id_column is {self.id_column!r}; give the name of a column")
        if self.min_clients < 2:
            raise RecipeError(f"min_clients is {self.min_clients}; columns of at least 2 sites are needed")

        self._check_alignment()

    def _check_alignment(self) -> None:
        fraction = self.validation_fraction
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 1:
            raise RecipeError(f"validation_fraction is {fraction!r}; give a number from 0 to below 1")
        if self.alignment is None:
            if fraction:
                raise RecipeError(
                    "validation_fraction needs an alignment; otherwise loaders return rows to validate with"
                )
        elif not isinstance(self.alignment, Recipe) or not hasattr(self.alignment, "row_file"):
            raise RecipeError(
                f"alignment is a {type(self.alignment).__name__}; give a recipe that aligns rows, such as"
                " flare_psi.PSIRecipe(…)"
            )
        self._row_file = None if self.alignment is None else self.alignment.row_file

    def build(self) -> Job:
        job = super().build()
        return job if self.alignment is None else preceded_by(job, self.alignment.job())

    def _workflow(self) -> Component:
        args: dict[str, Any] = {
            "label_owner": self.label_owner,
            "xgb_params": self._params,
            "num_rounds": self.num_rounds,
            "early_stopping_rounds": self.early_stopping_rounds,
            "model_file_name": self.model_file_name,
        }
        return Component("flare_xgb.vertical.Vertical", args)

    def _executor(self, loader: Component | None, settings: Mapping[str, Any]) -> Component:
        args: dict[str, Any] = {
            "data_loader": loader,
            "xgb_params": self._params,
            "secure": self.secure,
            "joined_model": self.joined_model,
            "id_column": self.id_column,
            "row_file": self._row_file,
            "validation_fraction": float(self.validation_fraction),
            "model_file_name": self.model_file_name,
        }
        return Component("flare_xgb.vertical.VerticalExecutor", args)
