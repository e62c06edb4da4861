"""The recipe of horizontal training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flare_core import RecipeError
from flare_core.components import Component
from flare_xgb.recipe import XGBRecipe


@dataclass(kw_only=True, eq=False, repr=False)
class XGBHorizontalRecipe(XGBRecipe):
    """Sites with rows of the same columns grow XGBoost's trees together.

    The model has the same bits as one that is trained on all rows in one place, for any number of sites and any deal of
    the rows. The server gets sums over the rows of each site; with ``secure``, sums over the rows of all sites alone.
    ``model.json`` in the server's folder of the run opens in XGBoost. Also accepts the arguments of ``XGBRecipe``.

    Args:
        early_stopping_rounds: as in ``XGBRecipe``; None trains all rounds.
        secure: ``True`` or ``"masked"``: the sites hide what they send under masks that cancel in the sum over all
            sites. At least two sites must take part.
        client_ranks: the order of the sites by their names, from 0, in which their rows are taken to lie in one table.
            It matters only where rows are drawn (``subsample``).
        data_loader_id: without effect; NVFlare's recipe of this name takes it, but here ``per_site_config`` and
            ``data_loader`` hold the loaders themselves.
        metrics_writer_id: without effect as well, since metrics are always recorded.

    Example:
        from flare_xgb import FileLoader

        recipe = XGBHorizontalRecipe(
            min_clients=2,
            num_rounds=20,
            xgb_params={"objective": "binary:logistic", "eval_metric": "auc"},
            per_site_config={
                "site-1": {"data_loader": FileLoader("/data/site-1.csv", label="sick")},
                "site-2": {"data_loader": FileLoader("/data/site-2.csv", label="sick")},
            },
        )
    """

    name: str = "xgb_horizontal"
    early_stopping_rounds: int | None = 2
    secure: bool | str = False
    client_ranks: Mapping[str, int] | None = None
    data_loader_id: str = "dataloader"
    metrics_writer_id: str = "metrics_writer"

    def _check(self) -> None:
        super()._check()
        if self.secure not in (False, True, "masked"):
            raise RecipeError(f"secure is {self.secure!r}; give False, or 'masked' to hide each site's sums")
        if self.secure and self.min_clients < 2:
            raise RecipeError(
                f"secure is {self.secure!r} with min_clients={self.min_clients}, but the sum over one site is that"
                " site's own; set min_clients to 2 or more"
            )
        self._ranks = None if self.client_ranks is None else _checked_ranks(self.client_ranks)

    def _workflow(self) -> Component:
        args: dict[str, Any] = {
            "params": self._params,
            "min_clients": self.min_clients,
            "num_rounds": self.num_rounds,
            "early_stopping_rounds": self.early_stopping_rounds,
            "secure": self._secure,
            "client_ranks": self._ranks,
        }
        return Component("flare_xgb.horizontal.Horizontal", args)

    def _executor(self, loader: Component | None, settings: Mapping[str, Any]) -> Component:
        return Component("flare_xgb.horizontal.HorizontalExecutor", {"data_loader": loader, "secure": self._secure})

    @property
    def _secure(self) -> str | None:
        return "masked" if self.secure else None


def _checked_ranks(ranks: Any) -> dict[str, int]:
    is_fine = isinstance(ranks, Mapping) and all(isinstance(rank, int) for rank in ranks.values())
    if not is_fine or sorted(ranks.values()) != list(range(len(ranks))):
        raise RecipeError(f"client_ranks is {ranks!r}; give each site another of the numbers 0, 1, …")
    return dict(ranks)
