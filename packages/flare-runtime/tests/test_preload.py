"""What is loaded for all workers before they are forked."""

from __future__ import annotations

import gc
import sys
import textwrap

import pytest

from flare_runtime.simulator import preload as preloading
from flare_runtime.simulator.preload import preload

PACKAGE = """
    import gc

    looks = []
    gc.callbacks.append(lambda phase, info: looks.append(info["generation"]))
    kept = [[number] for number in range(200_000)]  # among which the collector would look for garbage, many times
    while_loading = looks[:]
"""


@pytest.fixture
def job(project, tmp_path, monkeypatch):
    """A job whose script imports a package that takes long to load, and what tells when the collector looks."""
    before = gc.callbacks[:]
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "slow_package.py").write_text(textwrap.dedent(PACKAGE))
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    monkeypatch.setattr(preloading, "SLOW", ("slow_package",))
    yield project.job("import slow_package\n")
    gc.callbacks[:] = before
    sys.modules.pop("slow_package", None)


def test_the_collector_does_not_look_at_what_is_loaded(job):
    preload(job)
    assert sys.modules["slow_package"].while_loading == []
    assert gc.isenabled()
    assert gc.get_freeze_count() < preloading.FROZEN_BY_PYTHON
    assert not any(each is sys.modules["slow_package"].kept for each in gc.get_objects(0) + gc.get_objects(1))


def test_a_collector_that_is_switched_off_stays_so(job):
    gc.disable()
    try:
        preload(job)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_a_user_has_frozen_stays_so(job):
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        preload(job)
        assert gc.get_freeze_count() > frozen // 2  # some may have been let go of since
    finally:
        gc.unfreeze()


def test_what_cannot_be_loaded_leaves_the_collector_on(job, tmp_path):
    (tmp_path / "installed" / "slow_package.py").write_text("raise ImportError('no such library')\n")
    preload(job)
    assert gc.isenabled()
    assert "slow_package" not in sys.modules
