from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_stats.algebra import AlgebraError, Distinct
from flare_stats.algebra.siphash import siphash

KEY = bytes(range(16))
MASK = 2**64 - 1


def distinct(*columns: Any, kind: str = "float", key: bytes = KEY) -> Distinct:
    """What each column holds, merged by way of plain data."""
    whole = Distinct(key)
    for column in columns:
        part = Distinct(key)
        part.add(column, kind)
        whole.merge(Distinct.from_data(part.to_data()))
    return whole


def siphash_of_one(word: int, key: bytes) -> int:
    """SipHash-2-4 of 8 bytes, as its paper has it."""
    k0, k1 = (int.from_bytes(half, "little") for half in (key[:8], key[8:]))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def turned(value: int, bits: int) -> int:
        return (value << bits | value >> (64 - bits)) & MASK

    def sipround() -> None:
        v[0] = (v[0] + v[1]) & MASK
        v[2] = (v[2] + v[3]) & MASK
        v[1] = turned(v[1], 13) ^ v[0]
        v[3] = turned(v[3], 16) ^ v[2]
        v[0] = turned(v[0], 32)
        v[2] = (v[2] + v[1]) & MASK
        v[0] = (v[0] + v[3]) & MASK
        v[1] = turned(v[1], 17) ^ v[2]
        v[3] = turned(v[3], 21) ^ v[0]
        v[2] = turned(v[2], 32)

    for message in (word, 8 << 56):
        v[3] ^= message
        sipround()
        sipround()
        v[0] ^= message
    v[2] ^= 0xFF
    for _ in range(4):
        sipround()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_siphash_gives_the_published_hash_of_eight_bytes() -> None:
    word = np.array([int.from_bytes(bytes(range(8)), "little")], np.uint64)
    assert siphash(word, KEY)[0].tobytes().hex() == "622493" + "9a79f5f593"


@given(st.lists(st.integers(0, MASK), max_size=20), st.binary(min_size=16, max_size=16))
def test_siphash_of_many_words_is_that_of_each(words: list[int], key: bytes) -> None:
    assert siphash(np.array(words, np.uint64), key).tolist() == [siphash_of_one(word, key) for word in words]


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


def test_hashes_of_another_key_tell_nothing_of_a_value() -> None:
    ours, others = distinct(np.arange(100)), distinct(np.arange(100), key=hashlib.sha256(b"another").digest())
    assert not set(ours.hashes.tolist()) & set(others.hashes.tolist())


def test_short_keys_other_sizes_and_unusable_data_are_refused() -> None:
    with pytest.raises(AlgebraError, match="at least 16"):
        Distinct(b"short")
    with pytest.raises(AlgebraError, match="do not merge"):
        Distinct(KEY).merge(Distinct(KEY, 64))
    with pytest.raises(AlgebraError, match="hashes"):
        Distinct.from_data({"size": 16, "hashes": ["x"]})
    with pytest.raises(AlgebraError, match="holds 17"):
        Distinct.from_data({"size": 16, "hashes": list(range(17))})
