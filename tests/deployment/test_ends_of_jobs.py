"""The server records each job's end once, starts nothing twice, and does not wait for missing folders."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing

import pytest

from flare_core import Job, JobError
from flare_core.job import ClientApp, CodeBundle, ServerApp
from flare_core.job_folder import export_job
from flare_deploy.archive import pack_folder, sha256_of
from flare_deploy.provision.project import Project, participant_of
from flare_deploy.server.daemon import ServerDaemon
from flare_deploy.server.scheduler import Capacity, Needs
from flare_deploy.server.store import JobRow

pytestmark = pytest.mark.deployed


@pytest.fixture
def daemon(tmp_path):
    project = Project.create(tmp_path / "p", name="hospitals", address="grpc://127.0.0.1:1", admin=None)
    kit = project.make_kit(tmp_path / "kit", "site-1", "client")
    project.register([participant_of(kit, studies="*")])
    daemon = ServerDaemon(project.folder / "server")
    yield daemon
    daemon.close()


def submit(daemon, folder, name):
    """Submit a job that waits because no site is connected."""
    (folder / "code").mkdir(exist_ok=True)
    job = export_job(Job("x", 1, ServerApp(), ClientApp(), CodeBundle(folder / "code")), folder / f"{name}-jobs")
    archive = pack_folder(job, folder / f"{name}.zip")
    needs = Needs.of({"name": "x", "min_clients": 1}).to_json()
    row = JobRow("", name, "default", "admin", sha256_of(archive), needs=needs, submitted=time.time())
    daemon.add_job(row, archive)
    return daemon.store.job(row.id)


@pytest.mark.at_length
def test_a_job_whose_folder_was_lost_can_be_aborted(daemon, tmp_path):
    row = submit(daemon, tmp_path, "first")
    shutil.rmtree(daemon.jobs_folder / row.id)
    daemon.abort(row, "admin")
    assert daemon.records.unrecorded_end(row.id) is None
    assert daemon.store.job(row.id).state == "aborted"


def test_an_unrecorded_end_is_not_replaced_by_an_abort(daemon, tmp_path):
    row = submit(daemon, tmp_path, "first")
    with closing(sqlite3.connect(daemon.kit.folder / "state" / "flare.db")) as database:
        database.execute("CREATE TRIGGER full BEFORE UPDATE ON jobs BEGIN SELECT RAISE(FAIL, 'full'); END")
        database.commit()
        for who in ("first@p", "second@p"):
            with pytest.raises(JobError, match=r"aborted or over, but .* cannot be used now"):
                daemon.abort(row, who)
        database.execute("DROP TRIGGER full")
        database.commit()
    with daemon.changed:
        daemon.changed.wait_for(lambda: daemon.records.unrecorded_end(row.id) is None, 30)
    assert daemon.store.job(row.id).reason == "aborted by first@p"


@pytest.mark.at_length
def test_a_job_that_cannot_be_started_is_tried_once(daemon, tmp_path, caplog):
    rows = [submit(daemon, tmp_path, name) for name in ("first", "second")]
    for row in rows:
        (daemon.jobs_folder / row.id / "plan.json").mkdir()  # so that its plan cannot be written
    daemon.connected["site-1"] = Capacity(0, 8.0, 0.0)
    with caplog.at_level("INFO"):
        daemon.schedule()
    assert [daemon.store.job(row.id).state for row in rows] == ["failed", "failed"]
    ends = [record.getMessage() for record in caplog.records if record.getMessage().startswith("job ended")]
    assert len(ends) == 2
