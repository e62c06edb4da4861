"""Simulated sites share processes if they are many or memory is short."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import RecipeError
from flare_runtime import SimEnv
from flare_runtime.simulator.pool import can_fork
from flare_runtime.simulator.sharing import available_bytes, process_bytes, sites_share

GIB = 1 << 30


def sites(count):
    return [f"site-{number}" for number in range(count)]


def test_up_to_64_sites_have_a_process_each_if_memory_suffices(project):
    job = project.job()
    enough = 2 * 64 * process_bytes(job)
    assert not sites_share(job, sites(64), enough)
    assert sites_share(job, sites(64), enough - 2)
    assert not sites_share(job, sites(63), enough - 2)
    assert sites_share(job, sites(65), 1 << 50)
    assert not sites_share(job, sites(64), None)


def test_a_large_model_counts_for_each_site(project):
    small = process_bytes(project.job())
    assert process_bytes(project.job(model={"w": np.zeros(1 << 20)})) - small == pytest.approx(8 << 20, abs=1000)


def test_processes_that_load_their_own_libraries_need_more_memory(project):
    assert process_bytes(project.job("import keras\n")) > 512 << 20
    assert (process_bytes(project.job("import numpy\n")) < 128 << 20) == can_fork()


def test_the_available_memory_is_that_of_the_machine(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 4096 kB\n")
    assert available_bytes(tmp_path) == 4 << 20


@pytest.mark.parametrize(
    ("limits", "available"),
    [
        ({"a": "max", "a/b": "max"}, 8 * GIB),
        ({"a": "max", "a/b": str(2 * GIB)}, GIB + 4096),
        ({"a": str(3 * GIB), "a/b": str(4 * GIB)}, 2 * GIB + 4096),
        ({"a/b": str(GIB // 2)}, 0),
    ],
)
def test_the_available_memory_is_limited_by_control_groups(tmp_path, limits, available):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemAvailable: {8 * GIB >> 10} kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/a/b\n")
    for place, limit in limits.items():
        folder = tmp_path / "sys/fs/cgroup" / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{GIB}\n")
        (folder / "memory.stat").write_text("anon 5\ninactive_file 4096\n")
    assert available_bytes(tmp_path) == available


def test_an_invalid_share_processes_is_refused():
    with pytest.raises(RecipeError, match="share_processes is 'yes'"):
        SimEnv(num_clients=2, share_processes="yes")
