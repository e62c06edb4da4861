"""Base classes for algorithms whose server computes more than a mean."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from flare_core import Aggregator, FLModel, ModelError, ParamsType, RecipeError, Reply
from flare_core.components import Component
from flare_core.compression.codecs import parse_codec
from flare_core.errors import EmptyRoundError, ShapeMismatchError
from flare_core.recipes.fedavg import BaseFedAvgRecipe
from flare_recipes_sklearn.model import SklearnModel

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class SiteArrays(Aggregator):
    """An aggregator that keeps the small arrays of all sites and computes the next model from them.

    Sites are processed in the order of their names, so that sums do not depend on the order of arrival.
    """

    names: tuple[str, ...]
    """The arrays that each site sends."""

    helper: str
    """The function that scripts call to compute them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._sites: dict[str, dict[str, Array]] = {}
        self._round: int | None = None

    def add(self, reply: Reply) -> None:
        """Add one contribution.

        Raises:
            ModelError: an array is missing or unknown, or holds NaN or infinity.
        """
        params = reply.model.params
        found = set() if params is None else set(params)
        if params is None or found != set(self.names) or reply.model.params_type is not ParamsType.FULL:
            raise ModelError(
                f"{reply.site} sent {sorted(found) or 'no params'} instead of {sorted(self.names)}; send"
                f" FLModel(params={self.helper}(...))"
            )
        arrays = {name: np.array(params[name]) for name in self.names}
        for name, value in arrays.items():
            if value.dtype.kind not in "fiub" or not np.isfinite(value).all():
                raise ModelError(f"{reply.site}: '{name}' holds NaN, infinity or no numbers; check the site's rows")
        self._sites[reply.site] = arrays
        self._round = reply.round

    def result(self) -> FLModel:
        """Refuse, since the next model depends on the current one; see :meth:`update`.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{type(self).__name__} has no result of its own; use update(model)")

    def update(self, model: FLModel) -> FLModel:
        if not self._sites:
            raise EmptyRoundError("no site contributed to this round; the global model stays as it was")
        sites = {site: self._sites[site] for site in sorted(self._sites)}
        params = self._next(dict(model.params or {}), sites)
        return FLModel(
            params=params,
            start_round=model.start_round,
            current_round=self._round,
            total_rounds=model.total_rounds,
            meta=dict(model.meta),
        )

    @abstractmethod
    def _next(self, params: dict[str, Any], sites: Mapping[str, Mapping[str, Array]]) -> dict[str, Any]:
        """Return the params of the next global model, given the current ones and the sites' arrays."""


def check_site_shape(site: str, name: str, value: Array, wanted: tuple[int, ...]) -> None:
    """Refuse an array whose shape differs from the expected one.

    Args:
        site: the sender.
        name: the array's name.
        value: the array.
        wanted: the expected shape.
    Raises:
        ShapeMismatchError: names the site, the array and both shapes.
    """
    if value.shape != wanted:
        raise ShapeMismatchError(
            f"{site}: '{name}' has shape {value.shape} instead of {wanted}; check that all sites have the same features"
        )


@dataclass(kw_only=True, eq=False, repr=False)
class ServerRecipe(SklearnModel, BaseFedAvgRecipe):
    """A recipe whose server combines the sites' arrays in its own way.

    ``aggregator``, ``aggregation_weights``, ``exclude_vars`` and ``quorum`` would change the mathematics and are
    refused. So are ``params_transfer_type="DIFF"`` and lossy compression of results: sites send sums, not models, and
    in sums small numbers beside large ones matter.
    """

    def _check(self) -> None:
        for name in ("aggregator", "aggregation_weights", "exclude_vars", "quorum"):
            if getattr(self, name):
                raise RecipeError(
                    f"{name} is {getattr(self, name)!r}, but {self.public_name()} combines results in its own way;"
                    " omit it"
                )
        super()._check()
        codec = self._codecs.get("result")
        if codec is not None and not parse_codec(codec).is_exact:
            raise RecipeError(
                f"compression of results is {codec!r}, but the sites of {self.public_name()} send sums, which must stay"
                " exact; use 'zstd'"
            )
        for where, settings in {"": self._defaults, **self._sites}.items():
            if settings.transfer is not ParamsType.FULL:
                place = f"per_site_config[{where!r}]: " if where else ""
                raise RecipeError(
                    f"{place}params_transfer_type is 'DIFF', but the sites of {self.public_name()} send sums, not"
                    " models; omit it"
                )

    def _workflow(self) -> Component:
        return Component("flare_core.workflows.FedAvg", self._workflow_args() | {"aggregator": self._aggregator()})

    @abstractmethod
    def _aggregator(self) -> Component:
        """Return the aggregator that implements the server's mathematics."""
