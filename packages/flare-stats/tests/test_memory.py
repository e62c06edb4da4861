"""Files are read in chunks: the memory of a pass does not grow with the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

MIB = 1 << 20
PASS = """
import sys, pyarrow, threading
from flare_stats.algebra import HistogramCounts, Moments, RankSketch, to_numbers
from flare_stats.sources import open_source

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

def read(path, most):
    source = open_source(path)
    columns = {column.name: (Moments(), HistogramCounts([0, 1]), RankSketch()) for column in source.features()}
    for chunk in source.chunks():
        for name, accumulators in columns.items():
            numbers = to_numbers(chunk.column(name))
            for accumulator in accumulators:
                accumulator.add(numbers)
        most = max(most, anonymous())
    return most, columns["a"][0].count

read(sys.argv[1], 0)  # so that whatever is imported and started by a first pass is there
start = anonymous()
most, count = read(sys.argv[2], start)
print(count, most - start)
"""


def write(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    table = pa.table({name: rng.normal(size=rows) for name in "abcd"})
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    elif path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=rows)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=65_536)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which Linux has")
@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow"])
def test_a_pass_takes_a_fraction_of_the_memory_of_its_file(ending: str, tmp_path: Path) -> None:
    small, large, rows = tmp_path / f"small.{ending}", tmp_path / f"large.{ending}", 3_000_000
    write(small, 20_000)
    write(large, rows)
    done = subprocess.run(
        [sys.executable, "-c", PASS, small, large], capture_output=True, text=True, check=True, timeout=100
    )
    count, most = map(int, done.stdout.split())
    assert count == rows
    assert large.stat().st_size > 85 * MIB
    assert most < large.stat().st_size / 2
