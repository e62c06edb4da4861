"""Filters transform models in transit, as a whole or tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flare_core import Filter, FilterContext, FLModel, TensorFilter
from flare_core.filters import FilterChain, FilterPoint, apply_filters


class Renamed(Filter):
    def process(self, model, context):
        return FLModel(params={f"{context.site}.{key}": value for key, value in model.params.items()})


class Halved(TensorFilter):
    def __init__(self):
        self.calls = []

    def process_tensor(self, key, array, context):
        self.calls.append(key)
        return array.astype(np.float16)


CONTEXT = FilterContext(FilterPoint.CLIENT_OUTPUT, "site-1", "train", 0)


def test_chains_run_in_order_for_their_tasks_only():
    chains = [FilterChain(("validate",), (Renamed(),)), FilterChain(("*",), (Renamed(), Renamed()))]
    result = apply_filters(chains, FLModel(params={"w": np.ones(1)}), CONTEXT)
    assert list(result.params) == ["site-1.site-1.w"]


def test_a_tensor_filter_works_when_a_tensor_is_read():
    halved, original = Halved(), {"w": np.ones(2, np.float32), "layer": {"v": np.ones(1, np.float32)}}
    result = halved.process(FLModel(params=original), CONTEXT)
    assert halved.calls == []
    assert result.params["w"].dtype == np.float16
    assert isinstance(result.params["layer"], Mapping)
    assert result.params["layer"]["v"].dtype == np.float16
    assert halved.calls == ["w", ("layer", "v")]
    assert original["w"].dtype == np.float32


def test_a_model_without_params_passes_a_tensor_filter():
    model = FLModel(metrics={"acc": 1.0})
    assert Halved().process(model, CONTEXT) is model
