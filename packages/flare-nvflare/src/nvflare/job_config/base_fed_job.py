"""BaseFedJob, a job with the components that most jobs have."""

from __future__ import annotations

from typing import Any

from nvflare._flare.describe import Described
from nvflare.job_config.api import FedJob

_WIDGETS = "nvflare.app_common.widgets"


class BaseFedJob(FedJob):
    """A job that chooses the best model by a metric, and writes the results of an evaluation across sites.

    Args:
        name, min_clients, mandatory_clients: as for :class:`FedJob`.
        key_metric: the metric.
        key_metric_mode: ``max`` if higher is better, ``min`` if lower is.
        validation_json_generator, model_selector, convert_to_fed_event: components to use in place of the usual ones.
        analytics_receiver: writes the metrics of the run to an experiment tracker.
        metrics_artifact_writer: without effect; the run's metrics.jsonl has all of them.
    """

    def __init__(
        self,
        name: str = "fed_job",
        min_clients: int = 1,
        mandatory_clients: list[str] | None = None,
        key_metric: str = "accuracy",
        validation_json_generator: Any = None,
        model_selector: Any = None,
        convert_to_fed_event: Any = None,
        analytics_receiver: Any = None,
        *,
        key_metric_mode: str = "max",
        metrics_artifact_writer: Any = None,
    ) -> None:
        super().__init__(name, min_clients, mandatory_clients)
        self.comp_ids: dict[str, str] = {}
        self.key_metric = key_metric
        writer = Described(f"{_WIDGETS}.validation_json_generator.ValidationJsonGenerator", {})
        self.to_server(validation_json_generator or writer, id="json_generator")
        if model_selector is None and key_metric:
            args = {"key_metric": key_metric, **({"negate_key_metric": True} if key_metric_mode == "min" else {})}
            model_selector = Described(f"{_WIDGETS}.intime_model_selector.IntimeModelSelector", args)
        if model_selector is not None:
            self.to_server(model_selector, id="model_selector")
        events = {"events_to_convert": ["analytix_log_stats"]}
        converter = Described(f"{_WIDGETS}.convert_to_fed_event.ConvertToFedEvent", events)
        self.convert_to_fed_event = convert_to_fed_event or converter
        if analytics_receiver is not None:
            self.to_server(analytics_receiver, id="receiver")

    def set_up_client(self, target: str) -> None:
        """Let a site pass on the metrics that its script logs."""
        self.to(self.convert_to_fed_event, target, id="event_to_fed")
