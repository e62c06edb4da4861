"""Job folders that describe trees, statistics and intersections of ids are Flare's recipes, with right values."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
from nvflare_folders import write_job

from flare_core import JobError
from flare_core.job_folder import export_job, load_job
from nvflare._host.jobs import load_job_folder
from nvflare._host.simulator import simulate

XGB = "nvflare.app_opt.xgboost"
STATS = "nvflare.app_common"
COMPILES = pytest.mark.timeout(400)  # the first trees on a machine, which compile the kernels


def write_module(folder: Path, name: str, text: str) -> None:
    (folder / "app" / "custom" / name).write_text(textwrap.dedent(text))


def results(job: Path, tmp_path: Path, *, n: int | None = 2) -> Path:
    """Run a job folder and return the folder of the results."""
    simulate(job, tmp_path / "runs", n_clients=n)
    return tmp_path / "runs"


def executor(path: str, tasks: list[str], **args) -> dict:
    return {"tasks": tasks, "executor": {"id": "executor", "path": path, "args": args}}


# Trees


@pytest.fixture
def rows(tmp_path) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a few values for each column, so that histograms are exact; each site has half of them as CSV files."""
    pytest.importorskip("xgboost")
    draw = np.random.default_rng(7)
    x = draw.integers(0, 6, size=(400, 4)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 5).astype(np.float32)
    for number in (0, 1):
        folder = tmp_path / "data" / f"site-{number + 1}"
        folder.mkdir(parents=True)
        for part in ("train", "valid"):
            table = np.column_stack([y, x])[number::2]
            np.savetxt(folder / f"{part}.csv", table, delimiter=",", fmt="%g")
    return x, y


PARAMS = {"max_depth": 3, "eta": 0.5, "objective": "binary:logistic", "eval_metric": "auc", "tree_method": "hist"}


def histogram_folder(tmp_path: Path) -> Path:
    controller = {
        "num_rounds": "{num_rounds}",
        "data_split_mode": 0,
        "secure_training": False,
        "xgb_options": {"early_stopping_rounds": 3},
        "xgb_params": PARAMS,
        "client_ranks": {"site-1": 0, "site-2": 1},
    }
    server = {
        "num_rounds": 4,
        "workflows": [
            {"id": "xgb", "path": f"{XGB}.histogram_based_v2.fed_controller.XGBFedController", "args": controller}
        ],
        "components": [],
    }
    loader = f"{XGB}.histogram_based_v2.csv_data_loader.CSVDataLoader"
    client = {
        "executors": [
            executor(
                f"{XGB}.histogram_based_v2.fed_executor.FedXGBHistogramExecutor",
                ["config", "start"],
                data_loader_id="dataloader",
                in_process=True,
            )
        ],
        "components": [
            {"id": "dataloader", "path": loader, "args": {"folder": str(tmp_path / "data")}},
            {
                "id": "metrics_writer",
                "path": "nvflare.app_opt.tracking.tb.tb_writer.TBWriter",
                "args": {"event_type": "analytix_log_stats"},
            },
            {
                "id": "event_to_fed",
                "name": "ConvertToFedEvent",
                "args": {"events_to_convert": ["analytix_log_stats"], "fed_event_prefix": "fed."},
            },
        ],
    }
    return write_job(tmp_path / "histogram", server, client)


def predictions(model: Path, x: np.ndarray) -> np.ndarray:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(model)
    return booster.predict(xgboost.DMatrix(x))


@COMPILES
def test_trees_of_histograms_are_those_of_the_pooled_rows(tmp_path, rows):
    import xgboost

    x, y = rows
    folder = results(histogram_folder(tmp_path), tmp_path)
    pooled = xgboost.train(PARAMS, xgboost.DMatrix(x, y), 4).predict(xgboost.DMatrix(x))
    for place in ("site-1/simulate_job/model.json", "server/simulate_job/model.json"):
        assert np.abs(predictions(folder / place, x) - pooled).max() < 1e-4


@COMPILES
def test_a_job_of_trees_that_flare_has_exported_is_the_same_job(tmp_path, rows):
    job = load_job_folder(histogram_folder(tmp_path))
    again = load_job(export_job(job, tmp_path / "exported"))
    assert again.server.workflows[0].to_json() == job.server.workflows[0].to_json()
    assert again.client.executors[0].executor.to_json() == job.client.executors[0].executor.to_json()


def trees_folder(tmp_path: Path, mode: str) -> Path:
    common = {"persistor_id": "persistor", "shareable_generator_id": "generator", "num_rounds": 3}
    if mode == "bagging":
        path = "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather"
        args = {**common, "min_clients": 2, "aggregator_id": "aggregator", "allow_empty_global_weights": True}
    else:
        path = "nvflare.app_common.workflows.cyclic_ctl.CyclicController"
        args = {**common, "allow_early_termination": True}
    server = {
        "workflows": [{"id": "controller", "path": path, "args": args}],
        "components": [
            {"id": "persistor", "path": f"{XGB}.tree_based.model_persistor.XGBModelPersistor", "args": {}},
            {"id": "generator", "path": f"{XGB}.tree_based.shareable_generator.XGBModelShareableGenerator"},
            {"id": "aggregator", "path": f"{XGB}.tree_based.bagging_aggregator.XGBBaggingAggregator"},
        ],
    }
    scaled = {"lr_mode": "scaled", "lr_scale": 0.5} if mode == "bagging" else {"lr_scale": 1.0}
    client = {
        "executors": [
            executor(
                f"{XGB}.tree_based.executor.FedXGBTreeExecutor",
                ["train"],
                data_loader_id="loader",
                training_mode=mode,
                learning_rate=0.5,
                max_depth=3,
                **scaled,
            )
        ],
        "components": [{"id": "loader", "path": "rows.Rows", "args": {"root": str(tmp_path / "data")}}],
    }
    job = write_job(tmp_path / mode, server, client)
    write_module(
        job,
        "rows.py",
        """
        import numpy as np
        import xgboost
        from nvflare.app_opt.xgboost.data_loader import XGBDataLoader

        class Rows(XGBDataLoader):
            def __init__(self, root):
                self.root = root

            def load_data(self):
                table = np.loadtxt(f"{self.root}/{self.client_id}/train.csv", delimiter=",")
                rows = xgboost.DMatrix(table[:, 1:], table[:, 0])
                return rows, rows
        """,
    )
    return job


@COMPILES
def test_trees_that_sites_grow_by_themselves_are_collected(tmp_path, rows):
    folder = results(trees_folder(tmp_path, "bagging"), tmp_path)
    model = folder / "server" / "simulate_job" / "app_server" / "xgboost_model.json"
    assert len(json.loads(model.read_text())["learner"]["gradient_booster"]["model"]["trees"]) == 6
    assert np.mean((predictions(model, rows[0]) > 0.5) == (rows[1] > 0.5)) > 0.9


@COMPILES
def test_sites_that_grow_trees_in_turn_are_a_mode_of_the_recipe(tmp_path, rows):
    job = load_job_folder(trees_folder(tmp_path, "cyclic"))
    args = job.server.workflows[0].args
    assert (args["mode"], args["num_rounds"], args["lr_mode"], args["min_clients"]) == ("cyclic", 3, "uniform", 2)


def test_parts_of_trees_without_their_executor_are_refused_with_the_file(tmp_path, rows):
    job = trees_folder(tmp_path, "bagging")
    trainer = {"path": "nvflare.app_common.np.np_trainer.NPTrainer"}
    client = {"executors": [{"tasks": ["train"], "executor": trainer}]}
    (job / "app" / "config" / "config_fed_client.json").write_text(json.dumps(client))
    with pytest.raises(JobError, match=r"config_fed_server\.json: \S*XGBModelPersistor only describes"):
        load_job_folder(job)


# Statistics


STATISTICS = """
    import numpy as np
    from nvflare.app_common.abstract.statistics_spec import DataType, Feature, Statistics

    class Ages(Statistics):
        def __init__(self, ages):
            super().__init__()
            self.ages = ages

        def initialize(self, fl_ctx):
            self.rows = np.array(self.ages[fl_ctx.get_identity_name()])

        def features(self):
            return {"people": [Feature("age", DataType.FLOAT)]}

        def count(self, dataset_name, feature_name):
            return len(self.rows)

        def sum(self, dataset_name, feature_name):
            return float(self.rows.sum())

        def mean(self, dataset_name, feature_name):
            return float(self.rows.mean())
"""
AGES = {"site-1": [20.0, 30.0, 40.0], "site-2": [50.0, 60.0]}


def statistics_folder(tmp_path: Path, count: int = 2, *, controller: str = "", **control) -> Path:
    path = controller or f"{STATS}.workflows.statistics_controller.StatisticsController"
    args = {"statistic_configs": {"count": {}, "sum": {}, "mean": {}}, "writer_id": "writer", **control}
    writer = f"{STATS}.statistics.json_stats_file_persistor.JsonStatsFileWriter"
    server = {
        "workflows": [{"id": "statistics", "path": path, "args": args}],
        "components": [{"id": "writer", "path": writer, "args": {"output_path": "statistics/ages.json"}}],
    }
    statistics = f"{STATS}.executors.statistics.statistics_executor.StatisticsExecutor"
    filters = [{"path": f"{STATS}.filters.statistics_privacy_filter.StatisticsPrivacyFilter"}]
    filters[0]["args"] = {"result_cleanser_ids": ["least", "noise", "bins"]}
    limits = f"{STATS}.statistics"
    client = {
        "executors": [executor(statistics, ["fed_stats_pre_run", "fed_stats"], generator_id="ages")],
        "task_result_filters": [{"tasks": ["fed_stats"], "filters": filters}],
        "components": [
            {"id": "ages", "path": "ages.Ages", "args": {"ages": AGES}},
            {"id": "least", "path": f"{limits}.min_count_cleanser.MinCountCleanser", "args": {"min_count": count}},
            {
                "id": "noise",
                "path": f"{limits}.min_max_cleanser.AddNoiseToMinMax",
                "args": {"min_noise_level": 0.1, "max_noise_level": 0.3},
            },
            {
                "id": "bins",
                "path": f"{limits}.histogram_bins_cleanser.HistogramBinsCleanser",
                "args": {"max_bins_percent": 10},
            },
        ],
    }
    job = write_job(tmp_path / "job", server, client)
    write_module(job, "ages.py", STATISTICS)
    return job


def test_statistics_are_those_of_all_rows_together_within_the_limits_of_the_sites(tmp_path):
    pytest.importorskip("flare_stats")
    folder = results(statistics_folder(tmp_path, count=3), tmp_path)
    found = json.loads((folder / "server" / "simulate_job" / "statistics" / "ages.json").read_text())["age"]
    assert found["mean"]["site-1"]["people"] == pytest.approx(30.0)
    assert "site-2" not in found["mean"]  # it has two rows
    assert found["sum"]["Global"]["people"] == pytest.approx(90.0)


def test_statistics_are_merged_by_the_groups_that_a_file_describes(tmp_path):
    pytest.importorskip("flare_stats")
    controller = f"{STATS}.workflows.hierarchical_statistics_controller.HierarchicalStatisticsController"
    job = statistics_folder(tmp_path, controller=controller, hierarchy_config="groups.json")
    groups = {"States": [{"Name": "north", "clinics": ["site-1"]}, {"Name": "south", "clinics": ["site-2"]}]}
    (job / "app" / "config" / "groups.json").write_text(json.dumps(groups))
    args = load_job_folder(job).server.workflows[0].args
    assert args["hierarchy"] == {"north": ["site-1"], "south": ["site-2"]}
    found = json.loads((results(job, tmp_path) / "server/simulate_job/statistics/ages.json").read_text())
    assert list(found) == ["Global", "States"]
    north, south = found["States"]
    [clinic] = north["clinics"]
    assert (north["Name"], south["Name"], clinic["Name"]) == ("north", "south", "site-1")
    sums = [each["sum"]["people"]["age"] for each in (clinic["Local"], north["Global"], south["Global"])]
    assert sums[0] == sums[1] != sums[2]
    assert found["Global"]["sum"]["people"]["age"] == pytest.approx(sums[1] + sums[2])


def test_a_limit_that_is_named_and_not_there_is_the_default_of_the_recipe(tmp_path):
    pytest.importorskip("flare_stats")
    job = statistics_folder(tmp_path)
    path = job / "app" / "config" / "config_fed_client.json"
    path.write_text(path.read_text().replace('"noise", "bins"', '"noises", "bins"'))
    args = load_job_folder(job).client.executors[0].executor.args
    assert (args["min_noise_level"], args["max_noise_level"], args["min_count"]) == (0.1, 0.3, 2)


# Intersections of ids


LOADER = """
    from nvflare.app_common.psi.psi_spec import PSI

    class Ids(PSI):
        def __init__(self, psi_writer_id, path):
            super().__init__(psi_writer_id)
            self.path = path

        def load_items(self):
            with open(self.path) as file:
                return file.read().split()
"""
IDS = {"site-1": "ann bob cem dan", "site-2": "bob dan eve"}
HOCON = """
executors = [{{
    tasks = ["PSI"]
    executor {{
        id = "psi"
        path = "nvflare.app_common.psi.psi_executor.PSIExecutor"
        args {{ psi_algo_id = "dh_psi" }}
    }}
}}]
components = [
    {{
        id = "dh_psi"
        path = "nvflare.app_opt.psi.dh_psi.dh_psi_task_handler.DhPSITaskHandler"
        args {{ local_psi_id = "local" }}
    }}
    {{ id = "local", path = "ids.Ids", args {{ psi_writer_id = "writer", path = "{path}" }} }}
    {{
        id = "writer"
        path = "nvflare.app_common.psi.file_psi_writer.FilePSIWriter"
        args {{ output_path = "psi/common.txt" }}
    }}
]
"""


CONTROLLER = {"id": "psi", "path": "nvflare.app_common.psi.dh_psi.dh_psi_controller.DhPSIController", "args": {}}


def test_the_ids_that_all_sites_have_are_written_at_each(tmp_path):
    pytest.importorskip("flare_psi")
    pytest.importorskip("pyhocon")
    for site, ids in IDS.items():
        (tmp_path / f"{site}.txt").write_text(ids)
    job = write_job(tmp_path / "job", {"workflows": [CONTROLLER]}, code={"ids.py": LOADER})
    (job / "app" / "config" / "config_fed_client.json").unlink()
    text = HOCON.format(path=tmp_path / "{SITE_NAME}.txt")
    (job / "app" / "config" / "config_fed_client.conf").write_text(text)
    folder = results(job, tmp_path)
    for site in IDS:
        written = folder / site / "simulate_job" / site / "psi" / "common.txt"
        assert sorted(written.read_text().split()) == ["bob", "dan"]


def test_each_site_can_read_its_ids_in_its_own_way(tmp_path):
    pytest.importorskip("flare_psi")
    pytest.importorskip("pyhocon")
    job = write_job(tmp_path / "job", {"workflows": [CONTROLLER]})
    deployed = {"app": ["server"]} | {f"app_{site}": [site] for site in IDS}
    (job / "meta.json").write_text(json.dumps({"name": "job", "deploy_map": deployed}))
    for site in IDS:
        for folder in ("config", "custom"):
            (job / f"app_{site}" / folder).mkdir(parents=True)
        (job / f"app_{site}" / "custom" / "ids.py").write_text(textwrap.dedent(LOADER))
        (job / f"app_{site}" / "config" / "config_fed_client.conf").write_text(HOCON.format(path=f"/{site}.txt"))
    loaded = load_job_folder(job)
    assert loaded.min_clients == 2
    assert {site: app.executors[0].executor.args["local_psi"].args["path"] for site, app in loaded.sites.items()} == {
        "site-1": "/site-1.txt",
        "site-2": "/site-2.txt",
    }


@pytest.mark.parametrize(
    ("remove", "words"),
    [("local", r"no component 'local' to supply the ids"), ("writer", r"no component 'writer' to write the ids")],
)
def test_a_part_that_is_missing_is_named_with_the_file(tmp_path, remove, words):
    pytest.importorskip("flare_psi")
    components = [
        {"id": "dh_psi", "path": "nvflare.app_opt.psi.dh_psi.dh_psi_task_handler.DhPSITaskHandler"},
        {"id": "local", "path": "ids.Ids", "args": {"psi_writer_id": "writer", "path": "x"}},
        {
            "id": "writer",
            "path": "nvflare.app_common.psi.file_psi_writer.FilePSIWriter",
            "args": {"output_path": "x.txt"},
        },
    ]
    components[0]["args"] = {"local_psi_id": "local"}
    client = {
        "executors": [executor("nvflare.app_common.psi.psi_executor.PSIExecutor", ["PSI"], psi_algo_id="dh_psi")],
        "components": [each for each in components if each["id"] != remove],
    }
    job = write_job(tmp_path / "job", {"workflows": [CONTROLLER]}, client, {"ids.py": LOADER})
    with pytest.raises(JobError, match=words):
        load_job_folder(job)


@COMPILES
def test_a_fed_job_of_the_same_parts_is_the_same_job(tmp_path, monkeypatch):
    pytest.importorskip("flare_psi")
    from nvflare.app_common.psi.dh_psi.dh_psi_controller import DhPSIController
    from nvflare.app_common.psi.file_psi_writer import FilePSIWriter
    from nvflare.app_common.psi.psi_executor import PSIExecutor
    from nvflare.app_opt.psi.dh_psi.dh_psi_task_handler import DhPSITaskHandler
    from nvflare.job_config.api import FedJob

    for site, ids in IDS.items():
        (tmp_path / f"{site}.txt").write_text(ids)
    (tmp_path / "ids_of_a_job.py").write_text(textwrap.dedent(LOADER))
    monkeypatch.syspath_prepend(str(tmp_path))
    from ids_of_a_job import Ids

    job = FedJob("job", min_clients=2)
    job.to_server(DhPSIController())
    for site in IDS:
        job.to(PSIExecutor("dh_psi"), site)
        job.to(DhPSITaskHandler("local"), site, id="dh_psi")
        job.to(Ids("writer", str(tmp_path / f"{site}.txt")), site, id="local")
        job.to(FilePSIWriter("common.txt"), site, id="writer")
    job.simulator_run(str(tmp_path / "runs"))
    written = tmp_path / "runs" / "site-2" / "simulate_job" / "site-2" / "common.txt"
    assert sorted(written.read_text().split()) == ["bob", "dan"]
