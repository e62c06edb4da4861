"""Record the signatures of NVIDIA FLARE's names: packages/flare-nvflare/tests/signatures.json.

Run it with the interpreter of an environment that has NVIDIA FLARE itself, once for each release; what cannot be
imported there is left out. Only names, parameters and defaults are recorded, of what flare-nvflare provides.

Usage: PYTHON tools/nvflare_signatures.py RELEASE
"""

import importlib
import inspect
import json
import sys
from enum import Enum
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "packages" / "flare-nvflare" / "tests" / "signatures.json"
NAMES = {
    "nvflare.app_common.ccwf.recipes.swarm": ["SwarmLearningRecipe"],
    "nvflare.app_common.np.recipes.cross_site_eval": ["NumpyCrossSiteEvalRecipe"],
    "nvflare.app_common.np.recipes.fedavg": ["NumpyFedAvgRecipe"],
    "nvflare.app_common.np.recipes.lr.fedavg": ["FedAvgLrRecipe"],
    "nvflare.app_opt.flower.recipe": ["FlowerRecipe"],
    "nvflare.app_opt.pt.fedproxloss": ["PTFedProxLoss"],
    "nvflare.app_opt.pt.job_config.base_fed_job": ["BaseFedJob"],
    "nvflare.app_opt.pt.job_config.fed_avg": ["FedAvgJob"],
    "nvflare.app_opt.pt.job_config.model": ["PTModel"],
    "nvflare.app_opt.pt.recipes.cyclic": ["CyclicRecipe"],
    "nvflare.app_opt.pt.recipes.fedavg": ["FedAvgRecipe"],
    "nvflare.app_opt.pt.recipes.fedeval": ["FedEvalRecipe"],
    "nvflare.app_opt.pt.recipes.fedopt": ["FedOptRecipe"],
    "nvflare.app_opt.pt.recipes.fedprox": ["FedProxRecipe"],
    "nvflare.app_opt.pt.recipes.scaffold": ["ScaffoldRecipe"],
    "nvflare.app_opt.pt.recipes.swarm": ["SwarmLearningRecipe"],
    "nvflare.app_opt.pt.scaffold": [
        "PTScaffoldHelper.init", "PTScaffoldHelper.model_update", "PTScaffoldHelper.terms_update", "get_lr_values",
    ],
    "nvflare.app_opt.sklearn.data_loader": ["load_data", "load_data_for_range"],
    "nvflare.app_opt.sklearn.recipes.fedavg": ["SklearnFedAvgRecipe"],
    "nvflare.app_opt.sklearn.recipes.kmeans": ["KMeansFedAvgRecipe"],
    "nvflare.app_opt.sklearn.recipes.svm": ["SVMFedAvgRecipe"],
    "nvflare.app_opt.tracking.mlflow.mlflow_receiver": ["MLflowReceiver"],
    "nvflare.app_opt.tracking.tb.tb_receiver": ["TBAnalyticsReceiver"],
    "nvflare.app_opt.statistics.visualization.statistics_visualization": [
        "Visualization.get_histogram_dataframes", "Visualization.show_dataframe_plots",
        "Visualization.show_histograms", "Visualization.show_stats",
    ],
    "nvflare.app_opt.xgboost.histogram_based_v2.csv_data_loader": ["CSVDataLoader"],
    "nvflare.app_opt.xgboost.histogram_based_v2.fed_controller": ["XGBFedController"],
    "nvflare.app_opt.xgboost.histogram_based_v2.fed_executor": ["FedXGBHistogramExecutor"],
    "nvflare.app_opt.xgboost.tree_based.bagging_aggregator": ["XGBBaggingAggregator"],
    "nvflare.app_opt.xgboost.tree_based.executor": ["FedXGBTreeExecutor"],
    "nvflare.app_opt.xgboost.tree_based.model_persistor": ["XGBModelPersistor"],
    "nvflare.app_opt.xgboost.tree_based.shareable_generator": ["XGBModelShareableGenerator"],
    "nvflare.app_opt.xgboost.recipes.bagging": ["XGBBaggingRecipe"],
    "nvflare.app_opt.xgboost.recipes.histogram": ["XGBHorizontalRecipe"],
    "nvflare.app_opt.xgboost.recipes.vertical": ["XGBVerticalRecipe"],
    "nvflare.client": [
        "clear", "get_config", "get_job_id", "get_site_name", "get_task_name", "init", "is_evaluate", "is_running",
        "is_submit_model", "is_train", "log", "receive", "send", "shutdown", "system_info", "FLModel",
    ],
    "nvflare.client.tracking": [
        "MLflowWriter.log_metric", "MLflowWriter.log_metrics", "MLflowWriter.log_text", "SummaryWriter.add_scalar",
        "SummaryWriter.add_scalars", "WandBWriter.log",
    ],
    "nvflare.fuel.utils.import_utils": ["optional_import"],
    "nvflare.job_config.api": [
        "FedJob", "FedJob.add_component", "FedJob.add_executor", "FedJob.add_file_to", "FedJob.add_filter",
        "FedJob.add_params", "FedJob.add_resources", "FedJob.as_id", "FedJob.check_kwargs", "FedJob.export_job",
        "FedJob.simulator_run", "FedJob.to", "FedJob.to_clients", "FedJob.to_server",
    ],
    "nvflare.job_config.base_fed_job": ["BaseFedJob"],
    "nvflare.job_config.script_runner": ["BaseScriptRunner", "ScriptRunner"],
    "nvflare.job_config.stats_job": ["StatsJob", "StatsJob.setup_clients"],
    "nvflare.private.fed.utils.fed_utils": ["split_gpus"],
    "nvflare.recipe.cyclic": ["CyclicRecipe"],
    "nvflare.recipe.fed_task": ["FedTaskRecipe"],
    "nvflare.recipe.fedavg": ["FedAvgRecipe"],
    "nvflare.recipe.fedstats": ["FedStatsRecipe"],
    "nvflare.recipe.poc_env": ["PocEnv"],
    "nvflare.recipe.prod_env": ["ProdEnv"],
    "nvflare.recipe.run": ["Run", "Run.abort", "Run.get_job_id", "Run.get_result", "Run.get_status"],
    "nvflare.recipe.sim_env": ["SimEnv", "SimEnv.deploy", "SimEnv.get_job_result"],
    "nvflare.recipe.spec": [
        "Recipe", "Recipe.add_client_config", "Recipe.add_client_file", "Recipe.add_client_input_filter",
        "Recipe.add_client_output_filter", "Recipe.add_decomposers", "Recipe.add_server_config",
        "Recipe.add_server_file", "Recipe.add_server_input_filter", "Recipe.add_server_output_filter",
        "Recipe.execute", "Recipe.export",
    ],
    "nvflare.recipe.utils": ["add_cross_site_evaluation", "add_experiment_tracking", "set_recipe_meta"],
}  # fmt: skip


def signature_of(target):
    """Return the parameters: their names, with stars, ``*`` before those by name only, and the text of defaults."""
    found, is_by_name = [], False
    for each in inspect.signature(target).parameters.values():
        if each.kind is each.KEYWORD_ONLY and not is_by_name:
            found.append(["*", None])
            is_by_name = True
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        found.append([stars + each.name, None if each.default is each.empty else default_of(each.default)])
        is_by_name = is_by_name or each.kind is each.VAR_POSITIONAL
    return found


def default_of(value):
    """Return the text of a default; that of a member of an enumeration is its value's."""
    return repr(value.value if isinstance(value, Enum) else value)


def main():
    release = sys.argv[1]
    recorded = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for module, names in NAMES.items():
        for name in names:
            try:
                target = importlib.import_module(module)
                for part in name.split("."):
                    target = getattr(target, part)
            except (ImportError, AttributeError) as error:
                print(f"left out: {module}.{name}: {error}", file=sys.stderr)
                continue
            recorded.setdefault(f"{module}.{name}", {})[release] = signature_of(target)
    lines = [f"{json.dumps(name)}: {json.dumps(recorded[name])}" for name in sorted(recorded)]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
