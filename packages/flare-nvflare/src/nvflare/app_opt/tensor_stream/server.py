"""TensorServerStreamer, which turns on what Flare always does."""

from __future__ import annotations

from collections.abc import Sequence

from flare_core import Observer


class TensorServerStreamer(Observer):
    """Does nothing: tensors are always streamed, with bounded memory.

    Args:
        format, tasks, tensor_send_timeout, wait_send_task_data_all_clients_timeout: without effect.
    """

    def __init__(
        self,
        format: str = "pytorch",
        tasks: Sequence[str] | None = None,
        tensor_send_timeout: float = 30.0,
        wait_send_task_data_all_clients_timeout: float = 300.0,
    ) -> None:
        self.format = format
        self.tasks = tasks
        self.tensor_send_timeout = tensor_send_timeout
        self.wait_send_task_data_all_clients_timeout = wait_send_task_data_all_clients_timeout
