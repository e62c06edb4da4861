"""What the algorithms have in common whose server computes more than a mean."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from flare_core import Aggregator, FLModel, ModelError, ParamsType, RecipeError, Reply
from flare_core.components import Component
from flare_core.compression import parse_codec
from flare_core.errors import EmptyRoundError, ShapeMismatchError
from flare_core.recipes import BaseFedAvgRecipe
from flare_recipes_sklearn.model import SklearnModel

__all__ = ["ServerRecipe", "SiteArrays"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class SiteArrays(Aggregator):
    """Keeps the arrays of all sites, which are small, and makes the next model of them at the end of the round.

    The sites come in the order of their names, so that a sum does not depend on who answered first.
    """

    names: tuple[str, ...]
    """The arrays that each site sends."""

    helper: str
    """The function with which scripts make them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._sites: dict[str, dict[str, Array]] = {}
        self._round: int | None = None

    def add(self, reply: Reply) -> None:
        """Take one contribution.

        Raises:
            ModelError: it lacks an array, holds others, or holds NaN or infinity.
        """
        params = reply.model.params
        found = set() if params is None else set(params)
        if params is None or found != set(self.names) or reply.model.params_type is not ParamsType.FULL:
            raise ModelError(
                f"{reply.site} sent {sorted(found) or 'no params'} where {sorted(self.names)} are wanted; send"
                f" FLModel(params={self.helper}(...))"
            )
        arrays = {name: np.array(params[name]) for name in self.names}
        for name, value in arrays.items():
            if value.dtype.kind not in "fiub" or not np.isfinite(value).all():
                raise ModelError(f"{reply.site}: '{name}' holds NaN, infinity or no numbers; look at the site's rows")
        self._sites[reply.site] = arrays
        self._round = reply.round

    def result(self) -> FLModel:
        """Refuse: the next model depends on the one before, see :meth:`update`.

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
        """Return the next global model, given the present one and the sites' arrays."""


def check_site_shape(site: str, name: str, value: Array, wanted: tuple[int, ...]) -> None:
    """Refuse an array of another shape.

    Args:
        site: who sent it.
        name: of the array.
        value: the array.
        wanted: the shape that it must have.
    Raises:
        ShapeMismatchError: names the site, the array and both shapes.
    """
    if value.shape != wanted:
        raise ShapeMismatchError(
            f"{site}: '{name}' has shape {value.shape} where {wanted} is wanted; do all sites have the same features?"
        )


@dataclass(kw_only=True, eq=False, repr=False)
class ServerRecipe(SklearnModel, BaseFedAvgRecipe):
    """A recipe whose server combines the sites' arrays in a way of its own.

    ``aggregator``, ``aggregation_weights``, ``exclude_vars`` and ``quorum`` would change the mathematics and are
    refused, as are ``params_transfer_type="DIFF"`` and a codec for results that loses something: what the sites send is
    no model but sums, in which small numbers beside large ones matter.
    """

    def _check(self) -> None:
        for name in ("aggregator", "aggregation_weights", "exclude_vars", "quorum"):
            if getattr(self, name):
                raise RecipeError(
                    f"{name} is {getattr(self, name)!r}, but {self.public_name()} combines in a way of its own;"
                    " leave it out"
                )
        super()._check()
        codec = self._codecs.get("result")
        if codec is not None and not parse_codec(codec).is_exact:
            raise RecipeError(
                f"compression of results is {codec!r}, but the sites of {self.public_name()} send sums of which nothing"
                " may be lost; use 'zstd'"
            )
        for where, settings in {"": self._defaults, **self._sites}.items():
            if settings.transfer is not ParamsType.FULL:
                place = f"per_site_config[{where!r}]: " if where else ""
                raise RecipeError(
                    f"{place}params_transfer_type is 'DIFF', but the sites of {self.public_name()} send no model that a"
                    " difference could be taken from; leave it out"
                )

    def _workflow(self) -> Component:
        return Component("flare_core.workflows.FedAvg", self._workflow_args() | {"aggregator": self._server_side()})

    @abstractmethod
    def _server_side(self) -> Component:
        """The aggregator that holds the server's mathematics."""
