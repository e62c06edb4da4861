"""Intersections in a federation of processes, some of which are killed in the middle."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path, PurePosixPath

import pytest

from flare_core import Job
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, ServerApp
from psi_jobs import SHARED

HERE = Path(__file__).parent
BLOCK = 300
VICTIMS = {"two sites' jobs": "site's job", "a site's client": "site's client"}


def job_of(folder: Path, sites: list[str], gate: str, gated: list[str]) -> Job:
    code = Path(folder) / "code"
    code.mkdir()
    shutil.copy(HERE / "psi_jobs.py", code)

    def app(site: str) -> ClientApp:
        args = {"local_psi": Component("psi_jobs.Ids", {}), "gate": gate if site in gated else ""}
        return ClientApp(
            executors=[ExecutorEntry(("*",), Component("psi_jobs.Waiting", args))],
            components={"psi": Component("flare_psi.site.Outbox", {})},
        )

    return Job(
        name="psi",
        min_clients=len(sites),
        server=ServerApp(workflows=[Component("flare_psi.workflow.Intersect", {"block_size": BLOCK})]),
        client=app(""),
        sites={site: app(site) for site in sites},
        code=CodeBundle(code, (PurePosixPath("psi_jobs.py"),)),
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("count", "victim"),
    [
        pytest.param(5, "two sites' jobs", marks=pytest.mark.at_length),
        (3, "everybody"),
        *(
            pytest.param(2, victim, marks=pytest.mark.at_length)
            for victim in ("a site's client", "server job", "server")
        ),
    ],
)
def test_processes_that_are_killed_in_the_middle_and_restarted_change_nothing(hospital, count, victim):
    place = hospital(count)
    gated = place.sites[1:3] if victim == "two sites' jobs" else place.sites[1:2]
    reached, processes = threading.Semaphore(0), {}

    def decide(site, pid, times):
        if times == 1:
            processes[site] = pid
            reached.release()
            threading.Event().wait(60)  # until it is killed

    gate = place.gate(decide)
    with place.admin() as admin:
        job = admin.submit(job_of(place.folder, place.sites, str(gate.path), gated))["id"]
    for _ in gated:
        assert reached.acquire(timeout=120)
    place.strike(VICTIMS.get(victim, victim), *processes.values(), site="site-2")
    with place.admin() as admin:
        admin.wait(job, timeout_s=150)  # numba takes its time in each process of a busy machine
    found, _ = place.result(job)
    assert (found["state"], found["reason"]) == ("finished", found["reason"])
    results = [(site_folder(place, job, site) / "intersection.csv").read_text().splitlines() for site in place.sites]
    ids = [[line.split(",")[0] for line in lines[1:]] for lines in results]
    assert sorted(ids[0]) == sorted(f"shared {number}" for number in range(SHARED))
    assert all(each == ids[0] for each in ids)
    assert [path.name for path in (site_folder(place, job, "site-2") / "psi-work").iterdir()] == ["done.json"]


def site_folder(place, job, site):
    return place.kit(site) / "jobs" / job / "run" / "sites" / site


@pytest.mark.timeout(300)
@pytest.mark.at_length
def test_three_sites_of_100_000_ids_find_what_all_of_them_have(tmp_path):
    from flare_psi import PSIRecipe
    from flare_runtime import SimEnv

    own = {f"site-{site + 1}": range(25_000 * site, 25_000 * site + 100_000) for site in range(3)}
    for site, numbers in own.items():
        (tmp_path / f"{site}.txt").write_text("".join(f"user{number}@example.com\n" for number in numbers))
    recipe = PSIRecipe(min_clients=3, per_site_config={site: {"ids": str(tmp_path / f"{site}.txt")} for site in own})
    run = recipe.execute(SimEnv(num_clients=3, workspace_root=tmp_path / "runs"))
    found = [
        [line.split(",")[0] for line in (folder / "intersection.csv").read_text().splitlines()[1:]]
        for folder in ((run.get_result() / "sites" / site) for site in own)
    ]
    assert found[0] == found[1] == found[2]
    assert sorted(found[0]) == sorted(f"user{number}@example.com" for number in range(50_000, 100_000))
