"""A server component that exits fails the run; one that keeps its process alive blocks nobody."""

from __future__ import annotations

import pytest

QUITS = """
    import sys
    import threading
    from flare_core import WeightedMean

    class Quits(WeightedMean):
        def add(self, reply):
            sys.exit(0)

    class Lingers(WeightedMean):
        def add(self, reply):
            threading.Thread(target=threading.Event().wait, args=(600,)).start()
            super().add(reply)
"""
JOB = """
    import sys
    from flare_recipes_np import FedAvgRecipe
    from flare_deploy import PocEnv
    from flare_runtime import SimEnv
    import quits

    recipe = FedAvgRecipe(
        name="quits", min_clients=1, num_rounds=1, initial_model=[0.0], train_script="client.py",
        aggregator=getattr(quits, sys.argv[2])(),
    )
    recipe.add_server_file("quits.py")
    recipe.execute(SimEnv(num_clients=1) if sys.argv[1] == "SimEnv" else PocEnv(num_clients=1)).get_result()
    print("THE END")
"""
SCRIPT = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        flare.send(flare.FLModel(params=flare.receive().params))
"""


@pytest.mark.parametrize("env", ["SimEnv", "PocEnv"])
def test_sys_exit_in_an_aggregator_fails_the_run(project, env):
    project.write("client.py", SCRIPT)
    project.write("quits.py", QUITS)
    done = project.python(str(project.write("job.py", JOB)), env, "Quits")
    assert done.returncode == 1
    assert "JobFailed: a component on the server called sys.exit(0)" in done.stderr
    assert "THE END" not in done.stdout


@pytest.mark.timeout(90)
def test_a_thread_that_never_ends_does_not_keep_the_job_running(project):
    project.write("client.py", SCRIPT)
    project.write("quits.py", QUITS)
    done = project.python(str(project.write("job.py", JOB)), "PocEnv", "Lingers", timeout=80)
    assert done.returncode == 0, done.stderr
    assert "THE END" in done.stdout
