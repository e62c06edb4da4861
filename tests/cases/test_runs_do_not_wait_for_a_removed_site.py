"""A site removed from the project does not come back, so a run that needs it ends, and others continue."""

from __future__ import annotations

import threading

import pytest

pytestmark = pytest.mark.deployed


@pytest.fixture
def running(hospital):
    """Starts a job of two sites, whose scripts wait in a round until they may go on."""

    def make(**job):
        place = hospital(2)
        asked, go_on = threading.Event(), threading.Event()

        def decide(*_):
            asked.set()
            go_on.wait(60)

        with place.admin() as admin:
            job_id = admin.submit(place.noise_job(place.gate(decide), **job))["id"]
        assert asked.wait(60)
        return place, job_id, go_on

    return make


@pytest.mark.parametrize("is_away", [True, pytest.param(False, marks=pytest.mark.at_length)])
def test_a_run_that_needs_it_fails_at_once_and_says_why(running, is_away):
    place, job_id, go_on = running(min_clients=2)
    if is_away:
        place.end("site-2")
        place.wait_for_events(job_id, {"event": "SiteLeft", "site": "site-2"})
    with place.admin() as admin:
        admin.remove("site-2")
    go_on.set()
    found, _ = place.result(job_id)
    assert found["state"] == "failed"
    assert "2 sites are needed, and 1 is left" in found["reason"]
    assert "site-2: it was removed from the project" in found["reason"]


def test_a_run_that_does_not_need_it_continues(running):
    place, job_id, go_on = running(min_clients=1)
    with place.admin() as admin:
        admin.remove("site-2")
    go_on.set()
    found, _ = place.result(job_id)
    assert found["state"] == "finished", found["reason"]
