"""TFClientAPILauncherExecutor, for jobs that name it: Flare starts and reaches scripts itself."""

from __future__ import annotations

from typing import Any

from nvflare._host.parts import ScriptPart


class TFClientAPILauncherExecutor(ScriptPart):
    """Runs a TensorFlow script with the Client API in a process of its own. Its arguments are kept as they are."""

    def __init__(
        self,
        pipe_id: Any,
        launcher_id: Any = None,
        launch_timeout: Any = None,
        task_wait_timeout: Any = None,
        last_result_transfer_timeout: Any = 300.0,
        external_pre_init_timeout: Any = 300.0,
        peer_read_timeout: Any = 300.0,
        monitor_interval: Any = 0.01,
        read_interval: Any = 0.5,
        heartbeat_interval: Any = 5.0,
        heartbeat_timeout: Any = 300.0,
        workers: Any = 4,
        train_with_evaluation: Any = False,
        train_task_name: Any = "train",
        evaluate_task_name: Any = "validate",
        submit_model_task_name: Any = "submit_model",
        from_nvflare_converter_id: Any = None,
        to_nvflare_converter_id: Any = None,
        server_expected_format: Any = "numpy",
        params_exchange_format: Any = "keras_layer_weights",
        params_transfer_type: Any = "FULL",
        config_file_name: Any = "client_api_config.json",
        memory_gc_rounds: Any = 0,
        cuda_empty_cache: Any = False,
    ) -> None:
        super().__init__({k: v for k, v in locals().items() if k not in ("self", "__class__")})
