"""Tables for tests of data contracts: real ones of scikit-learn, and tables like those of hospitals."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from sklearn import datasets


@cache
def tables() -> dict[str, tuple[pd.DataFrame, str]]:
    """Return tables by name, each with its label."""
    found = {}
    for name in ("iris", "wine", "breast_cancer"):
        found[name] = getattr(datasets, f"load_{name}")(as_frame=True).frame, "target"
    found["diabetes"] = datasets.load_diabetes(as_frame=True, scaled=False).frame, "sex"
    digits = datasets.load_digits(as_frame=True).frame
    found["digits"] = digits[[name for name in digits if digits[name].nunique() > 5]], "target"
    for seed in range(6):
        found[f"hospital-{seed}"] = _hospital(seed), "sick"
    return found


def halves(name: str, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return two random halves of a table, and its label."""
    table, label = tables()[name]
    order = np.random.default_rng(seed).permutation(len(table))
    middle = len(table) // 2
    return table.iloc[order[:middle]].reset_index(drop=True), table.iloc[order[middle:]].reset_index(drop=True), label


def _hospital(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(200, 3000))
    age = np.clip(rng.normal(60, 15, rows), 18, 99).round()
    glucose = rng.lognormal(4.6, 0.2, rows).round(1)
    glucose[rng.random(rows) < 0.1] = np.nan
    words = np.array(["pain", "since Monday", "fever", "cough", "none", "worse at night", "after a fall"])
    return pd.DataFrame(
        {
            "patient": [f"P{number:06d}" for number in rng.permutation(10 * rows)[:rows]],
            "age": age.astype(int),
            "height": rng.normal(170, 9, rows).round(1),
            "weight": rng.lognormal(4.3, 0.2, rows).round(1),
            "temperature": rng.normal(37.1, 0.5, rows).round(1),
            "glucose": glucose,
            "crp": rng.lognormal(1, 1.2, rows).round(2),
            "visits": rng.poisson(3, rows),
            "gender": rng.choice(["female", "male"], rows, p=[0.55, 0.45]),
            "stage": rng.choice(["I", "II", "III", "IV"], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "smoker": rng.choice([0, 1], rows, p=[0.7, 0.3]),
            "note": [" ".join(rng.choice(words, 3)) + f" {number}" for number in range(rows)],
            "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, rows), "D"),
            "sick": rng.choice(["no", "yes"], rows, p=[0.75, 0.25]),
        }
    )
