"""Synthetic data for the examples of NVIDIA FLARE, where each of them looks for its own, and measures of results."""

from __future__ import annotations

import csv
import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHIMS = Path(__file__).resolve().parent / "nvflare_shims"
DATASETS = Path("/tmp/nvflare/dataset")
RESULTS = Path("/tmp/nvflare/simulation")

Prepare = Callable[[Path], None]
"""Makes an example's data; given the copy of its folder."""


def heart(folder: Path) -> None:
    target = Path("/tmp/flare/dataset/heart_disease_data")
    target.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    weights = random.normal(size=13)
    for site in range(1, 5):
        for part, rows in (("train", 150), ("test", 50)):
            x = random.normal(size=(rows, 13))
            y = (x @ weights + random.normal(size=rows) > 0).astype(np.float64)[:, None]
            np.save(target / f"site-{site}.{part}.x.npy", x)
            np.save(target / f"site-{site}.{part}.y.npy", y)


def adults(folder: Path) -> None:
    random = np.random.default_rng(5)
    for site in (1, 2):
        target = Path(f"/tmp/nvflare/df_stats/data/site-{site}")
        target.mkdir(parents=True, exist_ok=True)
        rows = [
            f"{random.integers(17, 90)}, Private, {random.integers(10000, 400000)}, HS-grad, {random.integers(1, 16)},"
            f" Never-married, Sales, Wife, White, Male, {random.integers(0, 9999)}, {random.integers(0, 999)},"
            f" {random.integers(1, 99)}, United-States, <=50K"
            for _ in range(1000)
        ]
        (target / "data.csv").write_text("\n".join(rows) + "\n")


def csv_of(name: str, file: str) -> Prepare:
    """Return a function that writes one of scikit-learn's own data sets, its labels first."""

    def prepare(folder: Path) -> None:
        from sklearn import datasets

        data = getattr(datasets, f"load_{name}")()
        order = np.random.default_rng(0).permutation(len(data.target))
        DATASETS.mkdir(parents=True, exist_ok=True)
        np.savetxt(DATASETS / file, np.column_stack([data.target, data.data])[order], delimiter=",")

    return prepare


def higgs(rows: int, path: Path) -> Path:
    random = np.random.default_rng(5)
    x = random.normal(size=(rows, 28))
    y = (x @ random.normal(size=28) + random.normal(size=rows) * 2 > 0).astype(float)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.column_stack([y, x]), delimiter=",", fmt="%.6g")
    return path


def higgs_rows(folder: Path) -> None:
    """Make a small file, and put its number of rows in the place of HIGGS' own in the copy of the example."""
    higgs(11000, DATASETS / "HIGGS.csv")
    job = folder / "job.py"
    job.write_text(job.read_text().replace("11000000", "11000").replace("1100000", "1100"))


def higgs_unpacked(folder: Path) -> None:
    """Make the file that the example has after its download."""
    path = higgs(3000, Path("/tmp/nvflare/higgs/data/higgs.csv"))
    path.with_name("higgs.zip").touch()


def higgs_splits(sites: int) -> Prepare:
    def prepare(folder: Path) -> None:
        path = higgs(5000, DATASETS / "higgs_small.csv")
        index = {"valid": {"start": 0, "end": 1000}}
        each = 4000 // sites
        index |= {f"site-{n + 1}": {"start": 1000 + n * each, "end": 1000 + (n + 1) * each} for n in range(sites)}
        target = DATASETS / "xgboost_higgs_horizontal" / f"{sites}_uniform"
        target.mkdir(parents=True, exist_ok=True)
        for site in range(1, sites + 1):
            content = {"data_path": str(path), "data_index": index}
            (target / f"data_site-{site}.json").write_text(json.dumps(content))

    return prepare


def higgs_columns(folder: Path) -> None:
    import pandas as pd

    path = higgs(3000, DATASETS / "higgs_wide.csv")
    table = pd.read_csv(path, header=None)
    table.insert(0, "uid", [f"uid_{n}" for n in range(len(table))])
    for site, columns in (("site-1", list(range(15))), ("site-2", list(range(15, 29)))):
        target = DATASETS / "xgboost_higgs_vertical" / site
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        table[["uid", *columns]].sample(frac=0.9, random_state=len(site) + columns[0]).to_csv(
            target / "higgs.data.csv", index=False
        )
    works = Path("/tmp/nvflare/workspace/works")  # where the example looks for what its first job has written
    works.mkdir(parents=True, exist_ok=True)
    link = works / "xgboost_vertical_psi"
    if not link.is_symlink():
        link.symlink_to(RESULTS / "xgboost_vertical_psi")


def emails(folder: Path) -> None:
    shutil.copytree(folder / "data", "/tmp/nvflare/psi/data", dirs_exist_ok=True)


def survivals(folder: Path) -> None:
    target = DATASETS / "km_data"
    target.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    for site in range(1, 6):
        with (target / f"site-{site}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["event", "time"])
            writer.writerows([bool(random.random() < 0.7), int(random.integers(1, 30))] for _ in range(60))


def universities(folder: Path) -> None:
    random = np.random.default_rng(5)
    for number in range(1, 8):
        target = Path(f"/tmp/nvflare/data/hierarchical_stats/university-{number}")
        target.mkdir(parents=True, exist_ok=True)
        rows = ((int(mark > 50), int(mark <= 50), round(mark, 2)) for mark in random.uniform(20, 99.99, 1000))
        table = ["Pass,Fail,Percentage", *(",".join(map(str, row)) for row in rows)]
        (target / f"university-{number}.csv").write_text("\n".join(table) + "\n")


def pictures(folder: Path) -> None:
    """Make the folder that 2.9 looks for; the pictures are those of ``nvflare_shims``."""
    Path("/tmp/nvflare/data/cifar-10-batches-py").mkdir(parents=True, exist_ok=True)


def digits(folder: Path) -> None:
    """Write pictures of the form of MNIST as arrays."""
    pictures = runpy.run_path(str(SHIMS / "pictures.py"))["pictures"]
    target = Path("/tmp/nvflare/data/hello-jax/mnist")
    target.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", 1.0), ("test", 0.25)):
        images, labels = pictures((28, 28), len(name), part)
        np.save(target / f"{name}_images.npy", images[..., None])
        np.save(target / f"{name}_labels.npy", labels)


def mean_of_array(path: Path) -> float:
    return float(np.load(path).mean())


def mean_of_numbers(path: Path) -> float:
    """Return the mean of all numbers in a JSON file."""

    def numbers(value: object) -> list[float]:
        if isinstance(value, dict | list):
            return [
                number for each in (value.values() if isinstance(value, dict) else value) for number in numbers(each)
            ]
        return [float(value)] if isinstance(value, int | float) else []

    return float(np.mean(numbers(json.loads(path.read_text()))))


def number_at(*keys: str) -> Callable[[Path], float]:
    """Return a function that reads the first number below some keys of a JSON file."""

    def read(path: Path) -> float:
        value = json.loads(path.read_text())
        for key in keys:
            value = value[key]
        while isinstance(value, dict):
            value = next(iter(value.values()))
        return float(value)

    return read


def lines(path: Path) -> float:
    return float(len(path.read_text().split()))


def size(path: Path) -> float:
    return float(path.stat().st_size)


def last_of_sequence(path: Path) -> float:
    """Return the last value of a sequence, of numbers or of pairs with a time, that torch has written."""
    import torch

    return float(torch.as_tensor(torch.load(path, weights_only=False)[-1]).flatten()[-1])


def norm_of_centers(path: Path) -> float:
    """Return the norm of the centers of k-means."""
    import joblib

    return float(np.linalg.norm(np.asarray(joblib.load(path)["center"])))
