"""Waiting for the impossible, or for something unavailable, is reported: at once, or where the job is shown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flare_deploy.admin import AdminError

pytestmark = pytest.mark.timeout(120)


def test_a_job_that_names_an_unknown_site_is_refused(hospital):
    place = hospital()
    job = place.noise_job(meta={"mandatory_clients": ["site-9"]})
    with place.admin() as admin, pytest.raises(AdminError, match=r"the job names site-9.*did you mean site-\d\?"):
        admin.submit(job)


@pytest.mark.at_length
def test_a_job_that_requests_more_than_any_site_has_says_that_it_cannot_start(hospital):
    place = hospital()
    needs = {"resource_spec": {"@ALL": {"num_of_gpus": 1000}}}
    with place.admin() as admin:
        states = admin.changes(admin.submit(place.noise_job(meta=needs))["id"], timeout_s=60)
        reason = next(each["reason"] for each in states if each["state"] == "waiting")
    assert reason.startswith("it cannot start with the sites of this project: 2 sites are needed, 0 are ready")
    assert "site-1: 1000 GPUs are needed, it has 0" in reason


def test_a_waiting_job_says_what_it_is_waiting_for_now(hospital):
    place = hospital()
    place.stop("site-1")
    place.wait_disconnected("site-1")
    with place.admin() as admin:
        states = admin.changes(admin.submit(place.noise_job())["id"], timeout_s=60)
        reason = next(each["reason"] for each in states if each["state"] == "waiting")
        assert reason == "2 sites are needed, 1 are ready (site-1 is not connected)"
        place.stop("site-2")
        assert next(states)["reason"] == (
            "2 sites are needed, 0 are ready (site-1 is not connected; site-2 is not connected)"
        )
        admin.remove("site-2")
        assert next(states)["reason"].startswith("it cannot start with the sites of this project")


@pytest.mark.at_length
def test_starting_a_client_that_cannot_connect_reports_what_it_waits_for(hospital):
    place = hospital(1)
    place.stop("site-1")
    place.stop("server")
    code = (
        "import sys; from pathlib import Path; from flare_deploy.daemons import start_daemon;"
        "start_daemon('client', Path(sys.argv[1]), owned=True).stop(); print('was ready')"
    )
    command = [sys.executable, "-c", code, str(place.kit("site-1"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        place.restart("server")
        said, _ = process.communicate(timeout=60)
    assert told.startswith(f"the client of {place.kit('site-1')} is waiting: ")
    assert said == "was ready\n"
