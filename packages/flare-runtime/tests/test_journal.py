"""The journal of a script's random generators: a restarted script draws the numbers that it would have drawn."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from flare_runtime.scripts.journal import KEPT_TASKS, Journal


@pytest.fixture(autouse=True)
def generator_is_given_back():
    state = random.getstate()
    yield
    random.setstate(state)


class Script:
    """One process of a script that draws a random number in each task."""

    def __init__(self, folder):
        random.seed(7)
        self.journal = Journal(folder, seed=7)

    def begin(self, task):
        self.journal.begin(task)
        return random.random()

    def do(self, task):
        drawn = self.begin(task)
        self.journal.end(task)
        return drawn


@pytest.fixture
def undisturbed(tmp_path):
    script = Script(tmp_path / "undisturbed")
    return [script.do(task) for task in range(1, 40)]


def test_a_script_killed_between_two_tasks_continues(tmp_path, undisturbed):
    drawn = [Script(tmp_path / "journal").do(task) for task in range(1, 40)]  # a new process for each
    assert drawn == undisturbed


def test_a_script_killed_during_a_task_repeats_it_identically(tmp_path, undisturbed):
    for task in range(1, 40):
        assert Script(tmp_path / "journal").begin(task) == undisturbed[task - 1]
        assert Script(tmp_path / "journal").do(task) == undisturbed[task - 1]


def test_a_repeated_task_starts_from_the_same_state(tmp_path, undisturbed):
    script = Script(tmp_path / "journal")
    for task in range(1, 20):
        assert script.do(task) == script.begin(task) == script.do(task) == undisturbed[task - 1]


def test_a_repeated_task_draws_the_same_numbers_from_a_module_that_it_had_loaded_only_then(tmp_path):
    script = """
import sys
from pathlib import Path

import numpy

from flare_runtime.scripts.generators import seed_module
from flare_runtime.scripts.journal import Journal

journal = Journal(Path(sys.argv[1]), seed=7)
sys.modules.pop("numpy.random", None)
journal.begin(1)
import numpy.random as numbers
seed_module("numpy.random", 7)  # as after the first import in a script
first = numbers.normal(size=10_000)
journal.end(1)
journal.begin(1)
assert (numbers.normal(size=10_000) == first).all()
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "journal")], check=True)


def test_a_lost_round_is_repeated_by_old_and_new_processes(tmp_path, undisturbed):
    script = Script(tmp_path / "journal")
    for task in (1, 2, 3):
        script.do(task)
    assert [script.do(task) for task in (2, 3, 4)] == undisturbed[1:4]
    assert [Script(tmp_path / "journal").do(task) for task in (3, 4, 5)] == undisturbed[2:5]


def test_tasks_that_are_not_for_this_site_draw_nothing(tmp_path, undisturbed):
    drawn = [Script(tmp_path / "journal").do(task) for task in range(1, 400, 50)]  # more apart than is kept
    assert drawn == undisturbed[: len(drawn)]


def test_draws_between_two_tasks_are_recorded_when_the_next_begins(tmp_path):
    script = Script(tmp_path / "journal")
    script.do(1)
    random.random()
    first = script.begin(2)
    assert Script(tmp_path / "journal").begin(2) == first


def test_a_truncated_entry_is_skipped(tmp_path, undisturbed):
    folder = tmp_path / "journal"
    script = Script(folder)
    script.do(1)
    random.random()
    script.begin(2)
    (folder / "2-begin.fobs").write_bytes(b"")
    assert Script(folder).do(2) == undisturbed[1]


def test_the_journal_does_not_grow(tmp_path):
    script = Script(tmp_path / "journal")
    for task in range(1, 100):
        random.random()
        script.do(task)
    assert len(list((tmp_path / "journal").iterdir())) <= 2 * (KEPT_TASKS + 2)
