"""DFStatisticsCore, the statistics of data frames."""

from __future__ import annotations

from nvflare.app_common.abstract.statistics_spec import Statistics


class DFStatisticsCore(Statistics):
    """The statistics of data frames of pandas, which ``initialize`` puts into ``data`` by the name of the data set."""
