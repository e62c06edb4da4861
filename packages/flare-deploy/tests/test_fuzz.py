"""Fuzzed input of people and sites: archives, tokens, kits, project files, and the resources of jobs and sites.

Each input is accepted or raises a FlareError; nothing is written outside the target folder, and nothing hangs.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import shutil
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_core import FlareError, JobError
from flare_deploy.archive import pack_folder, read_entry, unpack
from flare_deploy.provision.kit import Kit, KitError, KitInfo
from flare_deploy.provision.project import Project
from flare_deploy.provision.project_file import provision
from flare_deploy.provision.tokens import Invitation, make_invitation
from flare_deploy.server.scheduler import Capacity, Needs, natural_order

EACH = settings(suppress_health_check=list(HealthCheck))
FEW = settings(EACH, max_examples=max(10, settings().max_examples // 10))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["..", "/x", "a/b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def mutated(draw, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data)


# Archives

NAMES = st.sampled_from(
    ["a", "a/b", "../x", "/etc/x", "a/../../x", "a\\b", "C:x", ".", "..", "a/", "./a", "x" * 300, "a\0b", "\x1b[2J"]
) | st.text(min_size=1, max_size=10)


@given(
    names=st.lists(NAMES, max_size=5),
    method=st.sampled_from([0, 8, 12, 14]),
    modes=st.integers(0, 0xFFFF),
    data=st.data(),
)
@EACH
def test_fuzz_an_archive_is_unpacked_in_its_folder_or_refused(tmp_path, names, method, modes, data):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as target, suppress(UnicodeEncodeError):
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = modes << 16
            entry.compress_type = method
            if entry.filename and entry.filename not in target.namelist():
                target.writestr(entry, b"content" * 20)
    content = made.getvalue()
    path = tmp_path / "in" / "job.zip"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(mutated(data.draw, content) if data.draw(st.booleans()) else content)
    folder = tmp_path / "deep" / "er" / "out"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(JobError):
        unpack(path, folder)
    with suppress(JobError):
        read_entry(path, "a")
    outside = [each for each in tmp_path.rglob("*") if each != path and not each.is_dir()]
    assert all(each.is_relative_to(folder) and not each.is_symlink() for each in outside)
    shutil.rmtree(folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods_that_need_much_memory_are_refused(tmp_path, method):
    path = tmp_path / "job.zip"
    with zipfile.ZipFile(path, "w", method) as target:
        target.writestr("meta.json", bytes(1 << 20))
    for read in (lambda: unpack(path, tmp_path / "out"), lambda: read_entry(path, "meta.json")):
        with pytest.raises(JobError, match="not compressed with 'deflate'"):
            read()


def test_a_zip_bomb_named_meta_json_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "job.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("meta.json", bytes(50 << 20))
    with pytest.raises(JobError, match="more than 1048576 bytes"):
        read_entry(path, "meta.json")


def test_an_archive_that_declares_too_many_bytes_is_refused(tmp_path):
    path = tmp_path / "job.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for number in range(5):  # of 4 GiB each, as the central directory declares
            target.writestr(f"large-{number}", b"small")
    content = bytearray(path.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        content[place + 24 : place + 28] = b"\xfe\xff\xff\xff"  # the size when unpacked
        place = content.find(b"PK\x01\x02", place + 1)
    path.write_bytes(content)
    with pytest.raises(JobError, match="has more than"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_that_leads_out_is_not_packed(tmp_path):
    (tmp_path / "secret").write_text("key")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "data").symlink_to(tmp_path / "secret")
    with pytest.raises(JobError, match=r"is a link that leads out of the job folder"):
        pack_folder(tmp_path / "job", tmp_path / "job.zip")


# Tokens, kits, project files


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    made = Project.create(folder / "project", name="hospitals", address="grpc://127.0.0.1:1")
    made.make_kit(folder / "site-1", "site-1", "client")
    return made


@functools.cache  # each invitation differs, and the draws depend on its length
def token_values(project):
    invitation = make_invitation(project.authority, KitInfo("site-9", "client", "p", "grpc://h:1"), valid_days=1)
    packed = base64.urlsafe_b64decode(invitation.token().removeprefix("flare1-") + "==")
    return json.loads(zlib.decompress(packed))


def token_of(project, changes):
    return packed_token({**token_values(project), **changes})


def packed_token(values):
    return "flare1-" + base64.urlsafe_b64encode(zlib.compress(json.dumps(values).encode(), 9)).decode()


@given(data=st.data())
@EACH
def test_fuzz_a_changed_token_is_an_invitation_or_a_kit_error(project, data):
    key = data.draw(st.sampled_from(["name", "kind", "project", "address", "server", "guest", "credentials", "more"]))
    for token in (
        token_of(project, {key: data.draw(values)}),
        packed_token(data.draw(values)),
        mutated(data.draw, token_of(project, {}).encode()).decode("latin-1"),
    ):
        with suppress(KitError):
            found = Invitation.read(token)
            assert Path(found.info.name).name == found.info.name


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..", ".ssh", ""])
def test_a_token_does_not_choose_the_folder_of_the_kit(project, name):
    with pytest.raises(KitError, match="invited participant's name"):
        Invitation.read(token_of(project, {"name": name}))


def test_a_token_that_unpacks_to_many_bytes_is_refused(project):
    with pytest.raises(KitError, match="larger than an invitation can be"):
        Invitation.read("flare1-" + base64.urlsafe_b64encode(zlib.compress(b" " * (40 << 20), 9)).decode())


@given(
    name=st.sampled_from(["kit.json", "certificate.pem", "private.key", "authority.pem", "signature.json"]),
    data=st.data(),
)
@EACH
def test_fuzz_a_changed_kit_is_refused_or_the_same(project, tmp_path, name, data):
    folder = tmp_path / "kit"
    shutil.copytree(project.folder.parent / "site-1", folder, dirs_exist_ok=True)
    path = folder / "startup" / name
    content = path.read_bytes()
    if name.endswith("json") and data.draw(st.booleans()):
        document = json.loads(content)
        document[data.draw(st.sampled_from(sorted(document)))] = data.draw(values)
        path.write_text(json.dumps(document if data.draw(st.booleans()) else data.draw(values)))
    else:
        path.write_bytes(mutated(data.draw, content))
    with suppress(KitError):
        assert Kit.load(folder).info.name == "site-1"


PROJECT = """
api_version: 3
name: hospitals
participants:
  - {name: flare.example.org, type: server, org: hub, fed_learn_port: 8102}
  - {name: hospital-a, type: client, org: a}
  - {name: admin@example.org, type: admin, org: hub, role: project_admin}
"""


@given(data=st.data())
@FEW
def test_fuzz_a_changed_project_file_is_a_project_or_a_kit_error(tmp_path, data):
    path = tmp_path / "in" / "project.yml"
    path.parent.mkdir(exist_ok=True)
    old = data.draw(st.sampled_from(["3", "hospitals", "server", "8102", "hospital-a", "client", "[", "project_admin"]))
    text = PROJECT.replace(old, json.dumps(data.draw(values)), 1).encode()
    path.write_bytes(text if data.draw(st.booleans()) else mutated(data.draw, PROJECT.encode()))
    workspace = tmp_path / "deep" / "er" / "workspace"
    with suppress(FlareError):
        provision(path, workspace)
    assert [each for each in tmp_path.rglob("*") if each.is_file() and not each.is_relative_to(workspace)] == [path]
    shutil.rmtree(workspace, ignore_errors=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: hospital-a", "name: ../../hospital-a", "use up to 100 letters"),
        ("name: hospital-a", "name: server", "the name '.*' is reserved"),
        ("name: hospital-a", "name: server.x", "the name '.*' is reserved"),
        ("name: hospital-a", "name: enroll@1", "the name '.*' is reserved"),
        ("name: hospital-a", "name: admin@example.org", "more than once"),
        ("org: a", "org: [1]", "org of hospital-a"),
        ("name: hospitals", "name: ../x", "use up to 100 letters"),
        ("participants:", "participants: 5\nothers:", "participants is 5"),
        ("name: flare.example.org", "name: 'a b/c'", "flare|address|a b"),
        ("3", "2020-99-99", "cannot be read"),
    ],
)
def test_invalid_names_in_a_project_file_are_refused(tmp_path, old, new, message):
    path = tmp_path / "project.yml"
    path.write_text(PROJECT.replace(old, new, 1))
    with pytest.raises(KitError, match=message):
        provision(path, tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_a_billion_laughs_in_a_project_file_give_a_short_message(tmp_path):
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    path = tmp_path / "project.yml"
    path.write_text(f"api_version: 3\nname: p\nl0: &l0 [x]\n{levels}\nparticipants: [*l11]\n")
    with pytest.raises(KitError, match="a participant is") as caught:
        provision(path, tmp_path / "workspace")
    assert len(str(caught.value)) < 1000


# Resources of jobs and sites


@given(
    key=st.sampled_from(["deploy_map", "resource_spec", "min_clients", "mandatory_clients", "server_files"]),
    value=values,
)
@EACH
def test_fuzz_the_needs_of_a_job_are_read_or_refused(key, value):
    with suppress(JobError):
        needs = Needs.of({"name": "x", key: value})
        assert Needs.from_json(json.loads(json.dumps(needs.to_json()))) == needs


@given(declared=values | st.fixed_dictionaries({"num_of_gpus": values, "num_of_cpus": values}))
@EACH
def test_fuzz_the_resources_of_a_site_are_read_or_refused(declared):
    with suppress(JobError):
        Capacity.of(declared).fit({"num_of_gpus": 1})


def test_a_site_with_a_billion_gpus_is_refused():
    with pytest.raises(JobError, match="a site declares"):
        Capacity.of({"num_of_gpus": 10**12})


@given(st.lists(st.text(max_size=6), max_size=5))
def test_fuzz_all_names_can_be_sorted(names):
    assert sorted(natural_order(names)) == sorted(names)
