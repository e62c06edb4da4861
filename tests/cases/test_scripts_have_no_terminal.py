"""A script that asks for terminal input gets an error at once; its process is not stopped."""

from __future__ import annotations

import pytest

SCRIPT = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        with open("/dev/tty") as terminal:
            terminal.readline()
        flare.send(flare.FLModel(params=model.params))
"""
JOB = """
    from flare_recipes_np import FedAvgRecipe
    from flare_runtime import SimEnv

    recipe = FedAvgRecipe(
        name="asks", min_clients=2, num_rounds=1, initial_model=[0.0], train_script="client.py"
    )
    recipe.execute(SimEnv(num_clients=2)).get_result()
"""
TERMINAL = """
    import pty, sys
    pty.spawn([sys.executable, "job.py"])
"""


@pytest.mark.timeout(60)
def test_a_script_that_reads_from_the_terminal_fails(project):
    project.write("client.py", SCRIPT)
    project.write("job.py", JOB)
    done = project.python(str(project.write("terminal.py", TERMINAL)))
    assert "/dev/tty" in done.stdout
    assert "JobFailed" in done.stdout
