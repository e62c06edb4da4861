"""Rows of people who do not exist, made up once and read by every system.

Usage: files.py FOLDER SITES ROWS
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS = 19
"""Columns of numbers; one column of text stands beside them."""
BINS = 20
QUANTILES = (0.1, 0.5, 0.9)
GROUPS = 100_000


def path_of(folder, site, rows):
    """Return the file of a site."""
    return Path(folder, f"site-{site}-{rows}.parquet")


def table(rows, seed):
    """Make 14 columns of floats, of which four have gaps, 5 of integers and one of categories."""
    generator = np.random.default_rng(seed)
    columns = {}
    for at in range(14):
        values = generator.normal(50 + at, 10, rows)
        columns[f"float-{at}"] = pa.array(values, mask=generator.random(rows) < 0.05 if at < 4 else None)
    for at in range(NUMBERS - 14):
        columns[f"int-{at}"] = pa.array(generator.integers(0, 10 ** (at + 2), rows))
    columns["kind"] = pa.array(np.array(["a", "b", "c", "d"])[generator.integers(0, 4, rows)])
    return pa.table(columns)


def main():
    folder, sites, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for site in range(1, sites + 1):
        if not path_of(folder, site, rows).exists():
            pq.write_table(table(rows, site), path_of(folder, site, rows), row_group_size=GROUPS)


if __name__ == "__main__":
    main()
