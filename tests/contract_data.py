"""Data for tests of data contracts: patients of several sites, and a function of a job that finds them."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

LABELS = ("no", "yes")


def patients(seed: int, rows: int = 400) -> pd.DataFrame:
    """Return rows whose numbers have so many digits that they can be told from others."""
    random = np.random.default_rng(seed)
    ldl, hdl = random.normal(115.3, 30.1, rows), random.normal(50.7, 13.9, rows)
    return pd.DataFrame(
        {
            "age": random.integers(20, 90, rows),
            "ldl": ldl.clip(20).round(5),
            "hdl": hdl.clip(10).round(5),
            "glucose": random.lognormal(4.5, 0.15, rows).round(5),
            "sick": np.where(ldl > 120, "yes", "no"),
        }
    )


def swapped(data: pd.DataFrame) -> pd.DataFrame:
    return data.rename(columns={"ldl": "hdl", "hdl": "ldl"})


def other_unit(data: pd.DataFrame) -> pd.DataFrame:
    return data.assign(glucose=(data["glucose"] / 18.0182).round(6))


def find(site: str) -> pd.DataFrame:
    """Return the data of a site, as the job's own code finds them."""
    return pd.read_csv(os.path.join(os.environ["FLARE_TEST_DATA"], f"{site}.csv"))
