"""The commands simulate, compare and replay of ``flare edge``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from flare_core import FlareError
from flare_edge.cli import app
from flare_edge.device.safetensors import loads


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, FlareError):  # which the command flare prints
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


SMALL = ("simulate", "--devices", "60", "--gateways", "3", "--at-once", "20", "--updates", "5", "--versions", "20")


def test_a_simulation_leaves_a_folder_with_everything(folder: Path) -> None:
    output = run(*SMALL, "--failures", "0.1", "--online-s", "600", "--offline-s", "600")
    assert "version 20 after" in output
    assert "version 20 is made, the last" in output
    made = folder / "edge-simulation"
    summary = json.loads((made / "summary.json").read_text())
    assert (summary["versions"], summary["arguments"]["devices"]) == (20, 60)
    assert summary["failures"] > 0
    with (made / "versions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["version"]) for row in rows] == list(range(1, 21))
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
    params, _ = loads((made / "global_model.safetensors").read_bytes())
    assert params["weight"].shape == (10, 64)
    text = (made / "run.svg").read_text()
    ElementTree.fromstring(text)
    for title in ("version of the model", "age of the updates", "devices", "accuracy", "simulated minutes"):
        assert title in text
    assert "decisions are the same" in run("replay", "edge-simulation/inputs.jsonl")
    run("plot", "edge-simulation/inputs.jsonl", "-o", "again.svg")
    assert "version of the model" in (folder / "again.svg").read_text()


def test_the_same_seed_gives_the_same_files(folder: Path) -> None:
    for output in ("one", "two"):
        run(*SMALL, "--seed", "3", "-o", output)
    for name in ("inputs.jsonl", "versions.csv", "global_model.safetensors", "run.svg"):
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()
    run(*SMALL, "--seed", "4", "-o", "three")
    assert (folder / "one" / "versions.csv").read_bytes() != (folder / "three" / "versions.csv").read_bytes()


def test_a_trace_is_simulated_without_training(folder: Path) -> None:
    sessions = "".join(f"phone-{number},0,100000,{10 + number}\n" for number in range(10))
    (folder / "trace.csv").write_text(f"device,start_s,end_s,train_s\n{sessions}")
    arguments = ("--trace", "trace.csv", "--at-once", "5", "--updates", "5", "--versions", "4", "--synchronous")
    output = run("simulate", "--training", "none", "--no-record", *arguments)
    assert "20 results, 0 failures" in output
    assert {each.name for each in (folder / "edge-simulation").iterdir()} == {"summary.json", "versions.csv", "run.svg"}


def test_methods_are_compared(folder: Path) -> None:
    output = run("compare", "--seeds", "1", "--devices", "40", "--at-once", "20", "--updates", "5", "--target", "0.4")
    assert "| FedBuff, K = 5 |" in output
    assert "| rounds of the first 15 of 20 |" in output
    made = folder / "edge-comparison"
    assert (made / "comparison.md").read_text().count("\n| ") == 4
    methods = json.loads((made / "comparison.json").read_text())["methods"]
    assert methods["rounds of 20"]["times_as_long"][0] > 1
    assert "rounds of 20" in (made / "comparison.svg").read_text()


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(FlareError, match="num_updates_for_model is 10, but only 5 devices"):
        run("simulate", "--at-once", "5")
    with pytest.raises(FlareError, match="--training is 'mnist'; give digits or none"):
        run("simulate", "--training", "mnist")
    with pytest.raises(FlareError, match="give answer_within_s"):
        run("simulate", "--losses", "0.5")


def test_settings_that_will_hardly_have_been_meant_are_remarked() -> None:
    assert "max_model_history is 2, but while 20 devices" in run(*SMALL, "--history", "2", "--training", "none")
