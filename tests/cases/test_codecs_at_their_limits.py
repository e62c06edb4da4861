"""Codecs at the limits of numbers: infinity, denormals, float64, and errors summed over rounds."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import FilterContext, FLModel, ModelError, ParamsType
from flare_core.compression.codecs import parse_codec
from flare_core.compression.filters import CompressTensors, DecompressTensors
from flare_core.filters import FilterPoint

AT_A_SITE = FilterContext(FilterPoint.CLIENT_OUTPUT, "site-1", "train", 0)


def through(codec: str, values: np.ndarray) -> np.ndarray:
    parsed = parse_codec(codec)
    return parsed.decode(parsed.encode(values), values.size)


def sent(filter_: CompressTensors, **params) -> dict:
    model = FLModel(params=params, params_type=ParamsType.DIFF)
    return dict(DecompressTensors().process(filter_.process(model, AT_A_SITE), AT_A_SITE).params)


@pytest.mark.parametrize("codec", ["fp16", "bf16", "fp16+zstd"])
def test_a_diverged_model_does_not_look_healthy(codec):
    values = np.full(2000, 1.0, np.float32)
    values[3], values[5] = np.inf, -np.inf
    assert through(codec, values)[[3, 5]].tolist() == [np.inf, -np.inf]


def test_zstd_alone_keeps_every_bit_of_float64():
    values = np.random.default_rng(0).normal(size=(40, 50)) * 1e300
    assert sent(CompressTensors("zstd"), w=values)["w"].tobytes() == values.tobytes()


@pytest.mark.parametrize("codec", ["fp16", "bf16", "int8", "int4", "topk:0.1"])
def test_numbers_beyond_float32_are_named_and_not_sent_as_infinity(codec):
    filter_ = CompressTensors(codec)
    with pytest.raises(ModelError, match=r"site-1: 'w' holds values beyond the range of float32.*zstd"):
        sent(filter_, w=np.full(2000, 1e200))


@pytest.mark.parametrize("codec", ["int8", "int4"])
@pytest.mark.parametrize("largest", [190, 200, 1000, 10**6])
def test_denormals_keep_their_sign(codec, largest):
    values = (np.linspace(-largest, largest, 2048) * 1.4e-45).astype(np.float32)
    found = through(codec, values)
    assert np.abs(found - values).max() <= np.finfo(np.float32).tiny
    assert (np.sign(found) * np.sign(values) >= 0).all()


@pytest.mark.parametrize("codec", ["int8", "int4", "fp16", "bf16"])
def test_a_codecs_error_in_summed_arrays_is_sent_later(codec):
    generator = np.random.default_rng(1)
    filter_, meant, arrived = CompressTensors(codec), np.zeros(3000), np.zeros(3000)
    for _ in range(200):
        difference = generator.normal(size=3000).astype(np.float32)
        meant += difference
        arrived += sent(filter_, optimizer_params={"w": difference})["optimizer_params"]["w"]
    assert np.abs(arrived - meant).max() < 2 * np.abs(through(codec, difference) - difference).max() + 1e-3


def test_a_filter_continues_with_its_state():
    generator = np.random.default_rng(2)
    differences = [generator.normal(size=3000).astype(np.float32) for _ in range(3)]
    first, second = CompressTensors("topk:0.1"), CompressTensors("topk:0.1")
    sent(first, w=differences[0])
    second.restore(first.state())
    for each in differences[1:]:
        assert sent(first, w=each)["w"].tobytes() == sent(second, w=each)["w"].tobytes()
