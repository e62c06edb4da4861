"""A script that exits before the run is over ends the run with an error: nothing waits for a reply that never comes."""

from __future__ import annotations

import pytest

from flare_runtime.scripts.external import EXIT_S

SCRIPT = """
    import os, sys, threading
    import flare_core.client as flare

    way = sys.argv[1]
    flare.init()
    is_leaving = flare.get_site_name() == "site-2"
    while flare.is_running():
        model = flare.receive()
        if is_leaving and model.current_round == 1:
            if way.startswith("child") and os.fork() == 0:
                threading.Event().wait(600)
            if way == "child, then raises":
                raise ValueError("planned")
            if way in ("os._exit(0)", "child, then os._exit(0)"):
                os._exit(0)
            if way == "break, and a thread":
                threading.Thread(target=threading.Event().wait, args=(600,)).start()
                break
        flare.send(flare.FLModel(params=model.params, metrics={"accuracy": 0.5}))
    if way == "os._exit(0) afterwards":
        os._exit(0)
"""
JOB = """
    import sys
    from flare_recipes_np import FedAvgRecipe
    from flare_deploy import PocEnv
    from flare_runtime import SimEnv

    way, external, workers = sys.argv[1], sys.argv[2] == "external", int(sys.argv[3])
    recipe = FedAvgRecipe(
        name="leaves", min_clients=2, num_rounds=3, initial_model=[0.0, 0.0], train_script="client.py",
        train_args=[way], launch_external_process=external,
    )
    recipe.execute(SimEnv(num_clients=2, num_threads=workers) if workers else PocEnv(num_clients=2)).get_result()
    print("THE END")
"""


def run(project, way, mode, workers):
    project.write("client.py", SCRIPT)
    return project.python(str(project.write("job.py", JOB)), way, mode, workers)


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param("1", id="one worker"),
        pytest.param("2", id="two workers", marks=pytest.mark.at_length),
        pytest.param("0", id="PocEnv", marks=pytest.mark.at_length),
    ],
)
@pytest.mark.parametrize("mode", ["in-process", "external"])
@pytest.mark.parametrize("way", ["os._exit(0)", "child, then os._exit(0)"])
def test_exit_code_0_in_mid_run_is_a_failure(project, way, mode, workers):
    done = run(project, way, mode, workers)
    assert done.returncode != 0
    assert "THE END" not in done.stdout
    assert "JobFailed: site-2: " in done.stderr
    assert "before the run was over" in done.stderr


@pytest.mark.parametrize(
    "workers", [pytest.param("2", id="SimEnv"), pytest.param("0", id="PocEnv", marks=pytest.mark.at_length)]
)
def test_a_child_that_holds_the_connection_does_not_hide_its_scripts_failure(project, workers):
    done = run(project, "child, then raises", "external", workers)
    assert done.returncode != 0
    assert "ValueError: planned" in done.stderr


@pytest.mark.timeout(120)
@pytest.mark.slow
@pytest.mark.parametrize(
    "workers",
    [pytest.param("2", id="SimEnv", marks=pytest.mark.at_length), pytest.param("0", id="PocEnv")],
)
def test_a_thread_that_keeps_a_process_alive_does_not_keep_the_run_waiting(project, workers):
    assert EXIT_S < 60
    done = run(project, "break, and a thread", "external", workers)
    assert done.returncode != 0
    assert "site-2: its script has left in round 1 before the run was over" in done.stderr


THREADED = """
    import threading
    import flare_core.client as flare

    has_begun = threading.Event()

    def work():
        while flare.is_running():
            model = flare.receive()
            has_begun.set()
            if model.current_round == 0 and flare.get_site_name() == "site-2":
                threading.Event().wait(33)  # as long as a process without anybody who takes tasks is given, and more
            flare.send(flare.FLModel(params=model.params, metrics={"accuracy": 0.5}))

    flare.init()
    threading.Thread(target=work).start()
    has_begun.wait()
"""


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_thread_may_do_the_tasks_after_the_main_one_has_ended(project):
    assert EXIT_S < 33
    project.write("client.py", THREADED)
    done = project.python(str(project.write("job.py", JOB)), "", "external", "2", timeout=100)
    assert done.returncode == 0, done.stderr
    assert "THE END" in done.stdout


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param("1", id="one worker"),
        pytest.param("2", id="two workers", marks=pytest.mark.at_length),
        pytest.param("0", id="PocEnv"),
    ],
)
@pytest.mark.parametrize("mode", ["in-process", "external"])
def test_a_script_may_exit_after_the_run_is_over(project, mode, workers):
    done = run(project, "os._exit(0) afterwards", mode, workers)
    assert done.returncode == 0, done.stderr
    assert "THE END" in done.stdout
