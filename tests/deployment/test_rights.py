"""Every server command by role and owner of the job; and nobody gets another member's rights through its name."""

from __future__ import annotations

import time
from contextlib import ExitStack
from itertools import count

import pytest

from flare_core import FlareError

pytestmark = pytest.mark.deployed

# The jobs: one's own, another's in a shared study, and one of another study.
OWN, OTHERS, FOREIGN = "own", "others", "foreign"
ALL = {OWN, OTHERS, FOREIGN}
IN_STUDY = {OWN, OTHERS}
CHIEF, ADMIN, ORG, LEAD, MEMBER = "chief", "project_admin", "org_admin", "lead", "member"  # the chief is in all studies
EVERYBODY = {CHIEF: ALL, ADMIN: IN_STUDY, ORG: IN_STUDY, LEAD: IN_STUDY, MEMBER: IN_STUDY}
NOT_ABOUT_JOBS = {CHIEF: ALL, ADMIN: ALL, ORG: ALL, LEAD: ALL, MEMBER: ALL}
ALLOWED = {
    "job": EVERYBODY,
    "wait": EVERYBODY,
    "read": EVERYBODY,
    "follow": EVERYBODY,
    "abort": {CHIEF: ALL, ADMIN: IN_STUDY, ORG: {OWN}, LEAD: {OWN}},
    "delete": {CHIEF: ALL, ADMIN: IN_STUDY, ORG: {OWN}, LEAD: {OWN}},
    "clone": {CHIEF: ALL, ADMIN: IN_STUDY, LEAD: IN_STUDY},
    "files": {CHIEF: ALL, ADMIN: IN_STUDY, LEAD: {OWN}},
    "job_files": {CHIEF: ALL, ADMIN: IN_STUDY, LEAD: {OWN}},
    "submit": {CHIEF: ALL, ADMIN: IN_STUDY, LEAD: IN_STUDY},
    "invite": {CHIEF: ALL, ADMIN: IN_STUDY},
    "remove": {CHIEF: ALL, ADMIN: IN_STUDY},
    "audit": {CHIEF: ALL},  # which covers all studies
    "jobs": NOT_ABOUT_JOBS,
    "status": NOT_ABOUT_JOBS,
    "members": NOT_ABOUT_JOBS,
}
STUDIES = {OWN: "heart", OTHERS: "heart", FOREIGN: "lung"}
REFUSALS = ("does not allow", "there is no job", "does not take part in", "ask an administrator of those")


class Server:
    """A server with its participants, in this process; jobs are in its database as if they had been submitted."""

    def __init__(self, folder, people, sites=("site-1",), relays=()):
        from flare_deploy.provision.project import Project, participant_of
        from flare_deploy.server.daemon import ServerDaemon

        self.project = Project.create(folder / "p", name="hospitals", address="grpc://127.0.0.1:1", admin=None)
        self.kits = {}
        for name, kind, role, studies in (
            *((name, "admin", role, studies) for name, role, studies in people),
            *((name, "client", "", "*") for name in sites),
            *((name, "relay", "", "*") for name in relays),
        ):
            listen = "grpc://127.0.0.1:1" if kind == "relay" else ""
            kit = self.project.make_kit(folder / "kits" / name, name, kind, role=role, listen=listen)
            self.kits[name] = kit
            self.project.register([participant_of(kit, studies=studies)])
        (self.project.folder / "server" / "local" / "server.json").write_text('{"listen": "grpc://127.0.0.1:0"}')
        self.daemon = ServerDaemon(self.project.folder / "server")
        self.address = self.daemon.listen()
        self._numbers = count(1)
        self._blob = self._archive(folder)

    def _archive(self, folder):
        from flare_core import Job
        from flare_core.job import ClientApp, CodeBundle, ServerApp
        from flare_core.job_folder import export_job
        from flare_deploy.archive import pack_folder, sha256_of

        self.job_folder = export_job(Job("x", 1, ServerApp(), ClientApp(), CodeBundle(folder)), folder / "jobs")
        archive = pack_folder(self.job_folder, folder / "job.zip")
        self.daemon.blobs.put(archive, sha256_of(archive))
        return sha256_of(archive)

    def add_job(self, submitter, study, state):
        from flare_deploy.server.scheduler import Needs
        from flare_deploy.server.store import JobRow

        needs = Needs.of({"name": "x", "min_clients": 1}).to_json()
        id_ = f"20260101-000000-{next(self._numbers)}"
        self.daemon.store.add_job(
            JobRow(id_, "x", study, submitter, self._blob, state=state, needs=needs, submitted=time.time())
        )
        run = self.daemon.jobs_folder / id_ / "run"
        run.mkdir(parents=True)
        (run / "log.txt").write_text("a log")
        return id_

    def cell(self, kit, suffix="x", **options):
        from flare_transport import Cell

        cell = Cell(f"{kit.info.name}.{suffix}" if suffix else kit.info.name)
        cell.connect(self.address, credentials=kit.credentials, peer="server", uplink=True, **options)
        return cell

    def ask(self, kit, verb, *payload):
        with self.cell(kit) as cell:
            return cell.request("server", f"admin.{verb}", list(payload), timeout_s=20).payload

    def close(self):
        self.daemon.close()


@pytest.fixture
def server(tmp_path):
    with ExitStack() as opened:

        def make(people, **options):
            made = Server(tmp_path, people, **options)
            opened.callback(made.close)
            return made

        yield make


def attempt(server, role, verb, scope):
    """Make a request; return whether it was allowed, false if it was refused for lack of rights."""
    from flare_tensor_downloader import Downloader, add_file

    who, study = server.kits[role], STUDIES[scope]
    state = "waiting" if verb == "abort" else "finished"
    job = server.add_job(role if scope == OWN else "somebody", study, state)
    name = f"{verb}-{role}-{scope}"
    with server.cell(who) as cell:
        payload = {
            "wait": [job, "x", "x"],
            "read": [job, "log.txt", 0],
            "follow": [job, "log.txt", 0, 1],
            "jobs": [{"study": study}],
            "status": [],
            "members": [],
            "audit": [10],
            "invite": [name, {"kind": "admin", "role": "project_admin", "studies": study}],
            "remove": [name],
        }.get(verb, [job])
        if verb == "remove":
            server.daemon.members.invite(name, studies=study)
        downloader = Downloader(cell)
        if verb == "submit":
            archive = server.job_folder.parents[1] / "job.zip"
            payload = [add_file(downloader, archive, ["server"]), server._blob, {"study": study}]
        try:
            cell.request("server", f"admin.{verb}", payload, timeout_s=20)
        except FlareError as error:
            if not any(each in str(error) for each in REFUSALS):
                raise
            return False
        finally:
            downloader.close()
    return True


PEOPLE = [(CHIEF, "project_admin", "*"), *((role, role, "heart") for role in (ADMIN, ORG, LEAD, MEMBER))]


def test_each_role_has_its_own_rights_and_no_others(server):
    from flare_deploy.server.admin_requests import REQUESTS

    assert set(ALLOWED) == set(REQUESTS), "a verb is missing here: say who may use it"
    made = server(PEOPLE)
    found = {
        verb: {role: scopes for role, _, _ in PEOPLE if (scopes := {s for s in ALL if attempt(made, role, verb, s)})}
        for verb in REQUESTS
    }
    assert found == ALLOWED
    # Every request refused for lack of rights is in the audit log.
    refused = {(each["who"], each["what"]) for each in made.daemon.store.audit(1000) if each["outcome"] != "ok"}
    assert {(role, verb) for verb in REQUESTS for role in EVERYBODY if role not in ALLOWED[verb]} <= refused


def acting_as(server, own, name, verb, *payload):
    """Make a request in the name of a cell below one's own, over one's own connection."""
    from flare_transport import Cell, SocketLink

    with server.cell(own, "") as gateway, Cell(f"{name}.x") as other:
        here, there = SocketLink.pair(gateway.name, other.name)
        gateway.attach(here)
        other.attach(there, uplink=True)
        return other.request("server", verb, list(payload), timeout_s=20).payload


INVITES_ITSELF = ("admin.invite", "intruder", {"kind": "admin", "role": "project_admin", "studies": "*"})


@pytest.mark.parametrize(
    ("lower", "options"),
    [("ann", {}), ("site-1", {}), ("hospital", {"relays": ["hospital"]})],
    ids=["a member", "a site", "a relay"],
)
def test_a_prefix_of_an_administrators_name_does_not_confer_its_rights(server, lower, options):
    """The project was created when such names were allowed."""
    upper = f"{lower}.smith"
    made = server([("ann", "member", "default"), (upper, "project_admin", "*")], **options)
    own = made.kits[lower]
    with pytest.raises(FlareError, match=rf"{upper} is refused: {lower}, a \w+, could act in its name"):
        acting_as(made, own, upper, *INVITES_ITSELF)
    from flare_transport.certificates import make_request

    with pytest.raises(FlareError, match=f"{upper} is refused"):
        acting_as(made, own, upper, "site.renew", make_request(upper)[1])
    assert "intruder" not in {each.name for each in made.daemon.store.participants()}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ann.smith", {"kind": "admin", "role": "member"}),  # ann could act as she
        ("ann.ward", {}),
        ("site-1.admin", {"kind": "admin", "role": "lead"}),
        ("site-1.ward", {}),
        ("hospital.chief", {"kind": "admin", "role": "project_admin", "studies": "*"}),  # the relay could
        ("bob", {"kind": "admin", "role": "member"}),  # who is above bob.smith
        ("bob", {}),
        ("bob", {"kind": "relay", "address": "grpc://127.0.0.1:1"}),
        ("Ann", {"kind": "admin", "role": "member"}),
        ("SITE-1", {}),
        ("server", {"kind": "admin", "role": "lead"}),
        ("server.20260101-000000-1", {}),
        ("enroll@1", {}),
        ("hospital.enroll@1", {}),
        ("site-2.", {}),
        ("site-2..x", {}),
        ("\u0430nn", {}),  # with a Cyrillic letter
        ("-rf", {}),
        ("site-9", {"studies": "heart\n,*"}),
        ("site-9", {"studies": ""}),
    ],
)
def test_nobody_is_invited_under_a_name_that_others_could_act_for(server, name, options):
    people = [("chief", "project_admin", "*"), ("ann", "member", "default"), ("bob.smith", "project_admin", "*")]
    made = server(people, relays=["hospital"])
    with pytest.raises(FlareError):
        made.ask(made.kits["chief"], "invite", name, options)
    assert name not in {each.name for each in made.daemon.store.participants()}
    made.ask(made.kits["chief"], "invite", "hospital.ward", {})  # which is what relays are for
    made.ask(made.kits["chief"], "invite", "hospital.head", {"kind": "admin", "role": "lead"})


def test_a_member_removed_behind_a_relay_does_not_return_through_a_name_below_its_own(server):
    made = server([("chief", "project_admin", "*")], sites=["hospital.ann"], relays=["hospital"])
    made.ask(made.kits["chief"], "remove", "hospital.ann")
    with pytest.raises(FlareError, match=r"could act as hospital\.ann\.new"):
        made.ask(made.kits["chief"], "invite", "hospital.ann.new", {})


def test_an_administrator_of_one_study_cannot_manage_members_of_another(server):
    made = server([("chief", "project_admin", "*"), ("ann", "project_admin", "heart"), ("bob", "lead", "lung")])
    for verb, *payload in (
        INVITES_ITSELF,
        ("admin.invite", "ann2", {"kind": "admin", "role": "project_admin", "studies": "heart,lung"}),
        ("admin.invite", "hospital", {"kind": "relay", "address": "grpc://127.0.0.1:1", "studies": "heart"}),
        ("admin.remove", "chief"),
        ("admin.remove", "bob"),
        ("admin.audit", 10),
    ):
        with pytest.raises(FlareError, match="ask an administrator of those"):
            made.ask(made.kits["ann"], verb.removeprefix("admin."), *payload)
    made.ask(made.kits["chief"], "invite", "guest", {"kind": "admin", "role": "lead", "studies": "lung"})
    with pytest.raises(FlareError, match="guest concerns the studies lung"):  # nor makes an invitation void
        made.ask(made.kits["ann"], "invite", "guest", {"kind": "admin", "role": "lead", "studies": "heart"})
    made.ask(made.kits["ann"], "invite", "site-2", {"studies": "heart"})


def test_a_link_that_a_job_leaves_in_its_folder_is_not_downloaded(server):
    made = server([("ann", "lead", "default")])
    job = made.add_job("ann", "default", "finished")
    run = made.daemon.jobs_folder / job / "run"
    (run / "key.txt").symlink_to(made.project.folder / "authority" / "private.key")
    assert [name for name, _ in made.ask(made.kits["ann"], "files", job)] == ["log.txt"]
    app = made.daemon.jobs_folder / job / "app"
    app.mkdir()
    (app / "meta.json").write_text("{}")
    (app / "key.txt").symlink_to(run / "key.txt")
    assert [name for name, _ in made.ask(made.kits["ann"], "job_files", job)] == ["meta.json"]
    with pytest.raises(FlareError, match="no log or record"):
        made.ask(made.kits["ann"], "read", job, "key.txt", 0)


def test_a_project_file_allows_only_relays_above_other_names_and_no_project_admin_below_them(tmp_path):
    from flare_deploy.provision.kit import KitError
    from flare_deploy.provision.project_file import provision

    head = "api_version: 3\nname: p\nparticipants:\n  - {name: host, type: server}\n"
    ann = "  - {name: ann, type: admin, role: member}\n"
    for entry in ("{name: ann.smith, type: admin, role: project_admin}", "{name: ann.ward, type: client}"):
        path = tmp_path / "project.yml"
        path.write_text(f"{head}{ann}  - {entry}\n")
        with pytest.raises(KitError, match=r"ann \(admin\) could act as ann\."):
            provision(path, tmp_path / "workspace")
    relay = "  - {name: hub, type: relay, listening_host: hub.example.org}\n"
    path.write_text(f"{head}{relay}  - {{name: hub.ann, type: admin, role: project_admin}}\n")
    with pytest.raises(KitError, match=r"hub \(relay\) could act as hub\.ann \(project_admin\)"):
        provision(path, tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_jobs_are_listed_in_pages_of_those_that_one_may_see(server):
    made = server([("ann", "lead", "heart,liver")])
    ann = made.kits["ann"]
    studies = ["heart", "lung", "heart", "liver", "heart"]
    ids = [made.add_job("somebody", study, "finished") for study in studies]
    visible = [id_ for id_, study in zip(ids, studies, strict=True) if study != "lung"]

    def page(**options):
        return [job["id"] for job in made.ask(ann, "jobs", options)]

    assert page() == visible
    assert page(limit=3) == visible[:3]
    assert page(limit=3, after=visible[2]) == visible[3:]
    assert page(after=visible[3]) == page(study="lung") == []
    assert page(study="heart", limit=2) == [ids[0], ids[2]]
    for options, problem in (({"limit": 0}, "page of 0 jobs"), ({"after": ids[1]}, "there is no job")):
        with pytest.raises(FlareError, match=problem):
            page(**options)
