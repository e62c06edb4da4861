"""SimEnv runs jobs: in forked and in new workers, with in-process and external scripts."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from flare_core import FlareError, FLModel, JobFailed, RecipeError, RunStatus, Workflow
from flare_core.components import Component
from flare_core.events import (
    MetricLogged,
    RoundEnded,
    RoundStarted,
    RunEnded,
    RunStarted,
    SiteFailed,
    SiteReplied,
)
from flare_runtime import SimEnv
from flare_runtime.simulator import pool


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_a_job_runs_to_its_end(project, capsys, workers, external):
    env = project.env(3, num_threads=workers, share_processes=workers == 2)
    run = env.deploy(project.job(rounds=3, sites=3, launch_external_process=external))
    assert run.get_status() is RunStatus.FINISHED
    assert run.load_model()["w"].tolist() == [3.0, 3.0, 3.0]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "job: 3 sites"
    assert lines[1].startswith("round 0 (1 of 3)  accuracy 0")
    assert any(line.startswith("FINISHED  job: 3 rounds") for line in lines)
    assert ("3 sites shared 2 processes" in "".join(lines)) == (workers == 2)


def test_workers_are_new_processes_where_forking_is_not_safe(project, tmp_path):
    """Another thread of the launching process may hold a lock, which would never be released in a fork."""
    stop = threading.Event()
    threading.Thread(target=stop.wait, daemon=True).start()
    try:
        assert not pool.can_fork()
        job = project.job()
        job.server.components.pop("persistor")
        job.server.workflows = [Component("flare_core.workflows.FedAvg", {"min_clients": 2, "num_rounds": 1})]
        (project.code / "client.py").write_text(
            textwrap.dedent("""
                import os, threading
                import numpy as np
                import flare_core.client as flare

                flare.init()
                while flare.is_running():
                    flare.receive()
                    flare.send(flare.FLModel(params={"w": np.ones(2)}, metrics={"pid": os.getpid()}))
            """)
        )
        run = project.env(num_threads=2).deploy(job)
    finally:
        stop.set()
    pids = {row["value"] for row in run.metrics() if row["key"] == "pid" and row["site"]}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert run.load_model()["w"].tolist() == [1.0, 1.0]


def test_the_folder_holds_the_record_of_the_run(project):
    run = project.env().deploy(project.job(rounds=3))
    folder = run.get_result()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["outcome"] == "finished"
    assert summary["rounds"] == 3
    assert summary["best"] == {"round": 2, "value": 0.2}
    assert summary["sites"] == {"site-1": {"status": "ok"}, "site-2": {"status": "ok"}}
    assert summary["bytes"]["sent"] > 0
    assert summary["memory"]["worker-1"]["peak_rss_bytes"] > 1_000_000
    assert summary["global_model"] == str(folder / "server" / "global_model.safetensors")
    assert summary == run.summary()
    rows = [row for row in run.metrics() if row["key"] == "accuracy"]
    assert [(row["round"], row["site"]) for row in rows] == [
        (round_, site) for round_ in range(3) for site in ("site-1", "site-2", None)
    ]
    assert sorted(path.name for path in (folder / "sites").iterdir()) == ["site-1", "site-2"]
    assert run.load_model("best")["w"].tolist() == [2.0, 2.0, 2.0]  # the model that round 2 began with, and measured


def test_the_events_of_a_run_are_in_its_folder(project):
    run = project.env().deploy(project.job(rounds=3))
    events = list(run.events())
    assert (events[0], events[-1]) == (RunStarted("job", ("site-1", "site-2")), RunEnded("finished"))
    assert list(run.events(follow=True)) == events
    for kind, count in ((RoundStarted, 3), (RoundEnded, 3), (SiteReplied, 6), (MetricLogged, len(run.metrics()))):
        assert sum(isinstance(event, kind) for event in events) == count
    lines = [json.loads(line) for line in (run.get_result() / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == [type(event).__name__ for event in events]
    assert all(line["time"] <= following["time"] for line, following in pairwise(lines))
    assert {line["round"] for line in lines if line["event"] == "SiteReplied"} == {0, 1, 2}


def test_a_run_that_fails_says_so_in_its_events(project):
    job = project.job(rounds=3)
    (project.code / "client.py").write_text("raise RuntimeError('no data here')")
    run = project.env().deploy(job)
    *_, failed, ended = run.events()
    assert isinstance(failed, SiteFailed)
    assert ended.outcome == "failed"
    assert "no data here" in ended.error


def test_a_later_run_never_overwrites_an_earlier_one(project):
    folders = {project.env().deploy(project.job(rounds=1)).get_result() for _ in range(3)}
    assert len(folders) == 3
    assert all((folder / "summary.json").is_file() for folder in folders)


def test_a_run_that_has_ended_holds_no_model(project):
    """Not even until the garbage collector runs: memory may hold one model, but not two."""
    gc.collect()
    gc.disable()
    try:
        run = project.env().deploy(project.job(rounds=2))
        assert run.get_status() is RunStatus.FINISHED
        assert not [each for each in gc.get_objects() if type(each) is FLModel and each.params]
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not let a process choose its cores")
def test_scripts_are_pinned_where_no_core_is_left_over(project):
    script = """
        import os
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            cores = len(os.sched_getaffinity(0))
            flare.send(flare.FLModel(params=flare.receive().params, metrics={"cores": cores}))
    """
    cores = len(os.sched_getaffinity(0))

    def seen(workers, **options):
        job = project.job(script, rounds=1, sites=workers, **options)
        run = project.env(workers, num_threads=workers).deploy(job)
        return {row["value"] for row in run.metrics() if row["key"] == "cores" and row["site"]}

    assert seen(cores) == {1}
    assert seen(cores, launch_external_process=True) == {cores}
    if cores > 1:
        assert seen(cores - 1) == {cores}
    assert len(os.sched_getaffinity(0)) == cores


def test_what_scripts_print_is_in_their_sites_logs(project, capsys):
    script = """
        import sys
        import flare_core.client as flare

        flare.init()
        print("hello from", flare.get_site_name())
        print("trouble", file=sys.stderr)
        while flare.is_running():
            params = flare.receive().params
            flare.send(flare.FLModel(params={key: value + 1 for key, value in params.items()}))
    """
    folder = project.env().deploy(project.job(script)).get_result()
    for site in ("site-1", "site-2"):
        assert (folder / "sites" / site / "log.txt").read_text() == f"hello from {site}\ntrouble\n"
    assert "hello" not in capsys.readouterr().out


def test_scripts_do_not_see_what_others_change(project):
    script = """
        import os, random, sys
        from pathlib import Path
        import numpy as np
        import flare_core.client as flare

        flare.init()
        site = flare.get_site_name()
        os.environ["MINE"] = site
        os.chdir(Path.cwd().parent / site)
        sys.path.append(site)
        sys.argv.append(site)
        np.random.seed(len(site))
        first = np.random.random(), random.random()
        draws = 0
        while flare.is_running():
            model = flare.receive()
            assert os.environ["MINE"] == site and Path.cwd().name == site
            assert sys.path[-1] == site and sys.argv[-1] == site
            assert sys.modules["__main__"].site == site
            np.random.random()
            draws += 1
            flare.send(flare.FLModel(params=model.params, metrics={"draw": np.random.random()}))
    """
    run = project.env(4, num_threads=1, share_processes=True).deploy(project.job(script, rounds=3, sites=4))
    assert "MINE" not in os.environ
    draws = [row["value"] for row in run.metrics() if row["key"] == "draw" and row["site"]]
    assert len(set(draws)) == 3  # the same seed gives the same numbers at each site, whoever runs in between


def test_each_of_many_sites_in_a_process_gets_arrays_of_its_own(project):
    script = """
        import flare_core.client as flare

        flare.init()
        number = int(flare.get_site_name().removeprefix("site-"))
        while flare.is_running():
            model = flare.receive()
            received = float(model.params["w"][0])
            model.params["w"] += number
            flare.send(flare.FLModel(params=model.params, metrics={"received": received}))
    """
    run = project.env(20, num_threads=1, share_processes=True).deploy(project.job(script, rounds=3, sites=20))
    received = [(row["round"], row["value"]) for row in run.metrics() if row["key"] == "received" and row["site"]]
    assert sorted(received) == [(round_, round_ * 10.5) for round_ in range(3) for _ in range(20)]
    assert run.load_model()["w"].tolist() == [31.5, 31.5, 31.5]


def test_what_a_script_does_to_a_model_that_it_has_sent_does_not_change_it(project):
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            params = {"w": flare.receive().params["w"] + 1}
            flare.send(flare.FLModel(params=params), clear_cache=False)
            params["w"][:] = float("nan")
    """
    run = project.env(20, num_threads=1, share_processes=True).deploy(project.job(script, rounds=3, sites=20))
    assert run.load_model()["w"].tolist() == [3.0, 3.0, 3.0]


def test_a_reply_arrives_while_other_scripts_of_its_process_work(project, tmp_path):
    """The order of scripts is undefined: one that starts late may find its task waiting."""
    os.mkfifo(tmp_path / "first_arrived")
    script = f"""
        from pathlib import Path
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            places = [Path({str(tmp_path)!r}, name) for name in ("first", "second")]
            mine = next((each for each in places if not each.exists()), None)  # one script runs at a time
            if mine is not None:
                mine.write_text(flare.get_site_name())
                if mine.name == "second":  # returns when the server has the reply of the first
                    Path({str(tmp_path)!r}, "first_arrived").read_text()
            flare.send(flare.FLModel(params=model.params))
    """
    workflow = Component.of(SaysWhatArrived(tmp_path), what="workflow")
    run = project.env(3, num_threads=1, share_processes=True).deploy(project.job(script, sites=3, workflow=workflow))
    assert run.get_status() is RunStatus.FINISHED


class SaysWhatArrived(Workflow):
    """Opens a pipe for writing when the first reply has arrived, which unblocks its reader."""

    def __init__(self, folder):
        self.folder = folder
        self.arrived = []

    def run(self, fed):
        fed.events.subscribe(SiteReplied, self.replied)
        for _ in fed.rounds(1):
            assert len(list(fed.broadcast("train", FLModel(params={"w": np.zeros(1)})))) == 3
        assert self.arrived[0] == (self.folder / "first").read_text()

    def replied(self, event):
        self.arrived.append(event.site)
        if len(self.arrived) == 1:
            (self.folder / "first_arrived").write_text(event.site)


def test_a_reply_that_cannot_be_serialized_fails_the_run_and_names_its_site(project):
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            meta = {"note": "\\ud800"} if flare.get_site_name() == "site-1" else {}
            flare.send(flare.FLModel(params=model.params, meta=meta))
    """
    run = project.env(3, num_threads=1, share_processes=True).deploy(project.job(script, sites=3))
    with pytest.raises(JobFailed, match=r"site-1: client\.py failed.*note"):
        run.get_result()


def test_a_script_that_fails_fails_the_run(project, capsys):
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            if flare.get_site_name() == "site-2" and model.current_round == 1:
                raise ValueError("no data in shard 7")
            flare.send(flare.FLModel(params=model.params))
    """
    run = project.env().deploy(project.job(script, rounds=3))
    assert run.get_status() is RunStatus.FAILED
    with pytest.raises(JobFailed, match=r"site-2: client\.py failed in round 1 with ValueError: no data") as raised:
        run.get_result()
    assert 'raise ValueError("no data in shard 7")' in str(raised.value)
    assert "no data in shard 7" in capsys.readouterr().out
    assert run.get_result(raise_on_failure=False).is_dir()
    assert run.summary()["sites"]["site-2"]["status"] == "failed"
    assert "no data in shard 7" in (run.get_result(raise_on_failure=False) / "sites/site-2/log.txt").read_text()
    with pytest.raises(JobFailed, match="failed after 1 round; its model is that of the last round"):
        run.load_model()
    assert run.load_model(raise_on_failure=False)["w"].tolist() == [0.0, 0.0, 0.0]  # what round 0 left


class Failing(Workflow):
    def run(self, fed):
        for _ in fed.rounds(1):
            list(fed.broadcast("train", FLModel(params={"w": np.zeros(1)})))
        raise RuntimeError("the workflow has a bug")


def test_a_workflow_that_fails_ends_the_sites(project):
    job = project.job(workflow=Component.of(Failing(), what="workflow"))
    run = project.env().deploy(job)
    assert run.get_status() is RunStatus.FAILED
    with pytest.raises(JobFailed, match="the workflow has a bug"):
        run.get_result()
    log = (run.get_result(raise_on_failure=False) / "log.txt").read_text()
    assert "RuntimeError: the workflow has a bug" in log


class Wrong(Workflow):
    def run(self, fed):
        list(fed.broadcast("train", FLModel(), to=["site-9"]))


def test_a_task_for_an_unknown_site_is_refused(project):
    run = project.env().deploy(project.job(workflow=Component.of(Wrong(), what="workflow")))
    with pytest.raises(JobFailed, match="addressed to 'site-9'; the sites are site-1, site-2"):
        run.get_result()


def test_a_model_that_was_not_kept_is_explained(project):
    class Nothing(Workflow):
        def run(self, fed):
            return None

    job = project.job(workflow=Component.of(Nothing(), what="workflow"))
    job.server.components.clear()
    run = project.env().deploy(job)
    with pytest.raises(FlareError, match="kept no 'best' model"):
        run.load_model("best")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give num_clients"),
        ({"num_clients": -1}, "num_clients"),
        ({"num_clients": True}, "num_clients"),
        ({"num_clients": 2, "clients": ["a", "b", "c"]}, "num_clients is 2, but clients has 3 names"),
        ({"clients": "site-1"}, "give a list of names"),
        ({"clients": ["a", "a"]}, "names a site twice"),
        ({"clients": ["a", "../b"]}, "a site's name is '../b'"),
        ({"clients": ["server"]}, "reserved"),
        ({"num_clients": 2, "num_threads": 0}, "num_threads"),
        ({"num_clients": 2, "log_config": "loud"}, "log_config is 'loud'"),
        ({"num_clients": 2, "gpu_config": "x"}, "gpu_config is 'x'"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(RecipeError, match=message):
        SimEnv(**arguments)


def test_a_job_that_needs_more_sites_is_refused(project):
    with pytest.raises(RecipeError, match="min_clients=3, but the environment has 2 sites"):
        project.env().deploy(project.job(sites=3))


def test_a_component_that_cannot_be_built_starts_no_process(project):
    job = project.job(workflow=Component("flare_core.workflows.Missing", {}))
    with pytest.raises(FlareError, match="has no 'Missing'"):
        project.env().deploy(job)


LAUNCHER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import Project
import conftest

class Here(Project):
    def __init__(self, folder):
        self.folder = folder
        self.code = folder / "code"

project = Here(Path({folder!r}))
job = project.job({script!r}, sites=4, launch_external_process={external})
project.env(4, num_threads=2).deploy(job)
"""
HANGING = """
    import time
    from pathlib import Path
    import flare_core.client as flare

    flare.init()
    model = flare.receive()
    (Path(__file__).parent.parent / f"began-{flare.get_site_name()}").touch()
    while True:
        time.sleep(1000)
"""


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_ctrl_c_returns_to_the_shell_and_leaves_nothing(project, external):
    launcher = LAUNCHER.format(
        tests=str(Path(__file__).parent), folder=str(project.folder), script=HANGING, external=external
    )
    process = subprocess.Popen(
        [sys.executable, "-c", launcher],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for_any(project.folder, "began-*")  # of those that share a lane, any may come first and keep it
        pressed = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the job
        _, errors = process.communicate(timeout=20)
        assert time.monotonic() - pressed < 3
        assert process.returncode != 0
        assert "KeyboardInterrupt" in errors
        assert "_run_workflows" not in errors  # of the traceback, what leads to the simulator is enough
        assert processes_of_session(process.pid) == []
    finally:
        process.kill()
        process.communicate()


class PressedElsewhere(Workflow):
    """Waits for ever while Ctrl-C is delivered to another thread."""

    def run(self, fed):
        waits, forever = threading.Event(), threading.Lock()
        forever.acquire()

        def press():
            waits.wait()
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

        threading.Thread(target=press).start()
        waits.set()
        forever.acquire()


@pytest.mark.timeout(30)
def test_ctrl_c_delivered_to_another_thread_ends_the_run(project):
    job = project.job(workflow=Component.of(PressedElsewhere(), what="workflow"))
    with pytest.raises(KeyboardInterrupt):
        project.env().deploy(job)


def wait_for_any(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 30
    while not list(folder.glob(pattern)):  # a file is all that a script which hangs can show
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes_of_session(session: int) -> list[str]:
    left = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_text()
        except OSError:
            continue  # ended meanwhile
        if int(fields[3]) == session and fields[0] != "Z":
            left.append(command)
    return left


FIRST_ONLY = """
import numpy as np

from flare_core import FLModel, Workflow


class FirstOnly(Workflow):
    def run(self, federation):
        for _ in federation.rounds(3):
            for reply in federation.broadcast("train", FLModel(params={"w": np.zeros(100_000)})):
                break
"""


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_a_workflow_may_leave_a_round_with_unread_replies(project, external):
    """The scripts whose models were not read continue."""
    (project.code / "workflow.py").write_text(FIRST_ONLY)
    job = project.job(workflow=Component("workflow.FirstOnly", {}), launch_external_process=external)
    assert project.env(2).deploy(job).summary()["rounds"] == 3


class TwoTasks(Workflow):
    """Trains and validates in each round, and does not use the second site's result of one of the tasks."""

    def __init__(self, broken_off):
        self.broken_off = broken_off

    def run(self, federation):
        model = FLModel(params={"w": np.zeros(2)})
        for round_ in federation.rounds(2):
            for task in ("train", "validate"):
                for reply in federation.broadcast(task, model):
                    federation.record(reply.model.metrics, site=reply.site)
                    if (task, round_) == (self.broken_off, 0):
                        break


@pytest.mark.parametrize(("broken_off", "since"), [("train", 0), ("validate", -1)])
def test_unused_results_are_announced_by_task(project, broken_off, since):
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            metrics = {flare.get_task_name(): model.meta.get("not_used_since", -1)}
            flare.send(flare.FLModel(params=model.params if flare.is_train() else None, metrics=metrics))
    """
    workflow = Component.of(TwoTasks(broken_off), what="workflow")
    run = project.env(2).deploy(project.job(script, workflow=workflow))
    told = {(row["round"], row["site"]): row["value"] for row in run.metrics() if row["key"] == "train"}
    assert {site: told[1, site] for site in ("site-1", "site-2")} == {"site-1": -1, "site-2": since}
