"""A project.yml becomes kits that work, and what cannot be used in it is named."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from flare_runtime.provision.kit import Kit, KitError
from flare_runtime.provision.project_file import provision

GOOD = """
api_version: 3
name: hospitals
participants:
  - name: flare.example.org
    type: server
    org: hub
    host_names: [127.0.0.1]
    fed_learn_port: {port}
  - {{name: hospital-a, type: client, org: a}}
  - {{name: hospital-b, type: client, org: b}}
  - {{name: admin@example.org, type: admin, org: hub, role: project_admin}}
"""


def test_kits_of_a_project_file_make_a_federation(shell, tmp_path):
    port = shell.free_port()
    (tmp_path / "project.yml").write_text(GOOD.format(port=port))
    shell.flare("provision", "project.yml")
    folder = tmp_path / "workspace" / "hospitals"
    kits = {"server": folder / "server", **{name: folder / "sites" / name for name in ("hospital-a", "hospital-b")}}
    admin = folder / "admins" / "admin@example.org"
    assert Kit.load(admin).info.role == "project_admin"
    assert Kit.load(kits["hospital-a"]).info.address == f"grpc://127.0.0.1:{port}"
    started = []
    try:
        for name, kit in kits.items():
            kind = "server" if name == "server" else "client"
            command = [sys.executable, "-m", "flare_runtime.cli", kind, str(kit)]
            started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        hello = tmp_path / "hello"
        hello.mkdir()
        (hello / "client.py").write_text(
            "import flare_core.client as flare\n"
            "flare.init()\nwhile flare.is_running():\n    flare.send(flare.receive())\n"
        )
        (hello / "job.py").write_text(
            "import numpy as np\nfrom flare_recipes_np import FedAvgRecipe\n"
            "FedAvgRecipe(name='same', min_clients=2, num_rounds=2, initial_model=np.zeros(2),"
            " train_script='client.py').export('exported')\n"
        )
        shell.flare("run", "--env", "script", "hello/job.py")
        shell.retry("status", "--kit", admin)
        submitted = shell.json("job", "submit", "exported/same", "--kit", admin)
        assert shell.json("job", "wait", submitted["id"], "--kit", admin)["state"] == "finished"
        members = shell.json("site", "list", "--kit", admin)
        assert [(each["name"], each["org"]) for each in members] == [
            ("admin@example.org", "hub"),
            ("hospital-a", "a"),
            ("hospital-b", "b"),
        ]
    finally:
        for process in started:
            process.terminate()
        assert [process.wait(30) for process in started] == [0, 0, 0]
    assert json.loads((folder / "project.json").read_text())["name"] == "hospitals"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("api_version: 3", "api_version: 2", "api_version is 2; 3 and 4 are understood"),
        ("type: server", "type: relay", "flare.example.org is of type 'relay'"),
        ("type: server", "type: client", "0 participants are of type 'server'; there must be one"),
        ("role: project_admin", "role: king", "has the role 'king'"),
        ("fed_learn_port: 8102", "fed_learn_port: none", "fed_learn_port of flare.example.org is 'none'"),
        ("name: hospital-a", "nome: hospital-a", "name is None"),
        ("participants:", "participants: [", "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, old, new, message):
    path = tmp_path / "project.yml"
    text = GOOD.format(port=8102)
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(KitError, match=message):
        provision(path, tmp_path / "workspace")


def test_who_is_added_later_gets_a_kit_and_the_others_keep_theirs(tmp_path):
    path = tmp_path / "project.yml"
    text = GOOD.format(port=8102)
    path.write_text(text)
    provision(path, tmp_path / "workspace")
    kit = tmp_path / "workspace" / "hospitals" / "sites" / "hospital-a"
    before = Kit.load(kit).credentials
    path.write_text(text + "  - {name: hospital-c, type: client, org: c}\n")
    assert [name for name, _, _ in provision(path, tmp_path / "workspace")] == ["hospital-c"]
    assert Kit.load(kit).credentials == before
