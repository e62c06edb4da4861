"""Recipes with NVIDIA FLARE's names that stand for recipes of other packages, with scripts written for it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest


def run(folder: Path, **files: str) -> Path:
    """Run job.py in a folder with some files, and return the folder of its results."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    done = subprocess.run([sys.executable, "job.py"], cwd=folder, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return folder / "results" / "job"


def test_trees_of_columns_with_a_loader_of_csv_files(tmp_path):
    random = np.random.default_rng(3)
    rows = random.normal(size=(80, 4))
    labels = (rows.sum(axis=1) > 0).astype(float)[:, None]
    for site, columns in (("site-1", np.hstack([labels, rows[:, :2]])), ("site-2", rows[:, 2:])):
        (tmp_path / site).mkdir()
        for name, part in (("train", columns[:60]), ("valid", columns[60:])):
            np.savetxt(tmp_path / site / f"{name}.csv", part, delimiter=",")
    folder = run(
        tmp_path,
        job=f"""
        from nvflare.app_opt.xgboost.histogram_based_v2.csv_data_loader import CSVDataLoader
        from nvflare.app_opt.xgboost.recipes import XGBVerticalRecipe
        from nvflare.recipe import SimEnv

        recipe = XGBVerticalRecipe(
            "job", 2, 5, "site-1",
            xgb_params={{"objective": "binary:logistic", "eval_metric": "auc", "max_depth": 3}},
            per_site_config={{s: {{"data_loader": CSVDataLoader({str(tmp_path)!r})}} for s in ("site-1", "site-2")}},
        )
        recipe.execute(SimEnv(clients=["site-1", "site-2"], workspace_root="results"))
        """,
    )
    assert json.loads((folder / "summary.json").read_text())["metrics"]["validation-auc"] > 0.8
    assert (folder / "site-2" / "simulate_job" / "test.model.json").is_file()


@pytest.mark.parametrize("parts", ["histogram", "bagging"])
def test_trees_of_a_job_made_of_parts(tmp_path, parts):
    random = np.random.default_rng(4)
    for site in ("site-1", "site-2"):
        rows = random.normal(size=(80, 3))
        table = np.hstack([(rows.sum(axis=1) > 0).astype(float)[:, None], rows])
        (tmp_path / site).mkdir()
        for name, part in (("train", table[:60]), ("valid", table[60:])):
            np.savetxt(tmp_path / site / f"{name}.csv", part, delimiter=",")
    server, executor = _TREES[parts]
    folder = run(
        tmp_path,
        job=f"""
        from pathlib import Path

        from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
        from nvflare.app_opt.xgboost.histogram_based_v2.csv_data_loader import CSVDataLoader
        from nvflare.app_opt.xgboost.histogram_based_v2.fed_controller import XGBFedController
        from nvflare.app_opt.xgboost.histogram_based_v2.fed_executor import FedXGBHistogramExecutor
        from nvflare.app_opt.xgboost.tree_based.bagging_aggregator import XGBBaggingAggregator
        from nvflare.app_opt.xgboost.tree_based.executor import FedXGBTreeExecutor
        from nvflare.app_opt.xgboost.tree_based.model_persistor import XGBModelPersistor
        from nvflare.app_opt.xgboost.tree_based.shareable_generator import XGBModelShareableGenerator
        from nvflare.job_config.api import FedJob

        job = FedJob(name="job", min_clients=2)
        job.to_server({server}, id="controller")
        job.to_server(XGBModelPersistor(save_name="model.json"), id="persistor")
        job.to_server(XGBModelShareableGenerator(), id="shareable_generator")
        job.to_server(XGBBaggingAggregator(), id="aggregator")
        for site in ("site-1", "site-2"):
            job.to({executor}, site)
            job.to(CSVDataLoader(folder=str(Path.cwd())), site, id="rows")
        job.export_job("exported")
        job.simulator_run("results/job")
        """,
    )
    (model,) = folder.glob("**/simulate_job/app_server/model.json")
    assert len(json.loads(model.read_text())["learner"]["gradient_booster"]["model"]["trees"]) == 4
    assert (tmp_path / "exported/job/meta.json").is_file()


_TREES = {
    "histogram": (
        "XGBFedController(4, 0, False, {'objective': 'binary:logistic', 'eval_metric': 'auc', 'max_depth': 2})",
        "FedXGBHistogramExecutor(data_loader_id='rows')",
    ),
    "bagging": (
        "ScatterAndGather(min_clients=2, num_rounds=2)",
        "FedXGBTreeExecutor('bagging', 1, 'rows', max_depth=2, nthread=1)",
    ),
}


def test_trees_whose_sites_have_settings_later(tmp_path):
    from flare_core import RecipeError
    from nvflare.app_opt.xgboost.histogram_based_v2.csv_data_loader import CSVDataLoader
    from nvflare.app_opt.xgboost.recipes import XGBBaggingRecipe
    from nvflare.recipe import set_per_site_config

    recipe = XGBBaggingRecipe(name="trees", min_clients=2)
    with pytest.raises(RecipeError, match="set_per_site_config"):
        recipe.export(str(tmp_path))
    set_per_site_config(recipe, {"a": {"data_loader": CSVDataLoader("/a")}, "b": {"data_loader": CSVDataLoader("/b")}})
    assert recipe.configured_sites() == ["a", "b"]
    recipe.export(str(tmp_path))


def test_tables_of_stored_statistics(capsys):
    from nvflare.app_opt.statistics.visualization.statistics_visualization import Visualization

    bins = [[0.0, 1.0, 1], [1.0, 2.0, 3]]
    data = {"Age": {"count": {"site-1": {"train": 4}}, "histogram": {"site-1": {"train": bins}}}, "Sex": {}}
    tables = Visualization().get_histogram_dataframes(data, "percent")
    assert tables.keys() == {"Age"}
    assert tables["Age"]["site-1-train"].to_dict() == {0.0: 0.25, 1.0: 0.75}
    Visualization().show_stats(data, ["Age"])
    assert "site-1-train      4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "groups"),
    [("0", ["0"]), ("0,1", ["0", "1"]), ("[0,1],[2, 3]", ["0,1", "2,3"]), ("[0,1],2", ["0,1", "2"])],
)
def test_gpus_of_each_site(given, groups):
    from nvflare.private.fed.utils.fed_utils import split_gpus

    assert split_gpus(given) == groups
    with pytest.raises(ValueError, match="bracket has no partner"):
        split_gpus(f"[{given}")


def test_statistics_of_a_generator_of_data_frames(tmp_path):
    folder = run(
        tmp_path,
        generator="""
        import pandas as pd
        from nvflare.app_opt.statistics.df.df_core_statistics import DFStatisticsCore

        class Ages(DFStatisticsCore):
            def __init__(self, root):
                super().__init__()
                self.root = root

            def initialize(self, fl_ctx):
                self.log_info(fl_ctx, "reading")
                site = int(fl_ctx.get_identity_name()[-1])
                assert self.root == f"/data/site-{site}"
                self.data = {"train": pd.DataFrame({"age": [10.0 * site] * 20})}
        """,
        job="""
        from generator import Ages
        from nvflare.recipe.fedstats import FedStatsRecipe
        from nvflare.recipe.sim_env import SimEnv

        sites = ["site-1", "site-2"]
        recipe = FedStatsRecipe(
            name="job", stats_output_path="statistics/ages.json", sites=sites,
            statistic_configs={"count": {}, "mean": {}}, stats_generator=Ages("/data/{SITE_NAME}"),
        )
        recipe.execute(SimEnv(clients=sites, workspace_root="results"))
        """,
    )
    statistics = json.loads((folder / "server/simulate_job/statistics/ages.json").read_text())
    assert statistics["age"]["mean"] == {
        "site-1": {"train": 10.0},
        "site-2": {"train": 20.0},
        "Global": {"train": 15.0},
    }


def test_intersection_of_ids_that_an_object_supplies(tmp_path):
    folder = run(
        tmp_path,
        ids="""
        from nvflare.app_common.psi.psi_spec import PSI

        class Ids(PSI):
            def __init__(self, psi_writer_id="psi_writer"):
                super().__init__(psi_writer_id)

            def load_items(self):
                site = int(self.fl_ctx.get_identity_name()[-1])
                return [f"id-{number}" for number in range(site, site + 3)]
        """,
        job="""
        from ids import Ids
        from nvflare.app_common.psi.recipes.dh_psi import DhPSIRecipe
        from nvflare.recipe import SimEnv

        recipe = DhPSIRecipe(name="job", min_clients=2, local_psi=Ids())
        recipe.execute(SimEnv(num_clients=2, workspace_root="results"))
        """,
    )
    for site in ("site-1", "site-2"):
        found = (folder / site / "simulate_job" / site / "psi" / "intersection.txt").read_text()
        assert sorted(found.split()) == ["id-2", "id-3"]


def test_k_means_of_centres_and_counts_finds_the_clusters_of_all_sites(tmp_path):
    folder = run(
        tmp_path,
        client="""
        import numpy as np
        from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus
        import nvflare.client as flare

        flare.init()
        site = int(flare.get_site_name()[-1])
        rows = np.concatenate([np.full((10, 1), each + 0.1 * site) for each in (0.0, 5.0)])
        while flare.is_running():
            model = flare.receive()
            if model.current_round == 0:
                assert model.params["n_clusters"] == 2
                params = {"center": kmeans_plusplus(rows, n_clusters=2, random_state=0)[0], "count": None}
            else:
                means = MiniBatchKMeans(2, init=model.params["center"], n_init=1, random_state=0).fit(rows)
                params = {"center": means.cluster_centers_, "count": means._counts}
            flare.send(flare.FLModel(params=params, metrics={"metrics": 1.0}))
        """,
        job="""
        from nvflare.app_opt.sklearn import KMeansFedAvgRecipe
        from nvflare.recipe import SimEnv

        recipe = KMeansFedAvgRecipe(name="job", min_clients=2, num_rounds=3, n_clusters=2, train_script="client.py")
        recipe.execute(SimEnv(num_clients=2, workspace_root="results"))
        """,
    )
    import joblib

    centres = joblib.load(folder / "server/simulate_job/app_server/model_param.joblib")["center"]
    np.testing.assert_allclose(np.sort(centres.ravel()), [0.15, 5.15], atol=0.06)


@pytest.mark.at_length  # starts TensorFlow in three processes
def test_keras_script_that_sends_lists_of_weights_by_layer(tmp_path):
    folder = run(
        tmp_path,
        model="""
        import keras

        class Net(keras.Model):
            def __init__(self):
                super().__init__()
                self.first, self.second = keras.layers.Dense(3), keras.layers.Dense(1)
                self._input_shape = (None, 2)

            def call(self, rows):
                return self.second(self.first(rows))
        """,
        client="""
        import numpy as np
        from model import Net
        import nvflare.client as flare

        flare.init()
        net = Net()
        net(np.zeros((1, 2)))
        while flare.is_running():
            received = flare.receive()
            for name, weights in received.params.items():
                net.get_layer(name).set_weights(weights)
            params = {layer.name: [each + 1 for each in layer.get_weights()] for layer in net.layers}
            flare.send(flare.FLModel(params=params, metrics={"accuracy": 1.0}))
        """,
        job="""
        from model import Net
        from nvflare.app_opt.tf.recipes.fedavg import FedAvgRecipe
        from nvflare.recipe import SimEnv

        recipe = FedAvgRecipe(name="job", min_clients=2, num_rounds=2, model=Net(), train_script="client.py")
        recipe.execute(SimEnv(num_clients=2, workspace_root="results"))
        """,
    )
    weights = np.load(folder / "server/simulate_job/app_server/tf_model.weights.npz")
    assert weights["dense/~1"].tolist() == [2.0, 2.0, 2.0]
    assert weights.files == ["dense/~0", "dense/~1", "dense_1/~0", "dense_1/~1"]


def test_proximal_term_that_a_patched_trainer_adds_itself(tmp_path):
    pytest.importorskip("pytorch_lightning")
    torch = pytest.importorskip("torch")
    folder = run(
        tmp_path,
        net="""
        import pytorch_lightning
        import torch

        class Net(pytorch_lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.line = torch.nn.Linear(1, 1, bias=False)
                torch.nn.init.zeros_(self.line.weight)

            def training_step(self, batch, batch_idx):
                return self.line(batch[0]).mean()

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.5)
        """,
        client="""
        import nvflare.client.lightning as flare
        import pytorch_lightning
        import torch
        from net import Net

        rows = torch.utils.data.TensorDataset(torch.ones(3, 1))
        trainer = pytorch_lightning.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
        flare.patch(trainer)
        while flare.is_running():
            trainer.fit(Net(), torch.utils.data.DataLoader(rows))
        """,
        job="""
        from net import Net

        from nvflare.app_opt.pt.recipes.fedprox import FedProxRecipe
        from nvflare.recipe import SimEnv

        recipe = FedProxRecipe(
            name="job",
            model=Net(),
            min_clients=1,
            num_rounds=2,
            train_script="client.py",
            fedprox_mu=0.2,
            key_metric="",
        )
        recipe.execute(SimEnv(num_clients=1, workspace_root="results"))
        """,
    )
    expected = 0.0
    for _ in range(2):
        received = expected
        for _ in range(3):
            expected -= 0.5 * (1 + 0.2 * (expected - received))
    (model,) = folder.glob("server/simulate_job/app_server/FL_global_model.pt")
    weight = torch.load(model)["model"]["line.weight"].item()
    assert weight == pytest.approx(expected)


def test_a_patched_trainer_corrects_its_steps_as_a_loop_with_the_helper_of_scaffold_does(tmp_path):
    pytest.importorskip("pytorch_lightning")
    torch = pytest.importorskip("torch")
    files = {
        "net": """
        import pytorch_lightning
        import torch

        class Net(pytorch_lightning.LightningModule):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.line = torch.nn.Linear(3, 1)

            def training_step(self, batch, batch_idx):
                return torch.nn.functional.mse_loss(self.line(batch[0]), batch[1])

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.05)

        def batches(site):
            generator = torch.Generator().manual_seed(int(site[-1]))
            x = torch.randn(24, 3, generator=generator)
            rows = torch.utils.data.TensorDataset(x, x.sum(dim=1, keepdim=True) + int(site[-1]))
            return torch.utils.data.DataLoader(rows, batch_size=8)
        """,
        "trainer": """
        import nvflare.client.lightning as flare
        import pytorch_lightning
        from net import Net, batches

        net = Net()
        trainer = pytorch_lightning.Trainer(max_epochs=2, logger=False, enable_checkpointing=False, accelerator="cpu")
        flare.patch(trainer)
        while flare.is_running():
            print("round", flare.receive().current_round)
            trainer.fit(net, batches(flare.get_site_name()))
        """,
        "loop": """
        import copy
        import nvflare.client as flare
        import torch
        from net import Net, batches
        from nvflare.app_common.app_constant import AlgorithmConstants
        from nvflare.app_opt.pt.scaffold import PTScaffoldHelper, get_lr_values

        flare.init()
        net, helper = Net(), PTScaffoldHelper()
        helper.init(net)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        while flare.is_running():
            received = flare.receive()
            net.load_state_dict(received.params)
            before = copy.deepcopy(net)
            helper.load_global_controls(received.meta[AlgorithmConstants.SCAFFOLD_CTRL_GLOBAL])
            c_global, c_local = helper.get_params()
            for _ in range(2):
                for batch in batches(flare.get_site_name()):
                    optimizer.zero_grad()
                    net.training_step(batch, 0).backward()
                    optimizer.step()
                    helper.model_update(net, get_lr_values(optimizer)[0], c_global, c_local)
            helper.terms_update(net, 0.05, c_global, c_local, before)
            meta = {AlgorithmConstants.SCAFFOLD_CTRL_DIFF: helper.get_delta_controls(), "NUM_STEPS_CURRENT_ROUND": 6}
            flare.send(flare.FLModel(params=net.state_dict(), meta=meta))
        """,
        "job": """
        from net import Net
        from nvflare.app_opt.pt.recipes import ScaffoldRecipe
        from nvflare.recipe import SimEnv

        for name, script in (("job", "trainer"), ("plain", "loop")):
            recipe = ScaffoldRecipe(name=name, model=Net(), min_clients=2, num_rounds=3, train_script=f"{script}.py")
            recipe.execute(SimEnv(num_clients=2, workspace_root="results"))
        """,
    }
    folder = run(tmp_path, **files)

    def weights(name: str) -> dict:
        path = folder.parent / name / "server" / "simulate_job" / "app_server" / "FL_global_model.pt"
        return torch.load(path)["model"]

    for key, value in weights("plain").items():
        torch.testing.assert_close(weights("job")[key], value, rtol=0, atol=1e-5)
