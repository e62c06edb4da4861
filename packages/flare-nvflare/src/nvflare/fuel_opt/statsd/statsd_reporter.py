"""StatsDReporter: sends metrics to a StatsD server, such as the exporter of Prometheus.

A metric is a datagram: ``name:value|c|#tag:value,tag:value``, with ``c`` for a counter and ``g`` for a gauge; tags have
the form of DogStatsD.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from flare_core import FlareError
from nvflare.metrics.metrics_collector import MetricsReporter
from nvflare.metrics.metrics_keys import MetricTypes

_KINDS = {MetricTypes.COUNTER: "c", MetricTypes.GAUGE: "g"}


class StatsDReporter(MetricsReporter):
    """Sends metrics to a StatsD server by UDP, which loses them if nobody listens.

    Args:
        site: accepted; the site is among the tags of a collector.
        host, port: the server.
    """

    def __init__(self, site: str = "", host: str = "localhost", port: int = 9125) -> None:
        self.site = site
        self.host = host
        self.port = port

    def report(self, name: str, value: float, kind: str, tags: Mapping[str, Any]) -> None:
        """Send a metric; arguments as for :meth:`MetricsReporter.report`.

        Raises:
            ValueError: the kind is unknown.
            FlareError: the server's name is not known here.
        """
        if kind not in _KINDS:
            raise ValueError(f"the metric {name} is of the kind {kind!r}; StatsDReporter sends counters and gauges")
        marks = ",".join(f"{key}:{each}" for key, each in tags.items())
        text = f"{name}:{value:.9g}|{_KINDS[kind]}" + (f"|#{marks}" if marks else "")
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
                link.sendto(text.encode(), (self.host, self.port))
        except OSError as error:
            raise FlareError(
                f"metrics cannot be sent to {self.host}:{self.port} ({error}); give StatsDReporter the address of a"
                " StatsD server"
            ) from error
