"""The text of ``flare status``."""

from __future__ import annotations

import time

from flare_deploy.cli.status import status_text

SITE = {"certificate_expires": None, "jobs": []}
JOB = {"id": "1", "name": "hello", "state": "running", "reason": "", "submitted": time.time() - 7000}


def test_it_says_what_each_job_is_waiting_for_and_since_when():
    text = status_text(
        {
            "project": "p",
            "address": "grpc://h:1",
            "version": "1",
            "certificate_days_left": 3.2,
            "sites": [
                {
                    "name": "site-1",
                    "connected": True,
                    "since": time.time() - 90,
                    "certificate_expires": None,
                    "jobs": [],
                },
                {
                    "name": "site-2",
                    "connected": False,
                    "since": None,
                    "certificate_expires": time.time() + 5.2 * 86400,
                    "jobs": ["1"],
                },
            ],
            "jobs": [
                {**JOB, "progress": {"round": 3, "rounds": 9, "waiting_for": "site-2", "since": time.time() - 30}},
                {**JOB, "id": "2", "state": "waiting", "reason": "2 sites are needed"},
            ],
        }
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "site-1 connected 2 min -" in lines
    assert "site-2 not connected - 1" in lines
    assert "1 hello running 3 of 9 site-2 30 s" in lines
    assert "2 hello waiting - 2 sites are needed 2 h" in lines
    assert "warning: the server's certificate expires in 3 days" in lines
    assert "warning: the certificate of site-2 expires in 5 days; 'flare renew' there" in lines
