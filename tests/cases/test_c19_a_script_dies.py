"""C19: however a script dies, the run ends soon, names the site, shows the traceback and leaves no process."""

from __future__ import annotations

import itertools
import time

import pytest

SCRIPT = """
    import os, sys
    import flare_core.client as flare

    way = sys.argv[1]
    flare.init()
    mine = flare.get_site_name() == "site-2"
    if mine and way == "missing import":
        import no_such_module_anywhere
    while flare.is_running():
        model = flare.receive()
        if mine and model.current_round == 1:
            if way == "MemoryError":
                raise MemoryError("out of memory on device 0")
            if way == "sys.exit":
                sys.exit(3)
            if way == "os._exit":
                os._exit(9)
            if way == "segfault":
                import ctypes
                ctypes.string_at(0)
            if way == "killed":
                import signal
                os.kill(os.getpid(), signal.SIGKILL)
            if way == "returns":
                break
            if way == "returns after send":
                flare.send(flare.FLModel(params=model.params))
                break
        if way == "chatty":
            sys.stdout.write("x" * 10_000_000)
            sys.stdout.flush()
            sys.stdout.buffer.write(b"\\xff\\xfe\\xfa")
        flare.send(flare.FLModel(params=model.params, metrics={"accuracy": 0.5}))
        if mine and way == "no loop":
            break
"""
JOB = """
    import sys
    from flare_recipes_np import FedAvgRecipe
    from flare_deploy import PocEnv
    from flare_runtime import SimEnv

    way, external, workers = sys.argv[1], sys.argv[2] == "external", int(sys.argv[3])
    recipe = FedAvgRecipe(
        name="dies", min_clients=2, num_rounds=3, initial_model=[0.0, 0.0], train_script="client.py",
        train_args=[way], launch_external_process=external,
        per_site_config={"site-2": {"train_script": "broken.py"}} if way == "syntax error" else None,
    )
    if workers:
        recipe.execute(SimEnv(num_clients=2, num_threads=workers, share_processes=workers == 1))
    else:
        recipe.execute(PocEnv(num_clients=2)).get_result()
    print("THE END")
"""
WAYS = {
    "missing import": "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
    "MemoryError": "MemoryError: out of memory on device 0",
    "sys.exit": "3",
    "os._exit": "exit code 9",
    "segfault": "SIGSEGV",
    "killed": "SIGKILL",
    "returns": "returned in round 1 before the run was over",
    "returns after send": "returned after 2 tasks before the run was over",
    "syntax error": "SyntaxError",
}


def run(project, way, mode, workers):
    project.write("client.py", SCRIPT)
    project.write("broken.py", "def f(:\n")
    job = project.write("job.py", JOB)
    return project.python(str(job), way, mode, workers)


def places():
    """Return each way to die with each kind of process, and mark those that are like others: PocEnv takes seconds."""
    always = [(way, "1", mode) for way in WAYS for mode in ("in-process", "external")]
    always += [("missing import", "0", "external"), ("killed", "0", "in-process"), ("returns", "0", "external")]
    for way, workers, mode in itertools.product(WAYS, ("1", "2", "0"), ("in-process", "external")):
        marks = () if (way, workers, mode) in always else pytest.mark.at_length
        place = {"1": "one worker", "2": "two workers", "0": "PocEnv"}[workers]
        yield pytest.param(way, workers, mode, id=f"{way}-{place}-{mode}", marks=marks)


@pytest.mark.parametrize(("way", "workers", "mode"), list(places()))
def test_the_run_ends_and_says_why(project, way, mode, workers):
    started = time.monotonic()
    done = run(project, way, mode, workers)
    assert time.monotonic() - started < 60
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "THE END" not in text
    assert "site-2: " in text
    assert WAYS[way] in text
    if way in ("missing import", "MemoryError"):
        assert "client.py" in text
        assert "Traceback (most recent call last)" in text
    if way == "killed" and mode == "in-process" and workers != "0":
        assert "memory is full; a lower num_threads" in text


def test_a_script_without_a_loop_gets_its_one_task(project):
    done = run(project, "no loop", "in-process", "2")
    assert done.returncode != 0
    assert "site-2: client.py returned after 1 task before the run was over" in done.stderr


@pytest.mark.parametrize("workers", ["2", "0"], ids=["SimEnv", "PocEnv"])
@pytest.mark.parametrize("mode", ["in-process", "external"])
def test_a_script_with_large_and_unusual_output_runs_normally(project, mode, workers):
    done = run(project, "chatty", mode, workers)
    assert done.returncode == 0, done.stderr
    assert "THE END" in done.stdout
    (log,) = project.folder.glob("runs/dies/*/sites/site-1/log.txt")
    if workers == "2":
        assert log.stat().st_size > 30_000_000
    else:  # output printed faster than it can be sent is dropped, and the log says so
        assert log.stat().st_size > 3_000_000


def test_a_scripts_output_is_in_its_own_log_and_not_on_the_terminal(project, capfd):
    script = """
        import sys, flare_core.client as flare
        flare.init()
        while flare.is_running():
            model = flare.receive()
            print("I am", flare.get_site_name(), "in round", model.current_round)
            print("to stderr", file=sys.stderr)
            flare.send(flare.FLModel(params={key: value + 1 for key, value in model.params.items()}))
    """
    folder = project.recipe(script, num_rounds=2).execute(project.env(num_threads=1, share_processes=True)).get_result()
    for site in ("site-1", "site-2"):
        lines = (folder / "sites" / site / "log.txt").read_text().splitlines()
        assert lines == [line for n in range(2) for line in (f"I am {site} in round {n}", "to stderr")]
    assert "I am" not in "".join(capfd.readouterr())
