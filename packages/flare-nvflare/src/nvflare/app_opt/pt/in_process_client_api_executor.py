"""PTInProcessClientAPIExecutor, for jobs that name it: Flare starts and reaches scripts itself."""

from __future__ import annotations

from typing import Any

from nvflare._host.parts import ScriptPart


class PTInProcessClientAPIExecutor(ScriptPart):
    """Runs a PyTorch script with the Client API inside the site's process. Its arguments are kept as they are."""

    def __init__(
        self,
        task_script_path: Any,
        task_script_args: Any = "",
        task_wait_time: Any = None,
        result_pull_interval: Any = 0.5,
        log_pull_interval: Any = None,
        params_transfer_type: Any = "FULL",
        from_nvflare_converter_id: Any = None,
        to_nvflare_converter_id: Any = None,
        train_with_evaluation: Any = True,
        train_task_name: Any = "train",
        evaluate_task_name: Any = "validate",
        submit_model_task_name: Any = "submit_model",
        params_exchange_format: Any = "pytorch",
        server_expected_format: Any = "numpy",
        memory_gc_rounds: Any = 0,
        cuda_empty_cache: Any = False,
    ) -> None:
        super().__init__({k: v for k, v in locals().items() if k not in ("self", "__class__")})
