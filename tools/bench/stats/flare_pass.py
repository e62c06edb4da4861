"""The statistics of one site by Flare's accumulators, of its file and of the same rows in memory.

Usage: flare_pass.py FOLDER ROWS
"""

import sys
import time

import numpy as np
import pyarrow.parquet as pq
from files import BINS, path_of

from flare_stats.algebra import Categories, Distinct, HistogramCounts, Moments, RankSketch, to_numbers
from flare_stats.sources import open_source


def one_pass(source):
    """Read the rows once for everything but histograms, and again for these, since their ranges are found first."""
    kinds = {column.name: column.kind for column in source.features()}
    moments = {name: Moments() for name, kind in kinds.items() if kind != "text"}
    ranks = {name: RankSketch() for name in moments}
    distinct = {name: Distinct(bytes(16)) for name in kinds}
    categories = {name: Categories() for name, kind in kinds.items() if kind == "text"}
    for chunk in source.chunks():
        for name in moments:
            numbers = to_numbers(chunk.column(name))
            moments[name].add(numbers)
            ranks[name].add(numbers)
            distinct[name].add(numbers)
        for name, of in categories.items():
            of.add(chunk.column(name))
            distinct[name].add(chunk.column(name), "text")
    histograms = {name: HistogramCounts(np.linspace(of.min, of.max, BINS + 1)) for name, of in moments.items()}
    for chunk in source.chunks(list(histograms)):
        for name, histogram in histograms.items():
            histogram.add(to_numbers(chunk.column(name)))


def main():
    path = path_of(sys.argv[1], 1, int(sys.argv[2]))
    began = time.process_time()
    one_pass(open_source(path))
    print("pass", time.process_time() - began)
    table = open_source(pq.read_table(path))
    began = time.process_time()
    one_pass(table)
    print("memory", time.process_time() - began)


if __name__ == "__main__":
    main()
