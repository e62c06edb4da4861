"""C33: a swarm runs with its defaults alone, even with two sites or one, and survives the death of its aggregator."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import textwrap
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from flare_core import JobFailed, RecipeError
from flare_core.components import Component
from flare_core.job import ExecutorEntry
from flare_core.recipes.distribution import KEEPS_MODELS
from flare_core.task import TaskName
from flare_recipes_np import FedAvgRecipe, SwarmLearningRecipe

TRAIN = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    random = np.random.default_rng(number)
    while flare.is_running():
        model = flare.receive()
        metrics = {"accuracy": -float(abs(model.params["w"][:100] - 1).mean())}
        params = {}
        for key, value in model.params.items():
            value *= np.float32(0.9)  # in place: what the site has kept for others must not change
            value += random.standard_normal(value.shape, np.float32)
            params[key] = value
        flare.send(flare.FLModel(params=params, metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": number}))
        for value in params.values():
            value[:] = np.nan
"""
FIFTY_MB = 12_500_000


def digests(folder: Path, name: str = "global_model.safetensors") -> dict[str, str]:
    found = sorted(path for path in folder.rglob(name) if ".partial" not in path.name)
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.mark.parametrize("sites", [3, 2, 1])
def test_it_is_bit_identical_to_federated_averaging(project, sites):
    project.write("client.py", TRAIN)
    found = []
    for recipe in (SwarmLearningRecipe, FedAvgRecipe):
        run = recipe(
            min_clients=sites,
            num_rounds=4,
            initial_model={"w": np.zeros(FIFTY_MB, np.float32), "b": np.zeros(3, np.float32)},
            train_script=project.folder / "client.py",
        ).execute(project.env(num_clients=sites))
        folder = run.get_result()
        found.append((digests(folder), digests(folder, "best_model.safetensors"), run.summary()["best"]))
    (swarm, swarm_best, chosen), (averaged, averaged_best, same) = found
    assert set(swarm) == set(swarm_best) == {f"site-{number}" for number in range(1, sites + 1)}  # not at the server
    assert set(swarm.values()) == set(averaged.values())
    assert set(swarm_best.values()) == set(averaged_best.values())
    assert chosen == same


def test_scripts_in_separate_processes(project):
    project.write("client.py", TRAIN)
    found = [
        digests(
            SwarmLearningRecipe(
                min_clients=2,
                num_rounds=3,
                initial_model={"w": np.zeros(200_000, np.float32)},
                train_script=project.folder / "client.py",
                launch_external_process=external,
                params_transfer_type=transfer,
                aggregator_sites=["site-2"],
            )
            .execute(project.env(num_clients=2))
            .get_result()
        )
        for external, transfer in ((False, "FULL"), (True, "FULL"))
    ]
    assert found[0] == found[1]


def test_an_aggregator_that_dies_ends_a_simulation_and_is_named(project, monkeypatch):
    """In the simulator no site comes back, so the run fails at once."""
    monkeypatch.syspath_prepend(str(project.folder))
    project.write("client.py", TRAIN)
    project.write(
        "dies.py",
        """
        import os, signal
        from flare_core import WeightedMean

        class Dies(WeightedMean):
            def add(self, reply):
                if reply.round == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                super().add(reply)
        """,
    )
    recipe = SwarmLearningRecipe(
        min_clients=2,
        num_rounds=4,
        initial_model={"w": np.zeros(3, np.float32)},
        train_script=project.folder / "client.py",
        aggregator={"class_path": "dies.Dies", "args": {}},
    )
    with pytest.raises(JobFailed, match="site-"):
        recipe.execute(project.env(num_clients=3, num_threads=3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quorum": 1}, "quorum cannot be chosen for a swarm"),
        ({"compression": "fp16"}, "compression cannot be chosen for a swarm"),
        ({"aggregator_sites": []}, "aggregator_sites is "),
        ({"aggregator_sites": "site-1"}, "aggregator_sites is 'site-1'"),
        ({"aggregator_sites": ["server"]}, "reserved"),
    ],
)
def test_options_that_a_swarm_cannot_honour_are_refused(project, arguments, message):
    project.write("client.py", TRAIN)
    with pytest.raises(RecipeError, match=message):
        SwarmLearningRecipe(
            min_clients=1,
            num_rounds=1,
            initial_model=np.zeros(1),
            train_script=project.folder / "client.py",
            **arguments,
        )


ADDS = """
    import os
    import pathlib
    import socket
    import sys

    import flare_core.client as flare

    flare.init()
    gate, gated_round, gated_site, folder = sys.argv[1:]
    site = flare.get_site_name()
    while flare.is_running():
        model = flare.receive()
        pathlib.Path(folder, f"{site}.pid").write_text(str(os.getpid()))
        if model.current_round == int(gated_round) and site == gated_site:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(gate)
                connection.sendall(f"{site} {os.getpid()}".encode())
                connection.recv(1)
        value = 10.0 ** int(site[-1])
        flare.send(flare.FLModel(params={key: array + value for key, array in model.params.items()},
                                 metrics={"value": value}))
"""
HOOKS = """
    import os
    import socket

    from flare_core import WeightedMean, events
    from flare_core.observer import Observer


    def ask(gate):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(gate)
            connection.sendall(f"somebody {os.getpid()}".encode())
            connection.recv(1)


    class AsksInRound2(WeightedMean):
        def __init__(self, gate):
            super().__init__()
            self.gate = gate

        def add(self, reply):
            if reply.round == 2 and self.gate:
                ask(self.gate)
            super().add(reply)


    class Asks(Observer):
        def __init__(self, gate, event, round):
            self.gate, self.event, self.round = gate, getattr(events, event), round

        def attach(self, run):
            run.events.subscribe(self.event, self.heard)

        def heard(self, event):
            if getattr(event, "round", None) == self.round:
                ask(self.gate)
"""
BEFORE_ROUND_3 = ("RoundStarted", 3)
AFTER_THE_LAST_ROUND = ("RoundEnded", 4)
AFTER_THE_RUN = ("RunEnded", None)
SWARM_TASKS = tuple(task for name, task in vars(TaskName).items() if name.startswith("SWARM"))


def swarm_job(
    place,
    *,
    script_gate: str = "",
    mean_gate: str = "",
    server_gate: str = "",
    server_asks: tuple[str, int | None] = BEFORE_ROUND_3,
    gated=(2, "site-3"),
    min_clients=2,
):
    """Return a swarm of five rounds whose parts wait at gates; site 3 aggregates the third round, number 2."""
    arguments = [script_gate, str(gated[0] if script_gate else -1), gated[1], str(place.folder)]
    model = {"w": np.zeros(100_000), "b": np.zeros(2)}
    job = place.job(ADDS, arguments, rounds=5, workflow="Swarm", model=model, min_clients=min_clients)
    (job.code.root / "hooks.py").write_text(textwrap.dedent(HOOKS))
    job.code = replace(job.code, files=(*job.code.files, PurePosixPath("hooks.py")))
    mean = Component("hooks.AsksInRound2", {"gate": mean_gate})
    swarm = Component("flare_runtime.site.swarm.SwarmExecutor", {"aggregator": mean})
    job.client.executors[:0] = [ExecutorEntry(SWARM_TASKS, swarm), KEEPS_MODELS]
    if server_gate:
        job.server.components["asks"] = Component(
            "hooks.Asks", dict(zip(("gate", "event", "round"), (server_gate, *server_asks), strict=True))
        )
    return job


def outcome(place, job: str) -> tuple[dict, Path, dict[str, float]]:
    """Return the final state, the server's folder of the run, and the values of the models at the sites."""
    from flare_tensor_downloader import read_file

    found, _ = place.result(job)
    models = {}
    for site in ("site-1", "site-2", "site-3"):
        path = place.kit(site) / "jobs" / job / "run" / "sites" / site / "global_model.safetensors"
        if path.is_file():
            values = read_file(path)["w"]
            assert (values == values.flat[0]).all()
            models[site] = float(values.flat[0])
    return found, place.folder / "results" / job, models


def expected(folder: Path, without: dict[int, str]) -> float:
    """Return the mean of the sites' contributions in each round, from the record, without lost ones."""
    by_round: dict[int, dict[str, float]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["site"] is not None and row["key"] == "value" and without.get(row["round"]) != row["site"]:
            by_round.setdefault(row["round"], {})[row["site"]] = row["value"]
    assert sorted(by_round) == [0, 1, 2, 3, 4]
    return float(sum(sum(map(Fraction, each.values())) / len(each) for each in by_round.values()))


def kill_once(*pids_of):
    """Kill the first process that asks, or the processes that functions of its id return."""
    dead = threading.Event()

    def decide(site, pid, times):
        if not dead.is_set():
            dead.set()
            for pid_of in pids_of or [int]:
                os.kill(pid_of(pid), signal.SIGKILL)

    return decide


SPIES = """
    from flare_core.workflows import Swarm
    from flare_tensor_downloader.wire import receive_params


    class Spies(Swarm):
        def _aggregate(self, fed, held, contributions):
            for model in [*held.at.values(), *contributions.values()]:
                spied = receive_params(type(model)(params=model.params), fed._cell)
                try:
                    print("SAW", dict(spied.params.items()))
                except Exception as error:
                    fed.warn(f"the server saw nothing: {error}")
            return super()._aggregate(fed, held, contributions)
"""


def test_a_server_that_asks_for_a_sites_model_does_not_get_it(hospital):
    place = hospital(3)
    with place.admin() as admin:
        job = swarm_job(place)
        (job.code.root / "spies.py").write_text(textwrap.dedent(SPIES))
        job.code = replace(job.code, files=(*job.code.files, PurePosixPath("spies.py")))
        job.server.workflows[0] = replace(job.server.workflows[0], class_path="spies.Spies")
        submitted = admin.submit(job)["id"]
    found, folder, models = outcome(place, submitted)
    assert found["state"] == "finished", found["reason"]
    assert models["site-1"] == pytest.approx(expected(folder, {}), rel=1e-12)
    log = (folder / "log.txt").read_text()  # which has every warning, also one that was shown before
    assert log.count("may not read this offer") == 5 * (2 + 3)
    assert "SAW" not in log


def test_the_aggregator_is_killed_while_it_aggregates_and_the_next_takes_over(hospital):
    place = hospital(3)
    gate = place.gate(kill_once())
    with place.admin() as admin:
        job = admin.submit(swarm_job(place, mean_gate=str(gate.path)))["id"]
    found, folder, models = outcome(place, job)
    assert found["state"] == "finished", found["reason"]
    assert len(set(models.values())) == 1
    assert len(models) >= 2
    assert models["site-1"] == pytest.approx(expected(folder, {2: "site-3"}), rel=1e-12)
    assert "site-3 left while it aggregated" in (folder / "events.jsonl").read_text()


@pytest.mark.at_length
def test_lost_contributions_are_recomputed_if_too_few_are_left(hospital):
    place = hospital(3)
    gate = place.gate(kill_once())
    with place.admin() as admin:
        job = admin.submit(swarm_job(place, mean_gate=str(gate.path), min_clients=3))["id"]
    found, folder, models = outcome(place, job)
    assert found["state"] == "finished", found["reason"]
    assert len(set(models.values())) == 1
    assert models["site-1"] == pytest.approx(expected(folder, {}), rel=1e-12)
    again = "3 contributions are needed, 2 are left (site-1, site-2); site-3 train again"
    assert again in (folder / "events.jsonl").read_text()


@pytest.mark.at_length
def test_the_aggregator_is_killed_while_it_trains(hospital):
    place = hospital(3)
    gate = place.gate(kill_once())
    with place.admin() as admin:
        job = admin.submit(swarm_job(place, script_gate=str(gate.path)))["id"]
    found, folder, models = outcome(place, job)
    assert found["state"] == "finished", found["reason"]
    assert len(set(models.values())) == 1
    assert models["site-1"] == pytest.approx(expected(folder, {}), rel=1e-12)


@pytest.mark.at_length
def test_the_aggregator_is_killed_before_the_others_have_its_model(hospital):
    """The next aggregator has it too."""
    place = hospital(3)
    gate = place.gate(kill_once(lambda pid: int((place.folder / "site-3.pid").read_text())))
    with place.admin() as admin:
        job = admin.submit(swarm_job(place, server_gate=str(gate.path)))["id"]
    found, folder, models = outcome(place, job)
    assert found["state"] == "finished", found["reason"]
    assert len(set(models.values())) == 1
    assert models["site-1"] == pytest.approx(expected(folder, {}), rel=1e-12)


@pytest.mark.at_length
@pytest.mark.parametrize(
    ("holders", "when"), [(("site-3", "site-1"), BEFORE_ROUND_3), (("site-2", "site-3"), AFTER_THE_LAST_ROUND)]
)
def test_both_holders_of_the_model_are_killed_before_others_fetch_it(hospital, holders, when):
    """They come back, and read it from their files."""
    place = hospital(3)
    pids = [lambda _, site=site: int((place.folder / f"{site}.pid").read_text()) for site in holders]
    gate = place.gate(kill_once(*pids))
    with place.admin() as admin:
        job = admin.submit(swarm_job(place, server_gate=str(gate.path), server_asks=when))["id"]
    found, folder, models = outcome(place, job)
    assert found["state"] == "finished", found["reason"]
    assert len(set(models.values())) == 1
    (other,) = {"site-1", "site-2", "site-3"}.difference(holders)
    assert models[other] == pytest.approx(expected(folder, {}), rel=1e-12)
    assert "returned and read it from a file" in (folder / "events.jsonl").read_text()


def test_both_holders_of_the_model_are_killed_while_one_of_them_aggregates(hospital):
    place = hospital(3)
    gate = place.gate(
        kill_once(lambda pid: pid, lambda _: int((place.folder / "site-2.pid").read_text()))  # site 3, and site 2
    )
    with place.admin() as admin:
        job = admin.submit(swarm_job(place, mean_gate=str(gate.path)))["id"]
    found, folder, models = outcome(place, job)
    assert found["state"] == "finished", found["reason"]
    assert len(set(models.values())) == 1
    possible = [expected(folder, {2: site}) for site in ("nobody", "site-2", "site-3")]  # who was not back in time
    assert models["site-1"] in [pytest.approx(each, rel=1e-12) for each in possible]
    assert "returned and read it from a file" in (folder / "events.jsonl").read_text()


def test_the_server_is_killed_and_the_sites_have_the_model(hospital):
    place = hospital(3)
    gate = place.gate(kill_once(lambda pid: place.job_process()))
    with place.admin() as admin:
        job = admin.submit(swarm_job(place, script_gate=str(gate.path)))["id"]
    found, folder, models = outcome(place, job)
    assert found["state"] == "finished", found["reason"]
    assert set(models) == {"site-1", "site-2", "site-3"}
    assert len(set(models.values())) == 1
    assert models["site-1"] == pytest.approx(expected(folder, {}), rel=1e-12)
    assert not list(place.folder.rglob("swarm-*.safetensors"))


@pytest.mark.at_length
def test_the_server_is_killed_after_the_sites_learned_that_the_run_is_over(hospital):
    """The sites have removed the run's data, so a restarted server must not request it."""
    place = hospital(3)
    gate = place.gate(kill_once(lambda pid: place.job_process()))
    with place.admin() as admin:
        job = admin.submit(swarm_job(place, server_gate=str(gate.path), server_asks=AFTER_THE_RUN))["id"]
    found, folder, models = outcome(place, job)
    assert found["state"] == "finished", found["reason"]
    assert (folder / "events.jsonl").read_text().count("RunStarted") == 2
    assert set(models) == {"site-1", "site-2", "site-3"}
    assert len(set(models.values())) == 1
    assert models["site-1"] == pytest.approx(expected(folder, {}), rel=1e-12)
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 5
