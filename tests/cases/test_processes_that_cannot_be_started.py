"""A simulation that exceeds the system's process limit says so, and leaves no processes behind."""

from __future__ import annotations

import re

JOB = """
    import os, resource
    import psutil
    from flare_recipes_np import FedAvgRecipe
    from flare_runtime import SimEnv

    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    recipe = FedAvgRecipe(
        name="many", min_clients=2, num_rounds=1, initial_model=[0.0], train_script="client.py"
    )
    try:
        recipe.execute(SimEnv(num_clients=60, num_threads=2, share_processes=False))
    except Exception as error:  # which keeps everything alive that was there, as a notebook does
        print(type(error).__name__, error)
        print("left behind:", len(psutil.Process().children()))
"""


def test_started_processes_are_ended_when_the_system_refuses_another(project):
    done = project.python(str(project.write("job.py", JOB)), cwd=project.write("client.py", "").parent)
    assert re.search(r"only \d+ of 60 processes could be started \(\[Errno \d+\]", done.stdout)
    assert "share_processes=True" in done.stdout
    assert "left behind: 0" in done.stdout
