"""The Client API, with which a training script takes part in a federation."""

from flare_core.client import AnalyticsDataType, FLModel, ParamsType
from nvflare._flare.names import lazy
from nvflare.client.api import (
    clear,
    get_config,
    get_job_id,
    get_site_name,
    get_task_name,
    init,
    is_evaluate,
    is_running,
    is_submit_model,
    is_train,
    log,
    receive,
    send,
    shutdown,
    system_info,
)

_LATER = {"evaluate": "nvflare.client.decorator", "train": "nvflare.client.decorator"}
_MISSING = {"IPCAgent": "a program that is not started by the job cannot join it; give it as train_script"}

__getattr__, __dir__, _names = lazy(__name__, _LATER, _MISSING)

__all__ = [
    "AnalyticsDataType",
    "FLModel",
    "ParamsType",
    "clear",
    "evaluate",
    "get_config",
    "get_job_id",
    "get_site_name",
    "get_task_name",
    "init",
    "is_evaluate",
    "is_running",
    "is_submit_model",
    "is_train",
    "log",
    "receive",
    "send",
    "shutdown",
    "system_info",
    "train",
]
