"""Flower runs that fail: the reason is told, with the site and the traceback, and no process is left."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from fast_clock import FastClock
from flower_probe import PROBE, left_after, probe

from flare_core import JobFailed
from flare_core.components import Component
from flare_core.job import ClientApp, ExecutorEntry
from flare_flower import FlowerRecipe, server
from flare_runtime import SimEnv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def reason(run) -> str:
    with pytest.raises(JobFailed) as failed:
        run.get_result()
    return f"{failed.value}\n{failed.value.traceback}"


def test_a_round_without_results_fails_with_the_traceback_of_a_client(simulate, tmp_path):
    text = reason(simulate(probe(behavior="raise", partition=-1)))
    assert "none of 2 nodes has a result of 'train' in round 1" in text
    assert "ValueError: the rows of this site are broken" in text
    assert "client_app.py" in text
    assert left_after(tmp_path) == []


def test_one_failing_client_is_a_warning_and_the_run_goes_on(simulate):
    run = simulate(probe(behavior="raise", partition=1, rounds=1))
    summary = run.summary()
    assert run.get_status().name == "FINISHED"
    assert any("site-2" in str(each) and "rows of this site are broken" in str(each) for each in summary["warnings"])


def test_an_error_of_the_serverapp_is_the_jobs_error(simulate):
    text = reason(simulate(probe(behavior="server-raise")))
    assert "RuntimeError: the ServerApp has a bug" in text
    assert "server_app.py" in text


def test_too_few_nodes_are_counted_and_the_run_ends_after_the_configured_time(simulate, tmp_path):
    recipe = FlowerRecipe(name="probe", flower_content=PROBE, min_clients=2, run_config={"nodes": 3}, stop_after_s=3.0)
    started = time.monotonic()
    text = reason(simulate(recipe))
    assert "2 of 3" in text
    assert time.monotonic() - started < 60
    assert left_after(tmp_path) == []


def test_an_import_that_a_site_lacks_is_told_before_the_start(simulate, tmp_path):
    app = tmp_path / "app"
    shutil.copytree(PROBE, app)
    client = app / "probe_app" / "client_app.py"
    client.write_text("import pandas_of_the_future\n" + client.read_text())
    text = reason(simulate(FlowerRecipe(name="probe", flower_content=app, min_clients=2)))
    assert "site-1 lacks the package 'pandas_of_the_future'" in text
    assert "client_app.py, line 1" in text
    assert "pip install" in text


def test_an_owner_who_requires_filters_keeps_the_app_away(simulate, tmp_path):
    policy = tmp_path / "runs" / "local" / "site-2" / "flower.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"require_filters": true}')
    text = reason(simulate(probe()))
    assert "the owner of site-2 requires filters" in text


def test_a_clock_that_is_ten_minutes_ahead_is_told_before_the_start(tmp_path):
    recipe = probe()
    recipe.add_client_file(Path(__file__).parent / "fast_clock.py")
    job = recipe.job()
    job.sites["site-2"] = ClientApp(executors=[ExecutorEntry(("*",), Component.of(FastClock(), what="executor"))])
    run = SimEnv(num_clients=2, workspace_root=tmp_path / "runs").deploy(job)
    text = reason(run)
    assert "the clock of site-2 is 600 s ahead of the server's" in text
    assert "set it with NTP" in text
    assert left_after(tmp_path) == []


def test_the_reason_of_a_refusal_is_told_without_the_notices_before_it():
    notice = "Heads up from Flower!\n\nMigration completed successfully!\nUsing SuperLink: flare (127.0.0.1:43869)\n\n"
    output = json.dumps({"success": False, "error-message": f"{notice}The name is invalid.\n"})
    assert server._refusal(1, output) == "The name is invalid."
    assert server._refusal(0, json.dumps({"success": True})) is None
