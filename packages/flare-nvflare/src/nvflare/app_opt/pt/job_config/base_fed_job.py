"""BaseFedJob for PyTorch."""

from __future__ import annotations

from typing import Any

from nvflare.app_opt.pt.job_config.model import PTModel
from nvflare.job_config import base_fed_job


class BaseFedJob(base_fed_job.BaseFedJob):
    """A job with a PyTorch model.

    Args:
        initial_model: the model, as for :class:`PTModel`.
        model_persistor, model_locator: components to use in place of the usual ones.
        name, min_clients, mandatory_clients, key_metric, key_metric_mode, validation_json_generator, model_selector,
            convert_to_fed_event, analytics_receiver, metrics_artifact_writer: as for
            :class:`nvflare.job_config.base_fed_job.BaseFedJob`.
    """

    def __init__(
        self,
        initial_model: Any = None,
        name: str = "fed_job",
        min_clients: int = 1,
        mandatory_clients: list[str] | None = None,
        key_metric: str = "accuracy",
        validation_json_generator: Any = None,
        model_selector: Any = None,
        convert_to_fed_event: Any = None,
        analytics_receiver: Any = None,
        model_persistor: Any = None,
        model_locator: Any = None,
        *,
        key_metric_mode: str = "max",
        metrics_artifact_writer: Any = None,
    ) -> None:
        super().__init__(
            name,
            min_clients,
            mandatory_clients,
            key_metric,
            validation_json_generator,
            model_selector,
            convert_to_fed_event,
            analytics_receiver,
            key_metric_mode=key_metric_mode,
        )
        if initial_model is not None:
            self.comp_ids.update(self.to_server(PTModel(initial_model, model_persistor, model_locator)))
