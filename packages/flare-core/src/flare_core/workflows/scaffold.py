"""SCAFFOLD: federated averaging with control variates, which correct the drift of sites with different data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from flare_core.aggregation import WeightedMean
from flare_core.errors import ModelError, UnknownKeyError
from flare_core.model import OPTIMIZER_PARAMS, FLModel, Key, flatten, is_trained, key_text, unflatten, working_dtype
from flare_core.task import Reply
from flare_core.tensor_blocks import Array, TensorBlocks, tensors_of
from flare_core.workflow import TrainingFederation
from flare_core.workflows.fedavg import FedAvg


class Scaffold(FedAvg):
    """Send the global model with the server's control variates; average models and sum up changes of the controls.

    A script receives the server's controls as ``received.optimizer_params``, and returns the change of its own controls
    in the same field; the frameworks' packages have helpers for both. With N sites in total, the server's controls
    change by 1/N of the sum. The controls of a site that takes no part in a round do not change. If a reply came too
    late, the helpers restore the controls from before that round, which the site receives as
    ``meta["not_used_since"]``. The server's controls are thus always the mean of the sites' controls, regardless of
    weights and excluded keys.

    Args:
        trainable: keys of the parameters that have controls; every floating-point array by default.
        aggregation_weights, exclude_vars, arguments: those of :class:`FedAvg`, except for the aggregator.

    Source: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, with a global step size of 1; models are weighted by
    steps as in :class:`FedAvg`, controls are not.
    """

    def __init__(
        self,
        *,
        trainable: Iterable[str] | None = None,
        aggregation_weights: Mapping[str, float] | None = None,
        exclude_vars: str | Iterable[str] | None = None,
        **arguments: Any,
    ) -> None:
        self._mean = _MeanWithControls(site_weights=aggregation_weights, exclude=exclude_vars)
        super().__init__(aggregator=self._mean, **arguments)
        self.trainable = None if trainable is None else frozenset(trainable)
        self._controls: dict[Key, Array] | None = None  # in at least float32, whatever the dtype of the model
        self._sites = 0  # of the run

    def _outgoing(self, model: FLModel, fed: TrainingFederation) -> FLModel:
        self._sites = len(fed.sites)
        known = {
            key: np.asarray(value)
            for key, value in flatten(model.params or {})
            if is_trained(key, value, self.trainable)
        }
        if self._controls is None:
            self._controls = {key: np.zeros(value.shape, working_dtype(value.dtype)) for key, value in known.items()}
        controls = {key: value.astype(known[key].dtype, copy=False) for key, value in self._controls.items()}
        return FLModel(params={**(model.params or {}), OPTIMIZER_PARAMS: unflatten(controls)}, meta=model.meta)

    def _updated(self, model: FLModel, round_: int) -> FLModel:
        controls = self._controls
        assert controls is not None
        sums = self._mean.take_controls()
        for key in sums:
            if key not in controls:
                raise UnknownKeyError(
                    f"a site sent a control difference for '{key_text(key)}', which is not a trained parameter of the"
                    f" global model; send those of {', '.join(map(key_text, list(controls)[:3]))}, …"
                )
        moved = {key: (total / self._sites).astype(controls[key].dtype, copy=False) for key, total in sums.items()}
        self._controls = controls | {key: np.asarray(controls[key] + change) for key, change in moved.items()}
        return super()._updated(model, round_)

    def state(self) -> dict[str, Any]:
        return super().state() | {"controls": unflatten(self._controls or {})}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._controls = dict(flatten(state.get("controls", {}))) or None


class _MeanWithControls(WeightedMean):
    """A weighted mean of models together with an unweighted sum of control differences, read from one stream."""

    def reset(self) -> None:
        super().reset()
        self._senders: set[str] = set()

    def add(self, reply: Reply) -> None:
        super().add(reply)
        if not self.weight(reply):  # the model has no weight, but the site has changed its controls
            for key, tensor in tensors_of(reply.model.params or {}):
                if _is_control(key):
                    self._add_tensor(key, tensor, 1.0, reply.site)
        if reply.site not in self._senders and self.weight(reply):
            raise ModelError(
                f"{reply.site}: the reply holds no control differences; send"
                " FLModel(params=..., optimizer_params=...) with the result of the Scaffold helper's finish()"
            )

    def take_controls(self) -> dict[Key, Array]:
        """Remove and return the sums of the control differences, by the keys of the parameters."""
        sums = {}
        for key in [key for key in self._sums if _is_control(key)]:
            inner = key[1:]
            sums[inner[0] if len(inner) == 1 else inner] = self._sums.pop(key).total
        return sums

    def excludes(self, key: Key) -> bool:
        return not _is_control(key) and super().excludes(key)

    def _add_tensor(self, key: Key, tensor: TensorBlocks, weight: float, site: str) -> None:
        if _is_control(key):
            self._senders.add(site)
            weight = 1.0
        super()._add_tensor(key, tensor, weight, site)


def _is_control(key: Key) -> bool:
    return not isinstance(key, str) and key[0] == OPTIMIZER_PARAMS
