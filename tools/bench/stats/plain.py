"""The statistics of each site, by pandas or by Polars alone.

Usage: plain.py pandas|polars FOLDER SITES ROWS
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from files import BINS, QUANTILES, path_of


def of_pandas(path):
    import pandas

    frame = pandas.read_parquet(path)
    began = time.process_time()
    numbers = frame.select_dtypes("number")
    found = numbers.agg(["count", "sum", "mean", "std", "min", "max"]).to_dict()
    quantiles = numbers.quantile(list(QUANTILES))
    for name in numbers:
        found[name]["distinct"] = int(numbers[name].nunique())
        found[name]["missing"] = int(numbers[name].isna().sum())
        found[name]["quantile"] = quantiles[name].tolist()
        values = numbers[name].dropna().to_numpy()
        found[name]["histogram"] = np.histogram(values, BINS, (values.min(), values.max()))[0].tolist()
    found["kind"] = frame["kind"].value_counts().to_dict()
    return found, time.process_time() - began


def of_polars(path):
    import polars

    frame = polars.read_parquet(path).rechunk()  # quantiles of several chunks take three times as long
    began = time.process_time()
    numbers = frame.select(polars.selectors.numeric())
    every = polars.all()
    table = numbers.select(
        *(getattr(every, name)().name.suffix(f"/{name}") for name in ("count", "null_count", "sum", "mean", "std")),
        *(getattr(every, name)().name.suffix(f"/{name}") for name in ("min", "max", "n_unique")),
        *(every.quantile(q, "linear").name.suffix(f"/{q}") for q in QUANTILES),
    ).row(0, named=True)
    found = {name: {} for name in numbers.columns}
    for key, value in table.items():
        name, _, statistic = key.partition("/")
        found[name][statistic] = value
    for name in numbers.columns:
        found[name]["histogram"] = numbers[name].drop_nulls().hist(bin_count=BINS)["count"].to_list()
    found["kind"] = dict(frame["kind"].value_counts().iter_rows())
    return found, time.process_time() - began


def main():
    kind, folder, sites, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    began, in_memory = time.process_time(), 0.0
    for site in range(1, sites + 1):
        found, seconds = {"pandas": of_pandas, "polars": of_polars}[kind](path_of(folder, site, rows))
        in_memory += seconds
        Path(folder, f"{kind}-{site}.json").write_text(json.dumps(found))
    print("pass", time.process_time() - began)
    print("memory", in_memory)


if __name__ == "__main__":
    main()
