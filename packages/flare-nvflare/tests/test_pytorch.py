"""Recipes for PyTorch, with scripts written for NVIDIA FLARE."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

MODEL = """
    from torch import nn

    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    """


def run(folder: Path, *, job: str, client: str) -> dict:
    """Run a job in a folder of its own and return the summary."""
    for name, text in (("job.py", job), ("client.py", client), ("model.py", MODEL)):
        (folder / name).write_text(textwrap.dedent(text))
    done = subprocess.run([sys.executable, "job.py"], cwd=folder, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "results" / "job" / "summary.json").read_text())


def test_scaffold_with_the_helper_keeps_the_servers_controls_at_the_mean_of_the_sites(tmp_path):
    run(
        tmp_path,
        job="""
            from model import Net
            from nvflare.app_opt.pt.recipes.scaffold import ScaffoldRecipe
            from nvflare.recipe import SimEnv

            recipe = ScaffoldRecipe(name="job", min_clients=2, num_rounds=3, model=Net(), train_script="client.py")
            recipe.execute(SimEnv(num_clients=2, workspace_root="results"))
            """,
        client="""
            import copy
            import json
            import torch
            from model import Net
            import nvflare.client as flare
            from nvflare.app_common.app_constant import AlgorithmConstants
            from nvflare.app_opt.pt.scaffold import PTScaffoldHelper, get_lr_values

            flare.init()
            site = float(flare.get_site_name()[-1])
            net, helper = Net(), PTScaffoldHelper()
            helper.init(net)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
            while flare.is_running():
                received = flare.receive()
                net.load_state_dict(received.params)
                before = copy.deepcopy(net)
                controls = received.meta[AlgorithmConstants.SCAFFOLD_CTRL_GLOBAL]
                helper.load_global_controls({name: torch.as_tensor(value) for name, value in controls.items()})
                c_global, c_local = helper.get_params()
                for _ in range(2):
                    optimizer.zero_grad()
                    net(torch.ones(4, 3) * torch.arange(4)[:, None]).sub(site).square().mean().backward()
                    optimizer.step()
                    helper.model_update(net, get_lr_values(optimizer)[0], c_global, c_local)
                helper.terms_update(net, 0.05, c_global, c_local, before)
                change = helper.get_delta_controls()
                meta = {AlgorithmConstants.SCAFFOLD_CTRL_DIFF: change}
                flare.send(flare.FLModel(params=net.state_dict(), meta=meta))
                own = helper.c_local.state_dict()["0.weight"].tolist()
                with open("controls.json", "w") as file:
                    json.dump({"own": own, "received": controls["0.weight"].tolist()}, file)
            """,
    )
    own, received = [], []
    for site in ("site-1", "site-2"):
        found = json.loads((tmp_path / "results" / "job" / site / "simulate_job" / "controls.json").read_text())
        own.append(torch.tensor(found["own"]))
        received.append(torch.tensor(found["received"]))
    assert torch.equal(received[0], received[1])
    assert received[0].abs().sum() > 0
    assert not torch.equal(own[0], own[1])


def test_server_optimizer_follows_a_schedule_of_pytorch(tmp_path):
    summary = run(
        tmp_path,
        job="""
            from model import Net
            from nvflare.app_opt.pt.recipes.fedopt import FedOptRecipe
            from nvflare.recipe import SimEnv

            recipe = FedOptRecipe(
                name="job", min_clients=2, num_rounds=2, model=Net(), train_script="client.py",
                optimizer_args={"path": "torch.optim.SGD", "args": {"lr": 1.0, "momentum": 0.6}},
                lr_scheduler_args={
                    "path": "torch.optim.lr_scheduler.CosineAnnealingLR",
                    "args": {"T_max": "{num_rounds}", "eta_min": 0.9},
                },
            )
            recipe.execute(SimEnv(num_clients=2, workspace_root="results"))
            """,
        client="""
            import nvflare.client as flare

            flare.init()
            while flare.is_running():
                model = flare.receive()
                params = {name: value + value.is_floating_point() for name, value in model.params.items()}
                flare.send(flare.FLModel(params=params, metrics={"bias": model.params["2.bias"].item()}))
            """,
    )
    rows = [json.loads(line) for line in (tmp_path / "results/job/metrics.jsonl").read_text().splitlines()]
    first, second = (row["value"] for row in rows if row["site"] is None and row["key"] == "bias")
    assert second - first == pytest.approx(1.0, abs=1e-5)
    saved = torch.load(tmp_path / "results/job/server/simulate_job/app_server/FL_global_model.pt", weights_only=True)
    # Momentum 0.6, and a rate of 0.95 in the second of two rounds, half way from 1 to 0.9.
    assert saved["model"]["2.bias"].item() - second == pytest.approx(0.95 * 1.6, abs=1e-5)
    assert summary["rounds"] == 2


def test_checkpoint_of_an_earlier_run_in_nvidia_flares_form_is_where_the_next_one_starts(tmp_path):
    torch.save({"model": {"w": torch.full((2,), 7.0)}, "train_conf": {"train": {"model": "Net"}}}, tmp_path / "old.pt")
    summary = run(
        tmp_path,
        job="""
            from nvflare.app_opt.pt.recipes import FedAvgRecipe
            from nvflare.recipe import SimEnv

            recipe = FedAvgRecipe(
                name="job", min_clients=1, num_rounds=1, initial_ckpt="old.pt", train_script="client.py"
            )
            recipe.execute(SimEnv(num_clients=1, workspace_root="results"))
            """,
        client="""
            import nvflare.client as flare

            flare.init()
            while flare.is_running():
                model = flare.receive()
                flare.send(flare.FLModel(params=model.params, metrics={"w": model.params["w"].sum().item()}))
            """,
    )
    assert summary["metrics"]["w"] == 14.0


def test_wrong_model_names_the_recipe_to_use():
    from flare_core import ModelTypeError
    from nvflare.app_common.np.recipes import NumpyFedAvgRecipe

    with pytest.raises(ModelTypeError, match=r"nvflare\.app_opt\.pt\.recipes\.FedAvgRecipe"):
        NumpyFedAvgRecipe(min_clients=2, model=torch.nn.Linear(1, 1), train_script=__file__)


def test_job_that_is_put_together_runs_and_its_folder_can_be_loaded_again(tmp_path):
    client = """
        import nvflare.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            params = {name: value + value.is_floating_point() for name, value in model.params.items()}
            flare.send(flare.FLModel(params=params, metrics={"accuracy": float(model.current_round)}))
        """
    summary = run(
        tmp_path,
        job="""
            from model import Net
            from nvflare.app_opt.pt.job_config.fed_avg import FedAvgJob
            from nvflare.job_config.script_runner import ScriptRunner

            job = FedAvgJob(name="job", n_clients=2, num_rounds=2, initial_model=Net())
            for site in (1, 2):
                job.to(ScriptRunner(script="client.py", script_args="--site 1"), f"site-{site}")
            job.export_job("exported")
            job.simulator_run("results/job")
            """,
        client=client,
    )
    assert summary["metrics"]["accuracy"] == 1.0
    config = json.loads((tmp_path / "exported/job/app_site-1/config/config_fed_client.json").read_text())
    assert config["executors"][0]["executor"]["args"]["task_script_args"] == "--site 1"
    code = "from nvflare import SimulatorRunner; print(SimulatorRunner('exported/job', 'again').run())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.stdout.split()[-1] == "0", done.stderr
    assert (tmp_path / "again/server/simulate_job/app_server/FL_global_model.pt").is_file()


SWARMS = {
    "recipe": """
        from model import Net
        from nvflare.app_opt.pt.recipes.swarm import SwarmLearningRecipe
        from nvflare.recipe import SimEnv

        recipe = SwarmLearningRecipe(
            name="job", model=Net(), num_rounds=2, train_script="client.py", min_clients=2, do_cross_site_eval=True,
        )
        recipe.execute(SimEnv(num_clients=2, workspace_root="results"))
        """,
    "job": """
        from model import Net
        from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import (
            InTimeAccumulateWeightedAggregator,
        )
        from nvflare.app_common.ccwf.ccwf_job import (
            CCWFJob, CrossSiteEvalConfig, SwarmClientConfig, SwarmServerConfig,
        )
        from nvflare.app_common.ccwf.comps.simple_model_shareable_generator import SimpleModelShareableGenerator
        from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor
        from nvflare.job_config.script_runner import ScriptRunner

        job = CCWFJob(name="job", min_clients=2)
        job.add_swarm(
            server_config=SwarmServerConfig(num_rounds=2),
            client_config=SwarmClientConfig(
                executor=ScriptRunner(script="client.py"),
                persistor=PTFileModelPersistor(model=Net()),
                shareable_generator=SimpleModelShareableGenerator(),
                aggregator=InTimeAccumulateWeightedAggregator(expected_data_kind="WEIGHTS"),
            ),
            cse_config=CrossSiteEvalConfig(eval_task_timeout=300),
        )
        job.simulator_run("results/job", n_clients=2)
        """,
}


@pytest.mark.parametrize("kind", SWARMS)
def test_the_models_of_a_swarm_are_evaluated_at_all_sites(tmp_path, kind):
    summary = run(
        tmp_path,
        job=SWARMS[kind],
        client="""
            import nvflare.client as flare

            flare.init()
            number, own = int(flare.get_site_name()[-1]), None
            while flare.is_running():
                model = flare.receive()
                if flare.is_submit_model():
                    flare.send(flare.FLModel(params=own))
                elif flare.is_evaluate():
                    score = float(model.params["2.bias"].sum())
                    flare.send(flare.FLModel(metrics={"accuracy": score}))
                else:
                    own = {key: value * 0 + number for key, value in model.params.items()}
                    metrics = {"accuracy": float(model.current_round)}
                    flare.send(flare.FLModel(params=own, metrics=metrics))
            """,
    )
    assert summary["warnings"] == []
    file = tmp_path / "results" / "job" / "server" / "simulate_job" / "cross_site_val" / "cross_val_results.json"
    found = json.loads(file.read_text())
    held = {f"GLOBAL_{name}FL_global_model.pt": {"accuracy": 1.5} for name in ("", "best_")}
    models = {**held, "site-1": {"accuracy": 1.0}, "site-2": {"accuracy": 2.0}}
    assert found == dict.fromkeys(("site-1", "site-2"), models)
