"""Data in the memory of the launching process, at simulated sites that are processes of their own."""

from __future__ import annotations

import datetime
import decimal
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from stats_runs import NUMBERS, OPEN, people, run, sites_of

from flare_core import JobError
from flare_core.local_copies import local_copies
from flare_runtime import SimEnv
from flare_stats import FedStatsRecipe
from flare_stats.in_memory import InMemory
from flare_stats.sources import Column

CONFIGS = {**NUMBERS, "histogram": {"*": {"bins": 8}}, "categories": {}, "correlation": {}}  # exact ones


def results(data, folder):
    recipe = FedStatsRecipe(statistic_configs=CONFIGS, per_site_config={"site-1": {"data": {"train": data}}}, **OPEN)
    server = recipe.execute(SimEnv(num_clients=1, workspace_root=folder)).get_result() / "server"
    return [json.loads((server / f"{name}.json").read_text()) for name in ("statistics", "matrices")]


def mixed(count=70_000):
    """A frame with a column of each kind, in more than one chunk."""
    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "whole": random.integers(-(2**60), 2**60, count),
            "small": random.integers(0, 200, count).astype("uint8"),
            "half": random.normal(size=count).astype("float16"),
            "nullable": pd.array([None, *random.integers(0, 9, count - 1)], dtype="Int64"),
            "flag": random.random(count) < 0.3,
            "text": random.choice(["a", "b", None], count),
            "kind": pd.Categorical(random.choice(["x", "y"], count), categories=["x", "y", "never"]),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 999, count), unit="D"),
            "date": [datetime.date(2020, 1, 1 + each) for each in random.integers(0, 28, count)],
            "price": [decimal.Decimal(int(each)) / 4 for each in random.integers(0, 99, count)],
            "late": [*([1] * (count - count // 20)), *([2.5] * (count // 20))],
            "none": [None] * count,
            "several": [[1, 2]] * count,
        }
    ).astype({"late": object})


SOURCES = {
    "pandas": lambda: people(500),
    "pandas, each kind": mixed,
    "pandas, no row": lambda: mixed(80).head(0),
    "Polars": lambda: pl.from_pandas(people(500)),
    "Polars, lazy": lambda: pl.from_pandas(people(500)).lazy(),
    "Arrow": lambda: pa.table({"kind": pa.array(["a", "b", None]).dictionary_encode(), "x": [1.5, None, 3.0]}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_sites_that_are_processes_of_their_own_compute_the_same(name, tmp_path):
    data = SOURCES[name]()
    expected = run(sites_of({"site-1": {"train": data}}), CONFIGS)[:2]
    go_on = threading.Event()
    other = threading.Thread(target=go_on.wait)  # as in a notebook: a process with threads is not forked
    if not name.startswith("Polars"):  # with it neither: in a forked process it would wait for its threads forever
        other.start()
    try:
        assert results(data, tmp_path) == [*expected]
    finally:
        go_on.set()
        if other.ident is not None:
            other.join()
    assert expected[0]
    assert not list(Path(tempfile.gettempdir()).glob(f"flare-{os.getpid()}-*"))  # no copy is left


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are read from /proc, which Linux has")
def test_a_process_is_not_forked_once_it_has_used_polars():
    script = """
import polars
from flare_runtime.simulator.pool import can_fork
print(can_fork())
polars.DataFrame({"a": [1, 2]}).select(polars.col("a").sum())
print(can_fork())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_source_that_cannot_be_copied_is_named(tmp_path):
    """Its second chunk has another type, which a file of Arrow cannot have."""
    frame = InMemory(Changing(), "per_site_config['site-1']['data']['train']")
    message = r"\['train'\] is a [a-z_]+.Changing in the memory .*give its path"
    with local_copies(tmp_path), pytest.raises(JobError, match=message):
        _ = frame.data


class Changing:
    skipped = 0

    def features(self):
        return [Column("x", "int")]

    def chunks(self, columns=None, rows=None):
        for value in (1, "one"):
            yield pa.record_batch({"x": [value]})
