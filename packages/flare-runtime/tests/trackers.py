"""Readers of trackers' files, which use the trackers' own packages, or for W&B the layout of its file."""

from __future__ import annotations

import json
from pathlib import Path

BLOCK_BYTES = 32768


def tensorboard(folder: Path) -> dict[str, list[tuple[int, float | str]]]:
    """Return steps and values by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    files.Reload()
    tags = files.Tags()
    numbers = {tag: [(each.step, each.value) for each in files.Scalars(tag)] for tag in tags["scalars"]}
    texts = {
        tag: [(each.step, each.tensor_proto.string_val[0].decode()) for each in files.Tensors(tag)]
        for tag in tags["tensors"]
        if not tag.startswith("_hparams_/")
    }
    return {**numbers, **texts}


def hyperparameters(folder: Path) -> tuple[str, dict[str, object], str]:
    """Return the name, the hyperparameters and the outcome of the only session."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import api_pb2, metadata

    files = EventAccumulator(str(folder))
    files.Reload()
    content = files.PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    end = metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG])
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    return start.group_name, values, {api_pb2.STATUS_SUCCESS: "finished", api_pb2.STATUS_FAILURE: "failed"}[end.status]


class MLflow:
    """The only run of the only experiment in a file store."""

    def __init__(self, folder: Path, experiment: str = "job") -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
        found = self.client.get_experiment_by_name(experiment)
        (self.run,) = self.client.search_runs([found.experiment_id])

    def metric(self, name: str) -> list[tuple[int, float]]:
        """Return steps and values."""
        history = self.client.get_metric_history(self.run.info.run_id, name)
        return sorted((each.step, each.value) for each in history)

    def text(self, name: str) -> str:
        """Return the content of an artifact."""
        return Path(self.client.download_artifacts(self.run.info.run_id, name)).read_text()


class WandB:
    """The only run below a folder."""

    def __init__(self, folder: Path) -> None:
        from wandb.proto import wandb_internal_pb2

        (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
        self.values: dict[str, list[tuple[int, float | str]]] = {}
        self.config = {}
        self.exit_code = None
        for content in _records(path):
            record = wandb_internal_pb2.Record.FromString(content)
            for each in (*record.run.config.update, *record.config.update):
                self.config[each.key] = json.loads(each.value_json)
            if record.WhichOneof("record_type") == "exit":
                self.exit_code = record.exit.exit_code
            row = {each.key or each.nested_key[0]: json.loads(each.value_json) for each in record.history.item}
            for key in row.keys() - {"step"}:
                if not key.startswith("_"):
                    self.values.setdefault(key, []).append((row["step"], row[key]))


def _records(path: Path):
    """The layout is LevelDB's log after 7 bytes: blocks of fragments, each with checksum (4), length (2), kind (1)."""
    data = path.read_bytes()
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = BLOCK_BYTES - at % BLOCK_BYTES
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last fragment
            yield whole
            whole = b""
