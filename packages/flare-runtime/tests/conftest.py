from __future__ import annotations

import sys
import textwrap
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from flare_core import Job
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, ServerApp
from flare_runtime import SimEnv
from flare_tensor_downloader import write_file

sys.path.insert(0, str(Path(__file__).parent))  # for trackers.py

ADD_ONE = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        params = {key: value + 1 for key, value in model.params.items()}
        flare.send(flare.FLModel(params=params, metrics={"accuracy": model.current_round / 10}))
"""


class Project:
    """A folder with a script, and jobs that run it, made without a recipe, since recipes are in other packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = folder / "code"
        self.code.mkdir()

    def job(
        self, script: str = ADD_ONE, *, rounds: int = 2, sites: int = 2, model=None, workflow=None, **executor
    ) -> Job:
        (self.code / "client.py").write_text(textwrap.dedent(script))
        write_file(self.code / "initial.safetensors", model or {"w": np.zeros(3)})
        files = tuple(PurePosixPath(path.relative_to(self.code)) for path in self.code.rglob("*") if path.is_file())
        settings = {"min_clients": sites, "num_rounds": rounds, "callbacks": [Component("flare_core.BestModel")]}
        average = Component("flare_core.workflows.FedAvg", settings)
        run = Component("flare_runtime.scripts.ScriptExecutor", {"script": "client.py", **executor})
        persistor = Component("flare_runtime.run.persistor.SafetensorsPersistor", {"initial": "initial.safetensors"})
        return Job(
            name="job",
            min_clients=sites,
            server=ServerApp(workflows=[workflow or average], components={"persistor": persistor}),
            client=ClientApp(executors=[ExecutorEntry(("*",), run)]),
            code=CodeBundle(self.code, files),
        )

    def env(self, num_clients: int = 2, **arguments) -> SimEnv:
        return SimEnv(num_clients=num_clients, workspace_root=self.folder / "runs", **arguments)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)
