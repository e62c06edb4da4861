"""The Client API with ``patch``, which makes a trainer of Hugging Face take part in the run."""

from flare_core.client import AnalyticsDataType, FLModel, ParamsType
from nvflare._flare.names import lazy
from nvflare.client import (
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

__getattr__, __dir__, _names = lazy(__name__, {"patch": "nvflare.app_opt.hf"})

__all__ = [
    "AnalyticsDataType",
    "FLModel",
    "ParamsType",
    "clear",
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
    "patch",
    "receive",
    "send",
    "shutdown",
    "system_info",
]
