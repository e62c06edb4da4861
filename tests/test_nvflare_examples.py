"""Examples of NVIDIA FLARE, unmodified, from the checkout that NVFLARE_CHECKOUT names; without it, none is run."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
runs = importlib.import_module("nvflare_example_runs")
EXAMPLES = importlib.import_module("nvflare_example_list").EXAMPLES
LIMIT_S = runs.LIMIT_S


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 60)
@pytest.mark.skipif("NVFLARE_CHECKOUT" not in os.environ, reason="NVFLARE_CHECKOUT names no checkout of NVIDIA FLARE")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_nvidia_flare_gives_its_value(name):
    row = runs.run(name, EXAMPLES[name], Path(os.environ["NVFLARE_CHECKOUT"]), sys.executable)
    if row.outcome == "not in this checkout":
        pytest.skip(row.outcome)
    if row.outcome == "refused" and (package := runs.missing_package(row)):
        pytest.skip(f"{package} is not installed")
    assert row.outcome == "runs", f"{row.reason}\n{row.output}"


@pytest.mark.parametrize(
    ("program", "outcome", "reason"),
    [
        ("print('accuracy: 0.5')", "runs", ""),
        ("print('accuracy: 0.1')", "wrong metric", ""),
        ("raise ValueError('no data')", "refused", "ValueError: no data"),
        ("import nowhere", "refused", "ModuleNotFoundError: No module named 'nowhere'"),
        (
            "raise ImportError('in another package; pip install it')",
            "refused",
            "ImportError: in another package; pip install it",
        ),
        ("import time; time.sleep(600)", "hangs", ""),
    ],
)
def test_the_outcome_of_an_example_is_what_its_program_did(tmp_path, monkeypatch, program, outcome, reason):
    if outcome == "hangs":
        monkeypatch.setattr(runs, "LIMIT_S", 1)
    folder = tmp_path / "checkout" / "examples" / "own"
    folder.mkdir(parents=True)
    (folder / "job.py").write_text(f"from pathlib import Path\nPath({str(tmp_path)!r}, 'own').mkdir()\n{program}\n")
    example = runs.Example("own", "own", pattern="accuracy:", expected=(0.4, 1.0), workspace=tmp_path)
    row = runs.run("own", example, tmp_path / "checkout", sys.executable)
    assert (row.outcome, row.reason) == (outcome, reason)
    assert runs.missing_package(row) == {"import nowhere": "nowhere"}.get(program, "it" if "pip" in program else "")
