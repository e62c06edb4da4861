"""Each site is sent its own part of a job."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from flare_core import Job
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, ServerApp
from flare_core.job_folder import export_job, load_job
from flare_deploy.archive import sha256_of, unpack
from flare_deploy.server.site_archives import make_site_archives, site_archive


def app(text, code=None):
    executor = Component("flare_runtime.scripts.ScriptExecutor", {"script": "client.py", "args": [text]})
    return ClientApp([ExecutorEntry(("*",), executor)], config={"data": text}, code=code)


@pytest.fixture
def archives(tmp_path):
    """The archives of a job with parts for sites, and the job."""
    code, own = tmp_path / "code", tmp_path / "own"
    for folder, names in {code: ("client.py", "model.bin"), own: ("client.py", "mine.py")}.items():
        folder.mkdir()
        for name in names:
            (folder / name).write_text(f"{folder.name} {name}")
    bundle = CodeBundle(own, (PurePosixPath("client.py"), PurePosixPath("mine.py")))
    job = Job(
        "job",
        1,
        ServerApp(config={"token": "of the server"}),
        app("of all"),
        CodeBundle(code, (PurePosixPath("client.py"), PurePosixPath("model.bin"))),
        sites={
            "site-1": app("of one"),
            "site-2": app("of two", bundle),
            **{f"twin-{n}": app("twin") for n in range(300)},
        },
        seed=7,
        meta={
            "server_files": ["model.bin"],
            "mandatory_clients": ["site-1"],
            "recipe": {
                "class": "Some",
                "arguments": {
                    "rounds": 3,
                    "train_args": "of all",
                    "per_site_config": {"site-1": {"train_args": "of one"}},
                },
                "added": {"server components": {"a": "of the server"}, "site-1 components": {"b": "of one"}},
                "code": {"client.py": "digest", "model.bin": "of the server", "site-2/mine.py": "digest of two"},
            },
        },
    )
    folder = tmp_path / "archives"
    folder.mkdir()
    make_site_archives(export_job(job, tmp_path / "exported"), folder)
    return folder, job


def received(archives, site, tmp_path):
    folder = tmp_path / f"at-{site}"
    path, digest = site_archive(archives[0], site)
    assert sha256_of(path) == digest
    unpack(path, folder)
    return folder


@pytest.mark.parametrize(
    ("site", "own", "others"),
    [
        ("site-1", "of one", ("of two", "twin", "of all", "of the server", "own ")),
        ("site-2", "of two", ("of one", "twin", "of all", "of the server")),
        ("twin-3", "twin", ("of one", "of two", "of all", "of the server", "own ")),
        ("site-9", "of all", ("of one", "of two", "twin", "of the server", "own ")),
    ],
)
def test_a_site_is_sent_its_own_part_alone(archives, tmp_path, site, own, others):
    folder = received(archives, site, tmp_path)
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert any(own in text for text in texts)
    assert [other for other in others if any(other in text for text in texts)] == []
    assert not list(folder.rglob("model.bin"))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert not any("site-" in name or "twin" in name for name in names)


@pytest.mark.parametrize("site", ["site-1", "site-2", "twin-3", "site-9"])
def test_the_archive_of_a_site_is_a_job_with_the_same_part(archives, tmp_path, site):
    found, job = load_job(received(archives, site, tmp_path)), archives[1]
    assert (found.name, found.seed) == (job.name, job.seed)
    assert found.client_app(site).executors == job.client_app(site).executors
    assert found.client_app(site).config == job.client_app(site).config
    assert found.client_code(site).locate("client.py").read_text() == (
        job.client_code(site).locate("client.py").read_text()
    )
    of_all = {"train_args": "of all"} if site not in job.sites else {}
    assert found.meta["recipe"]["arguments"] == {"rounds": 3, **of_all}
    assert found.meta["recipe"]["code"] == {"client.py": "digest"} | (
        {"mine.py": "digest of two"} if site == "site-2" else {}
    )
    assert found.meta["recipe"]["added"] == ({"sites components": {"b": "of one"}} if site == "site-1" else {})
    assert found.server == ServerApp()


def test_sites_with_equal_parts_share_an_archive(archives):
    folder, _ = archives
    assert len({site_archive(folder, f"twin-{n}") for n in range(300)}) == 1
    assert len(list(folder.glob("*.zip"))) == 4


def test_archives_are_the_same_each_time_they_are_made(archives, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    make_site_archives(tmp_path / "exported" / "job", again)
    assert json.loads((again / "index.json").read_text()) == json.loads((archives[0] / "index.json").read_text())
