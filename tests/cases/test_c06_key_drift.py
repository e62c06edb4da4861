"""C06: prefixes are reported, partial models update the keys they hold, unknown keys are refused."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import JobFailed

KEYS = [f"layer{index}.weight" for index in range(8)] + ["fc.weight", "fc.bias"]
SCRIPT = """
    import sys
    import numpy as np
    import flare_core.client as flare

    flare.init()
    one = flare.get_site_name() == "site-1"
    while flare.is_running():
        params = flare.receive().params
        {body}
        flare.send(flare.FLModel(params=params))
"""


def run_with(project, body, initial=None, **arguments):
    initial = {key: np.full(2, float(index)) for index, key in enumerate(KEYS)} if initial is None else initial
    recipe = project.recipe(SCRIPT.replace("{body}", body), initial_model=initial, **arguments)
    return recipe.execute(project.env(), raise_on_failure=False)


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_a_prefix_that_a_wrapper_added_is_named(project, transfer):
    run = run_with(project, 'params = {f"_module.{k}": v for k, v in params.items()}', params_transfer_type=transfer)
    with pytest.raises(JobFailed) as caught:
        run.get_result()
    text = str(caught.value)
    assert "_module.layer0.weight" in text
    assert "site-" in text  # in DIFF mode each site detects it itself, so either may be first
    assert "prefix '_module.'" in text
    assert "'layer0.weight'" in text
    assert run.load_model(raise_on_failure=False)["fc.bias"].tolist() == [9.0, 9.0]


def test_two_keys_of_ten_are_averaged_and_eight_stay_bit_for_bit(project):
    body = 'params = {k: np.full(2, 10.0 if one else 20.0) for k in ("fc.weight", "fc.bias")}'
    model = run_with(project, body).load_model()
    assert model["fc.weight"].tolist() == [15.0, 15.0]
    assert all(model[key].tobytes() == np.full(2, float(index)).tobytes() for index, key in enumerate(KEYS[:8]))


def test_shapes_that_differ_between_sites_name_key_shapes_and_site(project):
    initial = {"lora_A": np.zeros((8, 16))}
    run = run_with(project, 'params = {"lora_A": np.zeros((8 if one else 4, 16))}', initial)
    with pytest.raises(JobFailed, match=r"'lora_A': site-2 sent shape \(4, 16\), site-1 sent \(8, 16\)"):
        run.get_result()


def test_each_key_is_averaged_over_the_sites_that_sent_it(project):
    initial = {key: np.zeros(1) for key in "abc"}
    body = 'params = {k: np.full(1, 4.0 if one else 8.0) for k in ("ab" if one else "bc")}'
    model = run_with(project, body, initial).load_model()
    assert {key: value.item() for key, value in model.items()} == {"a": 4.0, "b": 6.0, "c": 8.0}


def test_an_empty_model_adopts_the_first_keys_and_no_others_later(project):
    body = """first = not params
        params = {"w": np.ones(2)} if first else {"w": np.ones(2), "v": np.ones(2)}"""
    run = run_with(project, body, {}, num_rounds=2)
    with pytest.raises(JobFailed, match="site-1 has 1 of 2 keys that the global model does not have: 'v'"):
        run.get_result()
    assert run.load_model(raise_on_failure=False)["w"].tolist() == [1.0, 1.0]
