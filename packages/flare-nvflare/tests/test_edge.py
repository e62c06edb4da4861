"""Recipes and task processors of NVIDIA FLARE for devices."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("flare_edge")
torch = pytest.importorskip("torch")

from flare_core import JobFailed, RecipeError  # noqa: E402
from flare_edge import EdgeError  # noqa: E402
from nvflare.apis.dxo import DXO, DataKind, from_dict  # noqa: E402
from nvflare.edge.models.model import DeviceModel  # noqa: E402
from nvflare.edge.simulation.device_task_processor import DeviceTaskProcessor  # noqa: E402
from nvflare.edge.simulation.et_task_processor import ETTaskProcessor  # noqa: E402
from nvflare.edge.tools.edge_fed_buff_recipe import (  # noqa: E402
    DeviceManagerConfig,
    EdgeFedBuffRecipe,
    EvaluatorConfig,
    ModelManagerConfig,
    SimulationConfig,
)
from nvflare.edge.tools.et_fed_buff_recipe import ETFedBuffRecipe  # noqa: E402
from nvflare.edge.web.models.job_response import JobResponse  # noqa: E402
from nvflare.edge.web.models.task_response import TaskResponse  # noqa: E402
from nvflare.recipe import SimEnv  # noqa: E402

needs_executorch = pytest.mark.skipif(importlib.util.find_spec("executorch") is None, reason="needs ExecuTorch")


class Line(torch.nn.Module):
    """Scores of two classes for a pair of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)


class Adding(DeviceTaskProcessor):
    """Adds the number of the device, counted from 1, to each parameter; writes down what happens."""

    def __init__(self, file: str, kind: str = DataKind.WEIGHT_DIFF) -> None:
        DeviceTaskProcessor.__init__(self)
        self.file = file
        self.kind = kind

    def setup(self, job: JobResponse) -> None:
        assert job.job_name == self.job_name == self.device.job_name
        self._note(f"setup {job.job_name} {job['status']}")

    def shutdown(self) -> None:
        self._note("shutdown")

    def process_task(self, task: TaskResponse) -> dict:
        model = from_dict(task.task_data)
        assert model.data_kind == DataKind.WEIGHTS
        self._note(f"{task.task_name} {task.cookie['model_version']}")
        step = int(self.device.device_id.rpartition("-")[2]) + 1
        changes = {key: (torch.zeros_like(torch.tensor(value)) + step).tolist() for key, value in model.data.items()}
        return DXO(self.kind, data={"dict": changes}).to_dict()

    def _note(self, text: str) -> None:
        with open(self.file, "a") as file:
            file.write(f"{self.device.device_id} {text}\n")


def configs(processor, num_devices=2):
    return {
        "model_manager_config": ModelManagerConfig(max_model_version=2, num_updates_for_model=num_devices),
        "device_manager_config": DeviceManagerConfig(
            device_selection_size=num_devices, min_hole_to_fill=num_devices, device_reuse=True
        ),
        "simulation_config": SimulationConfig(processor, num_devices=num_devices, num_workers=2),
    }


def run(recipe, tmp_path):
    return recipe.execute(SimEnv(num_clients=1, workspace_root=str(tmp_path / "runs")))


def test_each_device_has_its_own_copy_of_a_task_processor(tmp_path):
    notes = tmp_path / "notes"
    recipe = EdgeFedBuffRecipe(job_name="adding", model=Line(), **configs(Adding(str(notes))))
    assert run(recipe, tmp_path).get_status() == "FINISHED:COMPLETED"
    expected = [
        f"device-{number} {text}"
        for number in range(2)
        for text in ("setup adding OK", "train 0", "train 1", "shutdown")
    ]
    assert sorted(notes.read_text().splitlines(), key=lambda line: line.partition(" ")[0]) == expected


def test_the_mean_of_the_devices_is_added_to_the_model(tmp_path):
    model = Line()
    before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    recipe = EdgeFedBuffRecipe(job_name="adding", model=model, **configs(Adding(str(tmp_path / "notes"))))
    after = recipe.job.flare_job()
    from flare_runtime import SimEnv as FlareSimEnv

    found = FlareSimEnv(num_clients=1, workspace_root=tmp_path / "runs").deploy(after).load_model()
    for key, value in before.items():
        np.testing.assert_allclose(np.array(found[key]), value + 2 * 1.5, atol=1e-5)


def test_a_result_of_another_kind_fails_the_run(tmp_path):
    recipe = EdgeFedBuffRecipe(job_name="adding", model=Line(), **configs(Adding(str(tmp_path / "notes"), "METRICS")))
    with pytest.raises(JobFailed, match=r"device-\d: the result of Adding.process_task is of the kind METRICS"):
        run(recipe, tmp_path)


def test_a_change_of_another_shape_is_refused_and_not_spread():
    class Short(Adding):
        def setup(self, job):
            pass

        def process_task(self, task):
            return DXO(DataKind.WEIGHT_DIFF, data={"w": 1.0}).to_dict()

    processor = Short("")
    processor.start({"name": "job", "config": {}})
    task = SimpleNamespace(version=0, ticket=1, kind="train")
    with pytest.raises(EdgeError, match=r"device-0: the result of Short\.process_task has 'w' of the shape \(\)"):
        processor.work(0).train({"w": np.zeros(3, np.float32)}, task)


def test_messages_are_dicts_with_attributes():
    task = TaskResponse("OK", job_id="job", task_name="train", more=1)
    assert (task.status, task["task_name"], task.more, task.cookie) == ("OK", "train", 1, None)
    with pytest.raises(AttributeError, match="TaskResponse has no 'other'"):
        task.other  # noqa: B018


def test_a_device_model_gives_loss_and_classes():
    net = Line()
    inputs, labels = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1])
    loss, classes = DeviceModel(net)(inputs, labels)
    assert loss.item() == torch.nn.functional.cross_entropy(net(inputs), labels).item()
    assert classes.tolist() == net(inputs).argmax(dim=1).tolist()


class Corners(ETTaskProcessor):
    """Exclusive or, whose labels a line cannot tell apart, but of which it can be right about three corners."""

    def create_dataset(self, data_path: str):
        inputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        return torch.utils.data.TensorDataset(inputs, torch.tensor([0, 1, 1, 1]))


def test_wrong_settings_are_refused_with_the_remedy():
    arguments = {"job_name": "et", "input_shape": (4, 2), "output_shape": (4,), **configs(Corners(""))}
    with pytest.raises(RecipeError, match="device_model is a Line; wrap the module"):
        ETFedBuffRecipe(device_model=Line(), **arguments)
    model = DeviceModel(Line())
    model.loss = torch.nn.L1Loss()
    with pytest.raises(RecipeError, match="devices have CrossEntropyLoss and MSELoss"):
        ETFedBuffRecipe(device_model=model, **arguments)
    with pytest.raises(EdgeError, match="training_config has 'lr'"):
        Corners("", {"lr": 0.1})
    with pytest.raises(EdgeError, match="epochs is 0"):
        Corners("", {"epoch": 0})


def test_a_job_without_a_program_is_refused_when_a_device_is_set_up():
    with pytest.raises(EdgeError, match="plain has no program for ExecuTorch; make it with ETFedBuffRecipe"):
        Corners("").setup(JobResponse("OK", job_name="plain", job_data={}))


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # of torchao, which ExecuTorch imports
def test_simulated_devices_train_with_executorch(tmp_path):
    torch.manual_seed(0)
    recipe = ETFedBuffRecipe(
        job_name="et",
        device_model=DeviceModel(Line()),
        input_shape=(1, 2),
        output_shape=(1,),
        device_training_params={"epoch": 3, "lr": 0.1, "batch_size": 1},
        evaluator_config=EvaluatorConfig(
            custom_dataset={"data": [[0, 0], [0, 1], [1, 0], [1, 1]], "labels": [0, 1, 1, 1]}, eval_frequency=2
        ),
        **configs(Corners("", {"batch_size": 1, "epoch": 40, "learning_rate": 0.3, "momentum": 0.5})),
    )
    env = SimEnv(num_clients=1, workspace_root=str(tmp_path / "runs"))
    done = recipe.execute(env)
    lines = (tmp_path / "runs" / "et" / "metrics.jsonl").read_text().splitlines()
    assert done.get_status() == "FINISHED:COMPLETED"
    assert '"value": 1.0' in next(line for line in reversed(lines) if "accuracy" in line)
