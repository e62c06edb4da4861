"""A server's optimizer takes no steps for a codec's errors in models that no site has changed."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from flare_core import RecipeError
from flare_recipes_np import FedOptRecipe

KEEPS = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params={**model.params, "head": model.params["head"] + 1}, metrics={"accuracy": 0.5}))
"""

FROZEN = np.random.default_rng(0).normal(size=4096).astype(np.float32)


def made(project, optimizer, **arguments):
    return FedOptRecipe(
        **{"optimizer_args": {"class_path": optimizer, "args": {"lr": 0.1}}, **arguments},
        name="frozen",
        min_clients=2,
        num_rounds=3,
        initial_model={"backbone": FROZEN, "head": np.zeros(2, np.float32)},
        train_script=project.write("client.py", KEEPS),
    )


ADAPTIVE = [f"flare_core.optimizers.{name}" for name in ("Adam", "Yogi", "Adagrad")]


@pytest.mark.parametrize("optimizer", ADAPTIVE)
@pytest.mark.parametrize(
    "settings",
    [
        {"compression": "int8"},
        {"compression": {"task": "int4"}},
        {"compression": {"result": "int8+zstd"}},
        {
            "compression": "int8",
            "params_transfer_type": "DIFF",
            "per_site_config": {"site-1": {"params_transfer_type": "FULL"}},
        },
    ],
)
def test_whole_models_with_coarse_codecs_are_refused_for_adaptive_optimizers(project, optimizer, settings):
    with pytest.raises(RecipeError, match=rf"compression is 'int.*{optimizer}.*params_transfer_type='DIFF'"):
        made(project, optimizer, **settings)


def test_an_optimizer_given_by_its_path_is_named_too(project):
    with pytest.raises(RecipeError, match=r"flare_core.optimizers.Adam"):
        made(project, ADAPTIVE[0], compression="int8", optimizer_args={"path": ADAPTIVE[0], "args": {}})


def test_finer_codecs_produce_a_warning(project, caplog):
    with caplog.at_level(logging.WARNING):
        made(project, ADAPTIVE[0], compression="bf16")
    assert "give params_transfer_type='DIFF'" in caplog.text
    caplog.clear()
    made(project, ADAPTIVE[0], compression="zstd")
    made(project, "flare_core.optimizers.SGD", compression="bf16")
    assert not caplog.text


@pytest.mark.parametrize("optimizer", ADAPTIVE)
def test_with_differences_frozen_parameters_stay(project, optimizer):
    recipe = made(project, optimizer, compression="int8", params_transfer_type="DIFF")
    found = recipe.execute(project.env(2)).load_model()
    assert np.array_equal(found["backbone"], FROZEN)
    assert np.all(found["head"] > 0.1)


def test_all_framework_optimizers_but_plain_sgd_count_as_adaptive():
    torch = pytest.importorskip("torch")
    pytest.importorskip("flare_recipes_pt")
    from flare_recipes_pt.optimizer import TorchOptimizer

    for name, is_adaptive in {"SGD": False, "Adam": True, "AdamW": True, "RMSprop": True}.items():
        assert TorchOptimizer(f"{torch.optim.__name__}.{name}", {"lr": 0.1}).is_adaptive == is_adaptive
