"""Statistics in a federation of processes, any of which is killed between two answers."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pytest

from flare_core import Job
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, ServerApp

HERE = Path(__file__).parent
CONFIGS = {
    "count": {},
    "mean": {},
    "stddev": {},
    "min": {},
    "histogram": {"*": {"bins": 5}},
    "quantile": {"*": [0.25, 0.5]},
    "correlation": {},
}
OPEN = {"min_count": 0, "min_noise_level": 0, "max_noise_level": 0, "max_bins_percent": 100}


def rows_of(site: str) -> pd.DataFrame:
    random = np.random.default_rng(int(site.removeprefix("site-")))
    return pd.DataFrame({"age": random.integers(20, 80, 60), "bmi": random.normal(25, 4, 60)})


def write_rows(place) -> None:
    for site in place.sites:
        rows_of(site).to_csv(place.folder / f"{site}.csv", index=False)


def job_of(place, gate="", *, task="", turn=1, masked=False, min_clients=2, **meta) -> Job:
    code = Path(place.folder) / "code"
    code.mkdir(exist_ok=True)
    shutil.copy(HERE / "stats_jobs.py", code)
    server = {"statistic_configs": CONFIGS, "min_clients": min_clients, "output": "found/people.json", "masked": masked}

    def app(site: str) -> ClientApp:
        settings = {"data": {"train": str(place.folder / f"{site}.csv")}, "masked": masked, **OPEN}
        args = {"gate": gate, "task": task, "turn": turn, "settings": settings}
        return ClientApp(executors=[ExecutorEntry(("*",), Component("stats_jobs.Waiting", args))])

    return Job(
        name="people",
        min_clients=min_clients,
        server=ServerApp(workflows=[Component("flare_stats.workflow.FederatedStatistics", server)]),
        client=app("nobody"),
        sites={site: app(site) for site in place.sites},
        code=CodeBundle(code, (PurePosixPath("stats_jobs.py"),)),
        meta=meta,
    )


def files_of(place, job_id: str) -> list:
    with place.admin() as admin:
        admin.wait(job_id, timeout_s=150)  # processes take their time to start on a busy machine
    found, _ = place.result(job_id)
    assert (found["state"], found["reason"]) == ("finished", found["reason"])
    folder = place.folder / "results" / job_id / "server" / "found"
    statistics, about = (json.loads((folder / name).read_text()) for name in ("people.json", "about.json"))
    return [statistics, {name: about[name] for name in ("sites", "refused", "masked")}]


def check(statistics, sites) -> None:
    """Compare with pandas."""
    pooled = pd.concat([rows_of(site) for site in sites])
    for feature in ("age", "bmi"):
        of = {name: values["Global"]["train"] for name, values in statistics[feature].items()}
        assert of["count"] == len(pooled)
        assert of["mean"] == pytest.approx(pooled[feature].mean(), rel=1e-12)
        assert of["stddev"] == pytest.approx(pooled[feature].std(), rel=1e-12)
        assert of["min"] == pooled[feature].min()
        assert of["quantile"] == {str(at): pytest.approx(np.quantile(pooled[feature], at)) for at in (0.25, 0.5)}
        assert sum(count for _, _, count in of["histogram"]) == len(pooled)


KILLS = [(False, "stats.ranks", 3, "server job"), (True, "stats.total", 6, "everybody")]
MORE_KILLS = [(False, "stats.ranks", 3, victim) for victim in ("site's job", "site's client", "server", "everybody")]
MORE_KILLS += [(True, "stats.total", 6, victim) for victim in ("site's job", "server job")]
MORE_KILLS += [(False, "stats.summarize", 1, "site's job")]
KILLS += [pytest.param(*each, marks=pytest.mark.at_length) for each in MORE_KILLS]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("masked", "task", "turn", "victim"), KILLS)
def test_a_kill_between_two_answers_changes_no_statistic(hospital, masked, task, turn, victim):
    place = hospital(2)
    write_rows(place)
    reached, killed, process = threading.Event(), threading.Event(), []

    def decide(site, pid, times):
        if site == "site-1" and times == 1:
            process.append(pid)
            reached.set()
            killed.wait(60)

    gate = place.gate(decide)
    with place.admin() as admin:
        job = admin.submit(job_of(place, str(gate.path), task=task, turn=turn, masked=masked))["id"]
    assert reached.wait(120)
    place.strike(victim, *process)
    killed.set()
    statistics, about = files_of(place, job)
    check(statistics, place.sites)
    assert about == {"sites": place.sites, "refused": [], "masked": masked}
    for site in place.sites:
        kept = place.kit(site) / "jobs" / job / "run" / "sites" / site
        assert not list(kept.glob("statistics.fobs*")), "what holds values of rows is deleted at the end"


@pytest.mark.timeout(300)
def test_a_site_that_does_not_answer_in_time_is_left_out_and_named(hospital):
    place = hospital(3)
    write_rows(place)
    done = threading.Event()

    def decide(site, pid, times):
        if site == "site-3":
            done.wait(120)

    gate = place.gate(decide)
    with place.admin() as admin:
        job = admin.submit(job_of(place, str(gate.path), task="stats.bins", round_deadline_s=20.0))["id"]
    place.wait_for_events(job, {"event": "RoundEnded", "round": 1})
    done.set()
    statistics, about = files_of(place, job)
    assert about["sites"] == place.sites
    assert ["site-3", "train", "age", "histogram", "the site left or was late"] in about["refused"]
    assert "site-3" in statistics["age"]["mean"]
    assert "site-3" not in statistics["age"]["histogram"]
    pooled = pd.concat([rows_of(site) for site in place.sites])
    assert statistics["age"]["mean"]["Global"]["train"] == pytest.approx(pooled["age"].mean(), rel=1e-12)


@pytest.mark.timeout(300)
@pytest.mark.deployed
@pytest.mark.parametrize(
    ("masked", "is_own"),
    [
        (True, False),
        pytest.param(False, False, marks=pytest.mark.at_length),
        pytest.param(False, True, marks=pytest.mark.at_length),
    ],
)
def test_the_recipe_has_the_same_results_in_both_environments(project, masked, is_own):
    for site in ("site-1", "site-2"):
        rows_of(site).to_csv(project.folder / f"{site}.csv", index=False)
    project.write("job.py", BOTH)
    project.write("own.py", OWN)
    done = project.python("job.py", json.dumps([CONFIGS, OPEN, masked, is_own]), timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    simulated, deployed = (Path(line) for line in done.stdout.splitlines()[-2:])
    for name in ("statistics.json", "matrices.json"):
        assert (simulated / "server" / name).read_text() == (deployed / "server" / name).read_text()
    check(json.loads((deployed / "server" / "statistics.json").read_text()), ["site-1", "site-2"])


OWN = """
    import pandas as pd

    from flare_stats import Statistics


    class Own(Statistics):
        def __init__(self, folder):
            self.folder = folder

        def initialize(self, context):
            self.data = {"train": pd.read_csv(f"{self.folder}/{context.party}.csv")}

        def mean(self, dataset_name, feature_name):
            return float(self.data[dataset_name][feature_name].mean())
"""


BOTH = """
    import json
    import sys
    from pathlib import Path

    from own import Own

    from flare_deploy import PocEnv
    from flare_runtime import SimEnv
    from flare_stats import FedStatsRecipe

    configs, wishes, masked, is_own = json.loads(sys.argv[1])
    config = {site: {"data": {"train": str(Path(f"{site}.csv").resolve())}} for site in ("site-1", "site-2")}
    data = {"stats_generator": Own(str(Path.cwd()))} if is_own else {"per_site_config": config}
    folders = []
    for env in (SimEnv(num_clients=2), PocEnv(num_clients=2)):
        recipe = FedStatsRecipe(min_clients=2, statistic_configs=configs, masked=masked, **data, **wishes)
        folders.append(recipe.execute(env).get_result())
    print(*folders, sep="\\n")
"""
