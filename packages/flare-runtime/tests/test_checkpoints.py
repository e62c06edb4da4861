"""Checkpoints of a run's models."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flare_core import FLModel
from flare_core.job import CodeBundle
from flare_runtime.run.checkpoint_store import CheckpointStore
from flare_runtime.run.folder import RunFolder, default_workspace
from flare_runtime.run.persistor import SafetensorsPersistor
from flare_runtime.run.record import LineFile, read_metrics, write_summary
from flare_tensor_downloader import read_file, write_file
from flare_tensor_downloader.errors import SafetensorsError


class Exporting(SafetensorsPersistor):
    """A persistor that writes the mean beside each checkpoint."""

    def export(self, checkpoint):
        mean = float(read_file(checkpoint)["w"].mean())
        checkpoint.with_suffix(".txt").write_text(str(mean))


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path, "job")


def checkpoints(folder, tmp_path, persistor=None):
    return CheckpointStore(folder, persistor or SafetensorsPersistor(), CodeBundle(tmp_path))


def model(value: float, size: int = 4) -> FLModel:
    return FLModel(params={"w": np.full(size, value)})


def value_of(folder, name: str) -> float:
    return float(read_file(folder.checkpoint(name))["w"][0])


def test_the_last_model_is_kept_even_of_fast_rounds(folder, tmp_path):
    kept = checkpoints(folder, tmp_path)
    for number in range(1000):
        kept.save(model(number), "global")
    kept.close()
    assert value_of(folder, "global") == 999


@pytest.mark.parametrize("size", [4, 1 << 22])
def test_the_best_model_is_the_one_of_its_round(folder, tmp_path, size):
    kept = checkpoints(folder, tmp_path)
    for number in range(6):
        current = model(number, size)
        kept.save(current, "global")
        if number == 3:
            kept.save(current, "best")
    kept.close()
    assert value_of(folder, "best") == 3
    assert value_of(folder, "global") == 5


def test_every_checkpoint_is_also_written_in_the_frameworks_format(folder, tmp_path):
    kept = checkpoints(folder, tmp_path, Exporting())
    kept.save(model(2.5), "global")
    kept.close()
    assert folder.checkpoint("global").with_suffix(".txt").read_text() == "2.5"


def test_a_checkpoint_that_cannot_be_written_is_an_error(folder, tmp_path):
    folder.server.rmdir()
    folder.server.write_text("a file is in the way")
    kept = checkpoints(folder, tmp_path)
    kept.save(model(1.0), "global")
    with pytest.raises(OSError, match="server"):
        kept.close()


def durable(folder, tmp_path, persistor=None, **state):
    """Open the store of a durable run, as its first process does and every one that continues it."""
    state = {"workflow": 0, "state": {}, **state}
    persistor = persistor or SafetensorsPersistor()
    return CheckpointStore(folder, persistor, CodeBundle(tmp_path), is_durable=True, state=lambda: state)


def test_a_durable_run_is_continued_after_its_last_completed_round(folder, tmp_path):
    first = durable(folder, tmp_path, state={"seen": ["a"], "momentum": {"w": np.arange(3.0)}})
    assert first.resume() == {}
    for number in range(3):
        if number == 2:
            first.save(model(1), "best")
        first.save(model(number), "global")
        first.commit(number)
    first.save(model(7), "best")
    first.save(model(8), "global")  # in a round that is not completed
    second = durable(folder, tmp_path)
    kept = second.resume()
    assert (kept["round"], kept["state"]["seen"]) == (2, ["a"])
    momentum = kept["state"]["momentum"]["w"]
    momentum += 1  # it is the workflow's own
    assert momentum.tolist() == [1, 2, 3]
    assert second.load().params["w"][0] == 2
    assert second.load("best").params["w"][0] == 1
    assert (value_of(folder, "best"), value_of(folder, "global")) == (1, 2)  # without the round that was cut short
    second.close()
    assert (value_of(folder, "best"), value_of(folder, "global")) == (1, 2)


def test_a_durable_run_goes_back_to_its_last_completed_round(folder, tmp_path):
    kept = durable(folder, tmp_path)
    kept.save(model(1), "global")
    kept.commit(0)
    kept.save(model(2), "global")
    assert kept.load().params["w"][0] == 2
    assert kept.resume()["round"] == 0
    assert kept.load().params["w"][0] == 1
    kept.close()
    assert value_of(folder, "global") == 1


def test_a_durable_run_is_continued_within_a_round_from_its_last_checkpoint(folder, tmp_path):
    state = {"step": 0, "sums": {"w": np.zeros(2)}}
    first = durable(folder, tmp_path, state=state)
    first.commit_within(0)
    assert durable(folder, tmp_path).resume()["round"] == -1
    first.save(model(1), "global")
    first.commit(0)
    state |= {"step": 3, "sums": {"w": np.ones(2)}}
    first._next_within = 0.0  # as if more time had passed
    first.commit_within(1)
    second = durable(folder, tmp_path)
    kept = second.resume()
    assert (kept["round"], kept["state"]["step"], kept["state"]["sums"]["w"].tolist()) == (0, 3, [1, 1])
    assert second.load().params["w"][0] == 1
    files = sorted(path.name for path in folder.server.iterdir() if path.name.startswith("state-"))
    assert files == ["state-0-0+.safetensors"]  # beside that of the completed round until state.json was replaced
    for each in (first, second):
        each.close()


def test_a_first_workflow_that_begins_again_has_no_model_of_before(folder, tmp_path):
    first = durable(folder, tmp_path, state={"momentum": {"w": np.zeros(2)}})
    first.save(model(1), "global")
    first.save(model(1), "best")
    first.commit(0)
    second = durable(folder, tmp_path)
    assert second.go_back({}) == {}
    assert (second.resume(), second.load().params) == ({}, None)
    assert list(folder.server.iterdir()) == []
    second.close()


def test_a_later_workflow_that_begins_again_has_the_model_that_was_saved_last(folder, tmp_path):
    first = durable(folder, tmp_path, workflow=1, state={"momentum": {"w": np.zeros(2)}})
    first.save(model(1), "global")
    first.commit(0)
    second = durable(folder, tmp_path)
    began = {"workflow": 0, "over": True, "round": 0, "state": {}}
    assert second.go_back(began) == began
    kept = durable(folder, tmp_path).resume()
    assert (kept["workflow"], kept["over"], kept["state"]) == (0, True, {})
    assert second.load().params["w"][0] == 1
    second.close()


def test_checkpoints_within_a_round_take_little_of_the_time(folder, tmp_path):
    made = []

    def state():
        made.append(1)
        return {"workflow": 0, "state": {}}

    kept = CheckpointStore(folder, SafetensorsPersistor(), CodeBundle(tmp_path), is_durable=True, state=state)
    for _ in range(1000):
        kept.commit_within(0)
    assert 1 <= len(made) < 100
    kept.close()


def test_a_large_model_of_a_durable_run_is_on_disk_before_the_next_round_ends(folder, tmp_path):
    kept = durable(folder, tmp_path)
    for number in range(3):
        kept.save(current := model(number, 1 << 22), "global")
        kept.save(current, "best")
        kept.commit(number)
        if number:
            assert json.loads((folder.server / "state.json").read_text())["round"] >= number - 1
    kept.close()
    assert (value_of(folder, "best"), value_of(folder, "global")) == (2, 2)
    assert folder.checkpoint("best").samefile(folder.checkpoint("global"))  # the same model is written once


def test_a_durable_run_keeps_only_the_files_of_its_last_completed_round(folder, tmp_path):
    kept = durable(folder, tmp_path, state={"momentum": {"w": np.zeros(2)}})
    for number in range(4):
        if number == 1:
            kept.save(model(0.5), "best")
        kept.save(model(number), "global")
        kept.commit(number)
    kept.close()
    (folder.server / ".round-0-4.safetensors.0a1b2c3d.partial").touch()  # left by a process that is killed
    durable(folder, tmp_path).close()
    assert sorted(path.name for path in folder.server.iterdir()) == [
        "best-0-1.safetensors",
        "best_model.safetensors",
        "global_model.safetensors",
        "round-0-3.safetensors",
        "state-0-3.safetensors",
        "state.json",
    ]


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_run_that_completes_no_round_keeps_the_model_that_it_began_with(folder, tmp_path, is_durable):
    write_file(tmp_path / "initial.safetensors", {"w": np.full(4, 5.0)})
    kept = CheckpointStore(
        folder, SafetensorsPersistor("initial.safetensors"), CodeBundle(tmp_path), is_durable=is_durable
    )
    assert kept.load().params["w"][0] == 5
    kept.close()
    assert value_of(folder, "global") == 5


def test_a_model_that_cannot_be_written_is_an_error_though_a_later_one_can(folder, tmp_path):
    kept = checkpoints(folder, tmp_path)
    kept.save(FLModel(params={"w": np.array(["text"])}), "best")
    with pytest.raises(SafetensorsError):  # nothing large is saved while that is being written
        kept.save(model(1, 1 << 22), "global")
    with pytest.raises(SafetensorsError):
        kept.close()


def test_metrics_without_a_json_form_are_recorded(folder):
    file = LineFile(folder.metrics)
    values = {"loss": np.float32(0.5), "bad": float("nan"), "odd": object, "flag": True, "none": None}
    for key, value in values.items():
        file.write({"round": 0, "site": "site-1", "key": key, "value": value})
    file.close()
    rows = {row["key"]: row["value"] for row in read_metrics(folder.metrics)}
    assert rows["loss"] == 0.5
    assert rows["bad"] == "nan"
    assert rows["flag"] is True
    assert rows["none"] is None
    for line in folder.metrics.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_truncated_line_is_skipped(folder):
    folder.metrics.write_text('{"round": 0, "site": null, "key": "a", "value": 1}\n{"round": 1, "si')
    assert [row["value"] for row in read_metrics(folder.metrics)] == [1]


def test_a_summary_is_written_whole(folder):
    write_summary(folder.summary, {"outcome": "finished"})
    assert json.loads(folder.summary.read_text()) == {"outcome": "finished"}
    assert not list(folder.path.glob(".*.partial"))


def test_the_default_workspace(tmp_path, monkeypatch):
    monkeypatch.delenv("FLARE_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert default_workspace() == tmp_path / "flare-runs"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir("/")
    assert default_workspace() == tmp_path / "cache" / "flare" / "runs"
    monkeypatch.setenv("FLARE_WORKSPACE", str(tmp_path / "mine"))
    assert default_workspace() == tmp_path / "mine"


def test_a_workspace_that_cannot_be_written_is_named(tmp_path):
    from flare_core import RecipeError

    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="give workspace_root"):
        RunFolder.create(tmp_path / "file", "job")
