"""JobFailed says in which round, at which site and with what a run failed, and where the log is; wherever it ran."""

from __future__ import annotations

import json

import pytest

from flare_core import Aggregator, JobFailed

FAILS = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        if flare.get_site_name() == "site-2" and model.current_round == 1:
            raise ValueError("no data in shard 7")
        flare.send(flare.FLModel(params=model.params))
"""

JOB = """
    import json

    import numpy as np

    from flare_core import JobFailed
    from flare_deploy import PocEnv
    from flare_recipes_np import FedAvgRecipe

    recipe = FedAvgRecipe(name="case", min_clients=2, num_rounds=3, initial_model=np.zeros(2), train_script="client.py")
    try:
        recipe.execute(PocEnv(num_clients=2)).get_result()
    except JobFailed as error:
        print(json.dumps({**vars(error), "log": error.log.read_text()}))
"""

CAUSE = "site-2: client.py failed in round 1 with ValueError: no data in shard 7"


def check(site: str, round_: int, cause: str, traceback: str, log: str) -> None:
    assert (site, round_, cause) == ("site-2", 1, CAUSE)
    first, *_, last = traceback.splitlines()
    assert (first, last) == ("Traceback (most recent call last):", "ValueError: no data in shard 7")
    assert traceback in log


def test_a_simulated_run_that_fails_says_where_it_failed(project):
    run = project.env().deploy(project.recipe(FAILS, num_rounds=3).job())
    with pytest.raises(JobFailed) as raised:
        run.get_result()
    error = raised.value
    check(error.site, error.round, error.cause, error.traceback, error.log.read_text())
    failure = run.summary()["failure"]
    assert failure == {**vars(error), "log": "sites/site-2/log.txt"}
    with pytest.raises(JobFailed) as raised:
        run.load_model()
    assert vars(raised.value) == vars(error)


@pytest.mark.deployed
def test_a_deployed_run_that_fails_says_where_it_failed(project):
    project.write("client.py", FAILS)
    project.write("job.py", JOB)
    done = project.python("job.py", timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    error = json.loads(done.stdout.splitlines()[-1])
    check(error["site"], error["round"], error["cause"], error["traceback"], error["log"])


class Broken(Aggregator):
    """Fails when all replies are there."""

    def add(self, reply):
        pass

    def result(self):
        raise ZeroDivisionError("no weight")

    def reset(self):
        pass


def test_an_error_of_the_jobs_code_at_the_server_belongs_to_no_site(project):
    with pytest.raises(JobFailed) as raised:
        project.recipe(aggregator=Broken()).execute(project.env())
    error = raised.value
    assert (error.site, error.round, error.log.name) == (None, 0, "log.txt")
    assert error.cause.startswith("ZeroDivisionError: no weight, in Broken.result at the server (")
    assert 'raise ZeroDivisionError("no weight")' in error.traceback
