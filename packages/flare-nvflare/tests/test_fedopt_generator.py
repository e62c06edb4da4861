"""PTFedOptModelShareableGenerator: optimizers at the server of a job folder."""

import pytest
from nvflare_folders import AGGREGATOR, CONTROLLER, write_job

pytest.importorskip("torch")

from flare_runtime import SimEnv
from nvflare._host.jobs import load_job_folder
from nvflare.app_opt.pt.fedopt import PTFedOptModelShareableGenerator

NET = """
    import torch

    class Net(torch.nn.Sequential):
        def __init__(self):
            super().__init__(torch.nn.Linear(1, 1), torch.nn.BatchNorm1d(1))
            with torch.no_grad():
                for value in self.parameters():
                    value.zero_()
"""
SCRIPT = """
    import nvflare.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        model.params = {key: value + 1 for key, value in model.params.items()}
        flare.send(model)
"""
GENERATOR = {
    "id": "shareable_generator",
    "path": "nvflare.app_opt.pt.fedopt.PTFedOptModelShareableGenerator",
    "args": {
        "optimizer_args": {"path": "torch.optim.SGD", "args": {"lr": 1.0, "momentum": 0.5}, "config_type": "dict"},
        "lr_scheduler_args": {
            "path": "torch.optim.lr_scheduler.StepLR",
            "args": {"step_size": 1, "gamma": 0.5},
            "config_type": "dict",
        },
    },
}
MODEL = {"id": "model", "path": "net.Net"}
PERSISTOR = {
    "id": "persistor",
    "path": "nvflare.app_opt.pt.file_model_persistor.PTFileModelPersistor",
    "args": {"model": "model"},
}


def test_parameters_take_steps_of_the_optimizer_and_buffers_are_averaged(tmp_path):
    args = {"min_clients": 2, "num_rounds": 2, "persistor_id": "persistor"}
    server = {
        "workflows": [{"id": "sag", "path": CONTROLLER, "args": args}],
        "components": [
            {"id": "model", "path": "net.Net"},
            PERSISTOR,
            GENERATOR,
            {"id": "aggregator", "path": AGGREGATOR},
        ],
    }
    executor = {
        "path": "nvflare.app_opt.pt.in_process_client_api_executor.PTInProcessClientAPIExecutor",
        "args": {"task_script_path": "train.py", "params_transfer_type": "DIFF"},
    }
    client = {"executors": [{"tasks": ["train"], "executor": executor}]}
    job = load_job_folder(write_job(tmp_path / "job", server, client, {"net.py": NET, "train.py": SCRIPT}))
    model = SimEnv(num_clients=2, workspace_root=tmp_path / "runs").deploy(job).load_model()
    assert model["0.weight"].item() == 1 + 0.5 * (0.5 * 1 + 1)  # the second step: momentum, at half the rate
    assert model["1.running_mean"].item() == 2


def test_wrong_settings_are_errors():
    with pytest.raises(TypeError, match="optimizer_args"):
        PTFedOptModelShareableGenerator("torch.optim.SGD")
    with pytest.raises(TypeError, match="path"):
        PTFedOptModelShareableGenerator({"args": {"lr": 1.0}})
