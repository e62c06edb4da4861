from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_stats.algebra import AlgebraError, Categories, Distinct, HistogramCounts, Moments, RankSketch, to_numbers
from flare_stats.sources import open_source

FLOATS = st.lists(st.floats(-100, 100) | st.sampled_from([0.0, 1.0, 2.5, np.nan, 100.0]), max_size=80)
CUT = st.integers(0, 80)


@given(FLOATS, CUT, st.lists(st.floats(-50, 50), min_size=2, max_size=9, unique=True).map(sorted))
def test_a_histogram_of_any_split_equals_numpys(values: list[float], cut: int, edges: list[float]) -> None:
    whole = HistogramCounts(edges)
    for part in (values[:cut], values[cut:]):
        histogram = HistogramCounts(edges)
        histogram.add(np.array(part, float))
        whole.merge(HistogramCounts.from_data(histogram.to_data()))
    present = np.array([value for value in values if value == value], float)
    assert whole.counts.tolist() == np.histogram(present, edges)[0].tolist()
    assert whole.below == (present < edges[0]).sum()
    assert whole.above == (present > edges[-1]).sum()


@pytest.mark.parametrize("edges", [[], [1.0], [1.0, 1.0], [2.0, 1.0], [0.0, np.inf], [0.0, np.nan]])
def test_edges_that_do_not_ascend_are_refused(edges: list[float]) -> None:
    with pytest.raises(AlgebraError, match="edges"):
        HistogramCounts(edges)


def test_histograms_with_other_edges_do_not_merge() -> None:
    with pytest.raises(AlgebraError, match="other edges"):
        HistogramCounts([0, 1]).merge(HistogramCounts([0, 2]))


@given(FLOATS, CUT, st.lists(st.floats(-110, 110), max_size=9))
def test_ranks_of_few_values_are_exact(values: list[float], cut: int, thresholds: list[float]) -> None:
    whole = RankSketch()
    for part in (values[:cut], values[cut:]):
        sketch = RankSketch()
        sketch.add(np.array(part, float))
        whole.merge(sketch)
    present = np.array([value for value in values if value == value], float)
    assert whole.count == len(present)
    assert whole.rank_error == 0
    assert whole.ranks(thresholds).tolist() == [(present <= threshold).sum() for threshold in thresholds]


@pytest.mark.parametrize("shape", ["normal", "few values", "ascending"])
@pytest.mark.parametrize("is_merged", [False, True])
def test_a_million_values_have_ranks_within_the_stated_error(shape: str, is_merged: bool) -> None:
    values = np.random.default_rng(3).normal(size=1_000_000)
    values = {"normal": values, "few values": values.round(1), "ascending": np.sort(values)}[shape]
    sketch = RankSketch()
    for start in range(0, len(values), 65_536):
        part = RankSketch() if is_merged else sketch
        part.add(values[start : start + 65_536])
        if is_merged:
            sketch.merge(part)
    thresholds = np.quantile(values, np.linspace(0, 1, 1001))
    off = abs(sketch.ranks(thresholds) - np.searchsorted(np.sort(values), thresholds, "right"))
    assert sketch.count == len(values) == sketch.items()[1].sum()
    assert sketch.rank_error < 0.001
    # The error is that of 99 ranks in 100; a run in millions is off by twice as much somewhere.
    assert off.max() <= 2 * sketch.rank_error * len(values)
    assert sketch.ranks([-np.inf, np.inf]).tolist() == [0, len(values)]


@given(st.lists(st.sampled_from("abcdefgh") | st.none(), max_size=60), st.integers(0, 60))
def test_categories_of_any_split_equal_pandas_counts(values: list[str | None], cut: int) -> None:
    whole = Categories()
    for part in (values[:cut], values[cut:]):
        categories = Categories()
        categories.add(pa.array(part, pa.string()))
        whole.merge(Categories.from_data(categories.to_data()))
    assert whole.counts == pd.Series(values, dtype="str").value_counts().to_dict()
    assert whole.missing == values.count(None)
    assert (whole.others, whole.error) == (0, 0)


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 8), st.integers(1, 50))
def test_counts_of_too_many_categories_are_short_by_at_most_the_error(values: list[int], limit: int, size: int) -> None:
    categories = Categories(limit)
    for start in range(0, len(values), size):
        categories.add(pa.array(values[start : start + size], pa.int64()))
    truth = Counter(map(str, values))
    assert len(categories.counts) <= limit
    assert categories.count == len(values)
    for value, count in truth.items():
        assert categories.counts.get(value, 0) <= count <= categories.counts.get(value, 0) + categories.error


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([1, 2, None]), {"1", "2"}),
        (pa.array([1.0, 2.5, float("nan"), None]), {"1", "2.5"}),
        (pa.array([True, False, None]), {"true", "false"}),
        (pa.array(["x", "y"]).dictionary_encode(), {"x", "y"}),
        (pa.array([None, None]), set()),
        (pa.array([0], pa.timestamp("s")), {"1970-01-01 00:00:00"}),
        (pa.array([b"x", [1] and b"y"]), set()),
        (pa.array([[1], [2]]), set()),
        (pa.array(["x" * 300]), set()),
    ],
)
def test_values_of_each_type_are_known_by_their_text(column: Any, texts: set[str]) -> None:
    categories = Categories()
    categories.add(column)
    assert set(categories.counts) == texts
    assert categories.count + categories.missing == len(column)


def test_the_most_frequent_values_come_first_and_ties_by_their_text() -> None:
    categories = Categories()
    categories.add(pa.array(list("abbccd")))
    assert categories.top(3) == [("b", 2), ("c", 2), ("a", 1)]


@pytest.mark.parametrize(
    ("column", "values", "missing", "failures"),
    [
        (pa.array([1, None], pa.int8()), [1], 1, 0),
        (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1], 0, 0),
        (pa.array([1.5, None, float("nan"), float("inf")]), [1.5], 2, 1),
        (pa.array([True, False, None]), [1, 0], 1, 0),
        (pa.array([None, None]), [], 2, 0),
        (pa.array(["7", " 8 ", None]), [7, 8], 1, 0),
        (pa.array(["7", "+8.5", "1e3", "x", "", "1_0", "0x1", "nan", "inf"]), [7, 8.5, 1000], 0, 6),
        (pa.array(["true", "False", "yes"]), [1, 0], 0, 1),
        (pa.array(["99999999999999999", "x", None, "-3"]), [99999999999999999, -3], 1, 1),
        (pa.array(["9" * 400, "1e999", "-1e999"]), [], 0, 3),
        (pa.array(["x", None]), [], 1, 1),
        (pa.array(["1", "3", "x"]).dictionary_encode(), [1, 3], 0, 1),
        (pa.array([1, 2]).dictionary_encode(), [1, 2], 0, 0),
        (pa.array([10**6, None], pa.timestamp("us")), [1.0], 1, 0),
        (pa.array([1], pa.date32()), [86_400.0], 0, 0),
        (pa.array([1_500], pa.duration("ms")), [1.5], 0, 0),
        (pa.array([90], pa.time32("s")), [90], 0, 0),
        (pa.array([[1, 2], None, [3, None]]), [1, 2, 3], 2, 0),
        (pa.array([b"x", None]), [], 1, 1),
        (pa.array([{"a": 1}]), [], 0, 1),
    ],
)
def test_each_type_of_column_becomes_numbers(column: Any, values: list[float], missing: int, failures: int) -> None:
    numbers = to_numbers(column)
    assert numbers.values.tolist() == values
    assert (numbers.missing, numbers.failures) == (missing, failures)


def test_texts_of_a_datetime_column_are_read_as_dates() -> None:
    numbers = to_numbers(pa.array(["1970-01-02", "1970-01-01T00:00:01.5", "soon", None]), kind="datetime")
    assert numbers.values.tolist() == [86_400.0, 1.5]
    assert (numbers.missing, numbers.failures) == (1, 1)


EVERY_TYPE = [
    *(pa.array([1, None, 3], of) for of in (pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(9, 2))),
    pa.array(np.array([1.5, np.nan], np.float16), from_pandas=True),
    *(pa.array(["a", None, "b"], of) for of in (pa.string(), pa.large_string(), pa.string_view())),
    *(pa.array([b"a", None], of) for of in (pa.binary(), pa.large_binary(), pa.binary(1), pa.binary_view())),
    *(pa.array([86_400_000, None, 0], of) for of in (pa.date64(), pa.timestamp("ns"), pa.timestamp("s", "+03:00"))),
    *(pa.array([1, None, 2], of) for of in (pa.date32(), pa.time32("ms"), pa.time64("ns"), pa.duration("ms"))),
    pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
    pa.array([True, None]),
    pa.nulls(3),
    pa.array([{"a": 1}, None]),
    pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    pa.array(["a", None, "b"]).dictionary_encode(),
    pa.RunEndEncodedArray.from_arrays(pa.array([1, 3], pa.int32()), pa.array([1, None])),
    pa.UnionArray.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["x"])]
    ),
    *(pa.array([[1], None], of) for of in (pa.list_(pa.int64()), pa.list_(pa.int64(), 1), pa.list_view(pa.int64()))),
]


@pytest.mark.parametrize("column", EVERY_TYPE, ids=lambda column: str(column.type))
def test_each_value_of_every_type_is_counted_once_and_none_crashes(column: Any) -> None:
    (kind,) = [each.kind for each in open_source(pa.table({"x": column})).features()]
    numbers = to_numbers(column, kind)
    assert len(numbers.values) + numbers.missing + numbers.failures == len(column)
    assert numbers.missing == column.null_count or pa.types.is_run_end_encoded(column.type)
    categories, distinct = Categories(), Distinct(bytes(16))
    categories.add(column)
    distinct.add(column, kind)
    assert categories.count + categories.missing == len(column)
    assert distinct.estimate <= len(column)
    for whole in (Categories(), Distinct(bytes(16)), Moments()):
        whole.add(column.slice(0, 0))
        assert (getattr(whole, "count", 0), getattr(whole, "estimate", 0)) == (0, 0)
