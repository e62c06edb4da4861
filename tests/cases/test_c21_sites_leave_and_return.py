"""C21: a lost site does not stop the others, comes back, and is never counted late or twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

ADDS = """
    import os
    import socket
    import sys

    import flare_core.client as flare

    flare.init()
    gate, gated_round, site = sys.argv[1], int(sys.argv[2]), flare.get_site_name()
    while flare.is_running():
        model = flare.receive()
        if model.current_round == gated_round:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(gate)
                connection.sendall(f"{site} {os.getpid()}".encode())
                connection.recv(1)
        value = 10.0 ** int(site[-1])
        params = {key: array + value for key, array in model.params.items()}
        flare.send(flare.FLModel(params=params, metrics={"value": value}))
"""


def contributions(folder: Path) -> dict[int, dict[str, float]]:
    """Return each site's contribution by round, from the run's record."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["site"] is not None and row["key"] == "value":
            assert row["site"] not in found[row["round"]], "a site counts once a round"
            found[row["round"]][row["site"]] = row["value"]
    return found


def model_of(folder: Path) -> float:
    from flare_tensor_downloader import read_file

    return float(read_file(folder / "server" / "global_model.safetensors")["w"].flat[0])


def expected(rounds: dict[int, dict[str, float]]) -> float:
    means = [sum(map(Fraction, each.values())) / len(each) for each in rounds.values()]
    return float(sum(means))


def fetch(place, job: str) -> Path:
    found, _ = place.result(job)
    assert found["state"] == "finished", found["reason"]
    return place.folder / "results" / job


def test_a_site_is_killed_and_takes_part_again_later(hospital):
    place = hospital(3)
    dead = threading.Event()
    jobs: list[str] = []

    def decide(site, pid, times):
        if site == "site-3" and not dead.is_set():  # in round 1
            place.end("site-3")
            place.wait_gone(pid)  # it ends with its daemon, but might reply before it notices
            dead.set()

    def decide_later(site, pid, times):
        if site == "site-1":  # in round 2, which it blocks until site-3 is back
            assert dead.wait(20)
            place.restart("site-3")
            left = {"event": "SiteLeft", "site": "site-3"}
            place.wait_for_events(jobs[0], left, {"event": "SiteReturned", "site": "site-3"})

    first, second = place.gate(decide), place.gate(decide_later)
    script = ADDS.replace(
        "        if model.current_round == gated_round:",
        "        if model.current_round in (1, 2):\n            gate = sys.argv[model.current_round]",
    ).replace("gate, gated_round, site = sys.argv[1], int(sys.argv[2]), flare", "site = flare")
    with place.admin() as admin:
        job = place.job(script, [str(first.path), str(second.path)], rounds=5, min_clients=2)
        jobs.append(admin.submit(job)["id"])
        # All three must take part in the first rounds.
    folder = fetch(place, jobs[0])
    rounds = contributions(folder)
    assert set(rounds[1]) == {"site-1", "site-2"}
    assert set(rounds[4]) == {"site-1", "site-2", "site-3"}
    assert model_of(folder) == pytest.approx(expected(rounds), rel=1e-12)
    assert json.loads((folder / "summary.json").read_text())["sites"]["site-3"]["status"] == "ok"


@pytest.mark.parametrize(
    ("external", "size"),
    [
        pytest.param(True, 3, id="small-external", marks=pytest.mark.at_length),
        pytest.param(False, 100_000, id="fetched-in-process"),
        pytest.param(False, 3, id="small-in-process", marks=pytest.mark.at_length),
        pytest.param(True, 100_000, id="fetched-external", marks=pytest.mark.at_length),
    ],
)
def test_a_late_result_is_never_averaged_into_another_round(hospital, external, size):
    """The site is stopped for two rounds; the task of the second one has been withdrawn when it resumes."""
    place = hospital(3)
    stopped, goes_on = threading.Event(), threading.Event()
    pids: list[int] = []

    def decide(site, pid, times):
        if site == "site-2":
            os.kill(pid, signal.SIGSTOP)
            pids.append(pid)
            stopped.set()
            assert goes_on.wait(60)  # one of its threads may run for another moment, and must not reply

    gate = place.gate(decide)
    with place.admin() as admin:
        job = place.job(
            ADDS,
            [str(gate.path), "1"],
            rounds=5,
            min_clients=2,
            model={"w": np.zeros(size)},
            meta={"round_deadline_s": 2.5},
            launch_external_process=external,
        )
        job_id = admin.submit(job)["id"]
    assert stopped.wait(20)
    place.wait_for_events(job_id, {"event": "RoundStarted", "round": 3})
    os.kill(pids[0], signal.SIGCONT)
    goes_on.set()
    folder = fetch(place, job_id)
    rounds = contributions(folder)
    assert set(rounds[1]) == set(rounds[2]) == {"site-1", "site-3"}
    assert set(rounds[4]) == {"site-1", "site-2", "site-3"}
    assert model_of(folder) == pytest.approx(expected(rounds), rel=1e-12)
    assert "late result ignored site=site-2" in (folder / "log.txt").read_text()


class Wire:
    """A proxy between sites and server that can cut connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.server_port = probe.getsockname()[1]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._up = threading.Event()
        self._up.set()
        self._carried = 0
        self._cut_at: int | None = None
        self._then: Callable[[], None] | None = None
        self.was_cut = threading.Event()
        self.refused = threading.Semaphore(0)
        threading.Thread(target=self._serve, daemon=True).start()

    def cut_after(self, count: int, then: Callable[[], None] | None = None) -> None:
        """Cut, or call a function, once that many more bytes have gone to the server."""
        with self._lock:
            self._cut_at = self._carried + count
            self._then = then

    def refuse(self) -> None:
        """Cut every connection during its handshake, as a server does while it stops."""
        self._up.clear()

    def mend(self) -> None:
        self._up.set()

    def close(self) -> None:
        self._listener.close()
        self._end_all()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._up.is_set():
                near.close()
                self.refused.release()
                continue
            far = socket.create_connection(("127.0.0.1", self.server_port))
            with self._lock:
                self._open += [near, far]
            threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        try:
            while piece := source.recv(1 << 16):
                target.sendall(piece)
                if counts and self._is_due(len(piece)):
                    if self._then is not None:
                        self._then()
                        continue
                    self._up.clear()
                    self._end_all()
                    self.was_cut.set()
        except OSError:
            pass
        finally:
            source.close()
            target.close()

    def _is_due(self, count: int) -> bool:
        with self._lock:
            self._carried += count
            if self._cut_at is None or self._carried < self._cut_at:
                return False
            self._cut_at = None
            return True

    def _end_all(self) -> None:
        with self._lock:
            ended, self._open = self._open, []
        for each in ended:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def test_an_interrupted_upload_counts_once(hospital):
    wire = Wire()
    place = hospital(2, port=wire.port, listen=wire.server_port)
    asked = threading.Event()

    def decide(site, pid, times):
        if not asked.is_set():
            asked.set()
            wire.cut_after(24 << 20)  # of 64 MiB that the two send back

    gate = place.gate(decide)
    model = {"w": np.zeros(1 << 21), "v": np.zeros(1 << 21)}
    from flare_deploy import Admin
    from flare_deploy.provision.kit import Kit

    assert Kit.load(place.poc.admin).info.address.endswith(str(wire.port))
    with Admin.connect(place.poc.admin) as admin:
        job_id = admin.submit(place.job(ADDS, [str(gate.path), "1"], rounds=3, model=model))["id"]
    assert wire.was_cut.wait(40)
    threading.Timer(3.0, wire.mend).start()
    assert wire._up.wait(20)
    folder = fetch(place, job_id)
    rounds = contributions(folder)
    assert [set(each) for each in rounds.values()] == [{"site-1", "site-2"}] * 3
    assert model_of(folder) == pytest.approx(expected(rounds), rel=1e-12)
    wire.close()


@pytest.mark.at_length
def test_a_site_killed_while_its_result_is_read_counts_once(hospital):
    """A part of its numbers is in the sum by then, so the round restarts."""
    wire = Wire()
    place = hospital(2, port=wire.port, listen=wire.server_port)
    pids: dict[str, int] = {}
    # Of 64 MiB, site 1's come first; without waiting for the other, all of them could have arrived by then.
    both = threading.Barrier(2, lambda: wire.cut_after(24 << 20, lambda: os.kill(pids["site-1"], signal.SIGKILL)))

    def decide(site, pid, times):
        pids[site] = pid
        if times == 1:
            both.wait(30)

    gate = place.gate(decide)
    model = {"w": np.zeros(1 << 21), "v": np.zeros(1 << 21)}
    with place.admin() as admin:
        job_id = admin.submit(place.job(ADDS, [str(gate.path), "1"], rounds=3, model=model))["id"]
    folder = fetch(place, job_id)
    rounds = contributions(folder)
    assert [set(each) for each in rounds.values()] == [{"site-1", "site-2"}] * 3
    assert model_of(folder) == pytest.approx(expected(rounds), rel=1e-12)
    assert "the round begins again" in (folder / "log.txt").read_text()
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 3
    wire.close()


@pytest.mark.at_length
def test_a_site_whose_result_stalls_is_late_too(hospital):
    """A part of its numbers is in the sum by then; the rest, arriving rounds later, is dropped."""
    wire = Wire()
    place = hospital(3, port=wire.port, listen=wire.server_port)
    stalled, goes_on = threading.Event(), threading.Event()

    def stall():
        stalled.set()
        assert goes_on.wait(60)

    all_three = threading.Barrier(3, lambda: wire.cut_after(20 << 20, stall))  # 16 MiB are site 1's

    def decide(site, pid, times):
        if times == 1:
            all_three.wait(30)

    gate = place.gate(decide)
    model = {"w": np.zeros(1 << 20), "v": np.zeros(1 << 20)}
    with place.admin() as admin:
        job = place.job(
            ADDS, [str(gate.path), "1"], rounds=5, min_clients=2, model=model, meta={"round_deadline_s": 2.5}
        )
        job_id = admin.submit(job)["id"]
    place.wait_for_events(job_id, {"event": "RoundStarted", "round": 3})
    goes_on.set()
    folder = fetch(place, job_id)
    rounds = contributions(folder)
    assert stalled.is_set()
    assert set(rounds[1]) == set(rounds[2]) == {"site-1", "site-3"}
    assert set(rounds[4]) == {"site-1", "site-2", "site-3"}
    assert model_of(folder) == pytest.approx(expected(rounds), rel=1e-12)
    log = (folder / "log.txt").read_text()
    assert "the result of site-2 was cut short; the round begins again" in log
    assert "did not reply within 2.5 s; 0 of 8388608 bytes had arrived" in log
    wire.close()


def test_connections_cut_during_the_handshake_do_not_end_a_client(hospital):
    wire = Wire()
    place = hospital(1, port=wire.port, listen=wire.server_port)
    wire.refuse()
    place.stop("server")
    for _ in range(6):
        assert wire.refused.acquire(timeout=30)
    place.restart("server")
    wire.mend()
    found, _ = place.run(place.noise_job(min_clients=1))
    assert found["state"] == "finished"
    wire.close()


def test_without_enough_sites_the_job_waits_for_the_configured_time_and_says_who_is_missing(hospital):
    place = hospital(2)

    def decide(site, pid, times):
        place.end(site)

    gate = place.gate(decide)
    with place.admin() as admin:
        job = place.job(ADDS, [str(gate.path), "1"], rounds=3, meta={"reconnect_grace_s": 2})
        job_id = admin.submit(job)["id"]
        found = admin.wait(job_id, timeout_s=60)
    assert found["state"] == "failed"
    assert "no other connected within 2 s" in found["reason"]
    assert "site-1:" in found["reason"]
    assert "site-2:" in found["reason"]
