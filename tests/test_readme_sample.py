"""README's first example: it runs as printed, and other options change neither the script nor the model."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

README = Path(__file__).parent.parent / "README.md"
PRINTED = "SimEnv(num_clients=2)"


@pytest.fixture
def sample(tmp_path):
    blocks = re.findall(r"^```python [^\n]*file=(\S+)\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert [name for name, _ in blocks] == ["model.py", "client.py", "job.py"]
    for name, code in blocks:
        (tmp_path / name).write_text(code, encoding="utf-8")
    return tmp_path


def run(folder: Path) -> tuple[str, bytes]:
    """Return job.py's last line of output, and the bytes of the global model."""
    done = subprocess.run([sys.executable, "job.py"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    return last, Path(last.split(maxsplit=1)[1], "server", "global_model.safetensors").read_bytes()


def test_it_runs_as_printed(sample):
    last, _ = run(sample)
    assert last.startswith("finished ")


OTHERS = [
    pytest.param(PRINTED, "SimEnv(num_clients=2, num_threads=1)", marks=pytest.mark.at_length),
    pytest.param(
        PRINTED,
        'SimEnv(clients=["site-1", "site-2"], workspace_root="elsewhere", log_config="debug")',
        marks=pytest.mark.at_length,
    ),
    ('train_script="client.py"', 'train_script="client.py", launch_external_process=True'),
]


@pytest.mark.parametrize(("printed", "other"), OTHERS)
def test_other_options_change_no_line_of_the_script_and_no_bit_of_the_model(sample, printed, other, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # a separate process sums with as many threads as there are cores
    job = sample / "job.py"
    seeded = "import torch\n\ntorch.manual_seed(0)\n" + job.read_text()
    job.write_text(seeded)
    _, expected = run(sample)
    assert printed in seeded
    job.write_text(seeded.replace(printed, other))
    _, found = run(sample)
    assert found == expected
