"""Evaluations of a PyTorch model at the server, on data sets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from tree_devices import Counted

torch = pytest.importorskip("torch")

from flare_core import JobFailed  # noqa: E402
from flare_core.components import Component  # noqa: E402
from flare_edge import (  # noqa: E402
    DeviceManagerConfig,
    EdgeFedBuffRecipe,
    EvaluatorConfig,
    ModelManagerConfig,
    SimulationConfig,
)
from flare_edge.dataset_evaluator import DatasetEvaluator, described_module  # noqa: E402
from flare_runtime import SimEnv  # noqa: E402

STAND_IN = Path(__file__).parent / "stand_in"


class Line(torch.nn.Module):
    """Scores of two classes for a number."""

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.bias = bias
        self.layer = torch.nn.Linear(1, 2, bias=bias)

    def forward(self, x):
        return self.layer(x)


RIGHT = {"layer.weight": np.array([[-1.0], [1.0]], np.float32)}
WRONG = {"layer.weight": np.array([[1.0], [1.0]], np.float32)}  # always the first class


def test_accuracy_on_given_examples():
    evaluator = DatasetEvaluator(Line(), custom_dataset={"data": [[-1], [1], [2], [3]], "labels": [0, 1, 1, 1]})
    assert evaluator.evaluate(RIGHT) == {"accuracy": 1.0}
    assert evaluator.evaluate(WRONG) == {"accuracy": 0.25}


def run(tmp_path: Path, model, **config):
    recipe = EdgeFedBuffRecipe(
        model=model,
        model_manager_config=ModelManagerConfig(max_model_version=2, num_updates_for_model=2),
        device_manager_config=DeviceManagerConfig(device_selection_size=2),
        simulation_config=SimulationConfig(Still(), num_devices=2, num_workers=2),
        evaluator_config=EvaluatorConfig(**config),
    )
    return recipe.execute(SimEnv(num_clients=1, workspace_root=tmp_path))


class Still(Counted):
    """Devices that change nothing."""

    def work(self, number: int) -> Still:
        return self

    def train(self, params, task):
        from flare_edge.device.work import Answer

        return Answer(1, {}, {name: np.zeros_like(each) for name, each in params.items()})

    def evaluate(self, params, task):
        raise NotImplementedError("only the server evaluates")


def test_versions_are_evaluated_on_a_data_set_of_torchvision(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(STAND_IN)
    model = Line()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in WRONG.items()})
    done = run(tmp_path, model, torchvision_dataset={"name": "Points", "path": str(tmp_path / "points")})
    assert [row["value"] for row in done.metrics() if row["key"] == "accuracy"] == [0.75, 0.75]
    assert (tmp_path / "points").is_dir()
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


@pytest.mark.skipif("torchvision" in sys.modules, reason="torchvision is there")
def test_without_torchvision_a_run_fails_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(JobFailed, match=r"the server has no torchvision .*pip install 'flare-edge"):
        run(tmp_path, Line(), torchvision_dataset={"name": "Points", "path": str(tmp_path)})


def test_a_module_is_described_by_its_arguments_if_they_are_enough():
    assert described_module(Line(bias=True)).args == {"bias": True}
    assert described_module({"class_path": "test_dataset_evaluator.Line"}).args == {}
    unnamed = torch.nn.Sequential(torch.nn.Linear(1, 2))
    found = described_module(unnamed)
    assert isinstance(found, Component)
    assert found.build().state_dict().keys() == unnamed.state_dict().keys()
