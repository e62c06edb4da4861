"""A workflow with its own tasks and payloads of 50 MB, in the simulator, across processes, and killed in between."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
from pathlib import Path, PurePosixPath

import pytest

from flare_core import Job
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, ServerApp
from flare_core.recipes import WorkflowRecipe
from flare_runtime import SimEnv
from survey import Answers, Survey

HERE = Path(__file__).parent
SIZE = 6_250_000  # numbers in each part, which are 50 MB


def expected(sites: int, rounds: int, size: int = SIZE) -> list[float]:
    return [2.0 * size * sum(index + round_ for index in range(sites)) for round_ in range(rounds)]


def survey_job(folder: Path, sites: int, **arguments) -> Job:
    code = folder / "survey"
    code.mkdir()
    shutil.copy(HERE / "survey.py", code)
    return Job(
        name="survey",
        min_clients=sites,
        server=ServerApp(workflows=[Component("survey.Survey", arguments)]),
        client=ClientApp(executors=[ExecutorEntry(("*",), Component("survey.Answers"))]),
        code=CodeBundle(code, (PurePosixPath("survey.py"),)),
    )


def totals_of(place) -> list[float]:
    (folder,) = (place.folder / "results").iterdir()
    return ast.literal_eval((folder / "server" / "totals.txt").read_text())


@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
def test_it_runs_in_the_simulator(tmp_path, share):
    recipe = WorkflowRecipe(min_clients=3, workflow=Survey(), executors={"*": Answers()})
    run = recipe.execute(SimEnv(num_clients=3, num_threads=2, share_processes=share, workspace_root=tmp_path))
    text = (run.get_result() / "server" / "totals.txt").read_text()
    assert ast.literal_eval(text) == expected(3, 2)


def test_it_runs_across_processes(hospital):
    place = hospital(2)
    found, _ = place.run(survey_job(place.folder, 2))
    assert found["state"] == "finished", found
    assert totals_of(place) == expected(2, 2)


@pytest.mark.parametrize(
    "what",
    ["the server", *(pytest.param(each, marks=pytest.mark.at_length) for each in ("the job's process", "a site"))],
)
def test_it_goes_on_after_a_kill(hospital, what):
    rounds, size = 400, 10_000
    place = hospital(2)
    with place.admin() as admin:
        job_id = admin.submit(survey_job(place.folder, 2, rounds=rounds, size=size))["id"]
    place.wait_for_events(job_id, {"event": "RoundEnded", "round": 20})
    if what == "the job's process":
        os.kill(place.job_process(), signal.SIGKILL)
    else:
        place.kill("server" if what == "the server" else "site-2")
    found, _ = place.result(job_id)
    assert found["state"] == "finished", found
    assert totals_of(place) == expected(2, rounds, size)
    rows = map(json.loads, (place.folder / "results" / job_id / "metrics.jsonl").read_text().splitlines())
    assert [row["value"] for row in rows if row["key"] == "total"] == expected(2, rounds, size)
