"""Whatever a script changes in its process, the other sites of a simulation compute the same as alone."""

from __future__ import annotations

import os
import textwrap

import numpy as np
import pytest

SITES = 6

LIBRARY = """
    import functools
    from pathlib import Path

    import numpy as np

    generator = np.random.default_rng(0)
    defaults = {"lr": 1.0}

    @functools.lru_cache
    def read(name):
        return float(Path(name).read_text())

    class Layer:
        made = 0

        def __init__(self):
            Layer.made += 1
"""
"""Stands for any installed package, of which a process has one."""

SCRIPT = """
    import sys
    from pathlib import Path

    import numpy as np

    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    {begin}
    while flare.is_running():
        round_ = flare.receive().current_round
        {step}
        flare.send(flare.FLModel(params={{"w": np.array([number * float(value)])}}))
"""

# By what is changed: how a script begins, what it computes in each of two rounds, and what site n then sends last.
IN_PYTHON = {
    "a package's cache": (
        "import library; Path('data.txt').write_text(str(number))",
        "value = library.read('data.txt')",
        lambda n: n,
    ),
    "a package's defaults": (
        "import library; library.defaults['lr'] *= number",
        "value = library.defaults['lr']",
        lambda n: n,
    ),
    "a package's generator": (
        "import library",
        "value = library.generator.integers(1000)",
        lambda n: np.random.default_rng(0).integers(1000, size=2)[1],
    ),
    "a class attribute": ("import library; library.Layer()", "value = library.Layer.made", lambda n: 1),
    "a function replaced": (
        "import library; read = library.read; library.read = lambda name: read(name) + 1; Path('one').write_text('1')",
        "value = library.read('one')",
        lambda n: 2,
    ),
    "a module replaced": (
        "import types; sys.modules['library'] = types.SimpleNamespace(own=number)",
        "import library; value = library.own",
        lambda n: n,
    ),
    "a cache of Python's": (
        "import linecache; Path('data.txt').write_text(str(number))",
        "value = linecache.getline('data.txt', 1)",
        lambda n: n,
    ),
    "a builtin": ("import builtins; builtins.scale = number", "value = scale", lambda n: n),
    "a logger's handlers": (
        "import logging; logging.getLogger('library').addHandler(logging.NullHandler())",
        "value = len(logging.getLogger('library').handlers)",
        lambda n: 1,
    ),
    "logging switched off": (
        "import logging; logging.disable(number)",
        "value = logging.root.manager.disable",
        lambda n: n,
    ),
    "the limit of recursion": (
        "sys.setrecursionlimit(1000 + number)",
        "value = sys.getrecursionlimit()",
        lambda n: 1000 + n,
    ),
    "the garbage collector": (
        "import gc; gc.set_threshold(1000 + number)",
        "value = gc.get_threshold()[0]",
        lambda n: 1000 + n,
    ),
    "the time limit of sockets": (
        "import socket; socket.setdefaulttimeout(number)",
        "value = socket.getdefaulttimeout()",
        lambda n: n,
    ),
    "the policy of event loops": (
        "import asyncio; asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy()); "
        "asyncio.get_event_loop_policy().number = number",
        "value = asyncio.get_event_loop_policy().number",
        lambda n: n,
    ),
    "a limit of the system": (
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)) if number == 1 else None",
        "value = resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)",
        lambda n: n == 1,
    ),
    "what a codec does": (
        "import codecs; codecs.register_error('own', lambda error: (str(number), error.end))",
        "value = 'é'.encode('ascii', 'own')",
        lambda n: n,
    ),
}
KEPT_APART_IN_ONE_PROCESS = {
    "warnings": (
        "import warnings; warnings.simplefilter('error' if number == 1 else 'ignore')",
        "value = warnings.filters[0][0] == 'error'",
        lambda n: n == 1,
    ),
    "the mode of new files": (
        "import os; os.umask(number)",
        "Path(f'new-{round_}').touch(); value = Path(f'new-{round_}').stat().st_mode & 0o7",
        lambda n: 0o6 & ~n,
    ),
    "the locale": (
        "import locale; locale.setlocale(locale.LC_CTYPE, 'C' if number == 1 else 'C.UTF-8')",
        "value = locale.setlocale(locale.LC_CTYPE) == 'C'",
        lambda n: n == 1,
    ),
    "a file in the temporary folder": (
        "import tempfile",
        "file = Path(tempfile.gettempdir(), 'features'); file.exists() or file.write_text(str(number)); "
        "value = file.read_text()",
        lambda n: n,
    ),
}
KEPT_APART_IN_ONE_PROCESS_OF_TORCH = {
    "torch's dtype": (
        "import torch; torch.set_default_dtype(torch.float64) if number == 1 else None",
        "value = torch.full((), 0.1)",
        lambda n: 0.1 if n == 1 else np.float32(0.1),
    ),
    "torch's precision": (
        "import torch; torch.set_float32_matmul_precision('high') if number == 1 else None",
        "value = torch.get_float32_matmul_precision() == 'high'",
        lambda n: n == 1,
    ),
}
OF_TORCH = {
    "torch's threads": (
        "import torch; torch.set_num_threads(3) if number == 1 else None",
        "value = torch.get_num_threads()",
        lambda n: 3 if n == 1 else 1,
    ),
    "a hook of torch's modules": (
        "import torch; torch.nn.modules.module.register_module_forward_hook(lambda net, given, out: out + number)",
        "value = torch.nn.Identity()(torch.zeros(()))",
        lambda n: n,
    ),
    "a flag of a backend": (
        "import torch; torch.backends.cudnn.benchmark = number == 1",
        "value = torch.backends.cudnn.benchmark",
        lambda n: n == 1,
    ),
}
TAKES_LONG = {
    "torch's determinism": (
        "import torch; torch.use_deterministic_algorithms(number == 1)",
        "value = torch.are_deterministic_algorithms_enabled()",
        lambda n: n == 1,
    ),
}
OF_SCIKIT_LEARN = {
    "an estimator's default": (
        "from sklearn.linear_model import SGDClassifier; SGDClassifier.__init__.__kwdefaults__['alpha'] *= number",
        "value = SGDClassifier().alpha / 0.0001",
        lambda n: n,
    ),
}
OF_FRAMEWORKS = (KEPT_APART_IN_ONE_PROCESS_OF_TORCH, OF_TORCH, OF_SCIKIT_LEARN)


@pytest.fixture
def sent(project, tmp_path_factory, monkeypatch):
    """Runs a script at some sites; returns the mean of what they sent last."""
    installed = tmp_path_factory.mktemp("installed")
    (installed / "library.py").write_text(textwrap.dedent(LIBRARY))
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.setenv("TMPDIR", str(installed))
    monkeypatch.setattr("tempfile.tempdir", None)

    def run(begin, step, *, sites=SITES, external=False, **options):
        recipe = project.recipe(
            SCRIPT.format(begin=begin, step=step),
            min_clients=sites,
            num_rounds=2,
            initial_model={"w": np.zeros(1)},
            launch_external_process=external,
        )
        return recipe.execute(project.env(sites, **options)).load_model()["w"]

    return run


def mean(alone, sites=SITES):
    """Return the mean of each site's value times its number, so that swapped values are detected."""
    return np.mean([number * float(alone(number)) for number in range(1, sites + 1)], keepdims=True)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("what", [*IN_PYTHON, *KEPT_APART_IN_ONE_PROCESS])
def test_a_scripts_changes_do_not_reach_other_scripts(sent, what, workers):
    begin, step, alone = (IN_PYTHON | KEPT_APART_IN_ONE_PROCESS)[what]
    assert sent(begin, step, num_threads=workers).tobytes() == mean(alone).tobytes()


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("what", [what for kinds in OF_FRAMEWORKS for what in kinds])
def test_a_scripts_changes_to_a_framework_do_not_reach_other_scripts(sent, what, workers):
    begin, step, alone = next(kinds[what] for kinds in OF_FRAMEWORKS if what in kinds)
    pytest.importorskip("sklearn" if what in OF_SCIKIT_LEARN else "torch")
    assert sent(begin, step, num_threads=workers).tobytes() == mean(alone).tobytes()


@pytest.mark.parametrize("what", ["a package's generator", "a file in the temporary folder"])
def test_a_script_computes_the_same_in_a_spawned_process(sent, what):
    begin, step, alone = (IN_PYTHON | KEPT_APART_IN_ONE_PROCESS)[what]
    assert sent(begin, step, external=True).tobytes() == mean(alone).tobytes()


@pytest.mark.parametrize("what", KEPT_APART_IN_ONE_PROCESS | KEPT_APART_IN_ONE_PROCESS_OF_TORCH | TAKES_LONG)
def test_sites_that_share_a_process_keep_their_settings(sent, what):
    if what not in KEPT_APART_IN_ONE_PROCESS:
        pytest.importorskip("torch")
    begin, step, alone = (KEPT_APART_IN_ONE_PROCESS | KEPT_APART_IN_ONE_PROCESS_OF_TORCH | TAKES_LONG)[what]
    assert sent(begin, step, num_threads=1, share_processes=True).tobytes() == mean(alone).tobytes()


def test_a_thread_left_behind_by_a_script_does_not_affect_other_sites(sent, tmp_path):
    """The thread of site-1 changes a variable while site-2 has the turn."""
    for name in ("go", "done"):
        os.mkfifo(tmp_path / name)
    begin = f"""
    import os, threading
    def change():
        open({str(tmp_path / "go")!r}).read()
        os.environ["MODE"] = "1"
        open({str(tmp_path / "done")!r}, "w").close()
    if number == 1:
        threading.Thread(target=change, daemon=True).start()
    """
    step = f"""
        if number == 2 and round_ == 1:
            open({str(tmp_path / "go")!r}, "w").close()
            open({str(tmp_path / "done")!r}).read()
        value = number != 1 and "MODE" in os.environ
    """
    assert sent(begin.strip(), step.strip(), num_threads=1) == [0.0]


JOB = """
    import sys
    from flare_recipes_np import FedAvgRecipe
    from flare_runtime import SimEnv

    recipe = FedAvgRecipe(
        name="late", min_clients=2, num_rounds=1, initial_model={"w": [0.0]}, train_script="client.py"
    )
    print("THREADS", recipe.execute(SimEnv(num_clients=2, num_threads=int(sys.argv[1]))).load_model()["w"][0])
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_torch_uses_one_thread_even_if_the_launching_process_has_not_loaded_it(project, monkeypatch, workers):
    """A sum that is split among threads differs in its last bits."""
    pytest.importorskip("torch")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    begin = "import importlib; torch = importlib.import_module('to' + 'rch')"  # its imports cannot be known in advance
    project.write("client.py", SCRIPT.format(begin=begin, step="value = torch.get_num_threads() / number"))
    done = project.python(str(project.write("job.py", JOB)), workers)
    assert done.stdout.splitlines()[-1] == "THREADS 1.0", done.stderr


def test_sixty_four_sites_have_their_own_processes(sent):
    begin, step, alone = IN_PYTHON["a package's defaults"]
    assert sent(begin, step, sites=64).tobytes() == mean(alone, 64).tobytes()


def test_no_more_scripts_run_at_a_time_than_num_threads(project):
    script = """
        import os
        from pathlib import Path
        import flare_core.client as flare

        flare.init()
        running = Path.cwd().parent.parent / "running"
        while flare.is_running():
            model = flare.receive()
            running.mkdir(exist_ok=True)
            mine = running / flare.get_site_name()
            mine.touch()
            now = max(len(os.listdir(running)) for _ in range(2000))
            mine.unlink()
            flare.send(flare.FLModel(params=model.params, metrics={"now": now, "pid": os.getpid()}))
    """
    run = project.recipe(script, min_clients=6, num_rounds=4).execute(project.env(6, num_threads=2))
    rows = [row for row in run.metrics() if row["site"]]
    assert max(row["value"] for row in rows if row["key"] == "now") <= 2
    assert len({row["value"] for row in rows if row["key"] == "pid"}) == 6


@pytest.mark.parametrize(("sites", "options"), [(3, {"share_processes": True, "num_threads": 2}), (65, {})])
def test_the_end_of_a_run_reports_shared_processes(project, capsys, sites, options):
    project.recipe(min_clients=sites).execute(project.env(sites, **options))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "shared" in line]
    assert line.startswith(f"{sites} sites shared ")
    assert "changes that a script makes inside an installed package can affect other sites" in line


def test_nothing_is_reported_if_no_process_is_shared(project, capsys):
    project.recipe(min_clients=3).execute(project.env(3, num_threads=1))
    assert "shared" not in capsys.readouterr().out
