"""Runs of federated statistics in one process, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd

from flare_core.testing import FakeFederation
from flare_fobs import dumps, loads
from flare_stats.executor import StatisticsExecutor
from flare_stats.workflow import FederatedStatistics

NUMBERS = {name: {} for name in ("count", "missing", "failure_count", "sum", "mean", "var", "stddev", "min", "max")}
"""The statistics of a number that have no options."""
OPEN = {"min_count": 0, "min_noise_level": 0, "max_noise_level": 0, "max_bins_percent": 100}
"""No wish for privacy."""


class AtNoon(FederatedStatistics):
    """Statistics whose files bear the same time in each run."""

    def now(self):
        return "2030-01-01T12:00:00+00:00"


class Recorded:
    """Keeps all that the sites answered, as it travels."""

    def __init__(self):
        self.payloads = []

    def __call__(self, data):
        self.payloads.append(dumps(data))
        return loads(self.payloads[-1])


def sites_of(frames: Mapping[str, Mapping[str, pd.DataFrame]], *, masked=False, **wishes):
    return {
        site: StatisticsExecutor(data=datasets, masked=masked, **{**OPEN, **wishes})
        for site, datasets in frames.items()
    }


def federation(sites, **options):
    return FakeFederation(sites, travel=lambda data: loads(dumps(data)), **options)


def run(sites, configs, *, masked=False, min_clients=None, hierarchy=None, min_count=0, fed=None, **options):
    """Return statistics, matrices and facts of a run with these sites, and the federation."""
    fed = fed or federation(sites, **options)
    workflow = AtNoon(
        configs,
        min_clients=len(sites) if min_clients is None else min_clients,
        hierarchy=hierarchy,
        masked=masked,
        min_count=min_count,
    )
    fed.run(workflow)
    return *files_of(fed), fed


def files_of(fed):
    return [json.loads(fed.files[f"{name}.json"]) for name in ("statistics", "matrices", "about")]


def people(count, seed=0):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": random.integers(20, 80, count),
            "bmi": random.normal(25, 4, count),
            "sex": random.choice(["f", "m", "x"], count, p=[0.5, 0.4, 0.1]),
        }
    )
    frame.loc[::17, "bmi"] = np.nan
    return frame
