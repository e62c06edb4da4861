"""Systems without Unix modules: flare is imported, and refuses to run."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import asyncio
import importlib
import pkgutil
import sys

for name in ("resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
import flare_deploy

for name in flare_deploy.__all__:
    getattr(flare_deploy, name)
for module in pkgutil.walk_packages(flare_deploy.__path__, "flare_deploy."):
    if ".migrations" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)

from pathlib import Path

from flare_core import FlareError, Job
from flare_core.job import ClientApp, CodeBundle, ServerApp
from flare_deploy.daemons import start_daemon
from flare_deploy.serve import serve

job = Job("job", 1, ServerApp(), ClientApp(), CodeBundle(Path.cwd()))
for run in (
    lambda: flare_deploy.PocEnv(num_clients=1).deploy(job),
    lambda: start_daemon("client", Path.cwd()),
    lambda: serve("client", Path.cwd()),
):
    try:
        run()
    except FlareError as error:
        print(type(error).__name__, error)
"""


def test_without_unix_modules_flare_is_imported_and_says_that_it_cannot_run(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["RecipeError", "DaemonError", "DaemonError"]
    assert all("use WSL 2" in line for line in lines)
    assert list(tmp_path.iterdir()) == []
