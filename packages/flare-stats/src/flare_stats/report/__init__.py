"""The report: one HTML file with a run's statistics, which opens without a network, on a phone and on paper."""

from flare_stats.report.files import find_statistics, report_of
from flare_stats.report.page import make_report

__all__ = ["find_statistics", "make_report", "report_of"]
