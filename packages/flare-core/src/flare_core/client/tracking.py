"""Writers with the interfaces of experiment trackers.

Whichever writer a script uses, its values are written to the run's ``metrics.jsonl`` and to the trackers that
:func:`flare_core.recipes.add_experiment_tracking` added. Call ``flare.init()`` first; if a site has several processes,
only the values of rank 0 count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any


class AnalyticsDataType(StrEnum):
    """Types of logged values."""

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


_SINGLE = {
    AnalyticsDataType.SCALARS: AnalyticsDataType.SCALAR,
    AnalyticsDataType.METRICS: AnalyticsDataType.METRIC,
    AnalyticsDataType.PARAMETERS: AnalyticsDataType.PARAMETER,
    AnalyticsDataType.TAGS: AnalyticsDataType.TAG,
}


class SummaryWriter:
    """Log scalars with the interface of TensorBoard's ``SummaryWriter``."""

    def add_scalar(self, tag: str, scalar: float, global_step: int | None = None, **kwargs: Any) -> None:
        """Log one number.

        Args:
            tag: its name.
            scalar: the number.
            global_step: its step; the current round by default.
            kwargs: further arguments of TensorBoard's writer, such as ``walltime``; ignored.
        """
        _log(tag, scalar, AnalyticsDataType.SCALAR, global_step=global_step)

    def add_scalars(
        self, tag: str, scalars: Mapping[str, float], global_step: int | None = None, **kwargs: Any
    ) -> None:
        """Log several ``scalars`` under ``tag/name``; other arguments as for :meth:`add_scalar`."""
        _log(tag, scalars, AnalyticsDataType.SCALARS, global_step=global_step)

    def flush(self) -> None:
        """Do nothing, since every value is sent immediately."""


class MLflowWriter:
    """Log with the interface of MLflow's client."""

    def log_param(self, key: str, value: Any) -> None:
        """Log one parameter."""
        _log(key, value, AnalyticsDataType.PARAMETER)

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log several parameters."""
        _log("params", values, AnalyticsDataType.PARAMETERS)

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        """Log the number ``value`` as ``key``; ``step`` is the current round by default."""
        _log(key, value, AnalyticsDataType.METRIC, global_step=step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log several numbers."""
        _log("metrics", metrics, AnalyticsDataType.METRICS, global_step=step)

    def log_text(self, text: str, artifact_file_path: str) -> None:
        """Log text under a file name."""
        _log(artifact_file_path, text, AnalyticsDataType.TEXT)

    def set_tag(self, key: str, value: Any) -> None:
        """Set one tag."""
        _log(key, value, AnalyticsDataType.TAG)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags."""
        _log("tags", tags, AnalyticsDataType.TAGS)


class WandBWriter:
    """Log with the interface of a Weights & Biases run."""

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log several numbers; ``step`` is the current round by default."""
        _log("metrics", metrics, AnalyticsDataType.METRICS, global_step=step)


def single_values(key: str, value: Any, kind: AnalyticsDataType) -> Iterator[tuple[str, Any, AnalyticsDataType]]:
    """Yield the name, value and kind of each single value in one call of a logging function.

    Args:
        key: the name of the value, or the prefix of the names of several scalars.
        value: the value; a dict of values by name if ``kind`` is plural. Scalars of numpy or of tensors become plain.
        kind: the kind of the value.
    Raises:
        TypeError: ``kind`` is plural, and ``value`` is not a dict.
    """
    single = _SINGLE.get(kind)
    if single is None:
        yield key, _plain(value), kind
        return
    if not isinstance(value, Mapping):
        raise TypeError(f"'{key}' of kind {kind.value} is a {type(value).__name__}; give a dict of values by name")
    prefix = f"{key}/" if kind is AnalyticsDataType.SCALARS else ""
    for name, one in value.items():
        yield f"{prefix}{name}", _plain(one), single


def _plain(value: Any) -> Any:
    if getattr(value, "shape", None) != ():
        return value
    return value.item() if hasattr(value, "item") else float(value)


def _log(key: str, value: Any, kind: AnalyticsDataType, **kwargs: Any) -> None:
    from flare_core.client.session import current_session

    current_session().log(key, value, kind, **kwargs)
