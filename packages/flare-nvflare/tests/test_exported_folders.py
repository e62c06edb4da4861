"""Job folders as recipes of NVIDIA FLARE export them, with parts of its own: they run, with right values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nvflare_folders import write_job

from nvflare._host.simulator import simulate

FEDAVG = "nvflare.app_common.workflows.fedavg.FedAvg"
RUNS = "nvflare.app_common.executors.in_process_client_api_executor.InProcessClientAPIExecutor"
ASSEMBLES = "nvflare.app_common.aggregators.collect_and_assemble_model_aggregator.CollectAndAssembleModelAggregator"


def run(tmp_path: Path, server: dict, script: str) -> Path:
    args = {"task_script_path": "client.py", "params_exchange_format": "raw"}
    client = {"executors": [{"tasks": ["*"], "executor": {"path": RUNS, "args": args}}]}
    simulate(write_job(tmp_path / "job", server, client, {"client.py": script}), tmp_path / "runs", n_clients=2)
    return tmp_path / "runs" / "server" / "simulate_job"


def assembled(assembler: str, rounds: int, initial: dict) -> dict:
    aggregator = {"path": ASSEMBLES, "args": {"assembler_id": "assembler"}}
    return {
        "workflows": [
            {"path": FEDAVG, "args": {"num_clients": 2, "num_rounds": rounds, "aggregator": aggregator}},
        ],
        "components": [
            {
                "id": "persistor",
                "path": "nvflare.app_opt.sklearn.joblib_model_param_persistor.JoblibModelParamPersistor",
                "args": {"initial_params": initial},
            },
            {"id": "assembler", "path": f"nvflare.app_opt.sklearn.{assembler}", "args": {}},
        ],
    }


def test_centres_of_sites_become_those_of_all_rows(tmp_path):
    pytest.importorskip("sklearn")
    joblib = pytest.importorskip("joblib")
    script = """
        import numpy as np
        import nvflare.client as flare

        flare.init()
        near = 0.0 if flare.get_site_name() == "site-1" else 2.0
        while flare.is_running():
            model = flare.receive()
            center = np.array([[near, near], [10 + near, 10 + near]])
            count = None if model.current_round == 0 else np.array([1, 3]) if near else np.array([3, 1])
            flare.send(flare.FLModel(params={"center": center, "count": count}))
    """
    folder = run(tmp_path, assembled("kmeans_assembler.KMeansAssembler", 2, {"n_clusters": 2}), script)
    center = joblib.load(folder / "app_server" / "model_param.joblib")["center"]
    assert np.sort(center[:, 0]).tolist() == pytest.approx([0.5, 11.5])  # (3·0 + 1·2)/4 and (1·10 + 3·12)/4


def test_support_vectors_of_sites_become_those_of_one_machine(tmp_path):
    pytest.importorskip("sklearn")
    joblib = pytest.importorskip("joblib")
    script = """
        import numpy as np
        import nvflare.client as flare

        flare.init()
        rows = np.array([[0.0], [4.0]]) if flare.get_site_name() == "site-1" else np.array([[1.0], [3.0]])
        while flare.is_running():
            model = flare.receive()
            flare.send(flare.FLModel(params={"support_x": rows, "support_y": np.array([0, 1])}))
    """
    folder = run(tmp_path, assembled("svm_assembler.SVMAssembler", 2, {"kernel": "rbf"}), script)
    from sklearn.svm import SVC

    rows, labels = np.array([[0.0], [4.0], [1.0], [3.0]]), np.array([0, 1, 0, 1])
    pooled = SVC(kernel="rbf").fit(rows, labels).support_
    found = joblib.load(folder / "app_server" / "model_param.joblib")
    assert sorted(found["support_x"][:, 0]) == sorted(rows[pooled, 0])


def test_a_logistic_regression_begins_with_zeros_and_makes_steps_of_newton(tmp_path):
    script = """
        import numpy as np
        import nvflare.client as flare

        flare.init()
        while flare.is_running():
            weights = flare.receive().params["numpy_key"]
            assert weights.shape == (3, 1)
            flare.send(flare.FLModel(params={"gradient": np.ones((3, 1)), "hessian": np.eye(3)}))
    """
    args = {"damping_factor": 0.8, "n_features": 2, "num_clients": 2, "num_rounds": 2, "persistor_id": "weights"}
    path = "nvflare.app_common.workflows.lr"
    server = {
        "workflows": [{"path": f"{path}.fedavg.FedAvgLR", "args": args}],
        "components": [
            {"id": "weights", "path": f"{path}.np_persistor.LRModelPersistor", "args": {"n_features": 2}},
        ],
    }
    weights = np.load(run(tmp_path, server, script) / "models" / "weights.npy")
    assert weights == pytest.approx(np.full((3, 1), 0.8))  # two steps of 0.8 · (I + 1·I)⁻¹ · 1


def test_a_stored_model_is_evaluated_by_all_sites(tmp_path):
    torch = pytest.importorskip("torch")
    net = """
        import torch

        class Net(torch.nn.Linear):
            def __init__(self):
                super().__init__(1, 1)
    """
    script = """
        import nvflare.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            assert flare.is_evaluate()
            flare.send(flare.FLModel(metrics={"accuracy": float(model.params["weight"][0, 0])}))
    """
    torch.save({"weight": torch.tensor([[0.25]]), "bias": torch.zeros(1)}, tmp_path / "net.pt")
    controller = "nvflare.app_opt.pt.recipes.fedeval.EvalController"
    persistor = "nvflare.app_opt.pt.file_model_persistor.PTFileModelPersistor"
    args = {"model": {"path": "net.Net"}, "source_ckpt_file_full_name": str(tmp_path / "net.pt")}
    server = {
        "workflows": [{"path": controller, "args": {"persistor_id": "persistor", "timeout": 60}}],
        "components": [{"id": "persistor", "path": persistor, "args": args}],
    }
    runs = {"path": RUNS, "args": {"task_script_path": "client.py"}}
    client = {"executors": [{"tasks": ["validate"], "executor": runs}]}
    job = write_job(tmp_path / "job", server, client, {"client.py": script, "net.py": net})
    done = simulate(job, tmp_path / "runs", n_clients=2)
    metrics = (done.get_result() / "metrics.jsonl").read_text()
    assert metrics.count('"accuracy"') >= 2
    assert "0.25" in metrics
