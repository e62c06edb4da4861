"""C25: GPU flags are checked before anything starts, and mapped through the GPUs visible to this process."""

from __future__ import annotations

import pytest

from flare_core import RecipeError
from flare_deploy import PocEnv
from flare_runtime import SimEnv

SHOWS = """
    import os
    import flare_core.client as flare

    flare.init()
    print("SEES", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    while flare.is_running():
        flare.send(flare.FLModel(params=flare.receive().params))
"""


def seen(folder, site):
    text = (folder / "sites" / site / "log.txt").read_text()
    return next(line.removeprefix("SEES ") for line in text.splitlines() if line.startswith("SEES "))


@pytest.mark.parametrize("env", [SimEnv, PocEnv])
@pytest.mark.parametrize("config", ["a", "0,,1", "[0,1],[2", "", "0;1", "-1"])
def test_unreadable_flags_are_refused_before_anything_starts(env, config):
    with pytest.raises(RecipeError, match="gpu_config is"):
        env(num_clients=2, gpu_config=config)


@pytest.mark.parametrize("env", [SimEnv, PocEnv])
@pytest.mark.parametrize(("config", "visible"), [("0,1", ""), ("7", "0,1"), ("[0,1],[2]", "3,5"), ("0", "-1")])
def test_a_missing_gpu_is_named(env, config, visible, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(RecipeError, match=r"GPU \d does not exist: this process sees"):
        env(num_clients=2, gpu_config=config)


def test_sites_of_a_federation_see_the_gpus_of_their_group(project, monkeypatch):
    """More groups than sites are allowed; ids index the GPUs visible to the parent."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9")
    status, folder, _ = project.poc(SHOWS, env={"gpu_config": "[0,1],[2],[0]"})
    assert status == "finished"
    assert (seen(folder, "site-1"), seen(folder, "site-2")) == ("4,7", "9")


def test_a_simulated_site_sees_the_same(project, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9")
    run = project.recipe(SHOWS).execute(project.env(gpu_config="[0,1],[2]"))
    folder = run.get_result()
    assert (seen(folder, "site-1"), seen(folder, "site-2")) == ("4,7", "9")
