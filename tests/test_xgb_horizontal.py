"""Horizontal training in a federation of processes, any of which is killed in the middle of a tree."""

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
from flare_xgb.result import for_any_version
from xgb_horizontal_jobs import all_rows

HERE = Path(__file__).parent
PARAMS = {"objective": "multi:softprob", "num_class": 2, "max_depth": 5, "eval_metric": "mlogloss", "nthread": 1}
ROUNDS = 6
TREE, STEP = 7, 2  # the second tree of the fourth round, where two levels are grown


def job_of(folder: Path, gate: str = "", *, sites: int = 2, secure: str | None = None, **meta) -> Job:
    code = Path(folder) / "code"
    code.mkdir(exist_ok=True)
    shutil.copy(HERE / "xgb_horizontal_jobs.py", code)
    loader = Component("xgb_horizontal_jobs.Share", {"sites": sites})
    site = {"data_loader": loader, "secure": secure, "gate": gate, "tree": TREE, "step": STEP}
    server = {"params": PARAMS, "min_clients": 2, "num_rounds": ROUNDS, "secure": secure}
    return Job(
        name="trees",
        min_clients=2,
        server=ServerApp(workflows=[Component("flare_xgb.horizontal.Horizontal", server)]),
        client=ClientApp(executors=[ExecutorEntry(("*",), Component("xgb_horizontal_jobs.Waiting", site))]),
        code=CodeBundle(code, (PurePosixPath("xgb_horizontal_jobs.py"),)),
        meta=meta,
    )


def model_of(place, job_id: str) -> str:
    found, _ = place.result(job_id)
    assert (found["state"], found["reason"]) == ("finished", found["reason"])
    return (place.folder / "results" / job_id / "server" / "model.json").read_text()


@pytest.fixture(scope="module")
def wanted() -> str:
    """The model of training in one place, on the rows in the order in which the sites have them."""
    return for_any_version(train(PARAMS, all_rows(), ROUNDS)[0]).to_json().decode()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("victim", "secure"),
    [
        ("everybody", "masked"),
        *(
            pytest.param(victim, secure, marks=pytest.mark.at_length)
            for victim, secure in [
                ("site's job", None),
                ("site's client", "masked"),
                ("server job", None),
                ("server", "masked"),
                ("site's job", "masked"),
                ("site's client", None),
                ("server job", "masked"),
                ("server", None),
                ("everybody", None),
            ]
        ),
    ],
)
def test_a_kill_in_the_middle_of_a_tree_changes_no_bit_of_the_model(hospital, wanted, victim, secure):
    place = hospital(2)
    reached, process = threading.Event(), []

    def decide(site, pid, times):
        if site == "site-1" and times == 1:
            threading.Event().wait(3)  # longer than the server waits with the next checkpoint
        elif site == "site-1" and times == 2:
            process.append(pid)
            reached.set()
            threading.Event().wait(30)  # until it is killed

    gate = place.gate(decide)
    with place.admin() as admin:
        job = admin.submit(job_of(place.folder, str(gate.path), secure=secure))["id"]
    assert reached.wait(150)  # kernels may have to be compiled
    place.strike(victim, *process)
    assert model_of(place, job) == wanted
    steps = (place.kit("site-2") / "jobs" / job / "run" / "sites" / "site-2" / "steps.txt").read_text().split("\n")
    assert steps.count(f"{TREE} 0") == 1, "the tree began again"
    rows = map(json.loads, (place.folder / "results" / job / "metrics.jsonl").read_text().splitlines())
    assert [row["round"] for row in rows if row["key"] == "train-mlogloss"] == list(range(ROUNDS))


@pytest.mark.timeout(300)
@pytest.mark.at_length
def test_a_site_that_does_not_answer_in_time_is_left_out_and_named(hospital):
    place = hospital(3)
    done = threading.Event()

    def decide(site, pid, times):
        if site == "site-3" and times == 2:
            done.wait(60)

    gate = place.gate(decide)
    with place.admin() as admin:
        job = admin.submit(job_of(place.folder, str(gate.path), sites=3, round_deadline_s=3.0))["id"]
    place.wait_for_events(job, {"event": "RoundEnded", "round": ROUNDS - 1})
    done.set()
    model_of(place, job)
    summary = json.loads((place.folder / "results" / job / "summary.json").read_text())
    assert any("site-3 left or was late; the tree begins again without" in each for each in summary["warnings"])


@pytest.mark.deployed
@pytest.mark.timeout(300)
def test_the_recipe_runs_in_poc_env(project, wanted):
    shutil.copy(HERE / "xgb_horizontal_jobs.py", project.folder)
    project.write("job.py", POC)
    done = project.python("job.py", json.dumps([PARAMS, ROUNDS]), timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert (folder / "server" / "model.json").read_text() == wanted


POC = """
    import json
    import sys

    from flare_deploy import PocEnv
    from flare_xgb import XGBHorizontalRecipe
    from xgb_horizontal_jobs import Share

    params, rounds = json.loads(sys.argv[1])
    recipe = XGBHorizontalRecipe(
        min_clients=2,
        num_rounds=rounds,
        early_stopping_rounds=None,
        secure="masked",
        xgb_params=params,
        data_loader=Share(2),
    )
    print(recipe.execute(PocEnv(num_clients=2)).get_result())
"""
