"""ClientAPIExecutor, for jobs that name it: Flare starts and reaches scripts itself."""

from __future__ import annotations

from typing import Any

from nvflare._host.parts import ScriptPart


class ClientAPIExecutor(ScriptPart):
    """Runs a script with the Client API. Its arguments are kept as they are."""

    def __init__(
        self,
        execution_mode: Any,
        command: Any = None,
        task_script_path: Any = None,
        task_script_args: Any = "",
        launch_once: Any = True,
        launch_timeout: Any = 300.0,
        shutdown_timeout: Any = None,
        stop_grace_period: Any = 30.0,
        heartbeat_interval: Any = 5.0,
        heartbeat_timeout: Any = 30.0,
        task_wait_timeout: Any = None,
        result_wait_timeout: Any = None,
        train_task_name: Any = "train",
        evaluate_task_name: Any = "validate",
        submit_model_task_name: Any = "submit_model",
        train_with_evaluation: Any = False,
        params_exchange_format: Any = "raw",
        server_expected_format: Any = "numpy",
        params_transfer_type: Any = "FULL",
        memory_gc_rounds: Any = 0,
        cuda_empty_cache: Any = False,
        attach_id: Any = None,
        attach_timeout: Any = None,
        allow_reconnect: Any = False,
        allow_insecure_attach: Any = False,
    ) -> None:
        super().__init__({k: v for k, v in locals().items() if k not in ("self", "__class__")})
