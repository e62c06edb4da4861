"""What is kept of a run's models, and when."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flare_core import CodeBundle, FLModel
from flare_runtime.run.checkpoints import Checkpoints, link
from flare_runtime.run.folder import RunFolder, default_workspace
from flare_runtime.run.record import MetricsFile, read_metrics, write_summary
from flare_tensor_downloader import read_file


class Exporting:
    """Writes the mean beside each checkpoint."""

    def initial_file(self, code):
        return None

    def export(self, checkpoint):
        mean = float(read_file(checkpoint)["w"].mean())
        checkpoint.with_suffix(".txt").write_text(str(mean))

    def to_framework(self, params):
        return dict(params)


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path, "job")


def checkpoints(folder, tmp_path, persistor=None):
    return Checkpoints(folder, persistor, CodeBundle(tmp_path))


def model(value: float, size: int = 4) -> FLModel:
    return FLModel(params={"w": np.full(size, value)})


def value_of(folder, name: str) -> float:
    return float(read_file(folder.checkpoint(name))["w"][0])


def test_the_last_model_is_kept_whatever_the_pace(folder, tmp_path):
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


def test_every_checkpoint_has_the_frameworks_own_format_beside_it(folder, tmp_path):
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


def test_metrics_that_json_does_not_have(folder):
    with_file = MetricsFile(folder.metrics)
    with_file.write(
        0, "site-1", {"loss": np.float32(0.5), "bad": float("nan"), "odd": object, "flag": True, "none": None}
    )
    with_file.close()
    rows = {row["key"]: row["value"] for row in read_metrics(folder.metrics)}
    assert rows["loss"] == 0.5
    assert rows["bad"] == "nan"
    assert rows["flag"] is True
    assert rows["none"] is None
    for line in folder.metrics.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_line_that_a_crash_cut_short_is_left_out(folder):
    folder.metrics.write_text('{"round": 0, "site": null, "key": "a", "value": 1}\n{"round": 1, "si')
    assert [row["value"] for row in read_metrics(folder.metrics)] == [1]


def test_a_summary_is_written_whole(folder):
    write_summary(folder.summary, {"outcome": "finished"})
    assert json.loads(folder.summary.read_text()) == {"outcome": "finished"}
    assert not list(folder.path.glob(".*.partial"))


def test_where_runs_are_kept(tmp_path, monkeypatch):
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


def test_a_file_that_is_linked_to_its_place_again_leaves_nothing_beside_it(tmp_path):
    source, target = tmp_path / "round-0-1.safetensors", tmp_path / "global_model.safetensors"
    source.write_bytes(b"a model")
    for _ in range(2):
        link(source, target)
    assert target.read_bytes() == b"a model"
    assert sorted(tmp_path.iterdir()) == [target, source]
