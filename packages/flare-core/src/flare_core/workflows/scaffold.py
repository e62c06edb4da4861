"""SCAFFOLD: federated averaging with control variates, which undo the drift of sites with different data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from flare_core.aggregation import WeightedMean
from flare_core.errors import ModelError, UnknownKeyError
from flare_core.model import OPTIMIZER_PARAMS, FLModel, Key, flatten, is_trained, key_text, unflatten, working_dtype
from flare_core.task import Reply
from flare_core.tensor_blocks import Array, TensorBlocks, tensors_of
from flare_core.workflow import Federation
from flare_core.workflows.fedavg import FedAvg

__all__ = ["Scaffold"]


class Scaffold(FedAvg):
    """Send the global model with the server's control variates; average models and control differences.

    A script finds the server's controls in ``received.optimizer_params`` and sends there the difference that its own
    made; the frameworks' packages have helpers for both. The controls of a site that does not take part in a round stay
    as they are: with N sites in all, the server's move by 1/N of the sum of the differences. So do those of a site
    whose reply was not used, as it came too late: the helpers go back to the ones before that round, which is
    ``meta["not_used_since"]`` of what the site receives next. The server's controls are thus always the mean of the
    sites' own, whatever their models weigh and whichever keys are excluded.

    Args:
        trainable: keys of the parameters that have controls; every floating-point array if left out.
        aggregation_weights, exclude_vars, arguments: those of :class:`FedAvg`, but for the aggregator.

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
        self._controls: dict[Key, Array] | None = None  # in at least float32, however the model is kept
        self._sites = 0

    def _outgoing(self, model: FLModel, fed: Federation) -> FLModel:
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
                    f"a site sent a control difference for '{key_text(key)}', which is no trained parameter of the"
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
    """A weighted mean of models beside a plain sum of control differences, read from one stream."""

    def reset(self) -> None:
        super().reset()
        self._senders: set[str] = set()

    def add(self, reply: Reply) -> None:
        super().add(reply)
        if not self.weight(reply):  # the model does not count, but the site has moved its controls
            for key, tensor in tensors_of(reply.model.params or {}):
                if _is_control(key):
                    self._add_tensor(key, tensor, 1.0, reply.site)
        if reply.site not in self._senders and self.weight(reply):
            raise ModelError(
                f"{reply.site}: its reply holds no control differences; send"
                " FLModel(params=..., optimizer_params=...) with what the Scaffold helper's finish() returned"
            )

    def take_controls(self) -> dict[Key, Array]:
        """Return the sums of the control differences by the parameters' keys, and forget them."""
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
