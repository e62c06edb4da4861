"""A project.yml becomes working kits, and unusable parts of it are named."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from flare_deploy.provision.kit import Kit, KitError
from flare_deploy.provision.project_file import provision

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


def test_kits_of_a_project_file_form_a_federation(shell, tmp_path):
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
            command = [sys.executable, "-m", "flare_deploy.cli", kind, str(kit)]
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
        ("api_version: 3", "api_version: 2", "api_version is 2; 3 and 4 are supported"),
        ("type: server", "type: router", "flare.example.org is of type 'router'"),
        ("org: a}", "org: a, connect_to: hospital-c}", "hospital-a cannot connect to 'hospital-c'"),
        ("org: a}", "org: a, connect_to: [1]}", "connect_to of hospital-a is"),
        ("type: server", "type: client", "0 participants are of type 'server'; there must be exactly one"),
        ("role: project_admin", "role: king", "has the role 'king'"),
        ("fed_learn_port: 8102", "fed_learn_port: none", "fed_learn_port of flare.example.org is 'none'"),
        ("name: hospital-a", "nome: hospital-a", "name is None"),
        ("participants:", "participants: [", "cannot be read"),
    ],
)
def test_unusable_entries_are_named(tmp_path, old, new, message):
    path = tmp_path / "project.yml"
    text = GOOD.format(port=8102)
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(KitError, match=message):
        provision(path, tmp_path / "workspace")


def test_a_member_added_later_gets_a_kit_and_the_others_keep_theirs(tmp_path):
    path = tmp_path / "project.yml"
    text = GOOD.format(port=8102)
    path.write_text(text)
    provision(path, tmp_path / "workspace")
    kit = tmp_path / "workspace" / "hospitals" / "sites" / "hospital-a"
    before = Kit.load(kit).credentials
    path.write_text(text + "  - {name: hospital-c, type: client, org: c}\n")
    assert [name for name, _, _ in provision(path, tmp_path / "workspace")] == ["hospital-c"]
    assert Kit.load(kit).credentials == before


RELAY = """
  - {name: group, type: relay, org: a, listening_host: {default_host: gateway.example.org, port: 8003}}
  - {name: ward-1, type: client, org: a, connect_to: {name: group, port: 8003}}
  - {name: group.ward-2, type: client, org: a, connect_to: group}
  - {name: hospital-d, type: client, org: d, connect_to: flare.example.org}
  - {name: group.wing, type: relay, org: a, listening_host: wing.example.org}
  - {name: group.wing.ward-4, type: client, org: a}
  - {name: group.head, type: admin, org: a, role: lead}
"""


def test_members_below_a_relay_are_named_after_it(tmp_path):
    path = tmp_path / "project.yml"
    path.write_text(GOOD.format(port=8102) + RELAY)
    made = {name: Kit.load(place).info for name, _, place in provision(path, tmp_path / "workspace")}
    assert (made["group"].kind, made["group"].listen) == ("relay", "grpc://gateway.example.org:8003")
    assert made["group"].address == made["hospital-a"].address == made["hospital-d"].address
    for ward in ("group.ward-1", "group.ward-2"):
        assert (made[ward].address, made[ward].listener) == ("grpc://gateway.example.org:8003", "group")
    assert made["hospital-d"].listener == "server"
    assert (made["group.wing"].listener, made["group.wing"].listen) == ("group", "grpc://wing.example.org:8002")
    assert (made["group.wing.ward-4"].listener, made["group.head"].listener) == ("group.wing", "group")
    path.write_text(path.read_text() + "  - {name: ward-3, type: client, org: a, connect_to: group}\n")
    ((name, _, place),) = provision(path, tmp_path / "workspace")  # the relay has its kit already
    assert (name, Kit.load(place).info.via) == ("group.ward-3", "group")
    known = json.loads((tmp_path / "workspace" / "hospitals" / "server" / "startup" / "participants.json").read_text())
    assert {each["name"]: each["address"] for each in known}["group"] == "grpc://gateway.example.org:8003"
