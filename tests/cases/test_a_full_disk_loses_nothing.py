"""When the server's disk fills up, the server survives, and every job continues or fails with the reason."""

from __future__ import annotations

import json
import threading

import psutil
import pytest

from flare_deploy.admin import AdminError


@pytest.fixture
def held(hospital):
    """A federation with a job that is held in its third round until the event is set."""
    place = hospital()
    go_on, is_held = threading.Event(), threading.Event()

    def decide(site, pid, times):
        is_held.set()
        go_on.wait(60)

    with place.admin() as admin:
        id_ = admin.submit(place.noise_job(place.gate(decide)))["id"]
    assert is_held.wait(60)
    yield place, id_, go_on
    go_on.set()


def limit_files(place, size: int) -> None:
    """Limit the size of the server's files; -1 is no limit. This needs neither privileges nor a full disk."""
    server = psutil.Process(place.poc.status()["server"])
    for process in (server, *server.children(recursive=True)):
        process.rlimit(psutil.RLIMIT_FSIZE, (size, -1))


@pytest.mark.timeout(120)
def test_a_job_that_cannot_be_saved_fails_with_the_files_name_once_that_can_be_recorded(held):
    place, id_, go_on = held
    process = place.job_process()
    limit_files(place, 0)
    go_on.set()
    place.wait_gone(process)
    with place.admin() as admin:
        assert admin.job(id_)["state"] == "running"  # because nothing else could be written
        limit_files(place, -1)
        found = admin.wait(id_, timeout_s=60)
        folder = admin.download(id_, place.folder / "result")
        assert (found["state"], admin.job(id_)["state"]) == ("failed", "failed")
    assert f"File too large: '{place.kit('server')}" in found["reason"]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["outcome"], summary["error"]) == ("failed", found["reason"])
    after, _ = place.run(place.noise_job())
    assert after["state"] == "finished"


@pytest.mark.timeout(120)
@pytest.mark.at_length
def test_a_job_submitted_to_a_full_disk_is_refused_with_the_reason_and_the_server_survives(held):
    place, id_, go_on = held
    limit_files(place, 0)
    with place.admin() as admin, pytest.raises(AdminError, match=r"File too large|cannot be used now"):
        admin.submit(place.noise_job(name="second"))
    limit_files(place, -1)
    go_on.set()
    found, _ = place.result(id_)
    assert found["state"] == "finished"
    with place.admin() as admin:
        assert [job["id"] for job in admin.jobs()] == [id_]


@pytest.mark.timeout(120)
@pytest.mark.at_length
def test_an_abort_that_cannot_be_written_is_not_acknowledged(held):
    place, id_, _ = held
    limit_files(place, 0)
    with place.admin() as admin, pytest.raises(AdminError, match=r"is aborted or over, but .* abort it again later"):
        admin.abort(id_)
    place.kill("server")  # the new one has no limit, and knows of no abort
    with place.admin() as admin:
        admin.abort(id_)
    place.kill("server")
    found = place.wait(id_)
    assert (found["state"], found["reason"]) == ("aborted", "aborted by admin")


@pytest.mark.timeout(120)
def test_a_job_whose_end_could_not_be_recorded_before_a_kill_runs_again_at_the_same_sites(held):
    place, id_, go_on = held
    limit_files(place, 0)
    with place.admin() as admin:
        with pytest.raises(AdminError, match="is aborted or over"):
            admin.abort(id_)
        while "to be recorded" not in str(admin.job(id_)):
            threading.Event().wait(0.1)
    place.kill("server")
    go_on.set()
    found, _ = place.result(id_)
    assert found["state"] == "finished"
