"""Names of metrics about a run's course."""

METRICS_EVENT_TYPE = "metrics_event"


class MetricTypes:
    """Kinds of metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"


class MetricKeys:
    """Names of the parts of a metric."""

    metric_name = "metric_name"
    type = "type"
    value = "value"
    tags = "tags"
    count = "count"
    time_taken = "time_taken"
