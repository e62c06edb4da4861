"""Server optimizers compared step by step with torch.optim; untrained parameters are averaged."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from flare_core import FLModel, RecipeError, Reply
from flare_core.optimizers import SGD, Adagrad, Adam, Yogi
from flare_core.workflows import FedAvg, FedOpt
from flare_recipes_pt import FedOptRecipe
from flare_recipes_pt.optimizer import TorchOptimizer

PAIRS = [
    (SGD(0.5), torch.optim.SGD, {"lr": 0.5}),
    (SGD(0.5, momentum=0.9), torch.optim.SGD, {"lr": 0.5, "momentum": 0.9}),
    (SGD(0.5, momentum=0.9, nesterov=True), torch.optim.SGD, {"lr": 0.5, "momentum": 0.9, "nesterov": True}),
    (Adam(0.1, (0.8, 0.95), 1e-4), torch.optim.Adam, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-4}),
    (Adagrad(0.1, 1e-4), torch.optim.Adagrad, {"lr": 0.1, "eps": 1e-4}),
]
ADAPTED = [
    ("torch.optim.SGD", {"lr": 0.3, "momentum": 0.9}),
    ("torch.optim.AdamW", {"lr": 0.1}),
    ("torch.optim.RMSprop", {"lr": 0.1}),
]


def rounds(count=6, seed=0):
    generator = np.random.default_rng(seed)
    return [{"a": generator.normal(size=(3, 2)), "b": generator.normal(size=4)} for _ in range(count)]


def torch_steps(cls, arguments, start, gradients):
    params = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in start.items()}
    optimizer = cls(list(params.values()), **arguments)
    for gradient in gradients:
        for key, parameter in params.items():
            parameter.grad = torch.tensor(gradient[key])
        optimizer.step()
        yield {key: parameter.detach().numpy().copy() for key, parameter in params.items()}


@pytest.mark.parametrize(("ours", "cls", "arguments"), PAIRS)
def test_every_step_matches_torch(ours, cls, arguments):
    start, *gradients = rounds()
    ours, params = copy.deepcopy(ours), start
    for expected, gradient in zip(torch_steps(cls, arguments, start, gradients), gradients, strict=True):
        params = ours.step(params, gradient)
        for key in params:
            np.testing.assert_allclose(params[key], expected[key], rtol=1e-12)


def test_yogi_matches_algorithm_2_of_its_paper():
    start, *gradients = rounds()
    optimizer, params = Yogi(0.1, (0.9, 0.99), 1e-3), start
    x, mean, square = start["b"].copy(), np.zeros(4), np.full(4, 1e-6)
    for gradient in gradients:
        delta = -gradient["b"]
        mean = 0.9 * mean + 0.1 * delta
        square = square - 0.01 * delta**2 * np.sign(square - delta**2)
        x = x + 0.1 * mean / (np.sqrt(square) + 1e-3)
        params = optimizer.step(params, gradient)
        np.testing.assert_allclose(params["b"], x, rtol=1e-12)


@pytest.mark.parametrize(("path", "arguments"), ADAPTED)
def test_any_torch_optimizer_can_run_at_the_server(path, arguments):
    start, *gradients = rounds()
    cls = getattr(torch.optim, path.rpartition(".")[2])
    optimizer, params = TorchOptimizer(path, arguments), start
    for expected, gradient in zip(torch_steps(cls, arguments, start, gradients), gradients, strict=True):
        params = optimizer.step(params, gradient)
        for key in params:
            np.testing.assert_allclose(params[key], expected[key], rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [lambda: SGD(0.5, 0.9), lambda: Adam(0.1), lambda: Yogi(0.1), lambda: Adagrad(0.1)]
    + [lambda path=path, arguments=arguments: TorchOptimizer(path, arguments) for path, arguments in ADAPTED],
)
def test_a_restored_optimizer_continues_exactly(make):
    start, *gradients = rounds()
    whole, params = make(), start
    for gradient in gradients[:3]:
        params = whole.step(params, gradient)
    second = make()
    second.restore(whole.state())
    other = params
    for gradient in gradients[3:]:
        params, other = whole.step(params, gradient), second.step(other, gradient)
    for key in params:
        assert np.array_equal(params[key], other[key])


def workflow_round(workflow, model, contributions):
    workflow.aggregator.reset()
    for number, params in enumerate(contributions, 1):
        workflow.aggregator.add(Reply(f"site-{number}", "train", FLModel(params=params), 0))
    return workflow._updated(model, 0).params


def test_fedopt_with_plain_steps_equals_federated_averaging():
    start = {
        "weight": np.array([1.0], np.float32),
        "frozen": np.array([0.3], np.float32),
        "running_mean": np.array([0.0], np.float32),
        "num_batches_tracked": np.array(5),
    }
    sites = [
        {
            **start,
            "weight": np.array([w], np.float32),
            "running_mean": np.array([m], np.float32),
            "num_batches_tracked": n,
        }
        for w, m, n in ((0.8, 0.2, np.array(15)), (0.6, 0.6, np.array(21)))
    ]
    common = {"min_clients": 2, "num_rounds": 1}
    plain = workflow_round(FedAvg(**common), FLModel(params=start), sites)
    stepped = workflow_round(FedOpt(optimizer=SGD(1.0), trainable=["weight"], **common), FLModel(params=start), sites)
    for key in start:
        np.testing.assert_allclose(stepped[key], plain[key], rtol=1e-6)
        assert stepped[key].dtype == start[key].dtype
    assert (stepped["num_batches_tracked"], stepped["frozen"][0]) == (18, start["frozen"][0])
    assert stepped["running_mean"][0] == pytest.approx(0.4)


def test_running_statistics_and_frozen_parameters_are_not_trainable(tmp_path):
    (tmp_path / "client.py").touch()
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    net[0].bias.requires_grad_(False)
    recipe = FedOptRecipe(min_clients=2, initial_model=net, train_script=tmp_path / "client.py")
    workflow = recipe.job().server.workflows[0].build()
    assert workflow.trainable == {"0.weight", "1.weight", "1.bias"}


def test_invalid_optimizers_and_schedules_are_refused(tmp_path):
    (tmp_path / "client.py").touch()

    def make(**arguments):
        return FedOptRecipe(
            min_clients=2, initial_model=torch.nn.Linear(1, 1), train_script=tmp_path / "client.py", **arguments
        )

    for arguments, message in (
        ({"optimizer_args": "adam"}, "optimizer_args is 'adam'; write"),
        (
            {"optimizer_args": {"class_path": "torch.nn.Linear"}},
            "torch.nn.Linear, which flare_recipes_pt.FedOptRecipe cannot use",
        ),
        ({"optimizer_args": {"class_path": "no.such.Thing"}}, "cannot import"),
        ({"optimizer_args": {"class_path": "torch.optim.SGD", "args": {"lr": -1}}}, "Invalid learning rate"),
        ({"optimizer_args": {"class_path": "flare_core.optimizers.SGD", "args": {"lr": -1}}}, "lr of the server's"),
        ({"lr_scheduler_args": {"class_path": "flare_core.schedules.Cosine", "args": {"rounds": 0}}}, "rounds of a"),
        ({"lr_scheduler_args": {"class_path": "flare_core.optimizers.SGD"}}, "the schedule is a SGD"),
    ):
        with pytest.raises(RecipeError, match=message):
            make(**arguments)
    made = make(optimizer_args={"path": "torch.optim.Adam", "args": {"lr": 0.01}})
    assert made.job().server.workflows[0].args["optimizer"].class_path == "flare_recipes_pt.optimizer.TorchOptimizer"
