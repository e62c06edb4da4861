"""Writers with the interfaces of experiment trackers.

Whichever writer a script uses, values go to the record of the run (``metrics.jsonl``) and to the trackers that
:func:`flare_core.recipes.add_experiment_tracking` added. All need ``flare.init()`` first; in a launch of several
processes, only that of rank 0 is heard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

__all__ = ["AnalyticsDataType", "MLflowWriter", "SummaryWriter", "WandBWriter"]


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
            kwargs: what TensorBoard's writer takes besides, such as ``walltime``; without effect.
        """
        _log(tag, scalar, AnalyticsDataType.SCALAR, global_step=global_step)

    def add_scalars(
        self, tag: str, scalars: Mapping[str, float], global_step: int | None = None, **kwargs: Any
    ) -> None:
        """Log several numbers under ``tag/name``.

        Args:
            tag: prefix of the names.
            scalars: the numbers by name.
            global_step: their step; the current round by default.
            kwargs: as for :meth:`add_scalar`.
        """
        _log(tag, scalars, AnalyticsDataType.SCALARS, global_step=global_step)

    def flush(self) -> None:
        """Do nothing; every value is sent when it is logged."""


class MLflowWriter:
    """Log with the interface of MLflow's client."""

    def log_param(self, key: str, value: Any) -> None:
        """Log one setting."""
        _log(key, value, AnalyticsDataType.PARAMETER)

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log several settings."""
        _log("params", values, AnalyticsDataType.PARAMETERS)

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        """Log one number.

        Args:
            key: its name.
            value: the number.
            step: its step; the current round by default.
        """
        _log(key, value, AnalyticsDataType.METRIC, global_step=step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log several numbers."""
        _log("metrics", metrics, AnalyticsDataType.METRICS, global_step=step)

    def log_text(self, text: str, artifact_file_path: str) -> None:
        """Log a text under a file name."""
        _log(artifact_file_path, text, AnalyticsDataType.TEXT)

    def set_tag(self, key: str, value: Any) -> None:
        """Set one tag."""
        _log(key, value, AnalyticsDataType.TAG)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags."""
        _log("tags", tags, AnalyticsDataType.TAGS)


class WandBWriter:
    """Log with the interface of a run of Weights & Biases."""

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log several numbers; their step is the current round by default."""
        _log("metrics", metrics, AnalyticsDataType.METRICS, global_step=step)


def single_values(key: str, value: Any, kind: AnalyticsDataType) -> Iterator[tuple[str, Any, AnalyticsDataType]]:
    """Yield name, value and kind of each thing that one call logs; a number of numpy's or a tensor's is a plain one.

    Args:
        key: the name; what comes before the names of several scalars.
        value: what was logged; a dict of names and values for the kinds of several.
        kind: of the whole.
    Raises:
        TypeError: ``kind`` takes a dict, and ``value`` is none.
    """
    single = _SINGLE.get(kind)
    if single is None:
        yield key, _plain(value), kind
        return
    if not isinstance(value, Mapping):
        raise TypeError(f"'{key}' of kind {kind.value} is a {type(value).__name__}; give a dict of names and values")
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
