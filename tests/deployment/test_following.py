"""Runs are followed while they go on: in order, live, without holding them up, and across restarts."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest

from flare_core.events import MetricLogged, ModelSaved, RoundEnded, RoundStarted, RunEnded, RunStarted, SiteReplied
from flare_deploy import PocEnv, ProdEnv
from flare_runtime import SimEnv
from flare_runtime.run.event_log import EVENTS, read_events

pytestmark = pytest.mark.timeout(150)

HELD = """
    import socket, sys
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        if model.current_round == 2:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(sys.argv[1])
                connection.sendall(f"{flare.get_site_name()} 1".encode())
                connection.recv(1)
        flare.send(flare.FLModel(params=model.params, metrics={"accuracy": 0.5}))
"""

CHATTY = """
    import flare_core.client as flare
    from flare_core.client.tracking import MLflowWriter

    flare.init()
    writer = MLflowWriter()
    while flare.is_running():
        model = flare.receive()
        for step in range(400):
            writer.log_text("x" * 1000, f"note-{step}.txt")
        flare.send(model)
"""


@pytest.fixture
def held(hospital):
    """A federation with a job that is held in its third round until the event is set."""
    place = hospital()
    go_on, is_held = threading.Event(), threading.Event()

    def decide(site, pid, times):
        is_held.set()
        go_on.wait(60)

    job = place.job(HELD, [str(place.gate(decide).path)], rounds=4)
    yield place, job, go_on
    go_on.set()


def rounds_of(events, kind):
    return [event.round for event in events if isinstance(event, kind)]


def test_the_end_of_a_round_is_seen_before_the_run_is_over(held, tmp_path):
    place, job, go_on = held
    run = ProdEnv(place.poc.admin, workspace_root=tmp_path).deploy(job)
    events = run.events(follow=True)
    seen = list(takewhile(lambda event: not (isinstance(event, RoundEnded) and event.round == 1), events))
    assert seen[0] == RunStarted(job.name, ("site-1", "site-2"))
    assert not run.get_status().has_ended
    go_on.set()
    rest = list(events)
    assert rest[-1] == RunEnded("finished")
    run.get_result(timeout=60)
    recorded = list(run.events())
    assert [*seen, recorded[len(seen)], *rest] == recorded
    assert rounds_of(recorded, RoundStarted) == rounds_of(recorded, RoundEnded) == [0, 1, 2, 3]
    assert len([event for event in recorded if isinstance(event, SiteReplied)]) == 8
    assert list(run.events(follow=True)) == recorded


@pytest.mark.at_length
def test_replies_and_metrics_are_seen_while_their_round_goes_on(held):
    """Though lines are buffered for as long as nobody follows."""
    place, job, go_on = held
    with place.admin() as admin:
        id_ = admin.submit(job)["id"]
        events = admin.follow(id_)
        assert next(event for event in events if isinstance(event, RoundStarted) and event.round == 2)
        assert admin.job(id_)["state"] == "running"
        go_on.set()
        assert list(events)[-1] == RunEnded("finished")


def test_a_follower_survives_a_restart_of_the_server(held):
    place, job, go_on = held
    with place.admin() as admin:
        id_ = admin.submit(job)["id"]
        told = []
        admin.connection.notify = told.append
        events = admin.follow(id_)
        seen = []
        while not (seen and isinstance(seen[-1], RoundStarted) and seen[-1].round == 2):
            seen.append(next(events))
        place.kill("server")
        go_on.set()
        seen += events
        folder = admin.download(id_, place.folder / "fetched")
    assert told[-1] == "the server of the project poc is back"
    recorded = list(read_events(folder / EVENTS))
    assert rounds_of(recorded, RoundStarted) == rounds_of(recorded, RoundEnded) == [0, 1, 2, 3]
    assert rounds_of(seen, RoundStarted) == [0, 1, 2, 2, 3]  # the third round has begun again
    assert rounds_of(seen, RoundEnded) == [0, 1, 2, 3]
    assert seen[-1] == RunEnded("finished")


@pytest.mark.at_length
def test_followers_that_never_read_hold_up_neither_the_run_nor_each_other(hospital):
    place = hospital()
    with place.admin() as admin, place.admin() as reading:
        id_ = admin.submit(place.job(CHATTY, rounds=4))["id"]
        idle = [admin.follow(id_) for _ in range(3)]
        for each in idle:
            next(each)  # and then never again
        events = list(reading.follow(id_))
        assert events[-1] == RunEnded("finished")
        assert len([event for event in events if isinstance(event, MetricLogged)]) > 3000
        assert admin.wait(id_, timeout_s=60)["state"] == "finished"
        for each in idle:  # what they have not read is still there for them
            assert list(each) == events[1:]


@pytest.mark.at_length
def test_a_follower_who_stops_is_forgotten_and_can_come_again(held):
    place, job, go_on = held
    with place.admin() as admin:
        id_ = admin.submit(job)["id"]
        for _ in range(40):  # more than are allowed at the same time
            with closing(admin.follow(id_)) as events:
                assert isinstance(next(events), RunStarted)
        go_on.set()
        assert admin.wait(id_, timeout_s=60)["state"] == "finished"


@pytest.mark.at_length
def test_a_job_that_never_began_has_an_end(hospital):
    place = hospital()
    place.stop("site-2")
    place.wait_disconnected("site-2")
    with place.admin() as admin:
        id_ = admin.submit(place.noise_job())["id"]
        events = admin.follow(id_)
        aborting = threading.Timer(0.2, admin.abort, [id_])
        aborting.start()
        assert list(events) == [RunEnded("aborted", "aborted by admin")]
        aborting.join()


@pytest.mark.deployed
def test_the_events_of_a_simulation_and_of_a_deployment_are_the_same(tmp_path):
    from flare_recipes_np import FedAvgRecipe

    (tmp_path / "client.py").write_text(SAME)

    def events_in(env):
        recipe = FedAvgRecipe(
            name="same",
            min_clients=2,
            num_rounds=3,
            initial_model=np.zeros(3),
            train_script=str(tmp_path / "client.py"),
            key_metric="accuracy",
        )
        run = recipe.execute(env)
        run.get_result()
        return [without_times(event) for event in run.events()]

    simulated = events_in(SimEnv(num_clients=2, workspace_root=tmp_path / "sim"))
    deployed = events_in(PocEnv(num_clients=2, workspace_root=tmp_path / "poc"))
    assert sorted(map(replied, simulated)) == sorted(map(replied, deployed))
    assert without_replies(simulated) == without_replies(deployed)
    assert {type(event) for event in simulated} >= {RunStarted, RoundStarted, SiteReplied, MetricLogged, ModelSaved}


SAME = """
import flare_core.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    params = {key: value + 1 for key, value in model.params.items()}
    flare.send(flare.FLModel(params=params, metrics={"accuracy": model.current_round / 4}))
"""


def replied(event):
    """The known fields of a reply; which site is first depends on their speed."""
    return (event.round, event.site, event.task, event.expected) if isinstance(event, SiteReplied) else (-1,)


def without_replies(events):
    return [event for event in events if not isinstance(event, SiteReplied)]


def without_times(event):
    return replace(event, seconds=0.0) if isinstance(event, RoundEnded) else event
