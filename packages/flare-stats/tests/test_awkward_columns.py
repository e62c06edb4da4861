"""Columns and sites of every awkward kind: no run fails, and masks change nothing."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from stats_runs import NUMBERS, people, run, sites_of

CONFIGS = {
    **NUMBERS,
    "histogram": {"*": {"bins": 4}},
    "quantile": {"*": [0, 0.5, 1]},
    "categories": {"*": {"values": ["a", "b"]}},
    "correlation": {},
    "covariance": {},
}
UNMASKED = {**CONFIGS, "categories": {}, "top_values": {}, "distinct": {}}
PRIVATE = {"min_count": 3, "min_noise_level": 0.1, "max_noise_level": 0.2, "max_bins_percent": 50}

ALL_TYPES = pd.DataFrame(
    {
        "large": [2**62, 2**62 + 1, 5],
        "unsigned": np.array([2**64 - 1, 1, 2], dtype=np.uint64),
        "infinite": [np.inf, 1, -np.inf],
        "flag": [True, False, True],
        "text": ["a", "b", "a"],
        "when": pd.date_range("2020", periods=3),
        "nothing": [None] * 3,
        "far": [1e300, -1e300, 1.0],
        "tiny": [5e-324, 0, 1e-310],
    }
)
SITES = {
    "all types": [{"train": ALL_TYPES}, {"train": ALL_TYPES.iloc[:1]}],
    "other data sets": [{"train": people(30), "test": people(10)}, {"test": people(12)}, {"train": people(9)}],
    "numbers and text": [
        {"train": pd.DataFrame({"x": [1.0, 2, 3]})},
        {"train": pd.DataFrame({"x": ["4", "five", "6"]})},
        {"train": pd.DataFrame({"x": [7, 8]})},
    ],
    "no column": [{"train": pd.DataFrame({"x": [1.0]})}, {"train": pd.DataFrame()}],
    "nothing at all": [{"train": pd.DataFrame()}, {"train": pd.DataFrame()}],
    "one value": [
        {"train": pd.DataFrame({"x": [3.0] * 5, "y": [1.0] * 5})},
        {"train": pd.DataFrame({"x": [3.0] * 2, "y": [2.0] * 2})},
    ],
    "objects": [
        {"train": pd.DataFrame({"x": [[1], [2]], "y": [{"a": 1}, None], "z": [b"x", b"y"]})},
        {"train": pd.DataFrame({"x": [[1], [2]]})},
    ],
}


@pytest.mark.parametrize("name", SITES)
def test_totals_under_masks_are_those_without(name):
    frames = {f"site-{number}": datasets for number, datasets in enumerate(SITES[name], 1)}
    plain, *_ = run(sites_of(frames), CONFIGS)
    masked, *_ = run(sites_of(frames, masked=True), CONFIGS, masked=True)
    for feature, statistics in masked.items():
        for statistic, values in statistics.items():
            for dataset, value in values["Global"].items():
                wanted = plain[feature][statistic]["Global"][dataset]
                if statistic in ("min", "max"):
                    wanted = float(wanted)  # an integer beyond 2**53 keeps each digit only without masks
                assert value == wanted, (feature, statistic)


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("wishes", [{}, PRIVATE])
def test_all_results_are_finite(name, wishes):
    frames = {f"site-{number}": datasets for number, datasets in enumerate(SITES[name], 1)}
    results = run(sites_of(frames, **wishes), UNMASKED)[:3]
    json.dumps(results, allow_nan=False)
