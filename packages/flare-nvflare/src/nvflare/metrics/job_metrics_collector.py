"""JobMetricsCollector: counts the events of a run, and measures its tasks and rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nvflare.apis.event_type import EventType
from nvflare.app_common.app_event_type import AppEventType
from nvflare.metrics.metrics_collector import MetricsCollector

_SINGLE = (AppEventType.INITIAL_MODEL_LOADED, AppEventType.BEFORE_TRAIN_TASK, AppEventType.AFTER_AGGREGATION)
_PAIRS = {
    "_workflow": (EventType.START_WORKFLOW, EventType.END_WORKFLOW),
    "_run": (EventType.START_RUN, EventType.END_RUN),
    "_process_submission": (EventType.BEFORE_PROCESS_SUBMISSION, EventType.AFTER_PROCESS_SUBMISSION),
    "_data_filter": (EventType.BEFORE_TASK_DATA_FILTER, EventType.AFTER_TASK_DATA_FILTER),
    "_result_filter": (EventType.BEFORE_TASK_RESULT_FILTER, EventType.AFTER_TASK_RESULT_FILTER),
    "_task_execution": (EventType.BEFORE_TASK_EXECUTION, EventType.AFTER_TASK_EXECUTION, EventType.ABORT_TASK),
    "_send_task_result": (EventType.BEFORE_SEND_TASK_RESULT, EventType.AFTER_SEND_TASK_RESULT),
    "_aggregation": (AppEventType.BEFORE_AGGREGATION, AppEventType.END_AGGREGATION),
    "_train": (AppEventType.BEFORE_TRAIN, AppEventType.AFTER_TRAIN),
    "_training": (AppEventType.TRAINING_STARTED, AppEventType.TRAINING_FINISHED),
    "_round": (AppEventType.ROUND_STARTED, AppEventType.ROUND_DONE),
}


class JobMetricsCollector(MetricsCollector):
    """Counts the events of a run, and measures its tasks and rounds; arguments as for :class:`MetricsCollector`.

    Only events that are fired on Flare can be counted: those of the hosted parts of a job. Flare's own record of a run
    is ``metrics.jsonl`` and ``summary.json``.
    """

    def get_single_events(self) -> Sequence[str]:
        """Return the events that are counted."""
        return _SINGLE

    def get_pairs(self) -> Mapping[str, Sequence[str]]:
        """Return the times that are measured."""
        return _PAIRS
