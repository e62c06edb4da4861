"""Writers with the call shapes of experiment trackers; what is written goes to the record of the run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

__all__ = ["AnalyticsDataType", "MLflowWriter", "SummaryWriter", "WandBWriter"]


class AnalyticsDataType(StrEnum):
    """What kind of thing is logged."""

    SCALAR = "SCALAR"
    SCALARS = "SCALARS"
    IMAGE = "IMAGE"
    TEXT = "TEXT"
    LOG_RECORD = "LOG_RECORD"
    PARAMETER = "PARAMETER"
    PARAMETERS = "PARAMETERS"
    METRIC = "METRIC"
    METRICS = "METRICS"
    MODEL = "MODEL"
    TAG = "TAG"
    TAGS = "TAGS"
    INIT_DATA = "INIT_DATA"


def _log(key: str, value: Any, kind: AnalyticsDataType, **kwargs: Any) -> None:
    from flare_core.client.session import current_session

    current_session().log(key, value, kind, **kwargs)


class SummaryWriter:
    """Writes scalars as TensorBoard's writer does."""

    def add_scalar(self, tag: str, scalar: float, global_step: int | None = None, **kwargs: Any) -> None:
        """Log one number."""
        _log(tag, scalar, AnalyticsDataType.SCALAR, global_step=global_step, **kwargs)

    def add_scalars(
        self, tag: str, scalars: Mapping[str, float], global_step: int | None = None, **kwargs: Any
    ) -> None:
        """Log several numbers under ``tag/name``."""
        for name, scalar in scalars.items():
            _log(f"{tag}/{name}", scalar, AnalyticsDataType.SCALAR, global_step=global_step, **kwargs)

    def flush(self) -> None:
        """Do nothing: every value is sent when it is logged."""


class MLflowWriter:
    """Writes as MLflow's client does."""

    def log_param(self, key: str, value: Any) -> None:
        """Log one setting."""
        _log(key, value, AnalyticsDataType.PARAMETER)

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log several settings."""
        for key, value in values.items():
            self.log_param(key, value)

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        """Log one number."""
        _log(key, value, AnalyticsDataType.METRIC, global_step=step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log several numbers."""
        for key, value in metrics.items():
            self.log_metric(key, value, step)

    def log_text(self, text: str, artifact_file_path: str) -> None:
        """Log a text under a file name."""
        _log(artifact_file_path, text, AnalyticsDataType.TEXT)

    def set_tag(self, key: str, value: Any) -> None:
        """Set one tag."""
        _log(key, value, AnalyticsDataType.TAG)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags."""
        for key, value in tags.items():
            self.set_tag(key, value)


class WandBWriter:
    """Writes as Weights & Biases' run does."""

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log several numbers."""
        for key, value in metrics.items():
            _log(key, value, AnalyticsDataType.METRIC, global_step=step)
