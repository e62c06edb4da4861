"""Services at both ends of a simulated job."""

from __future__ import annotations

import json

import pytest

from flare_core import FlareError, JobFailed
from service_jobs import echo_script, with_services

SITES = ("site-1", "site-2")

FAILING = """
import threading

from flare_core import Service


class FailsToStart(Service):
    def start(self, context):
        raise OSError("the port is in use")

    def stop(self):
        pass


class FailsLater(Service):
    def start(self, context):
        threading.Thread(target=context.fail, args=(OSError("the port is gone"),)).start()

    def stop(self):
        pass


class TalksTooSoon(Service):
    def start(self, context):
        context.endpoint.request("site-1" if context.party != "site-1" else "site-2", "hello")

    def stop(self):
        pass
"""

RECORDING = """
from flare_core import Service


class Records(Service):
    def __init__(self, name="a"):
        self.name = name

    def start(self, context):
        self.context = context
        self.note("start")
        context.endpoint.handle("hello", lambda sender, data: f"hello {sender}")
        if context.party != "server":
            self.note(context.endpoint.request("server", "hello"))
        context.log("started", 1.0)
        context.warn("it has started")

    def stop(self):
        self.note(f"stop, cancelled {self.context.cancelled.is_set()}")

    def note(self, text):
        with (self.context.folder / "notes.txt").open("a") as file:
            file.write(f"{self.context.party} {self.name} {text}\\n")
"""


def run(project, job, **options):
    return project.env(2, **options).deploy(job)


@pytest.fixture
def job(project):
    def make(script: str | None = None):
        recipe = project.recipe(script, num_rounds=1) if script else project.recipe(num_rounds=1)
        return recipe.job()

    return make


@pytest.mark.parametrize("options", [{"share_processes": False}, {"share_processes": True, "num_threads": 1}])
def test_scripts_reach_every_other_party_through_an_echo_proxy(project, job, options):
    made = with_services(job(echo_script(*SITES)), "echo_proxy", server="EchoProxy", client="EchoProxy")
    done = run(project, made, **options)
    summary = json.loads((done.get_result() / "summary.json").read_text())
    assert summary["metrics"]["echoed"] == 2  # the server and the other site


@pytest.mark.parametrize("options", [{"share_processes": False}, {"share_processes": True, "num_threads": 1}])
def test_services_start_first_and_stop_last_in_reverse_order(project, job, options):
    made = with_services(job(), "recording", server="Records", client="Records", source=RECORDING)
    for app in (made.server, made.client):
        first = app.components["service"]
        app.components["second"] = type(first)(first.class_path, {"name": "b"})
    folder = run(project, made, **options).get_result()

    def notes(name):
        return (folder / name / "notes.txt").read_text().splitlines()

    stops = ["b stop, cancelled True", "a stop, cancelled True"]
    assert notes("server") == [f"server {each}" for each in ("a start", "b start", *stops)]
    for site in SITES:
        hello = f"hello {site}"
        starts = ("a start", f"a {hello}", "b start", f"b {hello}")
        assert notes(f"sites/{site}") == [f"{site} {each}" for each in (*starts, *stops)]
    summary = json.loads((folder / "summary.json").read_text())
    warned = "\n".join(summary["warnings"])
    assert "it has started" in warned
    assert "site-1" in warned
    numbers = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    reported = [row["site"] for row in numbers if row["key"] == "started"]
    assert sorted(map(str, reported)) == ["None", "None", "site-1", "site-1", "site-2", "site-2"]


@pytest.mark.parametrize(
    ("where", "service", "told"),
    [
        ("server", "FailsToStart", "the service FailsToStart at the server could not be started: OSError: the port is"),
        ("client", "FailsToStart", "the service FailsToStart at site-[12] could not be started: OSError: the port is"),
        ("server", "FailsLater", "the service FailsLater at the server failed: OSError: the port is gone"),
        ("client", "FailsLater", "the service FailsLater at site-[12] failed: OSError: the port is gone"),
        ("server", "TalksTooSoon", "a service's start.. cannot reach site-1, whose services may start later"),
        ("client", "TalksTooSoon", "a service's start.. cannot reach site-[12], whose services may start later"),
    ],
)
def test_a_service_that_fails_is_named_with_its_party(project, job, where, service, told):
    script = "import threading\nimport flare_core.client as flare\nflare.init()\nthreading.Event().wait()\n"
    made = with_services(
        job(script if service == "FailsLater" else None), "failing", source=FAILING, **{where: service}
    )
    with pytest.raises(JobFailed, match=told):
        run(project, made).get_result()


@pytest.mark.parametrize("where", ["server", "client"])
def test_a_component_that_nothing_would_use_fails_the_job(project, job, where):
    made = job()
    app = made.server if where == "server" else made.client
    app.components["mean"] = type(made.server.workflows[0])("flare_core.WeightedMean", {})
    with pytest.raises(FlareError, match="the component 'mean' is a WeightedMean, which is neither"):
        run(project, made).get_result()
