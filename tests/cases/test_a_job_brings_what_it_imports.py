"""A job that passes in PocEnv passes at a real server: files next to the launching script are not found in either."""

from __future__ import annotations

import pytest

COMPONENT = """
    from flare_core import Observer

    class Listener(Observer):
        def attach(self, run):
            pass
"""

JOB = """
    import sys

    import numpy as np

    from flare_core import JobFailed
    from flare_recipes_np import FedAvgRecipe
    from flare_deploy import PocEnv

    import listener

    recipe = FedAvgRecipe(
        name="case", min_clients=1, num_rounds=1, initial_model={"w": np.zeros(2)}, train_script="sites/client.py"
    )
    recipe.add_server_component("listener", listener.Listener())
    if "added" in sys.argv:
        recipe.add_server_file("listener.py")
    run = recipe.execute(PocEnv(num_clients=1))
    try:
        run.get_result()
    except JobFailed as error:
        print(error)
    print(run.get_status())
"""


@pytest.mark.deployed
def test_a_component_next_to_the_launching_script_is_missing_unless_added(project):
    project.write("sites/client.py", "import flare_core.client as flare\nflare.init()\nflare.send(flare.receive())\n")
    project.write("listener.py", COMPONENT)
    project.write("job.py", JOB)
    done = project.python("job.py", timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "failed", done.stdout + done.stderr
    assert "'listener'" in done.stdout
    assert "add_server_file" in done.stdout
    done = project.python("job.py", "added", timeout=100)
    assert done.stdout.splitlines()[-1] == "finished", done.stdout + done.stderr
