"""Job folders as NVIDIA FLARE writes them, for the tests."""

import json
import textwrap
from pathlib import Path

CONTROLLER = "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather"
AGGREGATOR = "nvflare.app_common.aggregators.intime_accumulate_model_aggregator.InTimeAccumulateWeightedAggregator"
GENERATOR = "nvflare.app_common.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator"
PERSISTOR = "nvflare.app_common.np.np_model_persistor.NPModelPersistor"

SERVER = {
    "format_version": 2,
    "rounds": 3,
    "workflows": [
        {
            "id": "sag",
            "path": CONTROLLER,
            "args": {"min_clients": 2, "num_rounds": "{rounds}", "persistor_id": "persistor"},
        }
    ],
    "components": [
        {"id": "persistor", "path": PERSISTOR, "args": {"model": [1.0, 2.0]}},
        {"id": "shareable_generator", "path": GENERATOR},
        {"id": "aggregator", "path": AGGREGATOR, "args": {"expected_data_kind": "WEIGHTS"}},
    ],
}
TRAINER = {"path": "nvflare.app_common.np.np_trainer.NPTrainer", "args": {"delta": 2}}
CLIENT = {"format_version": 2, "executors": [{"tasks": ["train", "submit_model"], "executor": TRAINER}]}


def write_job(folder: Path, server=SERVER, client=CLIENT, code: dict[str, str] | None = None) -> Path:
    config = folder / "app" / "config"
    config.mkdir(parents=True)
    meta = {"name": folder.name, "min_clients": 2, "resource_spec": {}, "deploy_map": {"app": ["@ALL"]}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (config / "config_fed_server.json").write_text(json.dumps(server))
    (config / "config_fed_client.json").write_text(json.dumps(client))
    (folder / "app" / "custom").mkdir()
    for name, text in (code or {}).items():
        (folder / "app" / "custom" / name).write_text(textwrap.dedent(text))
    return folder
