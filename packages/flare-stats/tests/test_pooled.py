"""Statistics of parts of a frame, by way of its source, against pandas on the whole frame."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stats_runs import run, sites_of

from flare_stats.algebra import Categories, CoMoments, Distinct, HistogramCounts, Moments, RankSketch, to_numbers
from flare_stats.sources import open_source

DTYPES = ["int8", "int64", "uint64", "float32", "float64", "bool", "Int16", "Int64", "UInt64", "Float64", "boolean"]
ARROW = ["int64[pyarrow]", "double[pyarrow]", "bool[pyarrow]"]
EDGES = np.array([-100.0, -5, 0, 0.5, 1, 7, 90])
KEY = bytes(range(32))


def series(dtype: str, size: int, gaps: float, seed: int) -> pd.Series:
    """Random values of a dtype, missing as often as `gaps` says where the dtype can."""
    rng = np.random.default_rng(seed)
    if "bool" in dtype:
        values: Any = rng.random(size) < 0.5
    elif "int" in dtype.lower():
        values = rng.integers(0 if dtype.lower().startswith("u") else -100, 100, size)
    else:
        values = np.round(rng.normal(0, 30, size), rng.integers(0, 15))
    made = pd.Series(values).astype(dtype)
    if dtype in ("float32", "float64") or dtype[0].isupper() or dtype == "boolean" or "[" in dtype:
        made[rng.random(size) < gaps] = np.nan if dtype in ("float32", "float64") else pd.NA
    return made


@settings(max_examples=150)
@given(
    st.sampled_from([*DTYPES, *ARROW]),
    st.integers(0, 120),
    st.sampled_from([0, 0.3, 1]),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 120), max_size=4).map(sorted),
    st.integers(1, 50),
)
def test_statistics_of_any_parts_and_dtype_equal_pandas(
    dtype: str, size: int, gaps: float, seed: int, cuts: list[int], rows: int
) -> None:
    frame = pd.DataFrame({"x": series(dtype, size, gaps, seed)})
    bounds = [0, *(min(cut, size) for cut in cuts), size]
    moments, histogram, ranks = Moments(), HistogramCounts(EDGES), RankSketch()
    categories, distinct = Categories(), Distinct(KEY)
    for low, high in pairwise(bounds):
        part = [Moments(), HistogramCounts(EDGES), RankSketch(), Distinct(KEY)]
        part_categories = Categories()
        for chunk in open_source(frame.iloc[low:high]).chunks(rows=rows):
            numbers = to_numbers(chunk.column(0))
            part_categories.add(chunk.column(0))
            for each in part:
                each.add(numbers)
        for whole, each in zip((moments, histogram, ranks, distinct), part, strict=True):
            whole.merge(each)  # type: ignore[arg-type]
        categories.merge(part_categories)
    pooled = frame["x"].dropna().astype("float64").to_numpy()
    assert (moments.count, moments.missing, moments.failures) == (len(pooled), size - len(pooled), 0)
    assert histogram.counts.tolist() == np.histogram(pooled, EDGES)[0].tolist()
    assert ranks.ranks(EDGES).tolist() == [(pooled <= edge).sum() for edge in EDGES]
    assert distinct.estimate == len(np.unique(pooled))
    assert sorted(categories.counts.values()) == sorted(np.unique(pooled, return_counts=True)[1].tolist())
    assert categories.missing == size - len(pooled)
    if not len(pooled):
        assert (moments.sum, moments.mean, moments.min, moments.max) == (0, None, None, None)
        return
    assert (moments.min, moments.max) == (pooled.min(), pooled.max())
    assert moments.sum == pytest.approx(pooled.sum(), rel=1e-12, abs=1e-10)
    assert moments.mean == pytest.approx(pooled.mean(), rel=1e-12, abs=1e-12)
    assert moments.variance(ddof=0) == pytest.approx(pooled.var(), rel=1e-12)
    if len(pooled) > 1:
        assert moments.stddev() == pytest.approx(float(frame["x"].dropna().astype("float64").std()), rel=1e-12)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_columns_of_each_kind_in_one_frame_are_counted_and_none_crashes(kind: str) -> None:
    frame = pd.DataFrame(
        {
            "age": pd.array([40, None, 51, 40], "Int64"),
            "sex": pd.array(["f", "m", None, "f"], "str"),
            "grade": pd.Categorical(["low", None, "high", "low"], ordered=True),
            "flag": [True, False, True, True],
            "when": pd.to_datetime(["2020-01-01", None, "2020-01-03", "2020-01-01"]),
            "bmi": [20.0, 22.0, np.nan, 24.0],
        }
    )
    table = pa.Table.from_pandas(frame)
    source = open_source({"pandas": frame, "polars": pl.DataFrame(pl.from_arrow(table)), "arrow": table}[kind])
    kinds = {column.name: column.kind for column in source.features()}
    assert kinds == {
        **{"age": "int", "sex": "text", "grade": "category", "flag": "bool", "when": "datetime", "bmi": "float"}
    }
    (chunk,) = source.chunks()
    for name in frame:
        categories, distinct = Categories(), Distinct(KEY)
        categories.add(chunk.column(name))
        distinct.add(chunk.column(name), kinds[name])
        assert categories.missing == frame[name].isna().sum()
        assert sorted(categories.counts.values()) == sorted(frame[name].value_counts().tolist())
        assert distinct.estimate == frame[name].nunique()
    matrix = CoMoments(3)
    matrix.add([chunk.column(name) for name in ("age", "flag", "bmi")])
    wanted = frame[["age", "flag", "bmi"]].astype("Float64").astype(float).cov()
    assert matrix.covariance() == pytest.approx(wanted.to_numpy(), rel=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("start", [-(2**63), 2**60 + 1, 2**63 - 40])
def test_integers_of_64_bits_keep_each_digit_of_their_range(masked: bool, start: int) -> None:
    frames = {
        f"site-{at}": {"train": pd.DataFrame({"id": start + np.arange(13 * at, 13 * at + 13)})} for at in range(3)
    }
    asked = {"min": {}, "max": {}, "mean": {}, "stddev": {}, "histogram": {"*": {"bins": 2}}, "quantile": [0.5]}
    statistics, *_ = run(sites_of(frames, masked=masked), asked, masked=masked)
    found = {name: of["Global"]["train"] for name, of in statistics["id"].items()}
    if not masked:  # under masks, thresholds are floats
        assert (found["min"], found["max"]) == (start, start + 38)
        assert found["stddev"] == pytest.approx(np.arange(39).std(ddof=1), rel=1e-12)
    assert found["min"] == pytest.approx(start, rel=1e-15)
    assert found["mean"] == pytest.approx(start + 19, rel=1e-15)


def test_a_category_that_is_rare_at_one_site_is_counted_there_too():
    frames = {
        "site-1": {"train": pd.DataFrame({"k": ["a"] * 5 + ["b"] * 4})},
        "site-2": {"train": pd.DataFrame({"k": ["b"] * 5 + ["a"] * 3})},
    }
    configs = {"categories": {"*": {"most": 1}}, "top_values": {}, "balance": {"k": {}}}
    found, *_ = run(sites_of(frames), configs)
    assert found["k"]["categories"]["Global"]["train"] == {"b": 9}
    assert found["k"]["categories_other"]["Global"]["train"] == 8
    assert found["k"]["top_values"]["Global"]["train"] == [["b", 9], ["a", 8]]
    assert found["k"]["balance"]["Global"]["train"] == {"b": 9 / 17, "a": 8 / 17}


def test_named_and_other_categories_add_up_to_the_count():
    frames = {
        site: {"train": pd.DataFrame({"k": [f"{site} {at % 150}" for at in range(400)]})}
        for site in ("site-1", "site-2")
    }
    given = [f"site-1 {at}" for at in range(150)]
    for options, named in (({}, 100), ({"most": 250}, 250), ({"values": given}, 150)):
        found, *_ = run(sites_of(frames), {"categories": {"*": options}})
        categories = found["k"]["categories"]["Global"]["train"]
        assert len(categories) == named
        assert sum(categories.values()) + found["k"]["categories_other"]["Global"]["train"] == 800


def test_a_variance_beyond_float64_is_named_as_that():
    frame = pd.DataFrame({"x": [1e308, 1.5e308, 1.7e308]})
    *_, about, _ = run(sites_of({"site-1": {"train": frame}}), {"var": {}, "stddev": {}})
    assert {row[3]: row[4] for row in about["refused"]} == dict.fromkeys(
        ("var", "stddev"), "beyond the range of float64"
    )
