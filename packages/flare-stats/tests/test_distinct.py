from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasketches import update_theta_sketch
from hypothesis import given
from hypothesis import strategies as st

from flare_stats.algebra import AlgebraError, Distinct
from flare_stats.algebra.murmur import theta_hashes

KEY = bytes(range(16))


def distinct(*columns: Any, kind: str = "float", key: bytes = KEY) -> Distinct:
    """What each column holds, merged by way of plain data."""
    whole = Distinct(key)
    for column in columns:
        part = Distinct(key)
        part.add(column, kind)
        whole.merge(Distinct.from_data(part.to_data()))
    return whole


@given(st.lists(st.integers(-5, 5) | st.floats(-2, 2) | st.just(np.nan), max_size=80), st.integers(0, 80))
def test_few_distinct_values_are_counted_exactly(values: list[float], cut: int) -> None:
    series = pd.Series(values, dtype=float)
    found = distinct(series.iloc[:cut].to_numpy(), series.iloc[cut:].to_numpy())
    assert (found.estimate, found.relative_error) == (series.nunique(), 0)


@pytest.mark.parametrize("count", [10_000, 300_000])
def test_many_distinct_values_are_estimated_within_four_standard_errors(count: int) -> None:
    values = np.random.default_rng(5).normal(size=count)
    found = distinct(*np.array_split(np.concatenate([values, values[::2]]), 7))
    assert found.relative_error == pytest.approx(0.0156, abs=1e-4)
    assert found.estimate == pytest.approx(count, rel=4 * found.relative_error)


def test_equal_numbers_of_other_types_are_one_value() -> None:
    whole = [2**53, 2**60, -(2**60), 5, 0]
    found = distinct(
        np.array(whole), np.array(whole, float), np.array([5.0, -0.0]), np.array([5, 2**53, 2**60], np.uint64)
    )
    assert found.estimate == len(whole)


@pytest.mark.parametrize("start", [2**53, 2**62, 2**63 - 500, 2**64 - 1001, -(2**63)])
def test_neighbouring_integers_beyond_two_to_the_53_are_distinct(start: int) -> None:
    values = [start + step for step in range(1000)]
    dtype = np.uint64 if start > 2**63 - 1001 else np.int64
    assert distinct(np.array(values, dtype)).estimate == 1000


def test_texts_and_categories_are_distinct_by_their_text() -> None:
    texts = pa.array(["a", "b", None, "a"])
    assert distinct(texts, texts.dictionary_encode(), kind="text").estimate == 2


def test_nothing_has_no_distinct_values() -> None:
    assert distinct(pa.nulls(3), np.array([]), np.array([np.nan, np.inf])).estimate == 0


def hashes(sketch: Distinct) -> set[int]:
    content = sketch.to_data()["theta"]
    return set(np.frombuffer(content[8 * (content[0] & 63) :], "<u8").tolist())


def test_pseudonyms_of_another_key_tell_nothing_of_a_value() -> None:
    for values, kind in ((np.arange(100), "int"), (pa.array([str(each) for each in range(100)]), "text")):
        ours, others = distinct(values, kind=kind), distinct(values, kind=kind, key=hashlib.sha256(b"another").digest())
        assert len(hashes(ours)) == len(hashes(others)) == 100
        assert not hashes(ours) & hashes(others)
        unkeyed = update_theta_sketch()
        for value in values.tolist():
            unkeyed.update(value)
        assert not hashes(ours) & set(np.frombuffer(unkeyed.compact().serialize()[16:], "<u8").tolist())


def test_a_sketch_of_many_values_is_small() -> None:
    assert len(distinct(np.arange(300_000.0)).to_data()["theta"]) <= 32_768 + 64


@given(st.binary(max_size=64))
def test_short_keys_and_unusable_data_are_refused(garbage: bytes) -> None:
    with pytest.raises(AlgebraError, match="at least 16"):
        Distinct(b"short")
    with pytest.raises(AlgebraError, match="theta"):
        Distinct.from_data({"size": 16})
    with pytest.raises(AlgebraError, match="theta"):
        Distinct.from_data({"theta": b"\xff" + garbage})


def test_hashes_of_integers_are_those_that_theta_sketches_keep() -> None:
    words = np.random.default_rng(6).integers(-(2**63), 2**63 - 1, 30_000)
    sketch = update_theta_sketch(12)
    for word in words.tolist():
        sketch.update(word)
    hashes = theta_hashes(words)
    assert sorted(sketch) == sorted(hashes[hashes < sketch.theta64].tolist())
    assert len(list(sketch)) > 4000


@pytest.mark.parametrize("order", ["ascending", "random", "many times"])
def test_a_sketch_is_the_same_as_one_that_takes_each_value(order: str) -> None:
    values = np.random.default_rng(7).integers(0, 50_000, 200_000).astype(float)
    values = {"ascending": np.sort(values), "random": values, "many times": np.tile(values[:100], 50)}[order]
    at_once, one_by_one = Distinct(KEY), Distinct(KEY)
    at_once.add(values)
    for part in np.array_split(values, 20):
        one_by_one.add(part)
    assert at_once.estimate == one_by_one.estimate
    assert at_once.estimate == pytest.approx(len(np.unique(values)), rel=4 * at_once.relative_error)
