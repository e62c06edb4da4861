"""Attacks on a running federation by its own members, over real connections, on real processes."""

from __future__ import annotations

import json
import stat
import threading
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_core import FlareError

NUMBERS = settings(max_examples=max(60, settings().max_examples // 2), suppress_health_check=list(HealthCheck))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=6)
    | st.sampled_from(["default", "log.txt", "../../startup/private.key", "/etc/passwd", "\0", "site-1", "a" * 300]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
VERBS = [
    "submit",
    "jobs",
    "job",
    "wait",
    "abort",
    "delete",
    "clone",
    "files",
    "job_files",
    "read",
    "follow",
    "status",
    "members",
    "invite",
    "remove",
    "audit",
    "nothing",
]
LENGTHS = {"jobs": 1, "job": 1, "wait": 3, "read": 3, "follow": 4, "submit": 3, "invite": 2, "audit": 1}


@pytest.fixture
def place(hospital):
    return hospital()


def connected(place, kit, name):
    """Connect a participant's cell, for requests that its own programs would not send."""
    from flare_deploy.provision.kit import Kit
    from flare_transport import Cell

    loaded = Kit.load(kit)
    cell = Cell(f"{loaded.info.name}.{name}")
    cell.connect(loaded.info.address, credentials=loaded.credentials, peer="server")
    return cell


def member_of(place, name, **options):
    """Create the kit of an administrator with few rights."""
    from flare_deploy.provision.join import join

    with place.admin() as admin:
        token = admin.invite(name, kind="admin", **options)
    return join(token, place.folder / name).folder


def running(place, admin, **options):
    """A job that is in its third round and stays there until it is released."""
    reached, go_on = threading.Event(), threading.Event()

    def decide(site, pid, number):
        reached.set()
        go_on.wait(60)

    job = admin.submit(place.noise_job(place.gate(decide), **options))["id"]
    assert reached.wait(60)
    return job, go_on


def test_fuzz_an_administrator_who_sends_garbage_to_every_verb_gets_refusals(place):
    from flare_transport import RemoteError

    with place.admin() as admin:
        job = admin.submit(place.noise_job())["id"]
        assert admin.wait(job, timeout_s=60)["state"] == "finished"
    kinds = set()
    with connected(place, place.poc.admin, "garbage") as cell:

        @given(verb=st.sampled_from(VERBS), payload=values, parts=st.data(), names_job=st.booleans())
        @NUMBERS
        def send(verb, payload, parts, names_job):
            count = LENGTHS.get(verb, 1)
            row = parts.draw(st.lists(values, min_size=count, max_size=count))
            if names_job:
                row[0] = job
            if verb == "remove" and row[0] in ("site-1", "site-2"):
                return  # which is what it is for
            for sent in (payload, row):
                if verb in ("delete", "abort") and names_job and len(row) == 1:
                    continue
                try:
                    cell.request("server", f"admin.{verb}", sent, timeout_s=20)
                except RemoteError as error:
                    kinds.add(error.kind if hasattr(error, "kind") else str(error))

        send()
    log = (place.kit("server") / "log.txt").read_text()
    assert "handler failed" not in log, log[log.index("handler failed") - 200 :][:3000]
    with place.admin() as admin:
        again = admin.submit(place.noise_job())["id"]
        assert admin.wait(again, timeout_s=60)["state"] == "finished"
        text = json.dumps(admin.audit(10_000))
    assert "private.key" not in "".join(path.name for path in (place.kit("server") / "jobs").rglob("*"))
    assert text


OTHER_FILES = ["../../../startup/private.key", "/etc/passwd", "../plan.json", "server/state.json", ".x.json", "\0.txt"]


def test_only_logs_and_records_of_a_run_can_be_read(place):
    with place.admin() as admin:
        job = admin.submit(place.noise_job(rounds=1))["id"]
        admin.wait(job, timeout_s=60)
        for name in OTHER_FILES:
            with pytest.raises(FlareError, match="no log or record of a run"):
                list(admin.read(job, name))
        assert "".join(admin.read(job, "summary.json")).startswith("{")


@pytest.mark.at_length
def test_an_administrator_cannot_hold_all_threads(place):
    """Pending requests are counted, so that a member who sends many does not block the server."""
    member = member_of(place, "member@example.org", role="member")
    with place.admin() as admin:
        job, go_on = running(place, admin)
        row = admin.job(job)
        with connected(place, member, "many") as cell:
            for _ in range(400):
                cell.start_request("server", "admin.wait", [job, row["state"], row["reason"]])
            with pytest.raises(FlareError, match=r"requests of member@example\.org are open"):
                cell.request("server", "admin.jobs", [{}], timeout_s=20)
            assert len(admin.jobs()) == 1  # others are served
        go_on.set()
        assert admin.wait(job, timeout_s=60)["state"] == "finished"


def test_other_members_cannot_disturb_or_query_a_running_job(place):
    """All connected peers can reach the job's processes, which accept only the server and their own sites."""
    from flare_transport import RemoteError

    member = member_of(place, "member@example.org", role="member", studies="other")
    with place.admin() as admin:
        job, go_on = running(place, admin)
        process = f"server.{job}-1"
        with connected(place, member, "spy") as cell:
            for topic in ("job.abort", "job.status"):
                with pytest.raises(RemoteError, match="may not send"):
                    cell.request(process, topic, [], timeout_s=20)
            for topic in ("result", "failed", "ready", "log", "warning", "site.log", "job.abort", "site.failed"):
                cell.send(process, topic, ["site-1", "an end", "of it"])
            with pytest.raises(RemoteError):  # so that all of it has arrived
                cell.request(process, "job.status", [], timeout_s=20)
        go_on.set()
        assert admin.wait(job, timeout_s=60)["state"] == "finished"


def test_a_site_cannot_stop_or_start_anything_at_another_site(place):
    from flare_transport import TransportError

    with place.admin() as admin:
        job, go_on = running(place, admin)
        with connected(place, place.kit("site-1"), f"{job}-9-9") as cell:
            for target in ("site-2", f"site-2.{job}-1-1"):
                for topic in ("job.stop", "job.start", "task", "withdraw", "end"):
                    with suppress(TransportError):
                        cell.send(target, topic, [job])
            with pytest.raises(FlareError):
                cell.request("site-2", "job.stop", [job], timeout_s=20)
        go_on.set()
        assert admin.wait(job, timeout_s=60)["state"] == "finished"
        assert admin.job(job)["attempts"] == 1


ENDS_OTHERS = """
    import gc

    import flare_core.client as flare
    from flare_transport import Cell

    flare.init()
    (cell,) = [each for each in gc.get_objects() if isinstance(each, Cell)]
    while flare.is_running():
        model = flare.receive()
        if cell.name.startswith("site-1."):
            cell.send(cell.name.replace("site-1", "site-2"), "end")
        flare.send(model)
"""


@pytest.mark.at_length
def test_a_sites_script_cannot_end_another_sites_script(place):
    """Even over its process's own connection, through which sites of a job reach each other."""
    with place.admin() as admin:
        job = admin.submit(place.job(ENDS_OTHERS, rounds=5, name="ends-others"))["id"]
        found = admin.wait(job, timeout_s=40)
        assert found["state"] == "finished", found
        log = (place.kit("site-2") / "jobs" / job / "run" / "log.txt").read_text()
        assert "may not send 'end'" in log


@pytest.mark.at_length
def test_a_member_of_another_study_learns_nothing_about_a_job(place):
    from flare_deploy import Admin

    other = member_of(place, "other@example.org", role="project_admin", studies="other")
    with place.admin() as admin:
        job, go_on = running(place, admin)
        with Admin.connect(other) as stranger:
            status = stranger.status()
            assert status["jobs"] == stranger.jobs() == []
            assert [site["jobs"] for site in status["sites"]] == [[], []]
            for ask in (stranger.job, stranger.abort, stranger.delete, stranger.clone, stranger.wait):
                with pytest.raises(FlareError, match="there is no job"):
                    ask(job)
            with pytest.raises(FlareError, match="there is no job"):
                list(stranger.logs(job))
        go_on.set()
        assert admin.wait(job, timeout_s=60)["state"] == "finished"


@pytest.mark.at_length
def test_a_site_that_announces_impossible_resources_does_not_block_the_server(place):
    from flare_transport import RemoteError

    place.stop("site-1")
    place.wait_disconnected("site-1")
    from flare_deploy.provision.kit import Kit
    from flare_transport import Cell

    kit = Kit.load(place.kit("site-1"))
    with Cell("site-1") as cell, place.admin() as admin:
        cell.connect(kit.info.address, credentials=kit.credentials, peer="server")
        for announced in ({"num_of_gpus": 10**12}, {"num_of_cpus": float("nan")}, [], None, {"num_of_gpus": "x"}):
            with pytest.raises(RemoteError, match="a site declares"):
                cell.request("server", "site.hello", ["1", announced], timeout_s=20)
        for topic in ("site.exited", "site.refused", "site.hello", "job.up", "job.done", "enroll"):
            with pytest.raises(RemoteError):
                cell.request("server", topic, {"not": "a list"}, timeout_s=20)
        job = admin.submit(place.noise_job(min_clients=1))["id"]
        assert admin.wait(job, timeout_s=60)["state"] == "finished"


def test_an_invitation_is_valid_once_for_its_name_and_for_nothing_else(place):
    from flare_deploy.provision.join import join
    from flare_deploy.provision.tokens import Invitation
    from flare_transport import AuthenticationError, Cell, RemoteError

    with place.admin() as admin:
        invitation = Invitation.read(admin.invite("site-3"))
        with Cell(invitation.guest) as cell:
            cell.connect(invitation.info.address, credentials=invitation.credentials, peer="server")
            for topic, payload in (("admin.jobs", [{}]), ("site.hello", ["1", {}]), ("site.renew", [b""])):
                with pytest.raises(RemoteError):
                    cell.request("server", topic, payload, timeout_s=20)
        for name in ("site-3", "site-1", "admin"):
            with Cell(name) as cell, pytest.raises(AuthenticationError):
                cell.connect(invitation.info.address, credentials=invitation.credentials, peer="server")
        kit = join(invitation.token(), place.folder / "site-3")
        for word in (kit.credentials.private_key, invitation.credentials.private_key):
            body = word.decode().splitlines()[1]
            logs = [path for path in place.folder.rglob("*.txt")] + [*place.folder.rglob("*.jsonl")]
            assert all(body not in path.read_text(errors="replace") for path in logs)


def test_secrets_are_readable_by_their_owner_only(place):
    keys = [*place.folder.rglob("*.key")]
    assert len(keys) == 5  # authority, server, administrator, two sites
    for key in keys:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600, key
    for kit in (place.kit("server"), place.kit("site-1"), place.poc.admin, place.poc.project_folder):
        assert stat.S_IMODE(kit.stat().st_mode) == 0o700, kit


SHOUTS = """
    import flare_core.client as flare

    flare.init()
    print("\\x1b]0;owned\\x07\\x1b[2J", flush=True)
    while flare.is_running():
        model = flare.receive()
        flare.log("\\x1b[31mred", 1.0)
        flare.send(flare.FLModel(params=model.params, metrics={"acc\\x1b[2J": 0.5}))
"""


def test_a_sites_output_cannot_control_the_operators_terminal(shell, hospital):
    place = hospital()
    with place.admin() as admin:
        job = admin.submit(place.job(SHOUTS, rounds=1, name="shouts"))["id"]
        assert admin.wait(job, timeout_s=60)["state"] == "finished"
    kit = ("--kit", place.poc.admin)
    shown = shell.flare("job", "logs", job, "--site", "site-1", *kit)
    assert "\\x1b]0;owned\\x07" in shown
    for words in (("job", "logs", job), ("job", "show", job), ("job", "list"), ("status",), ("audit",)):
        shown += shell.flare(*words, *kit)
    assert "\x1b" not in shown
    assert "\x07" not in shown
