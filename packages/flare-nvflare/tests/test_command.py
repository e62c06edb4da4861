"""The command ``nvflare``."""

import subprocess
import sys

import numpy as np
import pytest
from nvflare_folders import CLIENT, TRAINER, write_job

from nvflare.cli import run


def test_the_simulator_writes_its_results_where_they_are_expected(tmp_path, capfd):
    folder, work = write_job(tmp_path / "sag"), tmp_path / "work"
    assert run(["simulator", str(folder), "-w", str(work), "-n", "2", "-t", "2"]) == 0
    assert np.load(work / "server" / "simulate_job" / "models" / "server.npy").tolist() == [7.0, 8.0]
    assert (work / "site-2" / "simulate_job" / "model" / "best_numpy.npy").is_file()
    assert run(["simulator", str(folder), "-w", str(work), "-c", "a,b"]) == 0
    assert (work / "b" / "simulate_job").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["simulator", "nowhere", "-n", "2"], 1, "nowhere"),
        (["simulator"], 2, "job_folder"),
        (["simulator", "job", "--nonsense"], 2, "--nonsense"),
        (["dashboard", "--start"], 2, "not provided by Flare"),
        ([], 2, ""),
    ],
)
def test_a_wrong_command_line_is_told_from_a_failure(arguments, code, words, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    assert words in capfd.readouterr().err


def test_a_failed_job_ends_with_an_exit_code_of_its_own(tmp_path, capfd):
    client = {**CLIENT, "executors": [{"tasks": ["other"], "executor": TRAINER}]}
    folder = write_job(tmp_path / "job", client=client)
    assert run(["simulator", str(folder), "-w", str(tmp_path / "work"), "-n", "2"]) == 3
    assert "no executor of the job does the task 'train'" in capfd.readouterr().err


def test_a_job_that_names_no_sites_needs_their_number(tmp_path, capfd):
    assert run(["simulator", str(write_job(tmp_path / "job")), "-w", str(tmp_path / "work")]) == 1
    assert "number of sites" in capfd.readouterr().err


def test_a_project_file_is_written_to_begin_with(tmp_path, capfd):
    path = tmp_path / "project.yml"
    assert run(["provision", "-g", "-p", str(path)]) == 0
    assert "participants" in path.read_text()
    assert run(["provision", "-g", "-p", str(path)]) == 1
    pytest.importorskip("flare_deploy")
    assert run(["provision", "-p", str(path), "-w", str(tmp_path / "kits")]) == 0
    assert (tmp_path / "kits" / "example_project" / "sites" / "site-2" / "startup").is_dir()


def test_the_module_is_the_command():
    ended = subprocess.run(
        [sys.executable, "-m", "nvflare.cli", "dashboard"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "not provided by Flare" in ended.stderr
