"""ETFedBuffRecipe: PyTorch models become programs of devices."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if importlib.util.find_spec("executorch") is None:
    pytest.skip("needs ExecuTorch, the extra flare-edge[executorch]", allow_module_level=True)

from flare_core import RecipeError  # noqa: E402
from flare_core.testing import RecipeConformance  # noqa: E402
from flare_edge import DeviceManagerConfig, ETFedBuffRecipe, ModelManagerConfig  # noqa: E402
from flare_tensor_downloader import read_file  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao registers what torch has learnt meanwhile


def recipe(**arguments) -> ETFedBuffRecipe:
    torch.manual_seed(0)
    given = {
        "device_model": torch.nn.Sequential(torch.nn.Linear(4, 3)),
        "input_shape": (8, 4),
        "output_shape": (8,),
        "device_training_params": {"lr": 0.1, "batch_size": 8},
        "model_manager_config": ModelManagerConfig(max_model_version=2, num_updates_for_model=2),
        "device_manager_config": DeviceManagerConfig(device_selection_size=2),
    }
    return ETFedBuffRecipe(**{**given, **arguments})


class TestETFedBuffRecipe(RecipeConformance):
    def make(self, folder):
        return recipe(job_name="phones")


def test_the_model_and_its_program_are_in_the_job():
    made = recipe()
    job = made.job()
    config = job.client.components["edge"].args["job"]["config"]
    assert config["lr"] == 0.1
    assert config["program"]["kind"] == "executorch"
    assert config["program"]["max_batch"] == 8
    params = read_file(job.code.locate("initial_model.safetensors"))
    torch.manual_seed(0)
    expected = torch.nn.Sequential(torch.nn.Linear(4, 3)).state_dict()
    assert {name: np.array(value).tolist() for name, value in params.items()} == {
        name: value.tolist() for name, value in expected.items()
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"model": {}}, "model is what device_model starts from"),
        ({"input_shape": "8x4"}, "input_shape is '8x4'"),
        ({"output_shape": (7,)}, "must begin with the same size"),
        ({"device_model": torch.nn.BatchNorm1d(4)}, "has the buffers"),
        ({"device_training_params": {"loss": "hinge"}}, "unknown loss 'hinge'"),
    ],
)
def test_what_cannot_be_exported_is_refused(arguments, told):
    with pytest.raises(RecipeError) as error:
        recipe(**arguments)
    assert told in str(error.value)
