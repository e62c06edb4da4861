"""The recipes' arguments."""

from __future__ import annotations

import numpy as np
import pytest
from tree_devices import Counted, PairMask

from flare_core import RecipeError
from flare_core.filters import Filter
from flare_core.testing import RecipeConformance
from flare_edge import DeviceManagerConfig, EdgeFedBuffRecipe, EvaluatorConfig, ModelManagerConfig, SimulationConfig

ARGUMENTS = {
    "model": {"w": np.zeros(3, np.float32)},
    "model_manager_config": ModelManagerConfig(max_model_version=2, num_updates_for_model=2),
    "device_manager_config": DeviceManagerConfig(device_selection_size=2),
}


class TestEdgeFedBuffRecipe(RecipeConformance):
    def make(self, folder):
        return EdgeFedBuffRecipe(
            job_name="fleet",
            tree={"region": ["gw-1", "gw-2"]},
            simulation_config=SimulationConfig(Counted(), num_devices=3),
            evaluator_config=EvaluatorConfig(num_devices=1),
            optimizer_args={"class_path": "flare_core.optimizers.SGD", "args": {"momentum": 0.5}},
            sum_filters=[PairMask()],
            device_config={"lr": 0.1},
            **ARGUMENTS,
        )


class Nothing(Filter):
    def process(self, model, context):
        return model


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"model": None}, "give model or initial_ckpt"),
        ({"model": [1.0]}, "model is a list"),
        ({"model": {"w": [1.0]}}, "model['w'] is a list"),
        ({"model": {"w": np.zeros(2, np.float16)}}, "devices train float32 or float64"),
        ({"model": {"n": np.zeros(2, np.int64)}}, "no floating-point parameters"),
        ({"model_manager_config": {}}, "give a flare_edge.ModelManagerConfig"),
        ({"device_manager_config": DeviceManagerConfig(device_selection_size=1)}, "num_updates_for_model is 2"),
        ({"tree": {"a": "b"}}, "give a list of the sites"),
        ({"tree": {"a": ["b"], "b": ["a"]}}, "a circle at"),
        ({"tree": {"a": ["c"], "b": ["c"]}}, "a site reports to one"),
        ({"device_config": {"lr": object()}}, "device_config has no JSON form"),
        ({"device_wait_timeout": 0}, "device_wait_timeout is 0"),
        ({"key_metric_mode": "best"}, "key_metric_mode is 'best'"),
        ({"simulation_config": SimulationConfig(object())}, "derives from flare_edge.TaskProcessor"),
        ({"optimizer_args": {"class_path": "fractions.Fraction"}}, "describes a Fraction"),
        ({"sum_filters": [Counted()]}, "derives from flare_edge.SumFilter"),
        ({"custom_source_root": "nowhere"}, "there is no folder"),
        (
            {"evaluator_config": EvaluatorConfig(custom_dataset={"data": [[1.0]], "labels": [0]})},
            "needs a torch.nn.Module",
        ),
    ],
)
def test_unusable_arguments_are_refused_with_a_remedy(arguments, told):
    with pytest.raises(RecipeError) as error:
        EdgeFedBuffRecipe(**{**ARGUMENTS, **arguments}).job()
    assert told in str(error.value)


def test_filters_that_would_see_nothing_are_refused():
    recipe = EdgeFedBuffRecipe(**ARGUMENTS)
    recipe.add_client_output_filter(Nothing())
    with pytest.raises(RecipeError, match="not the updates of devices"):
        recipe.job()


def test_a_checkpoint_replaces_the_values_of_the_model(tmp_path):
    np.savez(tmp_path / "saved.npz", w=np.array([1.0, 2.0, 3.0]))
    recipe = EdgeFedBuffRecipe(**ARGUMENTS, initial_ckpt=tmp_path / "saved.npz")
    job = recipe.job()
    from flare_tensor_downloader import read_file

    params = read_file(job.code.locate("initial_model.safetensors"))
    assert np.array(params["w"]).tolist() == [1.0, 2.0, 3.0]
    assert params["w"].dtype == np.float32
