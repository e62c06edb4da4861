"""Every JSON output matches its published schema, and exit codes are correct."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import jsonschema

PROJECT_FILE = """
api_version: 3
name: hospitals
participants:
  - {name: flare.example.org, type: server, org: hub, fed_learn_port: 8102, admin_port: 8103}
  - {name: hospital-a, type: client, org: a}
  - {name: hospital-b, type: client, org: b}
  - {name: admin@example.org, type: admin, org: hub, role: project_admin}
  - {name: overseer, type: overseer, org: hub}
builders:
  - {path: any.Builder, args: {}}
"""


def test_every_json_output_matches_its_schema(shell, tmp_path):
    schemas = json.loads(shell.flare("schema"))
    seen = {}

    def check(*words, code=0):
        name = next(each for each in sorted(schemas, key=len, reverse=True) if " ".join(words).startswith(each))
        found = json.loads(shell.flare(*words, "--format", "json")) if code == 0 else None
        if code == 0:
            jsonschema.validate(found, schemas[name])
            seen[name] = found
        return found

    check("up", "--port", str(shell.free_port()))
    for site in ("site-1", "site-2"):
        token = check("invite", site)["token"]
        check("join", token)
    check("status")
    check("site", "list")
    job = _exported(shell, tmp_path)
    submitted = check("job", "submit", str(job))["id"]
    check("job", "wait", submitted)
    check("job", "list")
    check("job", "show", submitted)
    check("job", "download", submitted, "--to", "fetched")
    assert check("runs") == []  # a job that was only submitted from here is not a run of this workspace
    fetched = check("runs", "show", "fetched")
    assert (fetched["status"], fetched["rounds"], fetched["recipe"]["arguments"]["num_rounds"]) == ("finished", 2, 2)
    check("runs", "compare", "fetched", "fetched")
    clone = check("job", "clone", submitted)["id"]
    check("status")
    check("job", "abort", clone)
    check("job", "delete", submitted)
    check("audit")
    check("renew", "site-1")
    check("site", "remove", "site-2")
    check("poc", "start", "--clients", "1")
    check("poc", "status")
    check("poc", "stop")
    check("poc", "clean")
    (tmp_path / "project.yml").write_text(PROJECT_FILE)
    made = check("provision", "project.yml")
    assert [each["name"] for each in made] == ["server", "hospital-a", "hospital-b", "admin@example.org"]
    assert check("provision", "project.yml") == []
    check("recipe", "list")
    check("recipe", "show", "flare_recipes_np.FedAvgRecipe")
    check("stop", "site-1")
    check("down")
    assert set(seen) == set(schemas)


def _exported(shell, tmp_path):
    (tmp_path / "client.py").write_text(
        "import flare_core.client as flare\nflare.init()\nwhile flare.is_running():\n    flare.send(flare.receive())\n"
    )
    (tmp_path / "job.py").write_text(
        "import numpy as np\nfrom flare_recipes_np import FedAvgRecipe\n"
        "FedAvgRecipe(name='same', min_clients=2, num_rounds=2, initial_model=np.zeros(2), train_script='client.py')"
        ".export('exported')\n"
    )
    shell.flare("run", "job.py")
    return tmp_path / "exported" / "same"


JOB = """
import numpy as np
from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv

recipe = FedAvgRecipe(min_clients=1, num_rounds=1, initial_model=np.zeros(2), train_script="client.py")
recipe.execute(SimEnv(num_clients=1))
"""


def test_exit_codes(shell, tmp_path):
    (tmp_path / "client.py").write_text("raise RuntimeError('no data here')\n")
    (tmp_path / "job.py").write_text(JOB)
    said = shell.flare("run", "job.py", code=3)
    assert "RuntimeError: no data here" in said
    assert "no such" in shell.flare("job", "list", "--kit", "nowhere", code=1).lower()
    assert "no administrator's kit" in shell.flare("job", "list", code=2)
    assert "nothing.py does not exist" in shell.flare("run", "nothing.py", code=2)
    shell.flare("job", "fly", code=2)
    port = str(shell.free_port())
    shell.flare("up", "--port", port)
    shell.flare("down")
    assert "is the server of the project flare running? 'flare up' starts it" in shell.flare("job", "list", code=1)


def test_ctrl_c_says_that_the_job_continues_and_how_to_stop_it(shell, tmp_path):
    (tmp_path / "client.py").write_text("import flare_core.client as flare\nflare.init()\n")
    (tmp_path / "job.py").write_text(JOB)
    shell.flare("up", "--port", str(shell.free_port()))
    shell.flare("join", shell.json("invite", "site-1")["token"])
    shell.flare("stop", "site-1")
    command = [sys.executable, "-u", "-m", "flare_deploy.cli", "run", "job.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=shell.environment, stdout=subprocess.PIPE, text=True) as waiting:
        assert "is waiting: " in waiting.stdout.readline()  # its only site is away
        waiting.send_signal(signal.SIGINT)
        try:
            said = waiting.communicate(timeout=60)[0]
        finally:
            waiting.kill()
    (job,) = shell.json("job", "list")
    assert f"the job {job['id']} continues" in said
    assert f"'flare job abort {job['id']}' aborts it" in said
    assert waiting.returncode == 130
    shell.flare("job", "abort", job["id"])


def test_help_loads_no_slow_module(tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "flare_deploy.cli", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=100)
    assert "invite" in done.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & {"cryptography", "flare_core", "flare_transport", "grpc", "numpy", "sqlalchemy", "torch"}
