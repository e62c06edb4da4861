"""Compression: error bounds of the codecs, and error feedback."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from flare_core import FilterContext, FLModel, ModelError, ParamsType, RecipeError
from flare_core.compression.codecs import INT4_BLOCK, INT8_BLOCK, parse_codec
from flare_core.compression.filters import CompressTensors, DecompressTensors
from flare_core.filters import FilterPoint

CODECS = ["fp16", "bf16", "int8", "int4", "topk:0.1", "zstd", "int8+zstd", "topk:0.1+zstd"]
CONTEXT = FilterContext(FilterPoint.CLIENT_OUTPUT, "site-1", "train", 0)

floats = np_st.arrays(
    np.float32, st.integers(0, 3000), elements=st.floats(-60000, 60000, width=32, allow_subnormal=False)
)


def through(codec: str, values: np.ndarray) -> np.ndarray:
    parsed = parse_codec(codec)
    return parsed.decode(parsed.encode(values), values.size)


@settings(max_examples=60)
@given(floats)
def test_half_precision_rounds_to_nearest(values):
    np.testing.assert_array_equal(through("fp16", values), values.astype(np.float16).astype(np.float32))
    ml_dtypes = pytest.importorskip("ml_dtypes")
    np.testing.assert_array_equal(through("bf16", values), values.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_half_precision_at_its_limits():
    values = np.array([1e6, -1e6, np.nan, 65504, -0.0, 6e-8], np.float32)
    np.testing.assert_array_equal(
        through("fp16", values), np.array([65504, -65504, np.nan, 65504, -0.0, 5.9604645e-08], np.float32)
    )
    assert np.isnan(through("bf16", np.array([np.nan], np.float32))[0])
    assert through("bf16", np.array([np.inf], np.float32))[0] == np.inf


@settings(max_examples=60)
@given(floats, st.sampled_from([("int8", INT8_BLOCK, 127), ("int4", INT4_BLOCK, 7)]))
def test_a_quantized_value_is_off_by_half_a_step_at_most(values, form):
    codec, block, largest = form
    found = through(codec, values)
    for start in range(0, values.size, block):
        part = values[start : start + block]
        step = np.abs(part).max() / largest
        assert np.abs(found[start : start + block] - part).max() <= step / 2 * (1 + 1e-5) + 1e-30


@settings(max_examples=60)
@given(floats)
def test_topk_keeps_the_largest_exactly(values):
    found = through("topk:0.1", values)
    kept = max(1, round(0.1 * values.size)) if values.size else 0
    order = np.sort(np.abs(values))[::-1]
    np.testing.assert_allclose(np.sort(np.abs(found))[::-1][:kept], order[:kept], rtol=0)
    assert np.count_nonzero(found) <= kept
    changed = found != 0
    np.testing.assert_array_equal(found[changed], values[changed])


@settings(max_examples=30)
@given(floats)
def test_zstd_loses_nothing(values):
    assert through("zstd", values).tobytes() == values.tobytes()
    np.testing.assert_array_equal(through("int8+zstd", values), through("int8", values))


@pytest.mark.parametrize(("codec", "size"), [("fp16", 0.5), ("bf16", 0.5), ("int8", 0.2540), ("int4", 0.1407)])
def test_sizes_on_the_wire(codec, size):
    values = np.random.default_rng(0).normal(size=1 << 18).astype(np.float32)
    assert len(parse_codec(codec).encode(values)) == pytest.approx(size * values.nbytes, rel=0.002)


@pytest.mark.parametrize("text", ["", "fp8", "topk", "topk:0", "topk:2", "fp16:3", "zstd+zstd", "int8+lz4", "none"])
def test_unknown_codecs_are_rejected(text):
    with pytest.raises(RecipeError, match="compression"):
        parse_codec(text)


@pytest.mark.parametrize("codec", CODECS)
def test_garbage_is_an_error(codec):
    parsed = parse_codec(codec)
    good = parsed.encode(np.ones(2000, np.float32))
    for bad in (good[:-3], good + b"123", b"", b"\xff" * 50):
        with pytest.raises(ModelError):
            parsed.decode(bad, 2000)


def test_a_compressed_bomb_takes_no_memory():
    zstandard = pytest.importorskip("zstandard")
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 28))
    assert len(bomb) < 1 << 16
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="268435456 bytes"):
            parse_codec("int8+zstd").decode(bomb, 2000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 10, 63, 65, 257])
def test_codecs_handle_small_arrays(size):
    values = np.linspace(-1, 1, size, dtype=np.float32)
    for codec in ("int8+zstd", "int4+zstd", "topk:1.0+zstd"):
        assert through(codec, values).shape == (size,)


HUGE = b'{"codec": "topk:1e-9", "dtype": "float32", "shape": [99999999999, 99999999999]}'


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff" * 40,
        b"\x02\x00\x00\x00{}",
        b"\x11\x00\x00\x00" + b'{"codec": "gzip"}',
        len(HUGE).to_bytes(4, "little") + HUGE,
    ],
)
def test_the_error_for_malformed_bytes_names_site_and_key(header):
    model = FLModel(params={"w": np.frombuffer(header, np.uint8)}, meta={"flare.compressed": "int8"})
    restored = DecompressTensors().process(model, CONTEXT)
    with pytest.raises(ModelError, match="site-1: 'w' is not a compressed tensor"):
        _ = restored.params["w"]


def model_of(**params) -> FLModel:
    return FLModel(params=params, params_type=ParamsType.DIFF, meta={"kept": 1})


@pytest.mark.parametrize("codec", CODECS)
def test_models_pass_through_both_filters(codec):
    generator = np.random.default_rng(1)
    sent = model_of(
        layer={"weight": generator.normal(size=(50, 40)).astype(np.float32)},
        wide=generator.normal(size=5000),
        bias=np.ones(10, np.float32),
        counter=np.array(7),
        raw=np.arange(20, dtype=np.uint8),
    )
    wire = CompressTensors(codec).process(sent, CONTEXT)
    found = DecompressTensors().process(wire, CONTEXT)
    assert found.meta == {"kept": 1}
    weight = found.params["layer"]["weight"]
    assert (weight.dtype, weight.shape) == (np.float32, (50, 40))
    assert found.params["wide"].dtype == np.float64
    for name in ("bias", "counter", "raw"):
        np.testing.assert_array_equal(found.params[name], sent.params[name])
        assert found.params[name].dtype == sent.params[name].dtype
    tolerance = {"fp16": 1e-3, "bf16": 1e-2, "zstd": 0.0, "int8": 0.02, "int4": 0.4}.get(codec.partition("+")[0], 5.0)
    np.testing.assert_allclose(weight, sent.params["layer"]["weight"], rtol=0, atol=tolerance)


def test_values_that_topk_omits_are_sent_later():
    """The sum of the received values differs from the sum of the original ones only by the current residual."""
    generator = np.random.default_rng(2)
    compress, restore = CompressTensors("topk:0.05"), DecompressTensors()
    meant = np.zeros(4000)
    arrived = np.zeros(4000)
    for _ in range(60):
        difference = generator.normal(size=4000).astype(np.float32)
        meant += difference
        wire = compress.process(model_of(w=difference), CONTEXT)
        arrived += restore.process(wire, CONTEXT).params["w"]
    left = compress._left_out["w"]
    np.testing.assert_allclose(arrived + left, meant, atol=1e-3)
    assert np.abs(left).max() < 60


def test_topk_rejects_whole_models():
    whole = FLModel(params={"w": np.ones(2000, np.float32)})
    with pytest.raises(ModelError, match="DIFF"):
        CompressTensors("topk:0.1").process(whole, CONTEXT)


def test_an_uncompressed_model_passes_unchanged():
    model = model_of(w=np.arange(5000, dtype=np.uint8))
    assert DecompressTensors().process(model, CONTEXT) is model


def test_the_error_for_a_diverged_model_names_site_and_key():
    bad = np.ones(2000, np.float32)
    bad[7] = np.nan
    with pytest.raises(ModelError, match="site-1: 'w'"):
        _ = CompressTensors("int8").process(model_of(w=bad), CONTEXT).params["w"]
