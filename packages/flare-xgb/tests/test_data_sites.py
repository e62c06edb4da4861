"""Files of two sites, one of which is odd: the same model as of all rows in one file, or an error that names it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flare_core import FlareError
from flare_core.testing import FakeFederation
from flare_xgb.bagging.executor import TreeExecutor
from flare_xgb.bagging.workflow import TreeBoosting
from flare_xgb.data import Columns, FileLoader, from_pandas
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import train
from flare_xgb.horizontal import Horizontal, HorizontalExecutor

PARAMS = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
SITES = ("site-1", "site-2")


def rows_of_two_sites():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": generator.integers(20, 80, 300),
            "dose": generator.integers(0, 30, 300) / 4,
            "town": generator.choice(["a", "b", "c"], 300),
        }
    )
    score = (frame["age"] - 50) / 10 + (frame["town"] == "b") + generator.normal(size=300)
    frame["event"] = (score > 0).astype(int)
    return frame[:150], frame[150:].reset_index(drop=True)


def horizontal(folder):
    loader = FileLoader(str(folder / "{site}.csv"), "event", categorical=["town"])
    fed = FakeFederation({site: HorizontalExecutor(loader) for site in SITES})
    fed.run(Horizontal(PARAMS, min_clients=2, num_rounds=4))
    return fed


def bagging(folder):
    loader = FileLoader(str(folder / "{site}.csv"), "event", categorical=["town"])
    fed = FakeFederation({site: TreeExecutor(loader, PARAMS) for site in SITES})
    fed.run(TreeBoosting(min_clients=2, num_rounds=4, xgb_params=PARAMS))
    return fed


def write(folder, frames):
    for site, frame in zip(SITES, frames, strict=True):
        frame.to_csv(folder / f"{site}.csv", index=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame,
        lambda frame: frame.astype({"age": float}),
        lambda frame: frame.assign(age=np.nan),
        lambda frame: frame.assign(town=np.nan),
        lambda frame: frame.assign(dose=1),
        lambda frame: frame.assign(town=frame["town"].replace({"a": "d", "b": "Z"})),
        lambda frame: frame[frame["event"] == 1],
        lambda frame: frame.assign(dose=frame["dose"].where(frame.index % 2 == 0)),
        lambda frame: frame[:0],
        lambda frame: frame[:1],
    ],
    ids=["none", "floats", "no age", "no town", "constant", "towns", "one class", "missing", "no rows", "one row"],
)
def test_an_odd_site_changes_nothing_about_the_equality_with_one_table(tmp_path, change):
    first, second = rows_of_two_sites()
    write(tmp_path, [first, change(second)])
    pooled = pd.concat([first, change(second)])

    model = Model.from_bytes(horizontal(tmp_path).files["model.json"].encode())

    central, _ = train(PARAMS, from_pandas(pooled, Columns(label="event", categorical=["town"])), 4)
    np.testing.assert_equal([tree.to_plain() for tree in model.trees], [tree.to_plain() for tree in central.trees])
    assert len(Model.from_bytes(bagging(tmp_path).files["model.json"].encode()).trees) >= 4


@pytest.mark.parametrize("run", [horizontal, bagging])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame[["dose", "age", "town", "event"]],
            "site-2: column 1 is 'dose', but at site-1 it is 'age'",
        ),
        (lambda frame: frame.drop(columns="event"), "site-2: .*there is no column 'event'"),
        (lambda frame: frame.drop(columns="dose"), "site-2: .*column 'dose' is missing"),
        (lambda frame: frame.drop(columns="town"), "site-2: .*there is no column 'town'"),
        (lambda frame: frame.assign(extra=1), "site-2: .*'extra'"),
        (lambda frame: frame.assign(age="old"), "site-2: .*column 'age' is .*; name it in categorical"),
        (lambda frame: frame.assign(event="yes"), "site-2: .*column 'event' is .*; it must hold numbers"),
        (lambda frame: frame.assign(event=frame["event"] * 3), "site-2: .*label"),
        (lambda frame: frame.assign(age=np.inf), "site-2: .*column 'age' holds infinity"),
    ],
    ids=["order", "label", "column", "category", "extra", "text", "text label", "wrong label", "infinity"],
)
def test_a_site_that_does_not_fit_is_named_with_its_column_before_a_tree_is_grown(tmp_path, change, message, run):
    first, second = rows_of_two_sites()
    write(tmp_path, [first, change(second)])

    with pytest.raises(FlareError, match=message):
        run(tmp_path)
