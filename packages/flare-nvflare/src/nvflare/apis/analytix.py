"""Names and containers of logged metrics."""

from __future__ import annotations

from enum import Enum
from typing import Any

from flare_core.client.tracking import AnalyticsDataType
from nvflare.apis.dxo import DXO, DataKind

__all__ = ["ANALYTIC_EVENT_TYPE", "AnalyticsData", "AnalyticsDataType", "LogWriterName", "TrackConst"]

ANALYTIC_EVENT_TYPE = "analytix_log_stats"


class LogWriterName(Enum):
    """Libraries with which a script may log."""

    TORCH_TB = "TORCH_TENSORBOARD"
    MLFLOW = "MLFLOW"
    WANDB = "WEIGHTS_AND_BIASES"


class TrackConst:
    """Names in the data of a logged value."""

    TRACKER_KEY = "tracker_key"
    TRACK_KEY = "track_key"
    TRACK_VALUE = "track_value"
    TAG_KEY = "tag_key"
    TAGS_KEY = "tags_key"
    EXP_TAGS_KEY = "tags_key"
    GLOBAL_STEP_KEY = "global_step"
    PATH_KEY = "path"
    DATA_TYPE_KEY = "analytics_data_type"
    KWARGS_KEY = "analytics_kwargs"
    PROJECT_NAME = "project_name"
    PROJECT_TAGS = "project_name"
    EXPERIMENT_NAME = "experiment_name"
    RUN_NAME = "run_name"
    EXPERIMENT_TAGS = "experiment_tags"
    INIT_CONFIG = "init_config"
    RUN_TAGS = "run_tags"
    SITE_KEY = "site"
    JOB_ID_KEY = "job_id"


class AnalyticsData:
    """One logged value.

    Args:
        key: its name.
        value: the value.
        data_type: its type.
        sender: the library with which it was logged.
        kwargs: further arguments, such as ``global_step``.

    Raises:
        TypeError: ``key`` is not a string.
    """

    def __init__(
        self,
        key: str,
        value: Any,
        data_type: AnalyticsDataType,
        sender: LogWriterName = LogWriterName.TORCH_TB,
        **kwargs: Any,
    ) -> None:
        if not isinstance(key, str):
            raise TypeError(f"the name of a logged value must be a string, not a {type(key).__name__}")
        self.tag = key
        self.value = value
        self.data_type = AnalyticsDataType(data_type)
        self.sender = sender
        self.step = kwargs.get(TrackConst.GLOBAL_STEP_KEY)
        self.path = kwargs.get(TrackConst.PATH_KEY)
        self.kwargs = kwargs

    def to_dxo(self) -> DXO:
        """Return the value in a DXO."""
        data = {
            TrackConst.TRACK_KEY: self.tag,
            TrackConst.TRACK_VALUE: self.value,
            TrackConst.KWARGS_KEY: self.kwargs,
            TrackConst.GLOBAL_STEP_KEY: self.step,
            TrackConst.PATH_KEY: self.path,
        }
        meta = {TrackConst.DATA_TYPE_KEY: self.data_type.value, TrackConst.TRACKER_KEY: self.sender.value}
        return DXO(DataKind.ANALYTIC, data, meta)

    @classmethod
    def from_dxo(cls, dxo: DXO, receiver: LogWriterName = LogWriterName.TORCH_TB) -> AnalyticsData | None:
        """Return the value in a DXO; None if it holds none."""
        if not isinstance(dxo, DXO) or dxo.data_kind != DataKind.ANALYTIC or not dxo.data:
            return None
        data = dict(dxo.data.get(TrackConst.KWARGS_KEY) or {})
        return cls(
            dxo.data[TrackConst.TRACK_KEY],
            dxo.data[TrackConst.TRACK_VALUE],
            dxo.get_meta_prop(TrackConst.DATA_TYPE_KEY),
            LogWriterName(dxo.get_meta_prop(TrackConst.TRACKER_KEY, LogWriterName.TORCH_TB.value)),
            **data,
        )
