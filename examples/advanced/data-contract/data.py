"""The rows of 442 patients with diabetes, at three sites, two of which have prepared them in ways of their own."""

from pathlib import Path

import pandas as pd
from sklearn.datasets import load_diabetes

SITES = ("north", "south", "west")
NAMES = {"bp": "pressure", "s1": "cholesterol", "s2": "ldl", "s3": "hdl", "s6": "glucose", "target": "progression"}


def load() -> dict[str, pd.DataFrame]:
    """Return the rows of each site, in the units of the contract."""
    rows = load_diabetes(as_frame=True, scaled=False).frame.sample(frac=1, random_state=0)
    rows = rows.rename(columns=NAMES)[["age", "sex", "bmi", *NAMES.values()]]
    rows["sex"] = rows["sex"].map({1: "female", 2: "male"})
    return {site: rows.iloc[number :: len(SITES)] for number, site in enumerate(SITES)}


def write(folder: str, *, corrected: bool) -> None:
    """Write a file for each site; unless they are corrected, two of them hold mistakes."""
    rows = load()
    if not corrected:
        rows["south"] = rows["south"].rename(columns={"ldl": "hdl", "hdl": "ldl"})
        rows["west"] = rows["west"].assign(glucose=(rows["west"]["glucose"] / 18.0182).round(1))
    for site, table in rows.items():
        table.to_csv(Path(folder, f"{site}.csv"), index=False)


if __name__ == "__main__":
    write(".", corrected=True)
