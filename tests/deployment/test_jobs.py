"""Jobs from submission to deletion, with each database; roles; studies; resources; certificates."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from flare_core import FlareError
from flare_core.components import Component
from flare_core.job_folder import load_job

WAITS = """
    import threading
    import flare_core.client as flare

    flare.init()
    print("here I am", flush=True)
    while flare.is_running():
        flare.receive()
        threading.Event().wait()
"""


with_both_databases = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def place(hospital, database):
    return hospital(**database)


@with_both_databases
def test_the_life_of_a_job(place, tmp_path):
    with place.admin() as admin:
        first = admin.submit(place.noise_job())
        assert admin.wait(first["id"], timeout_s=60)["state"] == "finished"
        logs = "".join(admin.logs(first["id"], "site-1"))
        assert [line for line in logs.splitlines() if line.startswith("trained")] == [
            f"trained in round {round_}" for round_ in range(4)
        ]
        second = admin.clone(first["id"])
        assert second["id"] != first["id"]
        assert second["blob"] == first["blob"]
        assert admin.wait(second["id"], timeout_s=60)["state"] == "finished"
        one, two = (admin.download(each["id"], tmp_path / each["id"]) for each in (first, second))
        job = admin.download_job(first["id"], tmp_path / "job")
        assert load_job(job).name == "noise"
        assert [path.name for path in (job / "app" / "custom").glob("*.py*")] == ["client.py"]
        models = [(folder / "server" / "global_model.safetensors").read_bytes() for folder in (one, two)]
        assert models[0] == models[1]
        summary = json.loads((one / "summary.json").read_text())
        assert (summary["outcome"], summary["rounds"]) == ("finished", 4)
        assert sorted(path.name for path in (one / "server").iterdir()) == [
            "best_model.safetensors",
            "global_model.safetensors",
        ]
        admin.delete(first["id"])
        assert [each["id"] for each in admin.jobs()] == [second["id"]]
        admin.delete(second["id"])
        with pytest.raises(FlareError, match="there is no job"):
            admin.job(second["id"])
        did = [each["what"] for each in admin.audit()]
        assert did == ["submit", "clone", "files", "files", "job_files", "delete", "delete"]


def test_logs_are_live_and_abort_ends_all(place):
    with place.admin() as admin:
        job = admin.submit(place.job(WAITS, rounds=1))["id"]
        log = admin.logs(job, "site-2", follow=True)
        assert next(log) == "here I am\n"
        running = admin.job(job)
        assert running["state"] == "running"
        waits = running["progress"]
        assert waits["waiting_for"] in {
            "results of 'train' in round 0 from site-1, site-2",
            "site-1 to start",
            "site-2 to start",
        }
        with pytest.raises(FlareError, match="abort it before you delete it"):
            admin.delete(job)
        admin.abort(job)
        found = admin.wait(job, timeout_s=30)
        assert (found["state"], found["reason"]) == ("aborted", "aborted by admin")
        assert list(log) == []
        status = admin.status()
        assert status["jobs"] == []
        assert [site["connected"] for site in status["sites"]] == [True, True]


ASKS_AT_THE_END = """
import socket

from flare_core.events import RunEnded
from flare_core.observer import Observer


class Asks(Observer):
    def __init__(self, gate):
        self.gate = gate

    def attach(self, run):
        run.events.subscribe(RunEnded, self.ask)

    def ask(self, event):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.gate)
            connection.sendall(b"server 0")
            connection.recv(1)
"""


@pytest.mark.at_length
def test_a_job_aborted_just_after_it_finished_has_finished(place):
    """Its summary says so, and its model is complete."""
    with place.admin() as admin:
        gate = place.gate(lambda *_: admin.abort(job_id))
        job = place.noise_job()
        (job.code.root / "asks.py").write_text(ASKS_AT_THE_END)
        job.code = replace(job.code, files=(*job.code.files, PurePosixPath("asks.py")))
        job.server.components["asks"] = Component("asks.Asks", {"gate": str(gate.path)})
        job_id = admin.submit(job)["id"]
        assert admin.wait(job_id, timeout_s=60)["state"] == "finished"
        folder = admin.download(job_id, place.folder / "fetched")
    assert json.loads((folder / "summary.json").read_text())["outcome"] == "finished"


@pytest.mark.at_length
def test_a_job_that_needs_more_than_exists_is_refused_at_once(place):
    with place.admin() as admin, pytest.raises(FlareError, match="needs 3 sites, but 2 take part in the study"):
        admin.submit(place.noise_job(min_clients=3))


def test_jobs_wait_for_sites_with_a_reason_and_start_when_they_connect(place):
    place.end("site-2")
    place.wait_disconnected("site-2")
    with place.admin() as admin:
        job = admin.submit(place.noise_job())
        changes = admin.changes(job["id"])
        waiting = next(each for each in changes if each["state"] == "waiting")
        assert waiting["reason"] == "2 sites are needed, 1 are ready (site-2 is not connected)"
        place.restart("site-2")
        *_, last = changes
        assert last["state"] == "finished"


def test_jobs_take_turns_on_gpus_and_urgent_ones_come_first(place):
    """One GPU per site: a job that holds it keeps two others waiting, of which the more urgent starts first."""
    for site in ("site-1", "site-2"):
        place.end(site)
        (place.kit(site) / "local" / "resources.json").write_text('{"num_of_gpus": 1, "mem_per_gpu_in_GiB": 16}')
        place.wait_disconnected(site)
        place.restart(site)
    hold = threading.Event()
    gate = place.gate(lambda site, pid, times: hold.wait(60))
    needs = {"resource_spec": {"@ALL": {"num_of_gpus": 1, "mem_per_gpu_in_GiB": 8}}}
    with place.admin() as admin:
        first = admin.submit(place.noise_job(gate, 0, meta=needs))["id"]
        second = admin.submit(place.noise_job(meta=needs))["id"]
        third = admin.submit(place.noise_job(meta=needs), priority=5)["id"]
        assert "1 GPUs are needed, 0 of 1 are free" in admin.job(second)["reason"]
        hold.set()
        ended = {each: admin.wait(each, timeout_s=60)["ended"] for each in (first, second, third)}
        assert sorted(ended, key=ended.__getitem__) == [first, third, second]
        large = {"resource_spec": {"@ALL": {"num_of_gpus": 1, "mem_per_gpu_in_GiB": 80}}}
        never = admin.submit(place.noise_job(meta=large))["id"]
        assert "80 GiB per GPU are needed, it has 16" in admin.job(never)["reason"]
        admin.abort(never)
        assert admin.job(never)["state"] == "aborted"


@pytest.mark.at_length
def test_a_wait_timeout_is_kept_and_the_run_continues(hospital, tmp_path):
    from flare_deploy import ProdEnv

    place = hospital()
    hold = threading.Event()
    gate = place.gate(lambda site, pid, times: hold.wait(60))
    run = ProdEnv(place.poc.admin, workspace_root=tmp_path).deploy(place.noise_job(gate))
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            run.get_result(timeout=1.0)
        assert time.monotonic() - began < 10
    hold.set()
    assert (run.get_result(timeout=60) / "summary.json").is_file()
    assert run.get_status() == "finished"


def test_many_jobs_are_submitted_at_once(hospital):
    place = hospital(max_jobs=1)

    def submit(_):
        with place.admin() as admin:
            return admin.submit(place.noise_job(rounds=1))["id"]

    with ThreadPoolExecutor(6) as pool:
        ids = list(pool.map(submit, range(6)))
    assert len(set(ids)) == 6
    with place.admin() as admin:
        assert {admin.wait(each, timeout_s=100)["state"] for each in ids} == {"finished"}


def test_a_site_that_cannot_run_the_job_is_reported_at_once(hospital):
    """It refuses before the job's process at the server has even loaded the job's code."""
    place = hospital()
    (place.kit("site-2") / "jobs").rmdir()
    (place.kit("site-2") / "jobs").write_text("no folder")
    began = time.monotonic()
    found, _ = place.run(place.noise_job())
    assert time.monotonic() - began < 30
    assert found["state"] == "failed"
    assert "site-2 cannot run the job" in found["reason"]


@pytest.mark.at_length
def test_a_server_that_is_stopped_starts_nothing_more(hospital):
    place = hospital()
    hold = threading.Event()
    gate = place.gate(lambda site, pid, times: hold.wait(60))
    with place.admin() as admin:
        job = admin.submit(place.noise_job(gate))["id"]
        place.wait_for_events(job, {"event": "RoundStarted", "round": 2})
    place.stop("server")
    log = (place.kit("server") / "log.txt").read_text()
    assert "restarting it" not in log
    assert "Traceback" not in log
    hold.set()
    place.restart("server")
    found, _ = place.result(job)
    assert (found["state"], found["attempts"]) == ("finished", 2)


@pytest.mark.at_length
def test_no_more_jobs_run_than_the_server_allows(hospital):
    place = hospital(max_jobs=1)
    hold = threading.Event()
    gate = place.gate(lambda site, pid, times: hold.wait(60))
    with place.admin() as admin:
        first, second = admin.submit(place.noise_job(gate, 0)), admin.submit(place.noise_job())
        assert "1 jobs are running, which is as many as max_jobs allows" in admin.job(second["id"])["reason"]
        hold.set()
        assert admin.wait(first["id"], timeout_s=60)["state"] == "finished"
        assert admin.wait(second["id"], timeout_s=60)["state"] == "finished"


@with_both_databases
def test_roles_and_studies_separate_members(place):
    from flare_deploy import Admin
    from flare_deploy.provision.join import join

    with place.admin() as admin:
        tokens = {
            "lead@example.org": admin.invite("lead@example.org", kind="admin", role="lead"),
            "member@example.org": admin.invite("member@example.org", kind="admin", role="member"),
            "other@example.org": admin.invite("other@example.org", kind="admin", role="lead", studies="other"),
        }
        kits = {name: join(token, place.folder / name) for name, token in tokens.items()}
        with pytest.raises(FlareError, match=r"used or revoked, or has expired; ask for a new one$"):
            join(tokens["lead@example.org"], place.folder / "again")
        with Admin.connect(kits["lead@example.org"]) as lead:
            mine = lead.submit(place.noise_job())["id"]
            assert lead.wait(mine, timeout_s=60)["state"] == "finished"
            with pytest.raises(FlareError, match="does not allow 'members'"):
                lead.invite("site-9")
            theirs = admin.submit(place.noise_job())["id"]
            admin.wait(theirs, timeout_s=60)
            with pytest.raises(FlareError, match="does not allow 'manage', and the job is admin's"):
                lead.delete(theirs)
        with Admin.connect(kits["member@example.org"]) as member:
            assert len(member.jobs()) == 2
            with pytest.raises(FlareError, match="does not allow 'submit'"):
                member.submit(place.noise_job())
        with Admin.connect(kits["other@example.org"]) as other:
            assert other.jobs() == []
            with pytest.raises(FlareError, match="there is no job"):
                other.job(mine)
            with pytest.raises(FlareError, match="does not take part in the study 'default'"):
                other.submit(place.noise_job())
            with pytest.raises(FlareError, match="0 take part in the study 'other'"):
                other.submit(place.noise_job(), study="other")
        refused = [(each["who"], each["what"]) for each in admin.audit() if "does not allow" in each["outcome"]]
        assert refused == [
            ("lead@example.org", "invite"),
            ("lead@example.org", "delete"),
            ("member@example.org", "submit"),
        ]


def test_one_site_is_removed_or_renewed_and_the_other_is_not_affected(place):
    from flare_deploy.daemons import DaemonError
    from flare_deploy.provision.join import renew
    from flare_deploy.provision.kit import KitError, fingerprint

    with place.admin() as admin:
        place.end("site-1")
        place.wait_disconnected("site-1")
        before = (place.kit("site-1") / "startup" / "certificate.pem").read_bytes()
        old = place.folder / "old"
        import shutil

        shutil.copytree(place.kit("site-1"), old)
        renewed = renew(place.kit("site-1"))
        assert fingerprint(renewed.credentials.certificate) != fingerprint(before)
        with pytest.raises(KitError, match="was replaced by a newer one"):
            renew(old)
        place.restart("site-1")
        assert [site["connected"] for site in admin.status()["sites"]] == [True, True]

        admin.remove("site-1")
        with pytest.raises(DaemonError, match="site-1 was removed from the project poc"):
            place.restart("site-1")
        (left,) = admin.status()["sites"]
        assert (left["name"], left["connected"]) == ("site-2", True)
        job = admin.submit(place.noise_job(min_clients=1))["id"]
        assert admin.wait(job, timeout_s=60)["state"] == "finished"


@pytest.mark.at_length
def test_topics_of_other_members_are_closed_to_sites_and_guests(place):
    """A site's valid certificate does not let it make requests that it is not entitled to."""
    from flare_deploy.provision.kit import Kit
    from flare_transport import Cell, RemoteError

    kit = Kit.load(place.kit("site-1"))
    with Cell("site-1.intruder") as cell:
        cell.connect(kit.info.address, credentials=kit.credentials, peer="server")
        for topic, payload in (("admin.jobs", [{}]), ("admin.invite", ["x", {}]), ("admin.status", [])):
            with pytest.raises(RemoteError, match="only administrators"):
                cell.request("server", topic, payload, timeout_s=20)
        with pytest.raises(RemoteError, match="used or revoked"):
            cell.request("server", "enroll", [b"x"], timeout_s=20)
        with pytest.raises(RemoteError, match="is not a site"):
            cell.request("server", "site.hello", ["1", {}], timeout_s=20)
        with pytest.raises(RemoteError, match="not the process of a running job"):
            cell.request("server", "job.done", ["1", "finished", ""], timeout_s=20)
