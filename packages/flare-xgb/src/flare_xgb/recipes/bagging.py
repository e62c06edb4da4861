"""XGBBaggingRecipe: whole trees of every site, bagged or boosted in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flare_core import RecipeError
from flare_core.components import Component
from flare_core.recipe import check_count
from flare_xgb.bagging import LR_MODES, MODES
from flare_xgb.recipe import XGBRecipe


@dataclass(kw_only=True, eq=False, repr=False)
class XGBBaggingRecipe(XGBRecipe):
    """Trees that each site grows from its own rows alone.

    In a round of bagging, each site grows ``num_parallel_tree`` trees for each class from the model of all sites, and
    the server appends them, scaled. In a round of cyclic boosting, the sites take turns, and each goes on with the
    trees of those before it. A round takes two messages to each site and back, so this needs far less traffic than
    ``XGBHorizontalRecipe``, and gives up its equality with training on all rows in one place: bins, splits and leaves
    are those of one site's rows. The model is ``server/model.json`` in the run's folder, which XGBoost opens.

    Args:
        mode: ``bagging`` or ``cyclic``.
        lr_mode: by what the trees of a round of bagging are scaled: ``uniform``, the same for each site, or ``scaled``,
            by the sum of the weights of the site's rows. The shares add up to 1 over the sites of the round.
        clients_per_round: number of sites that take part in a round of bagging, drawn at random for each; all connected
            sites by default.
        order: of the sites in cyclic boosting: ``fixed``, the order in which the run lists them; ``random``, drawn for
            each round; or a list of names.
        save_name: the name of the file of the model.
        per_site_config: settings by the name of the site; ``data_loader`` reads its rows, and ``lr_scale`` is what
            counts in place of the sum of the weights where ``lr_mode`` is ``scaled``.

    Example:
        from flare_xgb import FileLoader

        recipe = XGBBaggingRecipe(
            min_clients=2,
            num_rounds=20,
            xgb_params={"objective": "binary:logistic", "subsample": 0.8},
            data_loader=FileLoader("/data/train.csv", label="outcome"),
        )
    """

    name: str = "xgb_bagging"
    mode: str = "bagging"
    lr_mode: str = "uniform"
    clients_per_round: int | None = None
    order: str | Sequence[str] = "fixed"
    save_name: str = "model.json"

    site_settings: ClassVar[tuple[str, ...]] = ("data_loader", "lr_scale")

    def _check(self) -> None:
        super()._check()
        for name, allowed in (("mode", MODES), ("lr_mode", LR_MODES)):
            if getattr(self, name) not in allowed:
                raise RecipeError(f"{name} is {getattr(self, name)!r}; use {' or '.join(map(repr, allowed))}")
        if self.clients_per_round is not None:
            self.clients_per_round = check_count(self.clients_per_round, "clients_per_round", minimum=self.min_clients)
        if not isinstance(self.save_name, str) or "/" in self.save_name or not self.save_name.endswith(".json"):
            raise RecipeError(f"save_name is {self.save_name!r}; give the name of a file that ends in .json")
        if not isinstance(self.order, str):
            self.order = list(self.order)
        for site, settings in self._sites.items():
            scale = settings.get("lr_scale", 1.0)
            if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale < float("inf"):
                raise RecipeError(f"per_site_config[{site!r}]: lr_scale is {scale!r}; give a number of at least 0")
        self._lr_scales = {site: each["lr_scale"] for site, each in self._sites.items() if "lr_scale" in each}
        if self._lr_scales and (self.lr_mode != "scaled" or self.mode != "bagging"):
            raise RecipeError("per_site_config has lr_scale, which needs lr_mode='scaled' and mode='bagging'")

    def _workflow(self) -> Component:
        args: dict[str, Any] = {
            "min_clients": self.min_clients,
            "num_rounds": self.num_rounds,
            "xgb_params": self._params,
            "mode": self.mode,
            "lr_mode": self.lr_mode,
            "lr_scales": self._lr_scales or None,
            "clients_per_round": self.clients_per_round,
            "order": self.order,
            "early_stopping_rounds": self.early_stopping_rounds,
            "save_name": self.save_name,
        }
        return Component("flare_xgb.bagging.workflow.TreeBoosting", args)

    def _executor(self, loader: Component | None, settings: Mapping[str, Any]) -> Component:
        return Component("flare_xgb.bagging.executor.TreeExecutor", {"data_loader": loader, "xgb_params": self._params})
