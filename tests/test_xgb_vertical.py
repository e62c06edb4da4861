"""Vertical training in a federation of processes, any of which is killed in the middle of a tree."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path, PurePosixPath

import pytest

from flare_core import Job
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, ServerApp
from flare_xgb.engine.train import train
from xgb_vertical_jobs import joined

HERE = Path(__file__).parent
PARAMS = {"objective": "binary:logistic", "max_depth": 4, "subsample": 0.8, "nthread": 1, "num_parallel_tree": 2}
ROUNDS = 5
TASK = 32  # in the second round
VICTIMS = {"label owner": "site's job", "feature owner": "site's job", "feature owner's client": "site's client"}


def job_of(folder: Path, gate: str, victim: str, secure: str) -> Job:
    code = Path(folder) / "code"
    code.mkdir(exist_ok=True)
    shutil.copy(HERE / "xgb_vertical_jobs.py", code)

    def app(site: str) -> ClientApp:
        args = {"data_loader": Component("xgb_vertical_jobs.Columns", {}), "xgb_params": PARAMS, "secure": secure}
        args |= {"gate": gate, "task": TASK} if site == victim else {}
        return ClientApp(executors=[ExecutorEntry(("*",), Component("xgb_vertical_jobs.Waiting", args))])

    server = {"label_owner": "site-1", "xgb_params": PARAMS, "num_rounds": ROUNDS}
    return Job(
        name="trees",
        min_clients=2,
        server=ServerApp(workflows=[Component("flare_xgb.vertical.Vertical", server)]),
        client=app(""),
        sites={site: app(site) for site in ("site-1", "site-2")},
        code=CodeBundle(code, (PurePosixPath("xgb_vertical_jobs.py"),)),
    )


@pytest.fixture(scope="module")
def wanted() -> str:
    """The model of training on the joined table."""
    return train(PARAMS, joined(), ROUNDS)[0].to_json().decode()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("victim", "secure"),
    [
        pytest.param("feature owner", "masked", marks=pytest.mark.at_length),
        pytest.param("server", "masked", marks=pytest.mark.at_length),
        pytest.param("everybody", "plain", marks=pytest.mark.at_length),
        pytest.param("label owner", "masked", marks=pytest.mark.at_length),
        pytest.param("feature owner's client", "masked", marks=pytest.mark.at_length),
        pytest.param("server job", "masked", marks=pytest.mark.at_length),
        ("everybody", "masked"),
    ],
)
def test_a_kill_in_the_middle_of_a_tree_changes_no_bit_of_the_model(hospital, wanted, victim, secure):
    place = hospital(2)
    reached, process = threading.Event(), []
    gated = "site-1" if victim == "label owner" else "site-2"

    def decide(site, pid, times):
        if times == 1:
            process.append(pid)
            reached.set()
            threading.Event().wait(30)  # until it is killed

    gate = place.gate(decide)
    with place.admin() as admin:
        job = admin.submit(job_of(place.folder, str(gate.path), gated, secure))["id"]
    assert reached.wait(60)
    place.strike(VICTIMS.get(victim, victim), *process, site="site-2")
    found, _ = place.result(job)
    assert (found["state"], found["reason"]) == ("finished", found["reason"])
    results = place.folder / "results" / job
    assert (results / "server" / "model.json").read_text() == wanted
    rows = map(json.loads, (results / "metrics.jsonl").read_text().splitlines())
    assert [row["round"] for row in rows if row["key"] == "train-logloss"] == list(range(ROUNDS))
