"""Sites behind a relay: a job's result does not depend on the relay, whichever process is killed."""

from __future__ import annotations

import json
import os
import signal
import threading

import numpy as np
import pytest

from flare_core.components import Component
from flare_core.job import ExecutorEntry
from flare_core.recipes.distribution import KEEPS_MODELS
from flare_core.task import TaskName
from service_jobs import echo_script, with_services
from test_own_workflows import expected, survey_job, totals_of

SWARM_TASKS = tuple(task for name, task in vars(TaskName).items() if name.startswith("SWARM"))

pytestmark = pytest.mark.deployed

WARDS = ["hospital.ward-1", "hospital.ward-2"]


@pytest.fixture
def grouped(hospital):
    """Makes a federation of ``site-1`` and two wards, behind a relay or not."""

    def make(*, behind_relay: bool):
        place = hospital(1)
        add_wards(place, behind_relay)
        return place

    return make


def add_wards(place, behind_relay):
    from flare_deploy.daemons import start_daemon
    from flare_deploy.provision.kit import KitInfo
    from flare_deploy.provision.project import Project, participant_of

    place.stop("server")
    project = Project.load(place.poc.project_folder)
    relay: KitInfo | None = None
    place.sites += WARDS
    kinds = {}
    if behind_relay:
        address = f"grpc://127.0.0.1:{free_port()}"
        kit = project.make_kit(place.folder / "hospital", "hospital", "relay", listen=address)
        (kit.folder / "local" / "relay.json").write_text(f'{{"listen": "{address}", "link_grace_s": 3}}')
        project.register([participant_of(kit)])
        relay = kit.info
        kinds["relay"] = [kit.folder]
    kits = [project.make_kit(place.kit(ward), ward, "client", relay=relay) for ward in WARDS]
    project.register([participant_of(kit) for kit in kits])
    for kind, folders in {"server": [place.kit("server")], **kinds, "client": [kit.folder for kit in kits]}.items():
        place.poc._daemons += [start_daemon(kind, folder, owned=True) for folder in folders]


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kill_relay(place):
    """Kill the relay, and restart it."""
    from flare_deploy.daemons import pid_of, start_daemon

    pid = pid_of("relay", place.folder / "hospital")
    os.kill(pid, signal.SIGKILL)
    place.wait_gone(pid)
    place.poc._daemons.append(start_daemon("relay", place.folder / "hospital", owned=True))


def three_sites(place, gate=None, **options):
    return place.noise_job(gate, min_clients=3, model={"w": np.zeros(1 << 18)}, **options)


@pytest.fixture(scope="module")
def found_before():
    return []


@pytest.fixture
def undisturbed(grouped, found_before):
    """The model of the job without a relay; computed once."""
    if not found_before:
        place = grouped(behind_relay=False)
        found, digest = place.run(three_sites(place))
        assert found["state"] == "finished", found
        found_before.append(digest)
    return found_before[0]


@pytest.mark.parametrize(
    "killed",
    [
        "relay",
        "server",
        *(pytest.param(each, marks=pytest.mark.at_length) for each in ("nobody", "hospital.ward-1", "script")),
    ],
)
def test_a_job_produces_the_same_model_behind_a_relay(grouped, undisturbed, killed):
    place = grouped(behind_relay=True)
    done = threading.Event()

    def decide(site, pid, times):
        if site != "hospital.ward-1" or times > 1:
            return
        if killed == "script":
            os.kill(pid, signal.SIGKILL)
        elif killed == "relay":
            kill_relay(place)
        elif killed != "nobody":
            place.kill(killed)
        done.set()

    with place.admin() as admin:
        job_id = admin.submit(three_sites(place, place.gate(decide)))["id"]
    assert done.wait(60)
    found, digest = place.result(job_id)
    assert found["state"] == "finished", found
    assert digest == undisturbed


@pytest.mark.at_length
def test_a_swarm_produces_the_same_models_behind_a_relay(grouped):
    """Sites fetch from each other through the relay and the server, encrypted end to end."""
    swarm = ExecutorEntry(SWARM_TASKS, Component("flare_runtime.site.swarm.SwarmExecutor", {}))

    def models(place):
        job = three_sites(place, workflow="Swarm")
        job.client.executors[:0] = [swarm, KEEPS_MODELS]
        return place.outcome(job).models

    with_relay = models(grouped(behind_relay=True))
    assert len(with_relay) >= 3
    assert with_relay == models(grouped(behind_relay=False))


def test_services_reach_every_other_party_through_a_relay(grouped):
    """A stream between the wards passes through the relay alone or also the server, that to the other site both."""
    place = grouped(behind_relay=True)
    job = place.job(echo_script("site-1", *WARDS), min_clients=3, rounds=1)
    place.outcome(with_services(job, "echo_proxy", server="EchoProxy", client="EchoProxy"))
    (folder,) = (place.folder / "results").iterdir()
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {(row["site"], row["value"]) for row in metrics} >= {(site, 3.0) for site in ["site-1", *WARDS]}


@pytest.mark.at_length
def test_a_workflow_with_large_payloads_of_its_own_passes_a_relay(grouped):
    place = grouped(behind_relay=True)
    found, _ = place.run(survey_job(place.folder, 3))
    assert found["state"] == "finished", found
    assert totals_of(place) == expected(3, 2)


def test_a_site_named_after_a_relay_joins_through_it(shell):
    port, gateway = shell.free_port(), shell.free_port()
    shell.flare("up", "--port", port, "--address", "127.0.0.1")
    token = shell.flare("invite", "hospital", "--kind", "relay", "--address", f"grpc://127.0.0.1:{gateway}").strip()
    assert "relay started, connected to grpc://127.0.0.1:" in shell.flare("join", token, "--folder", "site-relay")
    ward = shell.flare("invite", "hospital.ward").strip()
    printed = shell.flare("join", ward, "--folder", "site-ward")
    assert f"client started, connected to grpc://127.0.0.1:{gateway}" in printed
    members = {each["name"]: each for each in shell.json("site", "list")}
    assert members["hospital"]["connected"]
    assert members["hospital"]["address"] == f"grpc://127.0.0.1:{gateway}"
    assert members["hospital.ward"]["connected"]

    shell.flare("renew", "site-ward")  # which stops and starts the client
    (site,) = shell.json("status")["sites"]
    assert (site["name"], site["connected"]) == ("hospital.ward", True)


def test_a_site_removed_behind_a_relay_stays_out(shell):
    from flare_deploy.provision.kit import Kit
    from flare_transport import Cell, RemoteError

    port, gateway = shell.free_port(), shell.free_port()
    shell.flare("up", "--port", port, "--address", "127.0.0.1")
    relay = shell.flare("invite", "hospital", "--kind", "relay", "--address", f"grpc://127.0.0.1:{gateway}").strip()
    shell.flare("join", relay, "--folder", "site-relay")
    shell.flare("join", shell.flare("invite", "hospital.ward").strip(), "--folder", "site-ward", "--no-start")
    kit = Kit.load(shell.folder / "site-ward")
    lost = threading.Event()

    def come(cell):
        cell.connect(kit.info.address, credentials=kit.credentials, peer=kit.info.listener, uplink=True)
        return cell.request("server", "site.hello", ["1", {}], timeout_s=20).payload

    with Cell("hospital.ward") as cell:
        cell.on_peer_lost(lambda peer, error: lost.set())
        assert come(cell)["project"]
        assert shell.json("status")["sites"][0]["connected"]
        shell.flare("site", "remove", "hospital.ward")
        assert lost.wait(20)
        assert shell.json("status")["sites"] == []
    with Cell("hospital.ward") as cell, pytest.raises(RemoteError, match="no longer belongs to the project"):
        come(cell)
    assert "no longer belongs to the project" in shell.flare("renew", "site-ward", code=1)

    head = shell.flare("invite", "hospital.head", "--admin", "lead").strip()
    shell.flare("join", head, "--folder", "head")
    assert shell.json("status", "--kit", "head")["project"]  # an administrator behind it is served too
    shell.flare("site", "remove", "hospital.head")
    assert "no longer belongs to the project" in shell.flare("status", "--kit", "head", code=1)


def test_only_members_below_a_relay_can_connect_to_it(shell):
    port, gateway = shell.free_port(), shell.free_port()
    shell.flare("up", "--port", port, "--address", "127.0.0.1")
    relay = shell.flare("invite", "hospital", "--kind", "relay", "--address", f"grpc://127.0.0.1:{gateway}").strip()
    shell.flare("join", relay, "--folder", "site-relay")
    other = shell.flare("invite", "site-9").strip()
    shell.flare("join", other, "--no-start")
    from flare_deploy.provision.kit import Kit
    from flare_transport import AuthenticationError, Cell

    kit = Kit.load(shell.folder / "site-9")
    with Cell("site-9") as cell, pytest.raises(AuthenticationError, match="does not belong to the relay hospital"):
        cell.connect(f"grpc://127.0.0.1:{gateway}", credentials=kit.credentials, peer="hospital")


def test_a_relay_needs_an_address(shell):
    shell.flare("up", "--port", shell.free_port(), "--address", "127.0.0.1")
    for address in (["--address", "hospital.example.org"], []):
        assert "grpc://host:port" in shell.flare("invite", "hospital", "--kind", "relay", *address, code=1)
