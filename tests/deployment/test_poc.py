"""PocEnv cleans up after itself, however the script that uses it ends."""

from __future__ import annotations

import pytest

ABANDONS = """
    import sys

    import numpy as np

    from flare_recipes_np import FedAvgRecipe
    from flare_deploy import PocEnv

    recipe = FedAvgRecipe(min_clients=2, num_rounds=1, initial_model=np.zeros(2), train_script="client.py")
    run = recipe.execute(PocEnv(num_clients=2))
    if sys.argv[1] == "interrupted":
        raise KeyboardInterrupt
"""


@pytest.mark.deployed
@pytest.mark.slow
@pytest.mark.parametrize("end", ["over", "interrupted"])
def test_a_run_without_a_waiter_leaves_no_folder_and_no_second_traceback(project, tmp_path, end):
    project.write("client.py", "import flare_core.client as flare\nflare.init()\nwhile flare.is_running(): pass\n")
    project.write("job.py", ABANDONS)
    folder = tmp_path / "temporary"
    folder.mkdir()
    done = project.python("job.py", end, TMPDIR=str(folder))
    assert "shutdown" not in done.stderr
    assert ("KeyboardInterrupt" in done.stderr) == (end == "interrupted")
    assert list(folder.glob("flare-poc-*")) == []


@pytest.mark.deployed
def test_the_files_that_leave_the_machine_are_listed(project):
    project.write("labels.txt", "a " * 1024)
    project.write("server.key", "x")
    status, _, printed = project.poc(
        "import flare_core.client as flare\nflare.init()\nwhile flare.is_running(): flare.send(flare.receive())\n"
    )
    assert status == "finished"
    (line,) = [each for each in printed.splitlines() if each.startswith("sending ")]
    assert line.startswith("sending 3 files, ")
    assert "labels.txt (2 KiB)" in line
    assert "client.py (" in line
    assert "initial_model.safetensors (" in line
    assert "server.key" not in line
    assert "server.key looks like a secret and is not sent" in printed
