"""Systems other than Linux: missing modules and other units."""

from __future__ import annotations

import resource
import subprocess
import sys
from types import SimpleNamespace

from flare_runtime.system import own_peak_bytes, peak_bytes

WITHOUT = """
import asyncio
import importlib
import pkgutil
import sys

for name in ("resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
import flare_runtime

for name in flare_runtime.__all__:
    getattr(flare_runtime, name)
for module in pkgutil.walk_packages(flare_runtime.__path__, "flare_runtime."):
    importlib.import_module(module.name)

from pathlib import Path

from flare_core import FlareError, Job
from flare_core.job import ClientApp, CodeBundle, ServerApp

job = Job("job", 1, ServerApp(), ClientApp(), CodeBundle(Path.cwd()))
try:
    flare_runtime.SimEnv(num_clients=1).deploy(job)
except FlareError as error:
    print(type(error).__name__, error)
"""


def test_flare_can_be_imported_without_unix_modules_and_refuses_to_run(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("RecipeError ")
    assert "use WSL 2" in line
    assert list(tmp_path.iterdir()) == []


def test_memory_is_in_bytes_on_every_system():
    usage = SimpleNamespace(ru_maxrss=4096)
    assert peak_bytes(usage, "darwin") == 4096
    assert peak_bytes(usage, "linux") == 4096 * 1024
    assert own_peak_bytes() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
