"""Compression as an option of a recipe, from the script to the checkpoint."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from flare_core import JobFailed, RecipeError, WeightedMean
from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv
from flare_tensor_downloader import Downloader

SCRIPT = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    target = np.sin(np.arange(60_000, dtype=np.float32))
    while flare.is_running():
        model = flare.receive()
        w = model.params["w"]
        assert w.dtype == np.float32
        error = float(abs(target - w).max())
        flare.send(flare.FLModel(params={"w": w + STEP * (target - w)}, metrics={"error": error}))
"""
TARGET = np.sin(np.arange(60_000, dtype=np.float32))


def execute(tmp_path, rounds=12, step=0.5, **arguments):
    script = tmp_path / "client.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("STEP", str(step)))
    recipe = FedAvgRecipe(
        name="compressed",
        min_clients=3,
        num_rounds=rounds,
        initial_model={"w": np.zeros(60_000, np.float32)},
        train_script=script,
        key_metric="error",
        key_metric_mode="min",
        **arguments,
    )
    run = recipe.execute(SimEnv(num_clients=3, num_threads=2, workspace_root=tmp_path / "runs"))
    rounds_ = run.summary()["bytes"]["rounds"]
    sent = np.median([each["sent"] for each in rounds_]) / (3 * TARGET.nbytes)
    received = np.median([each["received"] for each in rounds_]) / (3 * TARGET.nbytes)
    return run.load_model()["w"], sent, received


@pytest.mark.parametrize(
    ("codec", "share", "error"),
    [(None, 1.0, 3e-4), ("fp16", 0.5, 1e-3), ("bf16", 0.5, 6e-3), ("int8", 0.254, 0.01), ("int8+zstd", 0.254, 0.01)],
)
def test_training_converges_with_fewer_bytes_in_both_directions(tmp_path, codec, share, error):
    found, sent, received = execute(tmp_path, compression=codec)
    assert found.dtype == np.float32
    assert np.abs(found - TARGET).max() < error
    assert sent < share * 1.05
    assert received < share * 1.05


def test_topk_of_differences_converges_by_error_feedback(tmp_path):
    # A value waits some ten rounds to be sent and grows meanwhile, so the step must be small.
    topk = {"compression": "topk:0.1", "params_transfer_type": "DIFF"}
    found, sent, received = execute(tmp_path, rounds=150, step=0.04, **topk)
    assert received < 0.21
    assert sent > 0.99
    assert np.abs(found - TARGET).mean() < 0.02


def test_each_direction_has_its_own_codec(tmp_path):
    found, sent, received = execute(tmp_path, compression={"task": "bf16", "result": "int8"})
    assert np.abs(found - TARGET).max() < 0.02
    assert sent < 0.53
    assert received < 0.27


@pytest.mark.parametrize(
    ("compression", "match"),
    [
        ("gzip", "gzip"),
        ({"task": "topk:0.1"}, "whole models"),
        ("topk:0.1", "DIFF"),
        ({"both": "int8"}, "task"),
    ],
)
def test_invalid_settings_are_refused_at_construction(tmp_path, compression, match):
    with pytest.raises(RecipeError, match=match):
        execute(tmp_path, compression=compression)


def test_a_diverged_site_is_named(tmp_path):
    (tmp_path / "client.py").write_text("")
    script = tmp_path / "bad.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("w + STEP", "w * np.nan + 1"))
    recipe = FedAvgRecipe(
        min_clients=1,
        num_rounds=1,
        initial_model={"w": np.zeros(60_000, np.float32)},
        train_script=script,
        compression="int8",
    )
    with pytest.raises(JobFailed, match=r"site-1: 'w'.*NaN"):
        recipe.execute(SimEnv(num_clients=1, workspace_root=tmp_path / "runs"))


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_the_offer_of_a_task_ends_once_all_sites_have_it(tmp_path, monkeypatch, external):
    """When the last result of a round is averaged, every site has said that it has the task, through filters too."""
    open_offers: list[int] = []
    original = WeightedMean.add

    def add(self, reply):
        original(self, reply)
        open_offers.append(downloaders[0].open_offers)

    downloaders: list = []
    made = Downloader.__init__

    def init(self, cell):
        made(self, cell)
        downloaders.append(self)

    monkeypatch.setattr(WeightedMean, "add", add)
    monkeypatch.setattr(Downloader, "__init__", init)
    execute(tmp_path, rounds=2, compression={"task": "fp16"}, launch_external_process=external)
    assert open_offers[2::3] == [0, 0]
