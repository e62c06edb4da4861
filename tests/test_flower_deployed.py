"""Flower apps in federations of real processes: cuts, kills, restarts, and several at once."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

pytest.importorskip("flwr", reason="flwr has an environment of its own: nox -s flower")

sys.path.insert(0, str(Path(__file__).parent.parent / "packages" / "flare-flower" / "tests"))

from flower_probe import PROBE, alive_after, flower_processes, left_after, sha_in, unprivileged
from plain_flower import run_plain

from flare_flower import FlowerRecipe

pytestmark = [pytest.mark.slow, pytest.mark.deployed, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def plain_hash(tmp_path_factory) -> str:
    """The digest of the final arrays in Flower's own deployment."""
    return sha_in(run_plain(PROBE, tmp_path_factory.mktemp("plain") / "run").log)


class Paused:
    """A ClientApp that waits in round 1 until the test lets it go on."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        os.mkfifo(folder / "go")
        self.run_config = {"behavior": "pause", "partition": 1, "mark": str(folder)}
        self._go = folder / "go"

    @contextmanager
    def reached(self):
        """Wait until it waits; let it go on at the end of the block."""
        with self._go.open("w"):
            yield


@pytest.fixture
def paused(tmp_path) -> Paused:
    return Paused(tmp_path / "mark")


def recipe(run_config=None, **options) -> FlowerRecipe:
    return FlowerRecipe(name="probe", flower_content=PROBE, min_clients=2, run_config=run_config, **options)


def submit(place, *recipes: FlowerRecipe) -> list[str]:
    with place.admin() as admin:
        return [admin.submit(each.job())["id"] for each in recipes]


def finish(place, job_id: str) -> tuple[dict, Path]:
    with place.admin() as admin:
        found = admin.wait(job_id, timeout_s=200)
        return found, admin.download(job_id, place.folder / "results" / job_id)


def hash_of(place, job_id: str) -> str:
    found, folder = finish(place, job_id)
    assert found["state"] == "finished", found
    return (folder / "server" / "hash.txt").read_text()


def flower_at(place, where: str) -> list[psutil.Process]:
    """Return Flower's processes of a party."""
    return flower_processes(place.folder, "/server/" if where == "server" else f"/sites/{where}/")


def all_gone(processes: list[psutil.Process], seconds: float = 30.0) -> bool:
    """Wait for the end of processes; the ClientApp that waits at the FIFO must not be taken for its successor."""
    return not alive_after(processes, seconds)


@pytest.mark.at_length
def test_two_jobs_at_once_give_flowers_own_arrays(hospital, plain_hash):
    place = hospital(2)
    jobs = submit(place, recipe(), recipe())
    assert [hash_of(place, job) for job in jobs] == [plain_hash, plain_hash]
    assert left_after(place.folder) == []


@pytest.mark.at_length
def test_a_cut_of_25_seconds_changes_nothing(hospital, paused, plain_hash):
    from cases.test_c21_sites_leave_and_return import Wire

    wire = Wire()
    place = hospital(2, port=wire.port, listen=wire.server_port, link_grace_s=30)
    (job,) = submit(place, recipe(paused.run_config))
    with paused.reached():
        wire.refuse()
        wire._end_all()
        timer = threading.Timer(25.0, wire.mend)
        timer.start()
    timer.join()
    assert hash_of(place, job) == plain_hash
    wire.close()


@pytest.mark.at_length
@unprivileged
def test_a_restarted_server_goes_on_with_the_run(hospital, paused, plain_hash):
    place = hospital(2)
    (job,) = submit(place, recipe(paused.run_config))
    with paused.reached():
        before = [*flower_at(place, "server"), *flower_at(place, "site-2")]
        place.strike("server")
        assert all_gone(before)
    with paused.reached():  # the app begins again
        pass
    assert hash_of(place, job) == plain_hash


@pytest.mark.at_length
@unprivileged
def test_a_killed_site_comes_back_and_the_run_goes_on(hospital, paused):
    place = hospital(3)
    (job,) = submit(place, recipe(paused.run_config | {"rounds": 2}))
    with paused.reached():
        before = flower_at(place, "site-2")
        place.strike("site's client", site="site-2")
        assert all_gone(before, seconds=5)
    found, _ = finish(place, job)
    assert found["state"] == "finished", found


def test_an_aborted_job_leaves_no_process(hospital, paused):
    place = hospital(2)
    (job,) = submit(place, recipe(paused.run_config))
    with paused.reached():
        with place.admin() as admin:
            admin.abort(job)
        assert left_after(place.folder, 5.0) == []
    found, _ = finish(place, job)
    assert found["state"] == "aborted", found


@pytest.mark.at_length
@unprivileged
def test_killed_job_processes_take_flowers_along_and_are_started_again(hospital, paused, plain_hash):
    place = hospital(2)
    (job,) = submit(place, recipe(paused.run_config))
    with paused.reached():
        at_server, at_site = flower_at(place, "server"), flower_at(place, "site-2")
        place.strike("server job")
        assert all_gone(at_server, seconds=5)
        assert all_gone(at_site)
    with paused.reached():
        pass
    assert hash_of(place, job) == plain_hash


@pytest.mark.at_length
def test_a_failed_app_tells_the_traceback_of_a_client(hospital):
    place = hospital(2)
    (job,) = submit(place, recipe({"behavior": "raise", "partition": -1}))
    found, folder = finish(place, job)
    summary = json.loads((folder / "summary.json").read_text())
    assert found["state"] == "failed"
    assert "the rows of this site are broken" in found["reason"]
    assert "client_app.py" in summary["failure"]["traceback"]
    shutil.rmtree(folder)


@pytest.mark.at_length
def test_sites_behind_a_relay_take_part(hospital):
    from deployment.test_relays import WARDS, add_wards

    place = hospital(1)
    add_wards(place, behind_relay=True)
    (job,) = submit(place, recipe())
    found, folder = finish(place, job)
    assert found["state"] == "finished", found
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {row["site"] for row in rows if row["key"] == "mean"} == {None, "site-1", *WARDS}


@pytest.mark.at_length
def test_another_minor_version_of_flwr_is_told_before_the_start(hospital, tmp_path, monkeypatch):
    """The sites find the metadata of another version first, as if it were installed there."""
    ours = version("flwr")
    theirs = f"1.{int(ours.split('.')[1]) - 1}.0"
    metadata = tmp_path / "sites" / f"flwr-{theirs}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: flwr\nVersion: {theirs}\n")
    place = hospital(2)
    place.stop("site-2")
    monkeypatch.setenv("PYTHONPATH", str(metadata.parent.parent))
    place.restart("site-2")
    (job,) = submit(place, recipe())
    found, _ = finish(place, job)
    assert found["state"] == "failed"
    assert f"site-2 has flwr {theirs} and the server {ours}" in found["reason"]
    assert f"pip install flwr=={ours} at site-2" in found["reason"]
    assert "site-1 has" not in found["reason"]
