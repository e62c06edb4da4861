"""PyTorch models as ExecuTorch training programs, run by its runtime on this host."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if importlib.util.find_spec("executorch") is None:
    pytest.skip("needs ExecuTorch, the extra flare-edge[executorch]", allow_module_level=True)

from flare_edge import DeviceManagerConfig, ETFedBuffRecipe, ModelManagerConfig, SimulationConfig  # noqa: E402
from flare_edge.device.data import Examples, clusters, plane  # noqa: E402
from flare_edge.device.programs import Hyperparameters, program_from  # noqa: E402
from flare_edge.errors import EdgeError  # noqa: E402
from flare_edge.executorch import ExecutorchWork, device_config, exported  # noqa: E402
from flare_runtime import SimEnv  # noqa: E402

# torchao, which ExecuTorch imports, registers enums that torch has meanwhile learnt; the exporter copies tensors.
pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Given:
    """A task."""

    config: dict[str, Any]
    version: int = 0
    kind: str = "train"
    ticket: int = 1
    more: dict[str, Any] = field(default_factory=dict)


def params_of(model):
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))


@pytest.fixture(scope="module")
def program(model):
    return device_config(model, (16, 4), (16,))


def test_the_loss_falls_on_the_device(model, program):
    work = ExecutorchWork(clusters(120, inputs=4, classes=3, seed=0))
    params = params_of(model)
    losses = []
    for version in range(8):
        answer = work.train(params, Given({"program": program, "lr": 0.2, "batch_size": 16}, version))
        losses.append(answer.metrics["loss"])
        params = {name: value + answer.update[name] for name, value in params.items()}
    final = work.evaluate(params, Given({"program": program}, kind="evaluate"))
    assert final.update is None
    assert losses == sorted(losses, reverse=True)
    assert final.metrics["loss"] < 0.3 * losses[0]
    assert final.metrics["accuracy"] > 0.88  # clusters overlap


def test_parameters_round_trip_exactly(model, program):
    """Any bits: a program's tensors are the memory that was written, and what was read back is what was written."""
    from flare_edge.executorch.device import params_of as params_in

    work = ExecutorchWork(clusters(16, inputs=4, classes=3, seed=0))
    rng = np.random.default_rng(0)
    for _ in range(20):
        given = {name: rng.normal(size=value.shape).astype(np.float32) for name, value in params_of(model).items()}
        module = work._module(program, given)
        read = params_in(module)
        assert all(read[name].tobytes() == given[name].tobytes() for name in given)
        assert read.keys() == given.keys()


def test_training_equals_the_program_in_numpy(model, program):
    """The same steps on the same batches, the last one smaller; sums in float32 are added in another order."""
    examples = clusters(50, inputs=4, classes=3, seed=1)
    config = {"program": program, "lr": 0.1, "epochs": 3, "batch_size": 16, "seed": 5}
    found = ExecutorchWork(examples).train(params_of(model), Given(config, version=4))
    twin = program_from({"program": {"kind": "mlp", "layers": [4, 16, 3]}})
    params = params_of(model)
    expected = twin.train(params, examples, Hyperparameters(lr=0.1, epochs=3, batch_size=16, seed=5), version=4)
    for name, value in expected.items():
        np.testing.assert_allclose(found.update[name], value - params[name], atol=1e-6)
    assert found.metrics["loss"] == pytest.approx(twin.evaluate(params, examples)["loss"], abs=1e-6)
    assert found.metrics["accuracy"] == twin.evaluate(params, examples)["accuracy"]


def test_a_single_example_and_a_batch_of_one_are_trained_on(model, program):
    work = ExecutorchWork(clusters(1, inputs=4, classes=3, seed=1))
    answer = work.train(params_of(model), Given({"program": program, "lr": 0.1, "batch_size": 1}))
    assert any(np.any(value) for value in answer.update.values())


def test_a_convolution_is_trained():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(256, 2)
    )
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=40)
    images = rng.normal(size=(40, 64)).astype(np.float32)
    images[labels == 1, :32] += 1
    work = ExecutorchWork(Examples(images, labels))
    program = device_config(net, (8, 1, 8, 8), (8,))
    params = params_of(net)
    answer = work.train(params, Given({"program": program, "lr": 0.05, "epochs": 5, "batch_size": 8}))
    after = {name: value + answer.update[name] for name, value in params.items()}
    assert work.evaluate(after, Given({"program": program})).metrics["loss"] < 0.5 * answer.metrics["loss"]


def test_values_are_predicted_with_the_squared_error():
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 1)
    examples = plane(100, inputs=3, seed=0, noise=0.0)
    program = device_config(net, (10, 3), (10, 1), loss="squared_error")
    work = ExecutorchWork(examples)
    answer = work.train(params_of(net), Given({"program": program, "lr": 0.05, "epochs": 20, "batch_size": 10}))
    after = {name: value + answer.update[name] for name, value in params_of(net).items()}
    measured = work.evaluate(after, Given({"program": program})).metrics
    assert measured.keys() == {"loss"}
    assert measured["loss"] < 1e-4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (((16, 4), (8,)), "the same size"),
        (((1, 4), (1,)), "at least 2"),
        (((16, 4), (16, 3)), "does not fit the targets' shape"),
        (((16,), (16,)), "begin with the size of a batch"),
        (((16, 5), (16,)), "cannot export Sequential"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(model, arguments, said):
    with pytest.raises(EdgeError, match=said):
        exported(model, *arguments)


def test_models_that_cannot_be_trained_on_devices_are_refused_by_name():
    with pytest.raises(EdgeError, match=r"buffers \['1.running_mean'"):
        exported(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)), (16, 4), (16,))
    with pytest.raises(EdgeError, match=r"'weight' is torch.float64"):
        exported(torch.nn.Linear(4, 3).double(), (16, 4), (16,))


def test_operators_that_executorch_computes_otherwise_are_refused():
    """As of 1.5, the gradient of max pooling is wrong there, and that of average pooling is missing."""
    layers = torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(32, 3)
    with pytest.raises(EdgeError, match=r"another gradient of '0\.weight' than PyTorch"):
        exported(torch.nn.Sequential(layers[0], torch.nn.MaxPool2d(2), *layers[1:]), (4, 1, 8, 8), (4,))
    with pytest.raises(EdgeError, match="ExecuTorch cannot run Sequential"):
        exported(torch.nn.Sequential(layers[0], torch.nn.AvgPool2d(2), *layers[1:]), (4, 1, 8, 8), (4,))


def test_what_does_not_fit_the_program_is_refused(model, program):
    params = params_of(model)
    task = Given({"program": program, "lr": 0.1, "batch_size": 16})
    with pytest.raises(EdgeError, match="have 5 inputs"):
        ExecutorchWork(clusters(5, inputs=5, classes=3, seed=0)).train(params, task)
    work = ExecutorchWork(clusters(5, inputs=4, classes=3, seed=0))
    with pytest.raises(EdgeError, match=r"'0.bias' is float32 \(2,\)"):
        work.train(params | {"0.bias": np.zeros(2, np.float32)}, task)
    with pytest.raises(EdgeError, match="exported for 16 at most"):
        work.train(params, Given({"program": program, "lr": 0.1, "batch_size": 17}))
    with pytest.raises(EdgeError, match="damaged"):
        ExecutorchWork(work.examples).train(params, Given(task.config | {"program": program | {"pte": "AAAA"}}))


def test_a_recipe_trains_a_pytorch_model_on_devices_with_executorch(tmp_path, model):
    from et_devices import Clusters

    recipe = ETFedBuffRecipe(
        device_model=model,
        input_shape=(16, 4),
        output_shape=(16,),
        device_training_params={"lr": 0.2, "epochs": 2, "batch_size": 16},
        model_manager_config=ModelManagerConfig(max_model_version=6, num_updates_for_model=4),
        device_manager_config=DeviceManagerConfig(device_selection_size=4, min_hole_to_fill=4),
        simulation_config=SimulationConfig(Clusters(), num_devices=4, num_workers=2),
    )
    run = recipe.execute(SimEnv(num_clients=1, workspace_root=tmp_path))
    losses = [row["value"] for row in run.metrics() if row["key"] == "loss"]
    assert len(losses) == 6
    assert losses == sorted(losses, reverse=True)
    trained = run.load_model()
    model.load_state_dict({name: torch.as_tensor(np.array(value)) for name, value in trained.items()})
    assert (
        ExecutorchWork(clusters(48, inputs=4, classes=3, seed=9))
        .evaluate(params_of(model), Given({"program": device_config(model, (16, 4), (16,))}))
        .metrics["accuracy"]
        > 0.8
    )
