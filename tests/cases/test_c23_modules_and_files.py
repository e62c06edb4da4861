"""C23: modules and files next to the script are found from any working folder, and are part of an exported job."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from flare_core import JobError
from flare_core.job_folder import load_job

CLIENT = """
    from pathlib import Path
    import net2
    import flare_core.client as flare
    from common.util import SCALE
    from . import x

    labels = (Path(__file__).parent / "labels.txt").read_text().split()
    flare.init()
    while flare.is_running():
        params = {k: v + net2.ONE * SCALE + x.ZERO + len(labels) for k, v in flare.receive().params.items()}
        flare.send(flare.FLModel(params=params))
"""
JOB = """
    from flare_recipes_np import FedAvgRecipe
    from flare_runtime import SimEnv
    from models.net import initial

    recipe = FedAvgRecipe(min_clients=2, num_rounds=1, initial_model=initial(), train_script="src/client.py")
    run = recipe.execute(SimEnv(num_clients=2))
    print("RESULT", run.load_model()["w"].tolist())
"""


@pytest.fixture
def proj(project):
    project.write("proj/job.py", JOB)
    project.write("proj/models/net.py", "import numpy as np\ndef initial(): return {'w': np.zeros(2)}\n")
    project.write("proj/src/client.py", CLIENT)
    project.write("proj/src/net2.py", "ONE = 1\n")
    project.write("proj/src/x.py", "ZERO = 0\n")
    project.write("proj/src/labels.txt", "a b c")
    project.write("proj/common/__init__.py", "")
    project.write("proj/common/util.py", "SCALE = 10\n")
    return project.folder / "proj"


@pytest.mark.parametrize("where", ["proj", "/"])
def test_it_runs_from_any_working_folder(project, proj, where):
    cwd = proj if where == "proj" else Path(proj.anchor)
    done = project.python(str(proj / "job.py"), cwd=cwd)
    assert "RESULT [13.0, 13.0]" in done.stdout, done.stderr


def test_it_runs_in_a_federation_of_processes(project, proj):
    """The script runs from the submitted job and cannot use the project's folder."""
    job = (
        (proj / "job.py")
        .read_text()
        .replace("SimEnv(", "PocEnv(")
        .replace("from flare_runtime import SimEnv", "from flare_deploy import PocEnv")
    )
    (proj / "job.py").write_text(job)
    done = project.python(str(proj / "job.py"), cwd=proj)
    assert "RESULT [13.0, 13.0]" in done.stdout, done.stderr


def test_it_runs_from_a_notebook_cell(project, proj):
    cell = (
        "import sys; sys.path.insert(0, '')\nimport threading\nstop = threading.Event()\n"
        "threading.Thread(target=stop.wait, daemon=True).start()  # a notebook's kernel has threads of its own\n"
        + (proj / "job.py").read_text()
    )
    done = project.python("-c", cell, cwd=proj)
    assert "RESULT [13.0, 13.0]" in done.stdout, done.stderr


def test_the_launching_script_may_define_the_model_itself(project):
    pytest.importorskip("torch")
    project.write(
        "client.py",
        """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            flare.send(flare.FLModel(params={k: v + 1 for k, v in flare.receive().params.items()}))
        """,
    )
    job = project.write(
        "job.py",
        """
        import torch
        from flare_recipes_pt import FedAvgRecipe
        from flare_runtime import SimEnv

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.w = torch.nn.Parameter(torch.zeros(2))

        recipe = FedAvgRecipe(name="own", min_clients=2, num_rounds=2, initial_model=Net(), train_script="client.py")
        print("RESULT", recipe.execute(SimEnv(num_clients=2)).load_model()["w"].tolist())
        """,
    )
    done = project.python(str(job))
    assert "RESULT [2.0, 2.0]" in done.stdout, done.stderr


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_an_exported_job_runs_after_the_project_is_gone(project, proj, tmp_path, external):
    from flare_recipes_np import FedAvgRecipe

    recipe = FedAvgRecipe(
        name="files", min_clients=2, num_rounds=1, initial_model={"w": [0.0, 0.0]},
        train_script=proj / "src" / "client.py", launch_external_process=external,
    )  # fmt: skip
    recipe._folder = proj  # as if proj/job.py created the recipe
    folder = recipe.export(tmp_path / "exported")
    shutil.rmtree(proj)
    run = project.env().deploy(load_job(folder))
    assert run.load_model()["w"].tolist() == [13.0, 13.0]


def test_scripts_of_the_same_name_do_not_mix(project):
    for name in "ab":
        project.write(f"{name}/helper.py", f"VALUE = {ord(name)}\n")
        project.write(
            f"{name}/client.py",
            """
            import flare_core.client as flare
            import helper

            flare.init()
            while flare.is_running():
                params = {k: v * 0 + helper.VALUE for k, v in flare.receive().params.items()}
                flare.send(flare.FLModel(params=params, metrics={"value": helper.VALUE}))
            """,
        )
    recipe = project.recipe(
        train_script=project.folder / "a" / "client.py",
        per_site_config={"site-2": {"train_script": project.folder / "b" / "client.py"}},
        num_rounds=2,
    )
    run = recipe.execute(project.env(num_threads=1, share_processes=True))
    values = {row["site"]: row["value"] for row in run.metrics() if row["key"] == "value" and row["site"]}
    assert values == {"site-1": ord("a"), "site-2": ord("b")}
    assert "helper" not in sys.modules


def test_a_component_that_cannot_be_sent_is_named(project, tmp_path):
    from flare_core import WeightedMean

    class Local(WeightedMean):
        pass

    recipe = project.recipe(aggregator=Local())
    assert recipe.execute(project.env()).get_status() == "finished"
    with pytest.raises(JobError, match="Local is defined in the launching script"):
        recipe.export(tmp_path / "exported")


def test_a_numpy_job_does_not_load_torch(project):
    script = """
        import sys
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            assert "torch" not in sys.modules
            flare.send(flare.FLModel(params=flare.receive().params))
    """
    project.write("client.py", script)
    job = project.write(
        "job.py",
        """
        import sys
        from flare_recipes_np import FedAvgRecipe
        from flare_runtime import SimEnv

        recipe = FedAvgRecipe(name="t", min_clients=2, num_rounds=1, initial_model=[0.0], train_script="client.py")
        recipe.execute(SimEnv(num_clients=2))
        print("torch" in sys.modules, "grpc" in sys.modules)
        """,
    )
    done = project.python(str(job))
    assert done.stdout.splitlines()[-1] == "False False", done.stderr
