"""Slow packages are imported once for all workers, before they are forked."""

from __future__ import annotations

import sys

import pytest

from flare_runtime.simulator import preload as preloading
from flare_runtime.simulator.preload import preload


@pytest.fixture
def job(project, tmp_path, monkeypatch):
    """A job whose script imports a package on the list of slow ones."""
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "slow_package.py").write_text("loaded = True\n")
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    monkeypatch.setattr(preloading, "SLOW", ("slow_package",))
    yield project.job("import slow_package\n")
    sys.modules.pop("slow_package", None)


def test_a_slow_package_that_the_script_imports_is_loaded(job):
    preload(job)
    assert sys.modules["slow_package"].loaded


def test_a_package_that_cannot_be_loaded_is_left_to_the_site_that_needs_it(job, tmp_path):
    (tmp_path / "installed" / "slow_package.py").write_text("raise ImportError('no such library')\n")
    preload(job)
    assert "slow_package" not in sys.modules
