"""Vertical training on the rows that an intersection finds first, in the same job."""

from __future__ import annotations

import csv
import shutil
import threading
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pytest

import xgb_vertical_jobs
from flare_core import Job, JobFailed, RecipeError
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, ServerApp
from flare_core.recipes import preceded_by
from flare_psi import PSIRecipe
from flare_runtime import SimEnv
from flare_xgb import FileLoader, XGBVerticalRecipe
from flare_xgb.data import Columns, from_pandas
from flare_xgb.engine.train import train

PARAMS = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}


@pytest.fixture
def people(tmp_path):
    """Write the files of a bank and a shop, which share 400 of their customers; return all by their e-mail."""
    generator = np.random.default_rng(0)
    people = pd.DataFrame(
        {
            "email": [f"person{number}@example.org" for number in range(700)],
            "age": generator.integers(20, 80, 700).astype(float),
            "visits": generator.poisson(3, 700).astype(float),
        }
    )
    people["default"] = (generator.random(700) < 1 / (1 + np.exp(people["visits"] - people["age"] / 15))).astype(int)
    bank = people[["age", "email", "default"]][:550].sample(frac=1, random_state=1)
    shop = people[["visits", "email"]][150:].sample(frac=1, random_state=2)
    shop = pd.concat([shop, shop[:20].assign(visits=99.0)])  # people who come twice: the first row counts
    shop["email"] = shop["email"].str.upper()
    bank.to_csv(tmp_path / "bank.csv", index=False)
    shop.to_csv(tmp_path / "shop.csv", index=False)
    return people.set_index("email")


def intersection(folder, **arguments):
    files = {"site-1": "bank.csv", "site-2": "shop.csv"}
    settings = {site: {"ids": str(folder / name), "column": "email"} for site, name in files.items()}
    return PSIRecipe(min_clients=2, per_site_config=settings, normalize=["email"], **arguments)


def recipe(folder, **arguments):
    loaders = {
        "site-1": FileLoader(str(folder / "bank.csv"), label="default", categorical=["email"]),
        "site-2": FileLoader(str(folder / "shop.csv"), categorical=["email"]),
    }
    given = {
        "min_clients": 2,
        "label_owner": "site-1",
        "num_rounds": 4,
        "early_stopping_rounds": None,
        "xgb_params": PARAMS,
        "joined_model": True,
        "id_column": "email",
        "per_site_config": {site: {"data_loader": loader} for site, loader in loaders.items()},
    }
    return XGBVerticalRecipe(**given | arguments)


def test_the_model_is_that_of_the_common_rows(tmp_path, people):
    made = recipe(tmp_path, alignment=intersection(tmp_path), validation_fraction=0.25)
    folder = made.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs")).get_result()
    with (folder / "sites" / "site-1" / "intersection.csv").open(newline="") as file:
        emails = [row["email"] for row in csv.DictReader(file)]
    assert sorted(emails) == sorted(people.index[150:550])
    common = from_pandas(people.loc[emails].reset_index(drop=True), Columns(label="default"))
    validation = {"validation": common.take(slice(300, 400))}
    expected, _ = train(PARAMS, common.take(slice(300)), 4, evals=validation)
    assert (folder / "server" / "model.json").read_bytes() == expected.to_json()


def test_an_exported_job_aligns_as_well(tmp_path, people):
    made = recipe(tmp_path, alignment=intersection(tmp_path))
    made.export(tmp_path / "exported")
    job = made.job()
    assert [each.class_path.rpartition(".")[2] for each in job.server.workflows] == ["Intersect", "Vertical"]
    assert [entry.tasks[0] for entry in job.client_app("site-2").executors] == ["psi.prepare", "*"]


def test_rows_that_the_loader_does_not_have_end_the_run_with_the_name_of_the_site(tmp_path, people):
    pd.read_csv(tmp_path / "shop.csv")[:300].to_csv(tmp_path / "fewer.csv", index=False)
    loaders = {
        "site-1": {"data_loader": FileLoader(str(tmp_path / "bank.csv"), label="default", categorical=["email"])},
        "site-2": {"data_loader": FileLoader(str(tmp_path / "fewer.csv"), categorical=["email"])},
    }
    made = recipe(tmp_path, alignment=intersection(tmp_path), per_site_config=loaders)
    with pytest.raises(JobFailed, match=r"site-2: intersection.csv has row \d+, but the data have 300 rows"):
        made.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs"))


@pytest.mark.parametrize(
    ("of_psi", "of_xgb", "message"),
    [
        ({"result": "cardinality"}, {}, "all sites learn the ids"),
        ({"receivers": ["site-1"]}, {}, "all sites learn the ids"),
        ({"output_path": "a.txt"}, {}, "all sites learn the ids"),
        ({}, {"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({}, {"alignment": None, "validation_fraction": 0.5}, "needs an alignment"),
        ({}, {"alignment": "intersection.csv"}, "alignment is a str; give a recipe"),
    ],
)
def test_an_alignment_that_cannot_be_used_is_refused(tmp_path, of_psi, of_xgb, message):
    with pytest.raises(RecipeError, match=message):
        recipe(tmp_path, **{"alignment": intersection(tmp_path, **of_psi), **of_xgb})


ROUNDS = 4


def job_of(folder, gate, victim):
    """Return a job that aligns the rows of two sites, of which one waits in the middle of the training."""
    code = Path(folder) / "code"
    code.mkdir()
    for name in ("psi_jobs.py", "xgb_vertical_jobs.py"):
        shutil.copy(Path(__file__).parent / name, code)

    def app(site):
        args = {"data_loader": Component("xgb_vertical_jobs.Columns", {}), "xgb_params": PARAMS}
        args |= {"row_file": "intersection.csv"} | ({"gate": gate, "task": 12} if site == victim else {})
        return ClientApp(executors=[ExecutorEntry(("*",), Component("psi_jobs.Training", args))])

    server = {"label_owner": "site-1", "xgb_params": PARAMS, "num_rounds": ROUNDS}
    training = Job(
        name="aligned-trees",
        min_clients=2,
        server=ServerApp(workflows=[Component("flare_xgb.vertical.Vertical", server)]),
        client=app(""),
        sites={site: app(site) for site in ("site-1", "site-2")},
        code=CodeBundle(code, (PurePosixPath("psi_jobs.py"), PurePosixPath("xgb_vertical_jobs.py"))),
    )
    names = {"class_path": "psi_jobs.RowNames", "args": {"count": xgb_vertical_jobs.COUNT}}
    return preceded_by(training, PSIRecipe(min_clients=2, local_psi=names).job())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "victim", ["everybody", *(pytest.param(each, marks=pytest.mark.at_length) for each in ("site's job", "server job"))]
)
def test_a_kill_after_the_intersection_changes_neither_rows_nor_model(hospital, victim):
    place = hospital(2)
    reached, process = threading.Event(), []

    def decide(site, pid, times):
        if times == 1:
            process.append(pid)
            reached.set()
            threading.Event().wait(60)  # until it is killed

    gate = place.gate(decide)
    with place.admin() as admin:
        job = admin.submit(job_of(place.folder, str(gate.path), "site-2"))["id"]
    assert reached.wait(120)
    folder = place.kit("site-1") / "jobs" / job / "run" / "sites" / "site-1"
    before = (folder / "intersection.csv").read_text()
    place.strike(victim, *process)
    with place.admin() as admin:
        admin.wait(job, timeout_s=150)  # numba takes its time in each process of a busy machine
    found, _ = place.result(job)
    assert (found["state"], found["reason"]) == ("finished", found["reason"])
    assert (folder / "intersection.csv").read_text() == before
    rows = [int(row["first_row"]) for row in csv.DictReader(before.splitlines())]
    assert sorted(rows) == list(range(xgb_vertical_jobs.COUNT))
    expected, _ = train(PARAMS, xgb_vertical_jobs.joined().take(rows), ROUNDS)
    model = place.folder / "results" / job / "server" / "model.json"
    assert model.read_bytes() == expected.to_json()
