"""Waiting for a job survives a server restart, reports it meanwhile, and ends if no answer can ever come."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import pytest

from flare_core import FlareError
from flare_deploy import Admin, ProdEnv
from flare_deploy.admin import AdminError

pytestmark = pytest.mark.timeout(150)

HELD = """
    import socket, sys
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        if model.current_round == 1:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(sys.argv[1])
                connection.sendall(f"{flare.get_site_name()} 1".encode())
                connection.recv(1)
        flare.send(flare.FLModel(params=model.params, metrics={"accuracy": 0.5}))
"""


class Waiting:
    """A thread that waits for something, and the messages it has received."""

    def __init__(self, admin: Admin, wait) -> None:
        self.told: list[str] = []
        self.news = threading.Event()
        self.found: list = []
        self.problems: list[FlareError | TimeoutError] = []
        admin.connection.notify = self._note
        self._thread = threading.Thread(target=self._run, args=(admin, wait), daemon=True)
        self._thread.start()

    def _note(self, text: str) -> None:
        self.told.append(text)
        self.news.set()

    def _run(self, admin: Admin, wait) -> None:
        try:
            self.found.append(wait(admin))
        except (FlareError, TimeoutError) as error:
            self.problems.append(error)

    def end(self):
        self._thread.join(60)
        assert not self._thread.is_alive(), "it still waits"
        return self


@pytest.fixture
def held(hospital):
    """A federation with a job that is held in its second round until the event is set."""
    place = hospital()
    go_on, is_held = threading.Event(), threading.Event()

    def decide(site, pid, times):
        is_held.set()
        go_on.wait(60)

    job = place.job(HELD, [str(place.gate(decide).path)], rounds=3)
    with place.admin() as admin:
        id_ = admin.submit(job)["id"]
    assert is_held.wait(60)
    yield place, id_, go_on
    go_on.set()


def test_a_wait_continues_after_the_server_is_killed_and_restarted(held):
    place, id_, go_on = held
    with place.admin() as admin:
        waiting = Waiting(admin, lambda each: each.wait(id_))
        place.end("server")
        assert waiting.news.wait(30)
        assert "is unavailable" in waiting.told[0]
        assert "waiting for it for up to 600 s" in waiting.told[0]
        place.restart("server")
        go_on.set()
        waiting.end()
    assert waiting.problems == []
    assert waiting.found[0]["state"] == "finished"
    assert waiting.told[-1] == "the server of the project poc is back"


@pytest.mark.at_length
def test_a_wait_continues_after_the_server_is_stopped_and_restarted(held):
    place, id_, go_on = held
    with place.admin() as admin:
        waiting = Waiting(admin, lambda each: each.wait(id_))
        log = Waiting(admin, lambda each: "".join(each.logs(id_, follow=True)))
        place.stop("server")
        assert log.news.wait(30)
        place.restart("server")
        go_on.set()
        assert waiting.end().found[0]["state"] == "finished"
        assert log.end().problems == []


def test_waiting_for_a_result_survives_a_restart(held, tmp_path):
    place, _, go_on = held
    from flare_runtime.run.folder import RunFolder

    job = place.job(rounds=2, args=["", "-1"], name="second")
    run = ProdEnv(place.poc.admin, workspace_root=tmp_path).deploy(job)
    place.kill("server")
    go_on.set()
    folder = RunFolder(run.get_result(timeout=60))
    assert folder.summary.is_file()
    assert folder.checkpoint("global").is_file()


@pytest.mark.at_length
def test_a_wait_ends_when_the_server_does_not_come_back_in_time(held):
    place, id_, _ = held
    with place.admin() as admin:
        admin.connection.patience_s = 1.0
        waiting = Waiting(admin, lambda each: each.wait(id_))
        place.end("server")
        waiting.end()
        place.restart("server")
    (problem,) = waiting.problems
    assert isinstance(problem, AdminError)
    assert "it was not back within 1 s; its jobs continue when it is restarted" in str(problem)


@contextmanager
def without_its_jobs(place):
    """Make the server's database unable to answer about jobs within the block."""
    (path,) = place.kit("server").glob("state/*.db")
    with closing(sqlite3.connect(path, timeout=30)) as database:
        database.execute("ALTER TABLE jobs RENAME TO away")
        yield
        database.execute("ALTER TABLE away RENAME TO jobs")


def test_a_wait_continues_when_the_database_is_available_again(held):
    place, id_, go_on = held
    with place.admin() as admin:
        with without_its_jobs(place):
            waiting = Waiting(admin, lambda each: each.wait(id_))
            assert waiting.news.wait(30)
            assert "cannot be used now" in waiting.told[0]
        go_on.set()
        assert waiting.end().found[0]["state"] == "finished"
    assert waiting.problems == []


@pytest.mark.at_length
def test_a_wait_ends_when_the_database_is_unavailable_for_too_long(held):
    place, id_, _ = held
    with place.admin() as admin, without_its_jobs(place):
        admin.connection.patience_s = 1.0
        waiting = Waiting(admin, lambda each: each.wait(id_)).end()
    (problem,) = waiting.problems
    assert "it was not back within 1 s" in str(problem)
    assert len(waiting.told) == 1


@pytest.mark.at_length
def test_a_timeout_holds_while_the_server_is_away(held):
    place, id_, _ = held
    with place.admin() as admin:
        waiting = Waiting(admin, lambda each: each.wait(id_, timeout_s=3.0))
        place.end("server")
        waiting.end()
        place.restart("server")
    (problem,) = waiting.problems
    assert isinstance(problem, TimeoutError)


@pytest.mark.at_length
def test_a_timeout_holds_while_another_thread_waits_for_the_server(held):
    place, id_, _ = held
    with place.admin() as admin:
        log = Waiting(admin, lambda each: "".join(each.logs(id_, follow=True)))
        place.end("server")
        assert log.news.wait(30)
        with pytest.raises(TimeoutError):
            admin.wait(id_, timeout_s=1.0)
        place.restart("server")


@pytest.mark.at_length
def test_a_wait_ends_when_the_administrator_was_removed_meanwhile(held):
    place, id_, _ = held
    with place.admin() as admin:
        token = admin.invite("second@poc", kind="admin", role="lead")
    from flare_deploy.provision.join import join

    kit = join(token, place.folder / "second")
    with Admin.connect(kit) as second:
        waiting = Waiting(second, lambda each: each.wait(id_))
        with place.admin() as admin:
            admin.remove("second@poc")
        waiting.end()
    (problem,) = waiting.problems
    assert "removed from the project" in str(problem)


@pytest.mark.at_length
def test_a_wait_ends_when_another_projects_server_is_there_instead(held, hospital):
    place, id_, _ = held
    with place.admin() as admin:
        admin.connection.patience_s = 20.0  # of which a tenth is for handshakes
        waiting = Waiting(admin, lambda each: each.wait(id_))
        place.end("server")
        port = int(admin.kit.info.address.rpartition(":")[2])
        hospital(1, port=port)
        waiting.end()
    (problem,) = waiting.problems
    assert "the server no longer accepts admin" in str(problem)


def test_the_command_reports_what_it_waits_for_and_continues(held):
    place, _, go_on = held
    place.stop("site-2")
    place.wait_disconnected("site-2")
    with place.admin() as admin:
        id_ = admin.submit(place.noise_job(name="second"))["id"]
    command = [sys.executable, "-m", "flare_deploy.cli", "job", "wait", id_, "--kit", str(place.poc.admin)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("(site-2 is not connected)" in line for line in process.stderr)
        place.end("server")
        assert any("waiting for it for up to" in line for line in process.stderr)
        place.restart("server")
        place.restart("site-2")
        go_on.set()
        out, rest = process.communicate(timeout=60)
    assert "is back" in rest
    assert process.returncode == 0
    assert "finished" in out
