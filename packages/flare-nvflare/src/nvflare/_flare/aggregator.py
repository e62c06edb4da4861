"""An aggregator written for NVIDIA FLARE, in the place of one of Flare's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flare_core import Aggregator, FLModel, Reply
from flare_core.model import copied


class ForeignAggregator(Aggregator):
    """Gives the contributions of a round to an object with ``accept_model``, ``aggregate_model`` and ``reset_stats``.

    Args:
        aggregator: the object. Each model that it accepts has the name of its site in ``meta["client_name"]``.
        as_tensors: give it tensors of PyTorch instead of arrays.
    """

    keeps_replies = False
    takes_sparse = False

    def __init__(self, aggregator: Any, as_tensors: bool = False) -> None:
        self.aggregator = aggregator
        self.as_tensors = as_tensors

    def add(self, reply: Reply) -> None:
        model = reply.model
        params: Any = copied(model.params or {})
        if self.as_tensors:
            from flare_fobs.tensors import to_torch

            params = {name: to_torch(value) for name, value in params.items()}
        self.aggregator.accept_model(
            replace(
                model,
                params=params,
                current_round=reply.round,
                meta={**model.meta, "client_name": reply.site, "current_round": reply.round},
            )
        )

    def result(self) -> FLModel:
        result = self.aggregator.aggregate_model()
        if isinstance(result, FLModel) and result.params is not None and self.as_tensors:
            from flare_fobs.tensors import to_numpy

            arrays = {name: to_numpy(value, key=name) for name, value in result.params.items()}
            return replace(result, params=arrays)
        return result  # type: ignore[no-any-return]  # what calls this checks it

    def reset(self) -> None:
        self.aggregator.reset_stats()
