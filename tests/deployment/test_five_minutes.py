"""From an empty folder to a result with commands alone, and the same model in every environment."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello-world" / "hello-pt"


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "server" / "global_model.safetensors").read_bytes()).hexdigest()


def run_of(folder: Path) -> Path:
    (run,) = (folder / "flare-runs" / "hello-pt").iterdir()
    return run


@pytest.mark.timeout(400)  # eight commands import torch, which takes a slow machine ten seconds each time
def test_from_an_empty_folder_to_a_result(shell, tmp_path):
    """Six commands, and the same bits as the simulator, the POC and a job that was exported, moved and submitted."""
    pytest.importorskip("torch")
    job = EXAMPLE / "job.py"
    shell.flare("up", "--port", shell.free_port())
    for site in ("site-1", "site-2"):
        shell.flare("join", shell.flare("invite", site).strip())
    printed = shell.flare("run", job, "--sites", "2")
    assert shell.commands <= 10
    assert "FINISHED  hello-pt: 15 rounds" in printed
    assert "accuracy on 360 digits" in printed
    deployed = digest(run_of(tmp_path))

    status = shell.json("status")
    assert [site["connected"] for site in status["sites"]] == [True, True]
    (listed,) = shell.json("job", "list")
    assert listed["state"] == "finished"

    for env in ("sim", "poc"):
        shutil.rmtree(tmp_path / "flare-runs")
        shell.flare("run", "--env", env, "--clients", "2", job, "--sites", "2")
        assert digest(run_of(tmp_path)) == deployed

    exported = tmp_path / "exported"
    command = [sys.executable, "job.py", "--sites", "2", "--export", exported]
    subprocess.run(command, cwd=EXAMPLE, check=True, timeout=60)
    moved = exported.rename(tmp_path / "moved")
    submitted = shell.json("job", "submit", moved / "hello-pt")
    assert shell.json("job", "wait", submitted["id"])["state"] == "finished"
    shell.flare("job", "download", submitted["id"], "--to", "fetched")
    assert digest(tmp_path / "fetched") == deployed
