"""JsonStatsFileWriter, which names the file of statistics."""

from __future__ import annotations

from nvflare._flare.statistics import StatisticsPart


class JsonStatsFileWriter(StatisticsPart):
    """Names the file of statistics, which Flare writes as JSON.

    Args:
        output_path: its path below the server's folder of the run.
        json_encoder_path: without effect.
    """

    def __init__(self, output_path: str, json_encoder_path: str = "") -> None:
        super().__init__()
        self.output_path = output_path
        self.json_encoder_path = json_encoder_path
