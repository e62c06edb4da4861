"""MetricsArtifactWriter: Flare writes the metrics of a run itself, into metrics.jsonl and summary.json."""

from __future__ import annotations

from collections.abc import Mapping

from nvflare.widgets.widget import Widget


class MetricsArtifactWriter(Widget):
    """Does nothing: the run's ``metrics.jsonl`` and ``summary.json`` hold the metrics.

    Args:
        results_dir, summary_file_name, round_file_name, limits: ignored.
    """

    def __init__(
        self,
        results_dir: str = "metrics",
        summary_file_name: str = "metrics_summary.json",
        round_file_name: str = "round_metrics.jsonl",
        limits: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.results_dir = results_dir
        self.summary_file_name = summary_file_name
        self.round_file_name = round_file_name
        self.limits = limits
