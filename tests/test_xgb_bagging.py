"""Bagging in a federation of processes, any of which is killed in the middle of a round."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path, PurePosixPath

import pytest

from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job, ServerApp
from flare_core.testing import FakeFederation
from flare_xgb.bagging.executor import TreeExecutor
from flare_xgb.bagging.workflow import TreeBoosting
from xgb_horizontal_jobs import Share

HERE = Path(__file__).parent
FILES = ("xgb_horizontal_jobs.py", "xgb_bagging_jobs.py")
PARAMS = {"objective": "binary:logistic", "max_depth": 4, "subsample": 0.8, "nthread": 1}
ROUNDS = 6


def arguments(mode: str) -> dict[str, object]:
    return {"min_clients": 2, "num_rounds": ROUNDS, "xgb_params": PARAMS, "mode": mode}


def job_of(folder: Path, gate: str, mode: str) -> Job:
    code = Path(folder) / "code"
    code.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copy(HERE / name, code)
    loader = Component("xgb_horizontal_jobs.Share", {"sites": 2})
    site = {"data_loader": loader, "xgb_params": PARAMS, "gate": gate, "round": 3}
    return Job(
        name="bag",
        min_clients=2,
        server=ServerApp(workflows=[Component("flare_xgb.bagging.workflow.TreeBoosting", arguments(mode))]),
        client=ClientApp(executors=[ExecutorEntry(("*",), Component("xgb_bagging_jobs.WaitingForest", site))]),
        code=CodeBundle(code, tuple(map(PurePosixPath, FILES))),
    )


def undisturbed(mode: str) -> str:
    """Return the model of a run in one process."""
    fed = FakeFederation({f"site-{at}": TreeExecutor(Share(2), PARAMS) for at in (1, 2)})
    fed.run(TreeBoosting(**arguments(mode)))
    return fed.files["model.json"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("victim", "mode"),
    [
        pytest.param("server job", "cyclic", marks=pytest.mark.at_length),
        ("everybody", "bagging"),
        pytest.param("site's job", "bagging", marks=pytest.mark.at_length),
        pytest.param("site's job", "cyclic", marks=pytest.mark.at_length),
    ],
)
def test_a_kill_in_the_middle_of_a_round_changes_no_bit_of_the_model(hospital, victim, mode):
    place = hospital(2)
    reached, process = threading.Event(), []

    def decide(site, pid, times):
        if site == "site-2" and times == 1:
            process.append(pid)
            reached.set()
            threading.Event().wait(30)  # until it is killed

    gate = place.gate(decide)
    with place.admin() as admin:
        job = admin.submit(job_of(place.folder, str(gate.path), mode))["id"]
    assert reached.wait(120)
    place.strike(victim, *process)
    found, _ = place.result(job)
    assert (found["state"], found["reason"]) == ("finished", found["reason"])
    folder = place.folder / "results" / job
    assert (folder / "server" / "model.json").read_text() == undisturbed(mode)
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    pooled = [row["round"] for row in rows if row["key"] == "train-logloss" and row["site"] is None]
    assert pooled == list(range(ROUNDS))
