"""Statistics of any split of rows over sites are those of all rows in one place."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stats_runs import run, sites_of

CONFIGS = {
    "count": {},
    "missing": {},
    "sum": {},
    "mean": {},
    "var": {},
    "min": {},
    "max": {},
    "histogram": {"*": {"bins": 4}},
    "quantile": {"*": [0.0, 0.3, 0.5, 1.0]},
    "categories": {},
    "distinct": {},
}
NUMBER = st.one_of(
    st.none(), st.integers(-(2**40), 2**40), st.floats(-1e12, 1e12), st.sampled_from([0.0, 1e9, 1e9 + 1e-6])
)
ROWS = st.lists(st.tuples(NUMBER, st.sampled_from(["a", "b", None]), st.integers(0, 2)), max_size=40)


@settings(max_examples=60)
@given(ROWS, st.booleans())
def test_any_split_has_the_statistics_of_all_rows(rows, masked):
    table = pd.DataFrame(
        {
            "x": pd.Series([math.nan if row[0] is None else float(row[0]) for row in rows], dtype=float),
            "group": pd.Series([row[1] for row in rows], dtype="string"),
        }
    )
    site_of = np.array([row[2] for row in rows], int)
    frames = {f"site-{number}": {"train": table[site_of == number]} for number in range(3)}
    configs = dict(CONFIGS)
    if masked:
        configs["categories"] = {"*": {"values": ["a", "b"]}}
        del configs["distinct"]
    statistics, _, _, _ = run(sites_of(frames, masked=masked), configs, masked=masked)
    found = {name: of["Global"]["train"] for name, of in statistics["x"].items()}
    values = table["x"].dropna().to_numpy()
    assert (found["count"], found["missing"]) == (len(values), int(table["x"].isna().sum()))
    counts = {name: count for name, count in statistics["group"]["categories"]["Global"]["train"].items() if count}
    assert counts == table["group"].value_counts().to_dict()
    if not len(values):
        assert "mean" not in found
        return
    assert (found["min"], found["max"]) == (values.min(), values.max())
    exact = math.fsum(values)
    assert found["sum"] == pytest.approx(exact, rel=1e-12, abs=1e-12 * np.abs(values).max())
    assert found["mean"] == pytest.approx(exact / len(values), rel=1e-12, abs=1e-12 * np.abs(values).max())
    if len(values) > 1:
        mean = math.fsum(values) / len(values)
        wanted = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        assert found["var"] == pytest.approx(wanted, rel=1e-11, abs=1e-22 * np.abs(values).max() ** 2)
    fractions = [0.0, 0.3, 0.5, 1.0]
    assert list(found["quantile"].values()) == (np.quantile(values, fractions) + 0.0).tolist()
    if "histogram" in found:
        edges = [low for low, _, _ in found["histogram"]] + [found["histogram"][-1][1]]
        assert [count for _, _, count in found["histogram"]] == np.histogram(values, edges)[0].tolist()
        assert sum(count for _, _, count in found["histogram"]) == len(values)
    if not masked:
        assert found["distinct"] == len(np.unique(values))


def test_a_million_rows_keep_their_quantiles_within_the_stated_error():
    random = np.random.default_rng(2)
    frames = {f"site-{at}": {"train": pd.DataFrame({"x": random.gamma(2.0, 10.0, 250_000)})} for at in range(4)}
    statistics, _, about, _ = run(sites_of(frames), {"quantile": {"*": [0.001, 0.01, 0.5, 0.99, 0.999]}})
    values = np.sort(np.concatenate([of["train"]["x"] for of in frames.values()]))
    assert 0 < about["quantile_rank_error"] < 0.005
    for place, pooled in (("Global", values), ("site-2", np.sort(frames["site-2"]["train"]["x"]))):
        for fraction, value in statistics["x"]["quantile"][place]["train"].items():
            share = np.searchsorted(pooled, value) / len(pooled)
            assert abs(share - float(fraction)) <= 2 * about["quantile_rank_error"]  # which is of 99 % confidence
